"""`ManyRows`: many rows written by few statements.

Each statement gives up the interpreter's lock and has to get it back, for which a busy event loop may let it wait: what
counts is their number, more than that of their rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

__all__ = ["ManyRows"]

_SIZES: Final = (64, 16, 4, 1)
"""How many rows a statement takes; few sizes, so that SQLite's prepared statements serve again."""


class ManyRows:
    """Writes rows to one table; a row that is there already is replaced, as far as ``updated`` says.

    Args:
        table: The table.
        columns: Its columns, in the order of a row's values.
        key: The column by which a row that is there is known; None where all rows are new.
        updated: The columns that are set anew in a row that is there.
    """

    __slots__ = ("_statements", "_width")

    def __init__(
        self, table: str, columns: Sequence[str], *, key: str | None = None, updated: Sequence[str] = ()
    ) -> None:
        self._width = len(columns)
        one = f"({', '.join('?' * len(columns))})"
        conflict = ""
        if key is not None:
            conflict = f" ON CONFLICT ({key}) DO UPDATE SET " + ", ".join(
                f"{name} = excluded.{name}" for name in updated
            )
        self._statements = {
            size: f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([one] * size)}{conflict}"  # noqa: S608 - names of ours
            for size in _SIZES
        }

    def write(self, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write these rows, in order."""
        place, count = 0, len(rows)
        for size in _SIZES if rows else ():
            statement = self._statements[size]
            while count - place >= size:
                connection.execute(statement, tuple(chain.from_iterable(rows[place : place + size])))
                place += size
