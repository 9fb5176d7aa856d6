"""A store as an actor, and the view of it that speaks to the actor.

```
ActorStore.enqueue_rollout(task) ─▶ ask(EnqueueRollout) ─▶ mailbox ─▶ StoreActor ─▶ the store object
```

The tables belong to the store object and outlive the actor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from lightning_actors.actors import Actor, ActorRef, Clock, Message, Outcome, Reply, SystemClock, defers, handles
from lightning_actors.errors import ActorStopped, StoreError
from lightning_actors.store.api import AtOnce, LightningStore, LightningStoreCapabilities
from lightning_actors.store.claims import undo_claim
from lightning_actors.store.local import LocalStore
from lightning_actors.store.messages import (
    DequeueManyRollouts,
    DequeueRollout,
    ReleaseAttempt,
    StoreMessage,
    StoreWait,
)
from lightning_actors.store.vain_waits import VainWaits
from lightning_actors.store.waiters import Waiter
from lightning_actors.types import AttemptedRollout

__all__ = ["ActorStore", "ForwardingStoreActor", "InOneGo", "LocalStoreActor", "StoreActor", "in_one_go", "store_actor"]

R = TypeVar("R")

_CLAIMS = (DequeueRollout, DequeueManyRollouts)
_CLAIM_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class InOneGo(Message[Sequence[Outcome[Any]]]):
    """Several operations as one message, carried out in order up to the first that fails; answers what came of each."""

    operations: Sequence[StoreMessage[Any]]


class StoreActor(Actor):
    """What both kinds of store actor are: it owns no data, and the store's deadlines are kept while it lives.

    Args:
        store: The store that it gives a mailbox to.
    """

    def __init__(self, store: LightningStore) -> None:
        self._store = store

    async def started(self) -> None:
        """Keep the store's time."""
        self.start_soon(self._store.keep_time)


class LocalStoreActor(StoreActor, handles_all=(StoreMessage, StoreWait, InOneGo)):
    """For a store in this process: one operation after another, each at once; a waiter costs no task."""

    def __init__(self, store: LocalStore) -> None:
        super().__init__(store)
        self._local = store
        self._waiters: dict[Reply[Any], Waiter] = {}

    async def stopped(self) -> None:
        """Take the waiters back."""
        for waiter in self._waiters.values():
            self._local.forget(waiter)

    @handles(StoreMessage)
    def operation(self, message: StoreMessage[Any]) -> Any:
        """Any operation that does not wait."""
        return self._local.perform(message)

    @handles(InOneGo)
    def in_one_go(self, message: InOneGo) -> Sequence[Outcome[Any]]:
        """Several operations that do not wait."""
        return in_one_go(self._local.perform, message.operations)

    @defers(StoreWait)
    def wait(self, message: StoreWait[Any], reply: Reply[Any]) -> None:
        """Answer now, or when it can be answered in full; the timeout is the asker's."""

        def answer(value: Any) -> None:
            del self._waiters[reply]
            reply.set(value)

        is_a_look = message.timeout is not None and message.timeout <= 0
        waiter = None if is_a_look else self._local.wait_later(message, answer)
        if waiter is None:
            reply.set(self._local.perform(message))
        else:
            self._waiters[reply] = waiter

    def withdrawn(self, message: Message[Any], reply: Reply[Any]) -> None:
        """The asker went away: forget the waiter."""
        waiter = self._waiters.pop(reply, None)
        if waiter is not None:
            self._local.forget(waiter)

    def undelivered(self, message: Message[Any], value: Any) -> None:
        """A claim that nobody took is undone; else what the operation did stands, as for any caller who went away."""
        for claim in _claims(message, value):
            self._local.perform(ReleaseAttempt(claim.rollout_id, claim.attempt.attempt_id))


