"""Who runs next: the queue actor keeps the runners' unanswered Takes and claims rollouts for them.

```
runner ──Take──▶ ┌ queue: takes waiting, no task each ┐ ──DequeueRollout──▶ store
runner ◀─claim── └────────────────────────────────────┘ ◀──── Ready ─────── store, whenever something was queued
```

It holds nothing that cannot be asked for again: the store alone decides who runs what.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightning_actors.actors import Actor, Clock, DeadLetter, Message, Outcome, PendingRequest, Reply, defers, handles
from lightning_actors.actors.dead_letter import log_dead_letter
from lightning_actors.log import get_logger
from lightning_actors.store import LightningStore
from lightning_actors.store.actor import ActorStore
from lightning_actors.store.claims import undo_claim
from lightning_actors.store.messages import DequeueRollout
from lightning_actors.types import AttemptedRollout

__all__ = ["LostClaims", "QueueActor", "Ready", "Take", "queue_actor"]

log = get_logger("lightning_actors.queue")


@dataclass(frozen=True, slots=True)
class Take(Message[AttemptedRollout]):
    """A worker wants a rollout; answered when there is one, claimed for it."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class Ready(Message[None]):
    """Told: a rollout may be waiting in the store's queue."""


class QueueActor(Actor):
    """Hands rollouts to workers in the order in which they asked; see `queue_actor`.

    Args:
        store: Where the rollouts wait.
        claimed: Called with every rollout that was claimed, also if its worker has gone and the claim is undone.
    """

    def __init__(self, store: LightningStore, *, claimed: Callable[[AttemptedRollout], None] | None = None) -> None:
        self._store = store
        self._claimed = claimed
        self._takes: OrderedDict[Reply[AttemptedRollout], Take] = OrderedDict()
        self._may_have_work = True
        self._is_told = False
        self._unwatch: Callable[[], None] | None = None

    async def started(self) -> None:
        """Listen to the store."""
        self._unwatch = self._store.watch_queue(self._ready)

    async def stopping(self) -> None:
        """Listen no more: what comes now is for the next run."""
        self._listen_no_more()

    async def stopped(self) -> None:
        """Listen no more, also after a crash."""
        self._listen_no_more()

    def _listen_no_more(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    @property
    def waiting(self) -> int:
        """How many workers wait for work."""
        return len(self._takes)

    def _ready(self) -> None:
        self._may_have_work = True
        if not self._is_told and self._takes:
            self._is_told = self.ref.tell_nowait(Ready())

    def _first(self) -> tuple[Reply[AttemptedRollout], Take] | None:
        """Whom to claim for; None where there is nobody, or there can be no work."""
        while self._takes and self._may_have_work:
            reply, take = self._takes.popitem(last=False)
            if not reply.done:
                self._may_have_work = False  # unless the store says otherwise from now on
                return reply, take
        return None

    def _hand_over(self, reply: Reply[AttemptedRollout], take: Take, claimed: AttemptedRollout | None) -> None:
        if claimed is None:
            self._put_back(reply, take)
            return
        self._may_have_work = True
        if self._claimed is not None:
            self._claimed(claimed)
        reply.set(claimed)

    def _put_back(self, reply: Reply[AttemptedRollout], take: Take) -> None:
        self._takes[reply] = take
        self._takes.move_to_end(reply, last=False)

    def withdrawn(self, message: Message[Any], reply: Reply[Any]) -> None:
        """A worker went away: forget its Take."""
        self._takes.pop(reply, None)

    async def undelivered(self, message: Message[Any], value: Any) -> None:
        """A claim found its worker gone: undo it, so that it counts no attempt and another gets it first.

        This goes on even while the queue is being cancelled.
        """
        if not isinstance(value, AttemptedRollout):
            return
        await undo_claim(self._store, self.clock, value)


class RequestingQueueActor(QueueActor, handles_all=(Take, Ready)):
    """For a store behind an actor: claims by requests, one after another, and waits for none.

    Args:
        store: Where the rollouts wait.
        claimed: Called with every rollout that was claimed.
    """

    def __init__(self, store: ActorStore, *, claimed: Callable[[AttemptedRollout], None] | None = None) -> None:
        super().__init__(store, claimed=claimed)
        self._store_ref = store.ref
        self._claim: PendingRequest[AttemptedRollout | None] | None = None

    @defers(Take)
    def take(self, message: Take, reply: Reply[AttemptedRollout]) -> None:
        """Answer as soon as there is work."""
        self._takes[reply] = message
        self._serve()

    @handles(Ready)
    def ready(self, message: Ready) -> None:
        """Claim for those who wait."""
        self._is_told = False
        self._serve()

    def _serve(self) -> None:
        if self._claim is None and (first := self._first()) is not None:
            reply, take = first
            self._claim = self.request(
                self._store_ref, DequeueRollout(take.worker_id), lambda outcome: self._told(reply, take, outcome)
            )

    def _told(self, reply: Reply[AttemptedRollout], take: Take, outcome: Outcome[AttemptedRollout | None]) -> None:
        self._claim = None
        if outcome.error is None:
            self._hand_over(reply, take, outcome.value)
            self._serve()
        else:
            self._may_have_work = True
            reply.fail(outcome.error)


class AwaitingQueueActor(QueueActor, handles_all=(Take, Ready)):
    """For any other store, whose claims are awaited."""

    @defers(Take)
    async def take(self, message: Take, reply: Reply[AttemptedRollout]) -> None:
        """Answer now if there is work, else keep the reply."""
        self._takes[reply] = message
        await self._serve()

    @handles(Ready)
    async def ready(self, message: Ready) -> None:
        """Claim for those who wait."""
        self._is_told = False
        await self._serve()

    async def _serve(self) -> None:
        while (first := self._first()) is not None:
            reply, take = first
            try:
                claimed = await self._store.ask(DequeueRollout(take.worker_id))
            except BaseException:
                self._put_back(reply, take)
                self._may_have_work = True
                raise
            self._hand_over(reply, take, claimed)


def queue_actor(store: LightningStore, *, claimed: Callable[[AttemptedRollout], None] | None = None) -> QueueActor:
    """The queue that fits a store.

    Args:
        store: Where the rollouts wait.
        claimed: Called with every rollout that was claimed, also if its worker has gone and the claim is undone.
    """
    if isinstance(store, ActorStore):
        return RequestingQueueActor(store, claimed=claimed)
    return AwaitingQueueActor(store, claimed=claimed)


class LostClaims:
    """Undoes claims whose queue was gone when their worker vanished, so that nobody else could.

    Give it to the supervisor of a queue as ``dead_letters``; what it is not concerned with it logs, as is the custom.

    Args:
        store: Where the rollouts wait.
        clock: The time.
    """

    def __init__(self, store: LightningStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._claims: list[AttemptedRollout] = []

    def __call__(self, letter: DeadLetter) -> None:
        """Take a dead letter."""
        if isinstance(letter.message, Take | DequeueRollout) and isinstance(letter.value, AttemptedRollout):
            self._claims.append(letter.value)
        else:
            log_dead_letter(letter)

    async def undo(self) -> None:
        """Undo the claims, also while the caller is being cancelled. Called when the supervisor's tree has ended."""
        while self._claims:
            await undo_claim(self._store, self._clock, self._claims.pop())
