"""`LocalStore`: a store whose tables are in this process; who waits, what is due, and who is told.

```
deliver(message) ─▶ settle what is due ─▶ handler: Change ─▶ tables.apply ─▶ tell: waiters · queue watchers · attempts
```

It owns no task. Each operation first settles what is due (a peek, no scan); a waiter sleeps until the earlier of its
timeout and the next deadline. `keep_time` does the same for as long as it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

import anyio
import anyio.lowlevel

from lightning_actors.actors.clock import Clock, SystemClock
from lightning_actors.actors.message import Message
from lightning_actors.errors import WrongLoop
from lightning_actors.log import get_logger
from lightning_actors.store import rules
from lightning_actors.store.api import LightningStore, LightningStoreCapabilities
from lightning_actors.store.change import Change
from lightning_actors.store.handlers import handle
from lightning_actors.store.handlers.abandoned import abandoned
from lightning_actors.store.handlers.deadlines import settled, why_over
from lightning_actors.store.messages import (
    DequeueManyRollouts,
    DequeueRollout,
    ExplainRollout,
    LightningStoreStatistics,
    Statistics,
    StoreWait,
)
from lightning_actors.store.once import Once
from lightning_actors.store.sleepers import Sleepers
from lightning_actors.store.tables import Tables
from lightning_actors.store.vain_waits import VainWaits
from lightning_actors.store.waiters import Waiter, Waiters
from lightning_actors.types import Explanation

__all__ = ["LocalStore"]

R = TypeVar("R")

log = get_logger("lightning_actors.store")

_YIELD_EVERY = 64
_BESIDE_THE_TABLES = (DequeueRollout, DequeueManyRollouts, Statistics, ExplainRollout, Once)
"""Operations that ask for, or tell of, what is not in the tables."""


class LocalStore(LightningStore):
    """The part that all stores of this process share; a home brings its tables.

    It may be used from one event loop after another, and from one at a time: while someone waits or watches, use from
    another loop or thread raises WrongLoop.
    """

    def __init__(self, tables: Tables, *, clock: Clock | None = None) -> None:
        self._tables = tables
        self._next_due = tables.next_due
        self._clock: Clock = clock or SystemClock()
        self._created = self._clock.monotonic()
        self._waiters = Waiters(tables)
        self._sleepers = Sleepers(self._clock, tables.next_due)
        self._queue_watchers: dict[object, Callable[[], None]] = {}
        self._attempt_watchers: dict[str, dict[_AttemptWatch, None]] = {}
        self._last_asked: tuple[float, str | None] | None = None
        """When work was last asked for, and by whom; kept here, for an ask that finds none writes nothing."""
        self._vain_waits = VainWaits(self._clock)
        self._loop: object = None
        self._users = 0
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
        if self._users:
            self._check_loop()
        await anyio.lowlevel.checkpoint_if_cancelled()
        self._operations += 1
        if self._operations % _YIELD_EVERY == 0:
            await anyio.lowlevel.cancel_shielded_checkpoint()
        if isinstance(message, StoreWait):
            return await self._wait(message)
        return self.perform(message)

    def _perform_here(self, message: Message[R]) -> R:
        if self._users:
            self._check_loop()
        return self.perform(message)

    def perform(self, message: Message[R]) -> R:
        """Carry out one operation that does not wait, at once.

        Raises:
            StoreError: As the operation says; nothing has changed then.
        """
        now = self.settle()
        change = handle(self._tables, message, now)
        if change.writes:
            self._commit(change)
        if isinstance(message, _BESIDE_THE_TABLES):
            return cast("R", self._completed(message, change.reply, now))
        return change.reply

    def _completed(self, message: object, reply: object, now: float) -> object:
        """The reply with what the tables do not know."""
        if isinstance(message, Statistics):
            return self._named(cast("LightningStoreStatistics", reply))
        if isinstance(message, ExplainRollout):
            return self._surrounded(cast("Explanation", reply))
        if isinstance(message, Once):
            return self._completed(message.message, reply, now)
        if isinstance(message, DequeueRollout | DequeueManyRollouts):
            self._last_asked = now, message.worker_id
        return reply

    def settle(self) -> float:
        """End the attempts whose deadline has come, and undo the claims whose lease has lapsed.

        Returns:
            The time at which it was so, in seconds since the epoch.
        """
        now = self._clock.time()
        due = self._next_due()
        if due is not None and due <= now:
            for change in settled(self._tables, now):
                self._commit(change)
        return now

    def take_over(self) -> None:
        """Settle what a process that is gone has left open in these tables; see `handlers.abandoned`."""
        for change in abandoned(self._tables, self._clock.time()):
            self._commit(change)

    def next_due(self) -> float | None:
        """When an attempt may next reach a deadline, in seconds since the epoch."""
        return self._tables.next_due()

    async def keep_time(self) -> None:
        """Settle deadlines as they fall due, until cancelled."""
        self._enter()
        try:
            await self._sleepers.sleep(self.settle)
        finally:
            self._leave()

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Have ``ready`` called whenever a rollout may be waiting in the queue."""
        self._enter()
        token = object()
        self._queue_watchers[token] = ready

        def leave() -> None:
            if self._queue_watchers.pop(token, None) is not None:
                self._leave()

        return leave

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Have ``stop`` called once if the store ends this attempt before its worker does."""
        self._check_loop()
        self.settle()
        reason = why_over(self._tables, attempt_id)
        if reason is not None:
            stop(reason)
            return _nothing
        watch = _AttemptWatch(self, attempt_id, stop)
        self._attempt_watchers.setdefault(attempt_id, {})[watch] = None
        self._enter()
        return watch.leave

    def attempt_unwatched(self, watch: _AttemptWatch) -> None:
        """Forget a watcher of an attempt."""
        self._leave()
        watchers = self._attempt_watchers.get(watch.attempt_id)
        if watchers is not None and watch in watchers:
            del watchers[watch]
            if not watchers:
                del self._attempt_watchers[watch.attempt_id]

    def wait_later(self, message: StoreWait[Any], answer: Callable[[], None]) -> Waiter | None:
        """Have ``answer`` called once the message can be answered in full; None if it can be already.

        The waiter is ended early with `forget`. Raises what the operation raises.
        """
        self.settle()
        return self._waiters.add(message, answer)

    def forget(self, waiter: Waiter) -> None:
        """Take back a waiter that does not want its answer any more."""
        self._waiters.forget(waiter)

    def answer_now(self, message: StoreWait[R]) -> R:
        """What can be answered by now; the deadlines stay as they are."""
        return handle(self._tables, message, self._clock.time()).reply

    async def _wait(self, message: StoreWait[R]) -> R:
        if message.timeout is not None and message.timeout <= 0:
            return self.perform(message)
        sleeper = self._sleepers.make()
        answers: list[R] = []

        def answer() -> None:
            answers.append(self.answer_now(message))
            sleeper.wake()

        waiter = self.wait_later(message, answer)
        if waiter is None:
            return self.perform(message)
        self._enter()
        try:
            await self._sleepers.sleep(self.settle, sleeper, seconds=message.timeout, until=lambda: bool(answers))
        finally:
            self.forget(waiter)
            self._leave()
        if answers:
            return answers[0]
        in_vain = self.answer_now(message)
        await self._vain_waits.tell(self.ask, message, in_vain)
        return in_vain

    def _commit(self, change: Change[Any]) -> None:
        self._tables.apply(change)
        self._tell(change)

    def _tell(self, change: Change[Any]) -> None:
        """Tell those whom it concerns; what they do must be quick and must not raise."""
        queued = False
        for rollout in change.rollouts:
            if rollout.status in rules.ROLLOUT_QUEUED:
                queued = True
            elif rollout.status in rules.ROLLOUT_ENDED:
                self._waiters.rollout_ended(rollout.rollout_id)
        for attempt_id, reason in change.stopped:
            watchers = self._attempt_watchers.pop(attempt_id, None)
            if watchers is not None:
                for watch in tuple(watchers):
                    watch.stop(reason)
        if queued:
            for ready in tuple(self._queue_watchers.values()):
                ready()
        self._sleepers.look()

    def _named(self, counts: LightningStoreStatistics) -> LightningStoreStatistics:
        return {"name": type(self).__name__, "uptime": self._clock.monotonic() - self._created, **counts}

    def _surrounded(self, explanation: Explanation) -> Explanation:
        """An explanation with what is known of those around the tables: who asks, listens and waits."""
        asked_time, asked_by = self._last_asked or (None, None)
        attempts = explanation.attempts
        return explanation.evolve(
            last_asked_time=asked_time,
            last_asked_by=asked_by,
            listeners=len(self._queue_watchers),
            is_watched=bool(attempts) and attempts[-1].attempt_id in self._attempt_watchers,
            waiters=self._waiters.count_for(explanation.rollout_id),
        )

    def _check_loop(self) -> None:
        if self._users and _running_loop() != self._loop:
            raise WrongLoop(
                f"this {type(self).__name__} is in use from another event loop or thread. From a worker thread, call "
                f"it with anyio.from_thread.run(store.enqueue_rollout, task); two loops want a store each"
            )

    def _enter(self) -> None:
        self._check_loop()
        if not self._users:
            self._loop = _running_loop()
        self._users += 1

    def _leave(self) -> None:
        self._users -= 1
        if not self._users:
            self._loop = None


class _AttemptWatch:
    """Someone who is to be told when the store ends an attempt."""

    __slots__ = ("_is_watching", "_store", "attempt_id", "stop")

    def __init__(self, store: LocalStore, attempt_id: str, stop: Callable[[str], None]) -> None:
        self._store = store
        self._is_watching = True
        self.attempt_id = attempt_id
        self.stop = stop

    def leave(self) -> None:
        """Watch no longer; a second time changes nothing."""
        if self._is_watching:
            self._is_watching = False
            self._store.attempt_unwatched(self)


def _running_loop() -> object:
    try:
        return asyncio.get_running_loop()  # the quick answer, which is nearly always the right one
    except RuntimeError:
        pass
    try:
        return anyio.lowlevel.current_token().native_token
    except anyio.NoEventLoopError:
        return None


def _nothing() -> None:
    """What ends a watch that never began."""
