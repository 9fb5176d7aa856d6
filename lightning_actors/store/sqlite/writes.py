"""`Writes`: rows of rollouts and attempts that have changed and are not in the file yet."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from lightning_actors.store.sqlite.folder import (
    ATTEMPT_COLUMNS,
    ATTEMPTS,
    ROLLOUTS,
    TASKS,
    Folder,
    attempt_row,
    rollout_row,
)
from lightning_actors.store.sqlite.many_rows import ManyRows
from lightning_actors.types import Attempt

__all__ = ["Writes"]

_DUE: Final = ATTEMPT_COLUMNS.index("due")
_KEYS: Final = ManyRows("keys", ("key", "rollout_id"))


class Writes:
    """What is to be written, each row once however often it changed.

    Args:
        connection: The file.

    Attributes:
        rollouts: The folders of rollouts that have changed, by number.
        tasks: The rows of their tasks that have, by number.
        keys: Rollout ids by new keys.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.load()

    def load(self) -> None:
        """Begin with nothing to write."""
        self.rollouts: dict[int, Folder] = {}
        self.tasks: dict[int, tuple[Any, ...]] = {}
        self.keys: dict[str, str] = {}
        self._attempts: dict[int, tuple[Any, ...]] = {}
        self._removed: list[int] = []

    def put_attempt(self, number: int, folder: Folder, attempt: Attempt, notes: str | None) -> float | None:
        """Take in an attempt that is new, or has changed.

        Returns:
            When it reaches a deadline; None if it has none.
        """
        row = self._attempts[number] = attempt_row(number, folder, attempt, notes)
        due: float | None = row[_DUE]
        return due

    def remove_attempt(self, number: int) -> None:
        """Take out an attempt."""
        self._attempts.pop(number, None)
        self._removed.append(number)

    def write(self) -> None:
        """Write all to the file."""
        for number in self._removed:
            self._connection.execute("DELETE FROM attempts WHERE number = ?", (number,))
        ROLLOUTS.write(self._connection, [rollout_row(folder) for folder in self.rollouts.values()])
        TASKS.write(self._connection, list(self.tasks.values()))
        ATTEMPTS.write(self._connection, list(self._attempts.values()))
        _KEYS.write(self._connection, list(self.keys.items()))
        self.load()
