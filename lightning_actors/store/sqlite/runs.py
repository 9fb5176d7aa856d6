"""`Runs`: the runs of algorithms that have not come to their end; a few, all at hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from lightning_actors.store.sqlite.json_text import json_text, read_json
from lightning_actors.store.sqlite.many_rows import ManyRows
from lightning_actors.types import RunRecord

__all__ = ["Runs"]

_ROWS: Final = ManyRows("runs", ("run_id", "record"), key="run_id", updated=("record",))


class Runs:
    """Runs by id, in the order in which they were begun.

    Args:
        connection: The file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.load()

    def load(self) -> None:
        """Read all from the file."""
        rows = self._connection.execute("SELECT run_id, record FROM runs ORDER BY number")
        self._runs: dict[str, RunRecord] = {run_id: read_json(RunRecord, record) for run_id, record in rows}
        self._changed: dict[str, RunRecord | None] = {}

    def all(self) -> Sequence[RunRecord]:
        """All of them."""
        return tuple(self._runs.values())

    def put(self, run: RunRecord) -> None:
        """Take in a run that is new, or has changed."""
        self._runs[run.run_id] = self._changed[run.run_id] = run

    def end(self, run_id: str) -> None:
        """Forget a run."""
        del self._runs[run_id]
        self._changed[run_id] = None

    def write(self) -> None:
        """Write to the file what has changed."""
        changed, self._changed = self._changed, {}
        _ROWS.write(
            self._connection,
            [(run_id, json_text(RunRecord, run, "run")) for run_id, run in changed.items() if run is not None],
        )
        for run_id in (run_id for run_id, run in changed.items() if run is None):
            self._connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
