"""Where a thread of `DaemonThreads` belongs: its event loop, and its place among those that may be busy there.

```
a thread's step ──▶ its event loop: the place is another's meanwhile ──▶ the place is its own again
```
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

import anyio
from anyio import from_thread
from anyio.lowlevel import EventLoopToken, current_token

from lightning_actors.detached.call import DetachedCall
from lightning_actors.errors import RolloutCancelled, RunnerError, WrongLoop

__all__ = [
    "Places",
    "Seat",
    "await_on_home_loop",
    "context_for_thread",
    "home_loop",
    "home_wait",
    "runs_a_loop",
]

R = TypeVar("R")


class Places:
    """Who is busy on one event loop: at most ``limit`` at once, and who waits to be."""

    def __init__(self, loop: EventLoopToken, limit: int) -> None:
        self.loop = loop
        self.limit = limit
        self.holders: set[object] = set()
        self.stuck: set[object] = set()
        self._waiting: deque[tuple[object, anyio.Event]] = deque()

    async def take(self, holder: object) -> None:
        """Wait for a place, in the order of asking.

        Raises:
            RunnerError: No place will come free: all are held by calls that do not end.
        """
        while holder not in self.holders:
            if len(self.stuck) >= self.limit:
                raise RunnerError(
                    f"all {2 * self.limit} threads for sync agents are held by calls that do not end: give what the "
                    f"agent calls a timeout, or write the agent async, so that it can be cancelled"
                )
            if len(self.holders) < self.limit:
                self.holders.add(holder)
                return
            await self._wait(holder)

    async def _wait(self, holder: object) -> None:
        entry = (holder, anyio.Event())
        self._waiting.append(entry)
        try:
            await entry[1].wait()
        except BaseException:
            if entry in self._waiting:
                self._waiting.remove(entry)
            self.leave(holder)
            raise

    async def take_back(self, holder: object) -> None:
        """Wait for a place again; who may not wait any longer goes on without one, for its thread is there."""
        try:
            await self.take(holder)
        except RunnerError:
            self.holders.add(holder)
        except BaseException:
            self.holders.add(holder)
            raise

    def leave(self, holder: object) -> None:
        """Give a place to whoever has waited longest."""
        self.stuck.discard(holder)
        if holder in self.holders:
            self.holders.remove(holder)
            if self._waiting:
                following, granted = self._waiting.popleft()
                self.holders.add(following)
                granted.set()

    def give_up(self, holder: object) -> None:
        """This holder does not end, and keeps its place."""
        self.stuck.add(holder)
        if len(self.stuck) >= self.limit:
            while self._waiting:
                self._waiting.popleft()[1].set()


class Seat:
    """What a thread, and any thread of its own that it gave its context, knows of where it belongs."""

    def __init__(self, places: Places, call: DetachedCall[Any]) -> None:
        self.places = places
        self._call = call
        self._waits: set[anyio.CancelScope] = set()
        call.on_cancel = self._end_waits

    @contextmanager
    def wait(self) -> Generator[None]:
        """Around what the event loop does for this thread: refused, and cut short, once it was asked to end.

        Raises:
            RolloutCancelled: It was.
        """
        if self._call.is_asked_to_end:
            raise self._refusal()
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)
        if scope.cancelled_caught:
            raise self._refusal()

    async def lend(self, function: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run a function while this thread waits for it, and its place is another's."""
        places, call = self.places, self._call
        with self.wait():
            has_place = call in places.holders
            places.leave(call)
            try:
                return await function()
            finally:
                if has_place:
                    await places.take_back(call)
                if call.finished.is_set():  # the thread that gave another its context did not wait for it
                    places.leave(call)
        raise self._refusal()

    def _end_waits(self) -> None:
        for scope in tuple(self._waits):
            scope.cancel()

    def _refusal(self) -> RolloutCancelled:
        return RolloutCancelled(
            f"the {self._call.name} was asked to end: what it waits for here is cancelled, and it can begin no other "
            f"rollout and use the store no more"
        )


_seat: ContextVar[Seat | None] = ContextVar("lightning_actors_seat", default=None)


def home_loop() -> EventLoopToken | None:
    """In a thread of `DaemonThreads`, the event loop that started it; None elsewhere."""
    seat = _seat.get()
    return None if seat is None else seat.places.loop


def home_wait() -> Callable[[], AbstractContextManager[None]]:
    """What to enter, on the event loop, around what that does for this thread; see `Seat.wait`.

    In a thread that is none of `DaemonThreads` it is nothing.
    """
    seat = _seat.get()
    return nullcontext if seat is None else seat.wait


def await_on_home_loop(function: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Run an async function on the event loop that this thread belongs to, and wait for it here.

    A thread of `DaemonThreads` gives its place to another meanwhile, so that what it waits for may need one; and it
    can be asked to end as long as it waits.

    Args:
        function: What to run, with a copy of this thread's context variables.

    Raises:
        RolloutCancelled: This thread was asked to end, before or meanwhile.
        WrongLoop: An event loop runs in this thread, none began it, or that one is gone.
    """
    seat = _seat.get()
    if runs_a_loop():
        raise WrongLoop("a call that blocks was made in an event loop, which it would block: await what it stands for")
    try:
        if seat is None:
            return from_thread.run(function)
        return from_thread.run(seat.lend, function, token=seat.places.loop)
    except (anyio.RunFinishedError, anyio.NoEventLoopError) as error:
        raise WrongLoop(
            "this thread belongs to no event loop that is running: call from a sync agent, or from a thread begun by "
            "anyio.to_thread.run_sync"
        ) from error


def runs_a_loop() -> bool:
    """Whether an event loop is running in this thread."""
    try:
        current_token()
    except anyio.NoEventLoopError:
        return False
    return True


def context_for_thread(seat: Seat) -> Context:
    """A copy of the current context variables, but for the one that says that an event loop runs here."""
    context = copy_context()
    context.run(_seat.set, seat)
    sniffio: Any = sys.modules.get("sniffio")  # where anyio looks first, if it is installed
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, None)
    return context
