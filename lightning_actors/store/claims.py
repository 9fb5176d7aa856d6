"""Claims that nobody took, and undoing them, so that they count no attempt and others get them first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import anyio

from lightning_actors.actors.clock import Clock
from lightning_actors.actors.message import Message
from lightning_actors.log import get_logger
from lightning_actors.store.api import LightningStore
from lightning_actors.store.messages import DequeueManyRollouts, DequeueRollout, ReleaseAttempt
from lightning_actors.types import AttemptedRollout

__all__ = ["CLAIMS", "claims_in", "undo_claim"]

log = get_logger("lightning_actors.store")

_AGAIN = (0.05, 0.5)
_SECONDS = 5.0
CLAIMS: Final = (DequeueRollout, DequeueManyRollouts)
"""The operations whose reply has to be undone where nobody takes it."""


def claims_in(message: Message[Any], reply: Any) -> Sequence[AttemptedRollout]:
    """The claims in a reply, the last one first: undone in this order, they stand in the queue as before."""
    if not isinstance(message, CLAIMS) or reply is None:
        return ()
    claims: Sequence[AttemptedRollout] = [reply] if isinstance(message, DequeueRollout) else reply
    return list(reversed(claims))


async def undo_claim(store: LightningStore, clock: Clock, claim: AttemptedRollout) -> None:
    """Undo a claim within five seconds, also while the caller is being cancelled; a store that fails is asked again.

    What cannot be undone is logged: the claim then lapses with its attempt's deadlines, if it has any.
    """
    with anyio.CancelScope(shield=True), clock.move_on_after(_SECONDS) as scope:
        await _release(store, clock, ReleaseAttempt(claim.rollout_id, claim.attempt.attempt_id))
    if scope.cancelled_caught:
        log.error("claim_not_undone", rollout_id=claim.rollout_id, seconds=_SECONDS)


async def _release(store: LightningStore, clock: Clock, message: ReleaseAttempt) -> None:
    for pause in (*_AGAIN, None):
        try:
            released = await store.ask(message)
        except Exception as error:
            if pause is None:
                log.exception("claim_not_undone", rollout_id=message.rollout_id, attempt_id=message.attempt_id)
                return
            log.warning("release_failed", rollout_id=message.rollout_id, error=repr(error))
            await clock.sleep(pause)
        else:
            log.info("claim_undone", rollout_id=message.rollout_id, released=released)
            return
