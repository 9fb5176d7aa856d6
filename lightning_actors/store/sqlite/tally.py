"""`Tally`: how many rollouts of each status each stretch of time has, so that a page is found without counting.

```
stretch      from the beginning │ from (1700000100.5, 1025) │ from (1700000163.2, 2049)
running               0         │            3              │           58
succeeded          1020         │          911              │            0

of those that run or succeeded, the 1,500th is the 480th of the second stretch
```
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import Final, get_args

from lightning_actors.store.sqlite.many_rows import ManyRows
from lightning_actors.types import RolloutStatus

__all__ = ["START", "Key", "Tally"]

Key = tuple[float, int]
"""Start time and number of a rollout: the order of pages."""

START: Final[Key] = (-1e308, 0)
"""What no rollout is below; a number that every tool can write and read."""

_STATUSES: Final[tuple[RolloutStatus, ...]] = get_args(RolloutStatus)
_COLUMNS: Final = ("low_time", "low_number", *_STATUSES)
_ROWS: Final = ManyRows("tally", _COLUMNS, key="low_time, low_number", updated=_STATUSES)
_FULL: Final = 1024
_BOUND: Final = (
    "SELECT start_time, number FROM (SELECT start_time, number FROM rollouts WHERE start_time = ?1 AND number >= ?2"
    " ORDER BY number LIMIT ?3) UNION ALL SELECT * FROM (SELECT start_time, number FROM rollouts WHERE start_time > ?1"
    " ORDER BY start_time, number LIMIT ?3)"
)
_STATUSES_OF: Final = (
    "SELECT status, count(*) FROM rollouts WHERE number IN (SELECT value FROM json_each(?)) GROUP BY status"
)


class Tally:
    """The stretches, in order: from where each goes, and its counts by status.

    Args:
        connection: The file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.load()

    def load(self) -> None:
        """Read the counts from the file."""
        rows = self._connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM tally ORDER BY 1, 2").fetchall()  # noqa: S608 - names of ours
        rows = rows or [(*START, *[0] * len(_STATUSES))]
        self._lows: list[Key] = [(row[0], row[1]) for row in rows]
        self._counts = {status: [row[2 + place] for row in rows] for place, status in enumerate(_STATUSES)}
        self._sums = [sum(row[2:]) for row in rows]
        self._totals = {status: sum(counts) for status, counts in self._counts.items()}
        self._changed: set[Key] = set()
        last: Key | None = self._connection.execute(
            "SELECT start_time, number FROM rollouts ORDER BY start_time DESC, number DESC LIMIT 1"
        ).fetchone()
        self._greatest = START if last is None else last

    def total(self, statuses: Iterable[RolloutStatus] | None) -> int:
        """How many rollouts have one of these statuses; None for any."""
        return sum(self._totals.values()) if statuses is None else sum(self._totals[status] for status in statuses)

    def add(self, key: Key, status: RolloutStatus) -> None:
        """Count a new rollout; a full last stretch is followed by another."""
        place = self._place_of(key)
        if key > self._greatest:
            self._greatest = key
            if self._sums[place] >= _FULL:
                place += 1
                self._insert(place, key)
        self._count(place, status, 1)

    def move(self, key: Key, before: RolloutStatus, after: RolloutStatus) -> None:
        """Count a rollout under its new status."""
        place = self._place_of(key)
        self._count(place, before, -1)
        self._count(place, after, 1)

    def find(self, statuses: Collection[RolloutStatus] | None, named: Sequence[Key], offset: int) -> tuple[Key, int]:
        """Where to begin to read, and how many to pass over from there, to reach this place in the order of a page.

        Args:
            statuses: The rollouts with these statuses count, those of any for None,
            named: and these besides.
            offset: How many of them stand before the place; there are more.
        """
        counts = self._sums if statuses is None else self._counted(statuses)
        if named:
            counts = list(counts)
            for key in named:
                counts[self._place_of(key)] += 1
        ends = list(accumulate(counts))
        place = bisect_right(ends, offset)
        return self._lows[place], offset - (ends[place - 1] if place else 0)

    def _counted(self, statuses: Collection[RolloutStatus]) -> Sequence[int]:
        columns = [self._counts[status] for status in statuses]
        if len(columns) == 1:
            return columns[0]
        return list(map(sum, zip(*columns, strict=True))) if columns else [0] * len(self._lows)

    def write(self) -> None:
        """Write to the file what has changed; the rollouts must be there."""
        while self._changed:
            changed, self._changed = sorted(self._changed), set()
            places = [(low, self._place_of(low)) for low in changed]
            _ROWS.write(
                self._connection, [(*low, *(self._counts[one][place] for one in _STATUSES)) for low, place in places]
            )
            for low, place in reversed(places):
                if self._sums[place] >= 2 * _FULL:
                    self._split(low, place)

    def _place_of(self, key: Key) -> int:
        return bisect_right(self._lows, key) - 1

    def _count(self, place: int, status: RolloutStatus, by: int) -> None:
        self._counts[status][place] += by
        self._sums[place] += by
        self._totals[status] += by
        self._changed.add(self._lows[place])

    def _insert(self, place: int, low: Key) -> None:
        self._lows.insert(place, low)
        self._sums.insert(place, 0)
        for counts in self._counts.values():
            counts.insert(place, 0)

    def _split(self, low: Key, place: int) -> None:
        """Give what is too much to a new stretch: the clock had gone back, so that many came into the middle."""
        keys: list[Key] = sorted(self._connection.execute(_BOUND, (*low, _FULL + 1)).fetchall())
        kept = dict(self._connection.execute(_STATUSES_OF, (json.dumps([number for _, number in keys[:_FULL]]),)))
        self._insert(place + 1, keys[_FULL])
        for status in _STATUSES:
            moved = self._counts[status][place] - kept.get(status, 0)
            self._count(place, status, -moved)
            self._count(place + 1, status, moved)
