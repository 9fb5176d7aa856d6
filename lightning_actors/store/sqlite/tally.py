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
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final, get_args

from lightning_actors.store.sqlite.many_rows import ManyRows
from lightning_actors.types import RolloutStatus

__all__ = ["START", "Key", "Stretch", "Tally", "keys_from"]

Key = tuple[float, int]
"""Start time and number of a rollout: the order of pages."""

START: Final[Key] = (-1e308, 0)
"""What no rollout is below; a number that every tool can write and read."""

_STATUSES: Final[tuple[RolloutStatus, ...]] = get_args(RolloutStatus)
_INDEX: Final = {status: place for place, status in enumerate(_STATUSES)}
_COLUMNS: Final = ("low_time", "low_number", *_STATUSES)
_ROWS: Final = ManyRows("tally", _COLUMNS, key="low_time, low_number", updated=_STATUSES)
_FULL: Final = 1024
_ONWARDS: Final = (
    "SELECT * FROM (SELECT start_time, number FROM rollouts WHERE {0} start_time = ?1 AND number >= ?2"
    " ORDER BY number LIMIT ?3) UNION ALL SELECT * FROM (SELECT start_time, number FROM rollouts WHERE {0}"
    " start_time > ?1 ORDER BY start_time, number LIMIT ?3)"
)
"""In two parts, for SQLite searches an index of two columns by the first alone where the second is the row's number."""
_STATUSES_OF: Final = (
    "SELECT status, count(*) FROM rollouts WHERE number IN (SELECT value FROM json_each(?)) GROUP BY status"
)


class Stretch:
    """The rollouts from one on, up to the next stretch.

    Attributes:
        low: What none of them is below.
        counts: How many there are of each status, in the order in which the type lists them.
    """

    __slots__ = ("counts", "low")

    def __init__(self, low: Key, counts: list[int] | None = None) -> None:
        self.low = low
        self.counts = [0] * len(_STATUSES) if counts is None else counts

    def count(self, statuses: Iterable[RolloutStatus] | None) -> int:
        """How many have one of these statuses; None for any."""
        if statuses is None:
            return sum(self.counts)
        return sum(self.counts[_INDEX[status]] for status in statuses)


class Tally:
    """The stretches, in order.

    Args:
        connection: The file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.load()

    def load(self) -> None:
        """Read the counts from the file."""
        rows = self._connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM tally ORDER BY 1, 2").fetchall()  # noqa: S608 - names of ours
        self._stretches = [Stretch((row[0], row[1]), list(row[2:])) for row in rows] or [Stretch(START)]
        self._lows = [stretch.low for stretch in self._stretches]
        self._totals = [sum(column) for column in zip(*(one.counts for one in self._stretches), strict=True)]
        self._changed: dict[Key, Stretch] = {}
        last: Key | None = self._connection.execute(
            "SELECT start_time, number FROM rollouts ORDER BY start_time DESC, number DESC LIMIT 1"
        ).fetchone()
        self._greatest = START if last is None else last

    def total(self, statuses: Iterable[RolloutStatus] | None) -> int:
        """How many rollouts have one of these statuses; None for any."""
        return sum(self._totals) if statuses is None else sum(self._totals[_INDEX[status]] for status in statuses)

    def add(self, key: Key, status: RolloutStatus) -> None:
        """Count a new rollout; a full last stretch is followed by another."""
        place = self._place_of(key)
        if key > self._greatest:
            self._greatest = key
            if self._stretches[place].count(None) >= _FULL:
                place += 1
                self._insert(place, Stretch(key))
        self._count(self._stretches[place], status, 1)

    def move(self, key: Key, before: RolloutStatus, after: RolloutStatus) -> None:
        """Count a rollout under its new status."""
        stretch = self._stretches[self._place_of(key)]
        self._count(stretch, before, -1)
        self._count(stretch, after, 1)

    def find(self, statuses: Collection[RolloutStatus] | None, named: Sequence[Key], offset: int) -> tuple[Key, int]:
        """Where to begin to read, and how many to pass over from there, to reach this place in the order of a page.

        Args:
            statuses: The rollouts with these statuses count, those of any for None,
            named: and these besides.
            offset: How many of them stand before the place; there are more.
        """
        besides = Counter(map(self._place_of, named))
        for place, stretch in enumerate(self._stretches):
            count = stretch.count(statuses) + besides[place]
            if offset < count:
                return stretch.low, offset
            offset -= count
        raise IndexError(offset)

    def write(self) -> None:
        """Write to the file what has changed; the rollouts must be there."""
        while self._changed:
            changed, self._changed = self._changed, {}
            _ROWS.write(self._connection, [(*stretch.low, *stretch.counts) for stretch in changed.values()])
            for stretch in changed.values():
                if stretch.count(None) >= 2 * _FULL:
                    self._split(stretch)

    def _place_of(self, key: Key) -> int:
        return bisect_right(self._lows, key) - 1

    def _count(self, stretch: Stretch, status: RolloutStatus, by: int) -> None:
        stretch.counts[_INDEX[status]] += by
        self._totals[_INDEX[status]] += by
        self._changed[stretch.low] = stretch

    def _insert(self, place: int, stretch: Stretch) -> None:
        self._stretches.insert(place, stretch)
        self._lows.insert(place, stretch.low)

    def _split(self, stretch: Stretch) -> None:
        """Give what is too much to a new stretch: the clock had gone back, so that many came into the middle."""
        keys = keys_from(self._connection, None, stretch.low, _FULL + 1)
        statuses = dict(self._connection.execute(_STATUSES_OF, (json.dumps([number for _, number in keys[:_FULL]]),)))
        kept = [statuses.get(status, 0) for status in _STATUSES]
        rest = [whole - part for whole, part in zip(stretch.counts, kept, strict=True)]
        stretch.counts = kept
        new = Stretch(keys[_FULL], rest)
        self._insert(self._place_of(new.low) + 1, new)
        self._changed[stretch.low] = stretch
        self._changed[new.low] = new


def keys_from(connection: sqlite3.Connection, status: RolloutStatus | None, low: Key, count: int) -> list[Key]:
    """The keys of so many rollouts, of one status if one is given, from this one on."""
    condition = "" if status is None else "status = ?4 AND"
    given = (*low, count) if status is None else (*low, count, status)
    keys: list[Key] = connection.execute(_ONWARDS.format(condition), given).fetchall()
    return sorted(keys)[:count]
