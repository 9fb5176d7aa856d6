"""`RunStore`: the store as the algorithm of one run sees it; it notes which rollouts the algorithm records."""

from __future__ import annotations

from typing import Any, TypeVar

import anyio

from lightning_actors.actors import ActorRef, Clock, Message
from lightning_actors.store import LightningStore
from lightning_actors.store.actor import ActorStore, StoreActor
from lightning_actors.store.messages import EnqueueManyRollouts, EnqueueRollout, StartRollout
from lightning_actors.store.run_ledger import RunPage

__all__ = ["RunStore"]

R = TypeVar("R")

_DONE = frozenset({"succeeded", "failed"})
"""How a rollout ends that an interrupted run leaves as it is; one that was cancelled is run again."""
_RECORDING = (EnqueueRollout, EnqueueManyRollouts, StartRollout)


class RunStore(ActorStore):
    """A store behind its actor, with a page for what is recorded through it.

    Args:
        ref: The store's actor.
        store: The store object.
        page: Where to note the rollouts.
        clock: Whose time a ``timeout`` is.
    """

    def __init__(self, ref: ActorRef[StoreActor], store: LightningStore, page: RunPage, *, clock: Clock) -> None:
        super().__init__(ref, store, clock=clock)
        self._page = page

    async def deliver(self, message: Message[R], /) -> R:
        """Ask the actor, and note what it recorded, also for an algorithm that is cancelled meanwhile."""
        if not isinstance(message, _RECORDING):
            return await super().deliver(message)
        reply: Any = None
        keyed = _is_keyed(message)
        with anyio.CancelScope(shield=True), self._page.recording():
            reply = await super().deliver(message)
            rollouts = reply if isinstance(message, EnqueueManyRollouts) else [reply]
            if keyed:
                self._page.note_done(rollout.rollout_id for rollout in rollouts if rollout.status in _DONE)
            self._page.record(rollout.rollout_id for rollout in rollouts)
        return reply


def _is_keyed(message: EnqueueRollout | EnqueueManyRollouts | StartRollout) -> bool:
    """Whether its rollouts may have been there before."""
    if isinstance(message, EnqueueManyRollouts):
        return any(request.key is not None for request in message.requests)
    return isinstance(message, EnqueueRollout) and message.key is not None
