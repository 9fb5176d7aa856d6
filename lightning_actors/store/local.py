"""`LocalStore`: a store whose tables are in this process, on its event loop.

```
deliver(message) ─▶ Clerk: settle, carry out, answer waiters ─▶ Watchers: queue, attempts ─▶ Sleepers: a nearer deadline
```

It owns no task. Each operation first settles what is due (a peek, no scan); a waiter sleeps until the earlier of its
timeout and the next deadline. `keep_time` does the same for as long as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from lightning_actors.actors.clock import Clock, SystemClock
from lightning_actors.actors.message import Message
from lightning_actors.actors.request import Outcome
from lightning_actors.store.api import LightningStore, LightningStoreCapabilities
from lightning_actors.store.change import Change
from lightning_actors.store.clerk import Clerk
from lightning_actors.store.in_one_go import in_one_go
from lightning_actors.store.loop_guard import LoopGuard
from lightning_actors.store.messages import StoreMessage, StoreWait
from lightning_actors.store.sleepers import Sleepers
from lightning_actors.store.surroundings import BESIDE_THE_TABLES, Surroundings
from lightning_actors.store.tables import Tables
from lightning_actors.store.vain_waits import VainWaits
from lightning_actors.store.waiters import Waiter
from lightning_actors.store.watchers import Watchers

__all__ = ["LocalStore"]

R = TypeVar("R")

_YIELD_EVERY = 64


class LocalStore(LightningStore):
    """The part that all stores of this process share; a home brings its tables.

    It may be used from one event loop after another, and from one at a time: while someone waits or watches, use from
    another loop or thread raises WrongLoop.
    """

    def __init__(self, tables: Tables, *, clock: Clock | None = None) -> None:
        self._tables = tables
        self.clock = self._clock = clock or SystemClock()
        self._guard = LoopGuard(type(self).__name__)
        self._clerk = Clerk(tables, self._clock, self._told)
        self._watchers = Watchers(self._guard)
        count_waiters = self._clerk.waiters.count_for
        self._surroundings = Surroundings(type(self).__name__, self._clock, self._watchers, count_waiters)
        self._sleepers = Sleepers(self._clock, tables.next_due)
        self._vain_waits = VainWaits(self._clock)
        self._operations = 0
        self.at_once = None if self._has_a_way_of_its_own() else self._perform_here

    @property
    def capabilities(self) -> LightningStoreCapabilities:
        """Safe to use from many tasks of one loop; records are shared, not copied."""
        return LightningStoreCapabilities(
            async_safe=True,
            thread_safe=False,
            zero_copy=False,
            otlp_traces=False,
            durable=False,
            remembers_replies=True,
        )

    def _has_a_way_of_its_own(self) -> bool:
        """Whether the class changes what happens on the way from a message to `perform`."""
        kind = type(self)
        return bool(self.overridden) or kind.deliver is not LocalStore.deliver or kind.ask is not LightningStore.ask

    async def deliver(self, message: Message[R], /) -> R:
        """Carry one operation out; one that waits waits here."""
        if self._guard.users:
            self._guard.check()
        await anyio.lowlevel.checkpoint_if_cancelled()
        self._operations += 1
        if self._operations % _YIELD_EVERY == 0:
            await anyio.lowlevel.cancel_shielded_checkpoint()
        if isinstance(message, StoreWait):
            return await self._wait(message)
        return self.perform(message)

    def _perform_here(self, message: Message[R]) -> R:
        if self._guard.users:
            self._guard.check()
        reply = self._clerk.perform(message)
        return self._surroundings.complete(message, reply) if type(message) in BESIDE_THE_TABLES else reply

    def perform(self, message: Message[R]) -> R:
        """Carry out one operation that does not wait, at once.

        Raises:
            StoreError: As the operation says; nothing has changed then.
        """
        reply = self._clerk.perform(message)
        return self._surroundings.complete(message, reply) if type(message) in BESIDE_THE_TABLES else reply

    def in_one_go(self, operations: Sequence[StoreMessage[Any]]) -> list[Outcome[Any]]:
        """Carry out several operations that do not wait, as of one moment, in order up to the first that fails."""
        if self._guard.users:
            self._guard.check()
        now, perform, complete = self._clerk.settle(), self._clerk.perform, self._surroundings.complete

        def carry_out(one: StoreMessage[Any]) -> Any:
            reply = perform(one, now)
            return complete(one, reply) if type(one) in BESIDE_THE_TABLES else reply

        return in_one_go(carry_out, operations)

    def settle(self) -> float:
        """End the attempts whose deadline has come, and undo the claims whose lease has lapsed.

        Returns:
            The time at which it was so, in seconds since the epoch.
        """
        return self._clerk.settle()

    def take_over(self) -> None:
        """Settle what a process that is gone has left open in these tables; see `handlers.abandoned`."""
        self._clerk.take_over()

    def next_due(self) -> float | None:
        """When an attempt may next reach a deadline, in seconds since the epoch."""
        return self._tables.next_due()

    async def keep_time(self) -> None:
        """Settle deadlines as they fall due, until cancelled."""
        self._guard.enter()
        try:
            await self._sleepers.sleep(self.settle)
        finally:
            self._guard.leave()

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Have ``ready`` called whenever a rollout may be waiting in the queue."""
        return self._watchers.watch_queue(ready)

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Have ``stop`` called once if the store ends this attempt before its worker does."""
        self._guard.check()
        reason = self._clerk.why_over(attempt_id)
        if reason is None:
            return self._watchers.watch_attempt(attempt_id, stop)
        stop(reason)
        return _nothing

    def wait_later(self, message: StoreWait[R], answer: Callable[[R], None]) -> Waiter | None:
        """Have ``answer`` called once the message can be answered in full, with the reply; None if it can be already.

        The waiter is ended early with `forget`. Raises what the operation raises.
        """
        return self._clerk.wait(message, answer)

    def forget(self, waiter: Waiter) -> None:
        """Take back a waiter that does not want its answer any more."""
        self._clerk.waiters.forget(waiter)

    async def _wait(self, message: StoreWait[R]) -> R:
        if message.timeout is not None and message.timeout <= 0:
            return self.perform(message)
        sleeper = self._sleepers.make()
        answers: list[R] = []

        def answer(reply: R) -> None:
            answers.append(reply)
            sleeper.wake()

        waiter = self.wait_later(message, answer)
        if waiter is None:
            return self.perform(message)
        self._guard.enter()
        try:
            await self._sleepers.sleep(self.settle, sleeper, seconds=message.timeout, until=lambda: bool(answers))
        finally:
            self.forget(waiter)
            self._guard.leave()
        if answers:
            return answers[0]
        in_vain = self._clerk.answer_now(message)
        await self._vain_waits.tell(self.ask, message, in_vain)
        return in_vain

    def _told(self, change: Change[Any]) -> None:
        """Tell those whom a change concerns."""
        self._watchers.tell(change)
        self._sleepers.look()


def _nothing() -> None:
    """What ends a watch that never began."""
