"""`Completed`: the order in which rollouts ended. The newest are at hand, the others in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from lightning_actors.store.sqlite.folder import Folder
from lightning_actors.store.sqlite.state import State

__all__ = ["Completed"]

_TAIL: Final = 1024


class Completed:
    """Ended rollouts by number, from 1; each stands where it ended last.

    Args:
        connection: The file.
        state: Keeps the number of the newest.
        flush: Writes to the file what is not in it yet; called before the file is read.
    """

    def __init__(self, connection: sqlite3.Connection, state: State, flush: Callable[[], None]) -> None:
        self._connection = connection
        self._state = state
        self._flush = flush
        self.load()

    def load(self) -> None:
        """Begin with none at hand."""
        self._tail: dict[int, str] = {}
        self._tail_after = self.last
        """All that stand after this number are at hand."""

    @property
    def last(self) -> int:
        """The number of the newest completion; 0 if there was none."""
        return self._state.number("completions")

    def mark(self, folder: Folder, *, ended: bool) -> None:
        """The rollout has ended, or goes on after all."""
        if folder.completion is not None:
            self._tail.pop(folder.completion, None)
            folder.completion = None
        if ended:
            folder.completion = self._state.add("completions", 1)
            self._tail[folder.completion] = folder.rollout.rollout_id

    def after(self, number: int) -> tuple[int, str] | None:
        """The first completion after this one: its number and its rollout."""
        if number < self._tail_after:
            self._flush()
            found: tuple[int, str] | None = self._connection.execute(
                "SELECT completion, rollout_id FROM rollouts WHERE completion > ? ORDER BY completion LIMIT 1",
                (number,),
            ).fetchone()
            return found
        for following in range(number + 1, self.last + 1):
            rollout_id = self._tail.get(following)
            if rollout_id is not None:
                return following, rollout_id
        return None

    def trim(self) -> None:
        """Let go of what is at hand beyond the newest; all of it must be in the file."""
        if len(self._tail) > 2 * _TAIL:
            numbers = list(self._tail)
            for number in numbers[:-_TAIL]:
                del self._tail[number]
            self._tail_after = numbers[-_TAIL - 1]
