"""A store as an actor, and the view of it that speaks to the actor.

```
ActorStore.enqueue_rollout(task) ─▶ ask(EnqueueRollout) ─▶ mailbox ─▶ StoreActor ─▶ the store object
```

The tables belong to the store object and outlive the actor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import anyio

from lightning_actors.actors import Actor, ActorRef, Clock, Message, Outcome, Reply, SystemClock, defers, handles
from lightning_actors.errors import ActorStopped, StoreError
from lightning_actors.log import get_logger
from lightning_actors.store.api import LightningStore, LightningStoreCapabilities, Submit
from lightning_actors.store.claims import CLAIMS, claims_in, undo_claim
from lightning_actors.store.in_one_go import InOneGo, in_turn
from lightning_actors.store.local import LocalStore
from lightning_actors.store.messages import (
    ReleaseAttempt,
    StoreMessage,
    StoreWait,
)
from lightning_actors.store.vain_waits import VainWaits
from lightning_actors.store.waiters import Waiter

__all__ = [
    "ActorStore",
    "ForwardingStoreActor",
    "LocalStoreActor",
    "StoreActor",
    "SubmittingStoreActor",
    "store_actor",
]

R = TypeVar("R")

log = get_logger("lightning_actors.store")

_CLAIM_SECONDS = 30.0


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
        return self._local.in_one_go(message.operations)

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
        for claim in claims_in(message, value):
            self._local.perform(ReleaseAttempt(claim.rollout_id, claim.attempt.attempt_id))


class SubmittingStoreActor(StoreActor, handles_all=(StoreMessage, InOneGo)):
    """For a store that takes operations and answers later: neither an operation nor a waiter costs a task.

    Args:
        store: The store.
        submit: Its way to take operations.
    """

    def __init__(self, store: LightningStore, submit: Submit) -> None:
        super().__init__(store)
        self._submit = submit
        self._kept: dict[Reply[Any], _Kept] = {}
        self._is_idle = anyio.Event()

    async def stopping(self) -> None:
        """End the waits, which nothing would end any more, and let what was begun come to its end."""
        for kept in [kept for kept in self._kept.values() if kept.is_waiting]:
            kept.fail(ActorStopped(f"actor {self.name!r} has stopped and will not answer", actor=self.name))
            kept.take_back()
        while self._kept:
            self._is_idle = anyio.Event()
            await self._is_idle.wait()

    async def stopped(self) -> None:
        """Take back what is left, if it had to stop at once."""
        for kept in list(self._kept.values()):
            kept.take_back()

    @defers(StoreMessage)
    def operation(self, message: StoreMessage[Any], reply: Reply[Any]) -> None:
        """Any operation; the timeout of one that waits is the asker's."""
        self._keep(message, reply, is_waiting=isinstance(message, StoreWait))

    def _keep(self, message: Message[Any], reply: Reply[Any], *, is_waiting: bool) -> None:
        kept = _Kept(reply, self._done, is_waiting=is_waiting)
        kept.take_back = self._submit(message, kept)
        self._kept[reply] = kept

    @defers(InOneGo)
    def in_one_go(self, message: InOneGo, reply: Reply[Any]) -> None:
        """Several operations, in one transaction."""
        self._keep(message, reply, is_waiting=False)

    def _done(self, reply: Reply[Any]) -> None:
        self._kept.pop(reply, None)
        if not self._kept:
            self._is_idle.set()

    def withdrawn(self, message: Message[Any], reply: Reply[Any]) -> None:
        """The asker went away."""
        kept = self._kept.get(reply)
        if kept is not None:
            kept.take_back()
            self._done(reply)

    def undelivered(self, message: Message[Any], value: Any) -> None:
        """A claim that nobody took is undone; else what the operation did stands, as for any caller who went away."""
        for claim in claims_in(message, value):
            self._submit(ReleaseAttempt(claim.rollout_id, claim.attempt.attempt_id), _Released(claim.rollout_id))


class _Kept:
    """The slot of an operation that an actor was asked for."""

    __slots__ = ("_done", "_reply", "is_waiting", "take_back")

    def __init__(self, reply: Reply[Any], done: Callable[[Reply[Any]], None], *, is_waiting: bool) -> None:
        self._reply = reply
        self._done = done
        self.is_waiting = is_waiting
        self.take_back: Callable[[], None] = _nothing

    def set(self, value: Any, /) -> None:
        """Hand the reply to whoever asked."""
        self._done(self._reply)
        self._reply.set(value)

    def fail(self, error: BaseException, /) -> None:
        """Hand the error to whoever asked."""
        self._done(self._reply)
        self._reply.fail(error)


class _Released:
    """The slot of a claim that is undone."""

    __slots__ = ("_rollout_id",)

    def __init__(self, rollout_id: str) -> None:
        self._rollout_id = rollout_id

    def set(self, value: Any, /) -> None:
        """It was undone, or had begun."""
        log.info("claim_undone", rollout_id=self._rollout_id, released=value)

    def fail(self, error: BaseException, /) -> None:
        """It was not."""
        log.error("claim_not_undone", rollout_id=self._rollout_id, error=repr(error))


def _nothing() -> None:
    """Takes back what was not submitted."""


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
        if isinstance(message, CLAIMS):
            with anyio.CancelScope(shield=True), self.clock.move_on_after(_CLAIM_SECONDS):
                return await self._store.ask(message)
            raise StoreError(f"{type(message).__name__} was not answered within {_CLAIM_SECONDS:g} s")
        return await self._store.ask(message)

    @handles(InOneGo, concurrent=True)
    async def in_one_go(self, message: InOneGo) -> Sequence[Outcome[Any]]:
        """Several operations, each by its own way."""
        return await in_turn(self._store, message.operations)

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
        for claim in claims_in(message, value):
            await undo_claim(self._store, self.clock, claim)


def store_actor(store: LightningStore) -> StoreActor:
    """The actor that fits a store: the shortest way, unless the store's class changes a step of the long one."""
    if isinstance(store, LocalStore) and store.at_once is not None:
        return LocalStoreActor(store)
    if store.submit is not None:
        return SubmittingStoreActor(store, store.submit)
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
