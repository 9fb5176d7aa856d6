"""`Polling`: work and ended attempts found by asking again and again, for a server that cannot speak first.

Agent Lightning's server tells nobody of anything, so whoever watches there is told up to a second late. A server of
ours is not asked like this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from lightning_actors.actors import Clock
from lightning_actors.errors import StoreError
from lightning_actors.http.agent_lightning import Carry
from lightning_actors.log import get_logger
from lightning_actors.store.messages import QueryRollouts
from lightning_actors.types import Attempt, AttemptedRollout, Rollout

__all__ = ["Polling"]

log = get_logger("lightning_actors.http")

_SECONDS: Final = 1.0
_QUEUED: Final = ("queuing", "requeuing")
_OPEN: Final = frozenset({"preparing", "running"})
_CLAIMS_KEPT: Final = 10_000


class Polling:
    """Watches kept by asking.

    Args:
        carry: Carries out operations.
        clock: The time between two questions.
    """

    def __init__(self, carry: Carry, clock: Clock) -> None:
        self._carry = carry
        self._clock = clock
        self._queue_watchers: dict[object, Callable[[], None]] = {}
        self._attempt_watchers: dict[object, tuple[str, Callable[[str], None]]] = {}
        self._rollout_of: dict[str, str] = {}

    def saw(self, reply: Any) -> None:
        """Note the claims in a reply: the server finds an attempt by its rollout alone."""
        claims = cast("list[object]", reply) if isinstance(reply, list) else [reply]
        for claim in claims:
            if isinstance(claim, AttemptedRollout):
                self._rollout_of[claim.attempt.attempt_id] = claim.rollout_id
        while len(self._rollout_of) > _CLAIMS_KEPT:
            del self._rollout_of[next(iter(self._rollout_of))]

    def watch_queue(self, ready: Callable[[], None]) -> Callable[[], None]:
        """Have ``ready`` called while something waits in the queue."""
        token = object()
        self._queue_watchers[token] = ready
        return lambda: _forget(self._queue_watchers, token)

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None]) -> Callable[[], None]:
        """Have ``stop`` called once when the attempt is seen to be over."""
        token = object()
        self._attempt_watchers[token] = attempt_id, stop
        return lambda: _forget(self._attempt_watchers, token)

    async def run(self) -> None:
        """Ask, until cancelled."""
        was_lost = False
        while True:
            await self._clock.sleep(_SECONDS)
            try:
                await self._look_for_work()
                await self._look_at_attempts()
            except StoreError as error:
                if not was_lost:
                    log.warning("server_not_asked", error=str(error))
                was_lost = True
            else:
                was_lost = False

    async def _look_for_work(self) -> None:
        if self._queue_watchers and (await self._carry(QueryRollouts(status_in=_QUEUED, limit=1))).total:
            for ready in tuple(self._queue_watchers.values()):
                ready()

    async def _look_at_attempts(self) -> None:
        watched = {attempt_id for attempt_id, _ in self._attempt_watchers.values()}
        ids = {self._rollout_of[attempt_id] for attempt_id in watched if attempt_id in self._rollout_of}
        if not ids:
            return
        found = await self._carry(QueryRollouts(rollout_id_in=list(ids)))
        rollouts = {rollout.rollout_id: rollout for rollout in found}
        for token, (attempt_id, stop) in tuple(self._attempt_watchers.items()):
            rollout = rollouts.get(self._rollout_of.get(attempt_id, ""))
            reason = None if rollout is None else _why_over(rollout, attempt_id)
            if reason is not None and token in self._attempt_watchers:
                del self._attempt_watchers[token]
                stop(reason)


def _forget(watchers: dict[object, Any], token: object) -> None:
    watchers.pop(token, None)


def _why_over(rollout: Rollout, attempt_id: str) -> str | None:
    """Why an attempt is over, in the words of `LightningStore.watch_attempt`; None while it is not."""
    attempt: Attempt | None = getattr(rollout, "attempt", None)
    if attempt is None:
        return None
    if attempt.attempt_id != attempt_id or rollout.status in _QUEUED:
        return "requeued"
    if rollout.status == "cancelled":
        return "cancelled"
    return None if attempt.status in _OPEN else attempt.status
