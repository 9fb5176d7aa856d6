"""`State`: what there is one of: counts, and the id of the latest resources."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from lightning_actors.store.sqlite.many_rows import ManyRows

__all__ = ["State"]

_ROWS: Final = ManyRows("state", ("name", "value"), key="name", updated=("value",))


class State:
    """Values by name.

    Args:
        connection: The file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.load()

    def load(self) -> None:
        """Read all from the file."""
        self._values: dict[str, Any] = dict(self._connection.execute("SELECT name, value FROM state"))
        self._changed: set[str] = set()

    def number(self, name: str) -> int:
        """A count; 0 if it was never set."""
        return self._values.get(name, 0)

    def text(self, name: str) -> str | None:
        """A text; None if it was never set."""
        return self._values.get(name)

    def add(self, name: str, by: int) -> int:
        """Add to a count, and return what it is then."""
        value: int = self._values.get(name, 0) + by
        self.set(name, value)
        return value

    def set(self, name: str, value: int | str) -> None:
        """Change a value."""
        self._values[name] = value
        self._changed.add(name)

    def write(self) -> None:
        """Write to the file what has changed."""
        changed, self._changed = self._changed, set()
        _ROWS.write(self._connection, [(name, self._values[name]) for name in changed])
