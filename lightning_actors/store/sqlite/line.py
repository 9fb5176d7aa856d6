"""`Line`: the queue. Its head is at hand, its length is counted in stretches, its rest is in the file.

```
ticket     … 1022 1023 │ 1024 1025 … 2047 │ 2048 …      one for each who waits; those who leave leave gaps
stretch         0      │        1         │   2         how many wait in each is known
before(2049)  = those of stretches 0 and 1, and of stretch 2 those before: at most 1,024 are counted one by one
```
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final

from lightning_actors.store.sqlite.folder import Folder

__all__ = ["Line"]

_STRETCH_BITS: Final = 10
_HEAD: Final = 512
"""How many of the first are read at once; at most four times as many are at hand."""

_COUNTS: Final = "SELECT place >> ?, count(*) FROM rollouts WHERE place IS NOT NULL GROUP BY 1 ORDER BY 1"


class Line:
    """Who stands in the queue, by ticket.

    Args:
        connection: The file.
        flush: Writes to the file what is not in it yet; called before the file is read.
    """

    def __init__(self, connection: sqlite3.Connection, flush: Callable[[], None]) -> None:
        self._connection = connection
        self._flush = flush
        self.load()

    def load(self) -> None:
        """Read from the file where the queue stands."""
        self._counts: dict[int, int] = dict(self._connection.execute(_COUNTS, (_STRETCH_BITS,)))
        self._stretches = list(self._counts)
        (last,) = self._connection.execute("SELECT max(place) FROM rollouts WHERE place IS NOT NULL").fetchone()
        self._next = 0 if last is None else last + 1
        self._head: OrderedDict[str, int] = OrderedDict()
        """The first of the queue with their tickets, or all of it."""
        self._is_whole = last is None

    def join(self, folder: Folder, *, at_head: bool) -> None:
        """Let a rollout stand at the end, or at the head."""
        rollout_id = folder.rollout.rollout_id
        if at_head:
            self._fill(1)
        if at_head and self._head:
            ticket = next(iter(self._head.values())) - 1
            self._head[rollout_id] = ticket
            self._head.move_to_end(rollout_id, last=False)
        else:
            ticket = self._next
            self._next += 1
            if self._is_whole:
                self._head[rollout_id] = ticket
        folder.place = ticket
        stretch = ticket >> _STRETCH_BITS
        if stretch not in self._counts:
            self._counts[stretch] = 0
            insort(self._stretches, stretch)
        self._counts[stretch] += 1

    def leave(self, folder: Folder) -> None:
        """Take a rollout out, wherever it stands."""
        assert folder.place is not None  # noqa: S101 - it stands in the queue
        self._head.pop(folder.rollout.rollout_id, None)
        stretch = folder.place >> _STRETCH_BITS
        folder.place = None
        self._counts[stretch] -= 1
        if not self._counts[stretch]:
            del self._counts[stretch]
            del self._stretches[bisect_left(self._stretches, stretch)]

    def first(self, count: int) -> list[str]:
        """The ids of the first, so many at most."""
        self._fill(count)
        return list(islice(self._head, count))

    def _fill(self, count: int) -> None:
        """Have so many of the first at hand, if there are so many."""
        if self._is_whole or len(self._head) >= count:
            return
        self._flush()
        after = next(reversed(self._head.values())) if self._head else None
        wanted = max(count - len(self._head), _HEAD)
        found = self._connection.execute(
            "SELECT rollout_id, place FROM rollouts WHERE place IS NOT NULL AND (?1 IS NULL OR place > ?1)"
            " ORDER BY place LIMIT ?2",
            (after, wanted),
        ).fetchall()
        self._head.update(found)
        self._is_whole = len(found) < wanted

    def before(self, folder: Folder) -> int | None:
        """How many stand before a rollout; None if it does not stand in the queue."""
        if folder.place is None:
            return None
        self._flush()
        stretch = folder.place >> _STRETCH_BITS
        earlier = self._stretches[: bisect_left(self._stretches, stretch)]
        (beside,) = self._connection.execute(
            "SELECT count(*) FROM rollouts WHERE place >= ? AND place < ?", (stretch << _STRETCH_BITS, folder.place)
        ).fetchone()
        return sum(map(self._counts.__getitem__, earlier)) + beside

    def trim(self) -> None:
        """Let go of what is at hand beyond the first; all of it must be in the file."""
        if len(self._head) > 4 * _HEAD:
            self._head = OrderedDict(islice(self._head.items(), _HEAD))
            self._is_whole = False
