"""`StepMany`: many steps at once, handed out as they finish.

```
inputs ──▶ feeder ──▶ at most `limit` steps, running or finished ──▶ whoever iterates
```
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self

import anyio

from lightning_actors.actors import Clock
from lightning_actors.detached import DetachedCall, detached_task
from lightning_actors.errors import ConfigError
from lightning_actors.tracer import Trace, remember_last
from lightning_actors.types import Rollout

__all__ = ["StepMany"]

_Step = Callable[[Any], Awaitable[tuple[Rollout, Trace | None]]]
_Call = DetachedCall[tuple[Rollout, Trace | None]]

_END_SECONDS = 30.0


class StepMany(AsyncIterator[Rollout]):
    """An async iterator over rollouts as they finish. Steps begin only while somebody waits for the next.

    Several tasks may take from it, each another rollout; where one of them is cancelled, it ends for all.

    Args:
        inputs: The tasks.
        step: Runs one.
        limit: How many run at once.
        clock: Where the time comes from; the machine's own by default.

    Raises:
        ConfigError: ``limit`` is less than 1.
    """

    def __init__(
        self, inputs: Iterable[Any] | AsyncIterable[Any], step: _Step, *, limit: int, clock: Clock | None = None
    ) -> None:
        self._steps = _Steps(step, limit)
        self._clock = clock
        self._feeder: DetachedCall[None] | None = None
        self._is_closed = False
        if not isinstance(limit, int) or limit < 1:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise ConfigError(f"limit is {limit!r}: give a whole number, for at least one rollout must run at a time")
        self._inputs = inputs if isinstance(inputs, AsyncIterable) else iter(inputs)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Rollout:
        """The next rollout that finishes.

        Raises:
            StopAsyncIteration: All have.
            Exception: What ``inputs`` raised, once the rollouts begun before have been handed out; or what the store
                raised, after the others were cancelled.
        """
        try:
            return await self._next()
        except StopAsyncIteration:
            raise
        except BaseException:
            await self.aclose()
            raise

    async def _next(self) -> Rollout:
        steps = self._steps
        if self._feeder is None and not self._is_closed:
            self._feeder = detached_task(steps.feed, self._inputs, name="inputs of step_many")
            self._feeder.finished_with(steps.wake)
        steps.go_on()
        steps.waiting += 1
        try:
            while not (steps.done or self._is_closed):
                if not steps.running and self._feeder is not None and self._feeder.finished.is_set():
                    self._is_closed = True
                    self._feeder.value  # noqa: B018 - raises what the inputs raised
                    raise StopAsyncIteration
                await steps.sleep()
        finally:
            steps.waiting -= 1
        if self._is_closed:  # whoever else waits here may have come to the end, or left
            raise StopAsyncIteration
        rollout, trace = steps.take()
        if trace is not None:
            remember_last(trace)
        return rollout

    async def aclose(self) -> None:
        """Cancel the rollouts under way and wait until they have ended."""
        self._is_closed = True
        self._steps.wake()
        calls = self._calls()
        with anyio.CancelScope(shield=True):
            for call in calls:
                call.cancel()
            for call in calls:
                await call.end(_END_SECONDS, self._clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        for call in self._calls():
            call.cancel()

    def _calls(self) -> tuple[DetachedCall[Any], ...]:
        feeder = () if self._feeder is None else (self._feeder,)
        return (*feeder, *self._steps.running)


class _Steps:
    """The steps under way. They know nothing of the iterator, so that one that was left is not kept alive by them."""

    def __init__(self, step: _Step, limit: int) -> None:
        self._step = step
        self._limit = limit
        self._in_use = 0
        self.waiting = 0
        """How many wait for the next."""
        self.running: dict[_Call, None] = {}
        self.done: deque[_Call] = deque()
        self._news = anyio.Event()
        self._room = anyio.Event()

    async def feed(self, inputs: Iterable[Any] | AsyncIterable[Any]) -> None:
        """Begin a step with each input, as there is room."""
        if isinstance(inputs, AsyncIterable):
            async for task in inputs:
                await self._begin(task)
        else:
            for task in inputs:
                await self._begin(task)

    async def _begin(self, task: Any) -> None:
        call = detached_task(self._step, task, name="step of many")
        self.running[call] = None
        call.finished_with(lambda: self._finished(call))
        while not self._has_room():
            self._room = anyio.Event()
            await self._room.wait()

    def _has_room(self) -> bool:
        in_use = 0 if self.waiting else self._in_use  # it counts while nobody else could go on with another
        return len(self.running) + len(self.done) + in_use < self._limit

    def go_on(self) -> None:
        """The one that was handed out last is done with."""
        self._in_use = 0
        self._room.set()

    def take(self) -> tuple[Rollout, Trace | None]:
        """Hand out one that has finished. Raises what its step raised."""
        self._in_use = 1
        call = self.done.popleft()
        if self.waiting:
            self._room.set()
        return call.value

    async def sleep(self) -> None:
        """Wait until something has changed; several may."""
        if self._news.is_set():
            self._news = anyio.Event()
        await self._news.wait()

    def wake(self) -> None:
        """Something has changed."""
        self._news.set()

    def _finished(self, call: _Call) -> None:
        self.running.pop(call, None)
        self.done.append(call)
        self.wake()