class ForwardingStoreActor(StoreActor, handles_all=(StoreMessage, StoreWait, InOneGo)):
    """For any other store: operations run side by side, by way of the methods that the store's class overrides."""

    def __init__(self, store: LightningStore) -> None:
        super().__init__(store)
        self._waits: set[anyio.CancelScope] = set()

    async def stopping(self) -> None:
        """End the waits, which nothing would end any more."""
        for scope in self._waits:
            scope.cancel()

    @handles(StoreMessage, concurrent=True)
    async def operation(self, message: StoreMessage[Any]) -> Any:
        """Any operation; a claim is carried to its end, for if its asker goes away meanwhile it has to be undone."""
        if isinstance(message, _CLAIMS):
            with anyio.CancelScope(shield=True), self.clock.move_on_after(_CLAIM_SECONDS):
                return await self._store.ask(message)
            raise StoreError(f"{type(message).__name__} was not answered within {_CLAIM_SECONDS:g} s")
        return await self._store.ask(message)

    @handles(InOneGo, concurrent=True)
    async def in_one_go(self, message: InOneGo) -> Sequence[Outcome[Any]]:
        """Several operations, each by its own way."""
        outcomes: list[Outcome[Any]] = []
        for one in message.operations:
            try:
                outcomes.append(Outcome(await self._store.ask(one), None))
            except Exception as error:  # noqa: BLE001 - it is the asker's
                outcomes.append(Outcome(None, error))
                break
        return outcomes

    @handles(StoreWait, concurrent=True)
    async def wait(self, message: StoreWait[Any]) -> Any:
        """Wait in a task, until this actor stops."""
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                return await self._store.ask(message)
            finally:
                self._waits.discard(scope)
        raise ActorStopped(f"actor {self.name!r} has stopped and will not answer", actor=self.name)

    async def undelivered(self, message: Message[Any], value: Any) -> None:
        """A claim that nobody took is undone, even while this actor is being cancelled."""
        for claim in _claims(message, value):
            await undo_claim(self._store, self.clock, claim)


def in_one_go(at_once: AtOnce, operations: Sequence[StoreMessage[Any]]) -> Sequence[Outcome[Any]]:
    """Carry several operations out, in order up to the first that fails."""
    outcomes: list[Outcome[Any]] = []
    for one in operations:
        try:
            outcomes.append(Outcome(at_once(one), None))
        except Exception as error:  # noqa: BLE001 - it is the asker's
            outcomes.append(Outcome(None, error))
            break
    return outcomes


def _claims(message: Message[Any], value: Any) -> Sequence[AttemptedRollout]:
    """The claims in a reply, the last one first: undone in this order, they stand in the queue as before."""
    if not isinstance(message, _CLAIMS) or value is None:
        return ()
    claims: Sequence[AttemptedRollout] = [value] if isinstance(message, DequeueRollout) else value
    return list(reversed(claims))


def store_actor(store: LightningStore) -> StoreActor:
    """The actor that fits a store: a local one takes the short way, unless its class changes a step of the long one."""
    if isinstance(store, LocalStore) and store.at_once is not None:
        return LocalStoreActor(store)
    return ForwardingStoreActor(store)


class ActorStore(LightningStore):
    """A store behind its actor: the same operations, each one an ask.

    Args:
        ref: The store's actor.
        store: The store object, whose watches are set directly: a watch is a signal and carries no data.
        clock: Whose time a ``timeout`` is.
    """

    def __init__(self, ref: ActorRef[StoreActor], store: LightningStore, *, clock: Clock | None = None) -> None:
        self._ref = ref
        self._store = store
        self.clock = self._clock = clock or SystemClock()
        self._vain_waits = VainWaits(self._clock)

    @property
    def ref(self) -> ActorRef[StoreActor]:
        """The store's actor."""
        return self._ref

    @property
    def capabilities(self) -> LightningStoreCapabilities:
        """What the store behind can do."""
        return self._store.capabilities

    async def deliver(self, message: Message[R], /) -> R:
        """Ask the actor. Raises ActorStopped once it has ended."""
        if isinstance(message, StoreWait) and message.timeout is not None and message.timeout > 0:
            with self._clock.move_on_after(message.timeout):
                return await self._ref.ask(message.with_timeout(None))
            answer = await self._ref.ask(message.with_timeout(0.0))
            await self._vain_waits.tell(self.ask, message, answer)
            return answer
        return await self._ref.ask(message)

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Have ``ready`` called whenever a rollout may be waiting in the queue."""
        return self._store.watch_queue(ready)

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Have ``stop`` called once if the store ends this attempt before its worker does."""
        return self._store.watch_attempt(attempt_id, stop)
