"""`KeptRecords`: resources, or workers: records of which there are few. Those that were needed last are at hand."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

from lightning_actors.store.sqlite.many_rows import ManyRows
from lightning_actors.store.sqlite.state import State

__all__ = ["KeptRecords"]

R = TypeVar("R")

_KEPT: Final = 512
_FEW: Final = 16
_MANY: Final = 256


class KeptRecords(Generic[R]):
    """Records by id, and in the order in which they were first seen.

    Args:
        connection: The file.
        state: Keeps their number.
        flush: Writes to the file what is not in it yet; called before many are read.
        table: The name of the table.
        columns: Its columns, the id first.
        row_of: Makes a row of a record.
        record_of: Makes a record of a row.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        state: State,
        flush: Callable[[], None],
        table: str,
        columns: Sequence[str],
        row_of: Callable[[R], tuple[Any, ...]],
        record_of: Callable[[tuple[Any, ...]], R],
    ) -> None:
        self._connection = connection
        self._state = state
        self._flush = flush
        self._table = table
        self._rows = ManyRows(table, columns, key=columns[0], updated=columns[1:])
        self._select = f"SELECT {', '.join(columns)}, number FROM {table} WHERE"  # noqa: S608 - names of ours
        self._one = f"{self._select} {columns[0]} = ?"
        self.row_of = row_of
        self._record_of = record_of
        self.load()

    def load(self) -> None:
        """Begin with none at hand."""
        self._at_hand: OrderedDict[str, R | None] = OrderedDict()
        """None where there is no such record."""
        self._changed: dict[str, tuple[Any, ...]] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return self._state.number(self._table)

    def get(self, name: str) -> R | None:
        """The record with this id."""
        if name in self._at_hand:
            self._at_hand.move_to_end(name)
            return self._at_hand[name]
        row = self._connection.execute(self._one, (name,)).fetchone()
        record = self._at_hand[name] = None if row is None else self._record_of(row)
        return record

    def put(self, name: str, record: R, row: tuple[Any, ...]) -> None:
        """Take in a record that is new, or has changed."""
        if self.get(name) is None:
            self._state.add(self._table, 1)
        self._at_hand[name] = record
        self._changed[name] = row

    def all(self) -> Collection[R]:
        """All of them, read from the file as they are looked at."""
        self._flush()
        return _All(self)

    def after(self, number: int, count: int) -> list[tuple[Any, R]]:
        """So many after the one of this number in the table, each with its number."""
        rows = self._connection.execute(f"{self._select} number > ? ORDER BY number LIMIT ?", (number, count))
        return [(row[-1], self._record_of(row)) for row in rows.fetchall()]

    def write(self) -> None:
        """Write to the file what has changed."""
        self._rows.write(self._connection, list(self._changed.values()))
        self._changed = {}

    def trim(self) -> None:
        """Let go of those that were not needed for longest."""
        while len(self._at_hand) > _KEPT:
            self._at_hand.popitem(last=False)


class _All(Collection[R]):
    """All records of a table, none of them at hand."""

    def __init__(self, kept: KeptRecords[R]) -> None:
        self._kept = kept

    def __len__(self) -> int:
        return self._kept.count

    def __iter__(self) -> Iterator[R]:
        last, count = 0, _FEW
        while some := self._kept.after(last, count):
            yield from (record for _, record in some)
            last, count = some[-1][0], min(2 * count, _MANY)

    def __contains__(self, record: object) -> bool:
        return any(record == one for one in self)
