"""`Surroundings`: what is known of a store beside its tables: its name and age, who asks, who watches, who waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from lightning_actors.actors.clock import Clock
from lightning_actors.actors.message import Message
from lightning_actors.store.messages import (
    DequeueManyRollouts,
    DequeueRollout,
    ExplainRollout,
    LightningStoreStatistics,
    Statistics,
)
from lightning_actors.store.once import Once
from lightning_actors.store.watchers import Watchers
from lightning_actors.types import Explanation

__all__ = ["BESIDE_THE_TABLES", "Surroundings"]

BESIDE_THE_TABLES: Final[frozenset[type[Message[Any]]]] = frozenset(
    {DequeueRollout, DequeueManyRollouts, Statistics, ExplainRollout, Once}
)
"""Operations that ask for, or tell of, what is not in the tables."""


class Surroundings:
    """Adds to replies what the tables do not know; it needs no tables.

    Args:
        name: What the store is called in its statistics.
        clock: Whose time it is.
        watchers: Who watches the store.
        count_waiters: How many wait for a rollout.
    """

    def __init__(self, name: str, clock: Clock, watchers: Watchers, count_waiters: Callable[[str], int]) -> None:
        self._name = name
        self._clock = clock
        self._watchers = watchers
        self._count_waiters = count_waiters
        self._created = clock.monotonic()
        self._last_asked: tuple[float, str | None] | None = None
        """When work was last asked for, and by whom; kept here, for an ask that finds none writes nothing."""

    def complete(self, message: Message[Any], reply: object) -> Any:
        """The reply to one of BESIDE_THE_TABLES, with what the tables do not know; any other as it is."""
        if isinstance(message, Statistics):
            return self._named(cast("LightningStoreStatistics", reply))
        if isinstance(message, ExplainRollout):
            return self._surrounded(cast("Explanation", reply))
        if isinstance(message, Once):
            return self.complete(message.message, reply)
        if isinstance(message, DequeueRollout | DequeueManyRollouts):
            self._last_asked = self._clock.time(), message.worker_id
        return reply

    def _named(self, counts: LightningStoreStatistics) -> LightningStoreStatistics:
        return {"name": self._name, "uptime": self._clock.monotonic() - self._created, **counts}

    def _surrounded(self, explanation: Explanation) -> Explanation:
        asked_time, asked_by = self._last_asked or (None, None)
        attempts = explanation.attempts
        return explanation.evolve(
            last_asked_time=asked_time,
            last_asked_by=asked_by,
            listeners=self._watchers.listeners,
            waiters=self._count_waiters(explanation.rollout_id),
            is_watched=bool(attempts) and self._watchers.is_watched(attempts[-1].attempt_id),
        )
