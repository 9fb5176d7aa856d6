"""`Parts`: what the tables of a store are made of, one transaction after another.

```
at hand    folders · line · tally · completed · spans · …     what was changed last is read from there
               │ write: before the file is searched, and before the commit
               ▼
the file   in one transaction; `roll_back` takes it and what is at hand back to the last commit
```
"""

from __future__ import annotations

import math
import sqlite3

from lightning_actors.store.sqlite.completed import Completed
from lightning_actors.store.sqlite.folders import Folders
from lightning_actors.store.sqlite.line import Line
from lightning_actors.store.sqlite.pages import Pages
from lightning_actors.store.sqlite.replies import Replies
from lightning_actors.store.sqlite.runs import Runs
from lightning_actors.store.sqlite.small_tables import resources_table, workers_table
from lightning_actors.store.sqlite.spans import Spans
from lightning_actors.store.sqlite.state import State
from lightning_actors.store.sqlite.tally import Tally
from lightning_actors.store.sqlite.writes import Writes

__all__ = ["Parts"]


class Parts:
    """All parts, on one connection.

    Args:
        connection: The file, of the latest version.

    Attributes:
        connection: The file.
        has_changes: Something is at hand that is not in the file.
        next_due: When an attempt may next reach a deadline; infinite if never.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.writes = Writes(connection)
        self.state = State(connection)
        self.folders = Folders(connection)
        self.line = Line(connection, self.write)
        self.tally = Tally(connection)
        self.completed = Completed(connection, self.state, self.write)
        self.spans = Spans(connection, self.state)
        self.workers = workers_table(connection, self.state, self.write)
        self.resources = resources_table(connection, self.state, self.write)
        self.replies = Replies(connection, self.write)
        self.runs = Runs(connection)
        self.pages = Pages(connection, self.folders, self.tally)
        self.has_changes = False
        self.next_due = math.inf
        self.load_due()

    def load_due(self, after: float = -math.inf) -> None:
        """Look up the first deadline after this time."""
        (due,) = self.connection.execute("SELECT min(due) FROM attempts WHERE due > ?", (after,)).fetchone()
        self.next_due = math.inf if due is None else due

    def write(self) -> None:
        """Write to the file what is only at hand, in a transaction that stays open."""
        if not self.has_changes:
            return
        self.has_changes = False
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")
        for part in (
            self.writes,
            self.tally,
            self.spans,
            self.workers,
            self.resources,
            self.replies,
            self.runs,
            self.state,
        ):
            part.write()

    def commit(self) -> None:
        """Make all that was changed since the last commit durable, and let go of what is too much at hand."""
        self.write()
        if self.connection.in_transaction:
            self.connection.execute("COMMIT")
        for part in (self.folders, self.line, self.completed, self.spans, self.workers, self.resources):
            part.trim()

    def roll_back(self) -> None:
        """Undo all that was changed since the last commit."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self.has_changes = False
        for part in (
            self.folders,
            self.writes,
            self.state,
            self.line,
            self.tally,
            self.completed,
            self.spans,
            self.workers,
            self.resources,
            self.replies,
            self.runs,
        ):
            part.load()
        self.load_due()
