"""`LongReads`: queries that look at many rollouts are read in a thread of their own, so that nobody waits for them.

```
writer ──▶ a query that is long, once all before it is committed ──▶ LongReads: a snapshot of the file ──▶ outbox
   └─────▶ goes on with what comes after it
```

Such a query sees all that was answered before it was asked, and perhaps some of what was asked after it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from lightning_actors.actors.clock import Clock
from lightning_actors.errors import StoreClosed
from lightning_actors.store.clerk import Clerk
from lightning_actors.store.messages import QueryRollouts
from lightning_actors.store.sqlite.letter import Letter
from lightning_actors.store.sqlite.opening import StoreFile, explained, is_of_the_file
from lightning_actors.store.sqlite.tables import SqlTables

__all__ = ["LongReads", "is_long"]

_MANY: Final = 2_000
_END_SECONDS: Final = 5.0


def is_long(letter: Letter, tables: SqlTables) -> bool:
    """Whether a letter asks for so many rollouts, or has so many looked through, that others should not wait for it."""
    message = letter.message
    if not isinstance(message, QueryRollouts):
        return False
    statuses = message.status if message.status_in is None else message.status_in
    ids = message.rollout_ids if message.rollout_id_in is None else message.rollout_id_in
    either = message.filter_logic == "or"
    looks_through = message.rollout_id_contains is not None or message.sort_by not in {None, "start_time"}
    if looks_through and either:
        statuses = ids = None
    if ids is not None and not (either and statuses is not None):
        count = len(ids)
    else:
        _, count = tables.rollouts_page(statuses, ids, either=either, offset=0, limit=0, descending=False)
    if not looks_through and message.limit >= 0:
        count = min(count, message.limit)
    return count > _MANY


class LongReads:
    """Answers letters from snapshots of the file, one after another; its thread begins with the first.

    Args:
        file: The store's file.
        clock: Whose time it is.
        tell: Takes each letter once it is answered, in this thread.
    """

    def __init__(self, file: StoreFile, clock: Clock, tell: Callable[[Letter], None]) -> None:
        self._file = file
        self._clock = clock
        self._tell = tell
        self._inbox: SimpleQueue[Letter | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False

    def send(self, letter: Letter) -> None:
        """Have a letter answered."""
        self._inbox.put(letter)
        if self._thread is None:
            name = f"store {self._file.path.name}, reads"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End it. What is being read is given up; whoever asked for it is told that the store was closed."""
        if self._thread is None:
            return
        self._is_closed = True
        self._inbox.put(None)
        connection = self._connection
        if connection is not None:
            connection.interrupt()
        self._thread.join(_END_SECONDS)

    # ── in its thread ──

    def _run(self) -> None:
        while (letter := self._inbox.get()) is not None:
            if not letter.is_withdrawn:
                self._answer(letter)
                self._tell(letter)
        if self._connection is not None:
            self._connection.close()

    def _answer(self, letter: Letter) -> None:
        try:
            if not self._is_closed:
                self._read(letter)
        except Exception as error:  # noqa: BLE001 - the boundary of the thread
            letter.refuse(explained(error, self._file.path) if is_of_the_file(error) else error)
        if self._is_closed:
            letter.refuse(StoreClosed(f"the store in {self._file.path} was closed while this was read"))

    def _read(self, letter: Letter) -> None:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._file.connect_to_read()
        connection.execute("BEGIN")
        try:
            letter.look(Clerk(SqlTables(connection), self._clock, lambda _: None))
        finally:
            connection.execute("ROLLBACK")
