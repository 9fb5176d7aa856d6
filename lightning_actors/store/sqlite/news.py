"""`News`: what is to be told of a transaction, once it is committed."""

from __future__ import annotations

from typing import Any

from lightning_actors.store import rules
from lightning_actors.store.change import Change
from lightning_actors.store.sqlite.letter import WaitLetter
from lightning_actors.types import Rollout

__all__ = ["News"]


class News:
    """What concerns watchers, merged into one change, and those whose wait is over.

    Attributes:
        answered: The letters that have waited and now have their reply.
    """

    __slots__ = ("_queued", "_stopped", "answered")

    def __init__(self) -> None:
        self.answered: list[WaitLetter] = []
        self._stopped: list[tuple[str, str]] = []
        self._queued: Rollout | None = None

    def note(self, change: Change[Any]) -> None:
        """Take in what a change has to tell; one queued rollout stands for any number."""
        self._stopped += change.stopped
        if self._queued is None:
            self._queued = next((one for one in change.rollouts if one.status in rules.ROLLOUT_QUEUED), None)

    def add(self, later: News) -> None:
        """Take in what came after."""
        self.answered += later.answered
        self._stopped += later._stopped
        self._queued = self._queued or later._queued

    def change(self) -> Change[None]:
        """What watchers are to be told."""
        return Change(None, rollouts=() if self._queued is None else (self._queued,), stopped=self._stopped)
