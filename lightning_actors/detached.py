"""Calls that can be left behind: an agent may refuse to end, and nobody must wait for it for ever.

```
call = detached_task(function, …)           a task on the running loop; cancel() asks it to end
call = await threads.start(function, …)     a daemon thread; it can be asked only while it waits on its event loop
await call.end(seconds)                     True once it has ended; else it is left behind, and its owner names it
```

anyio's task groups wait for all their tasks, so a call that swallows its cancellation would hold up everything around
it. These are tasks and threads outside any group: whoever starts one also ends it. On trio, a task that swallows its
cancellation still keeps ``trio.run`` from returning: trio has no way to leave a task behind.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, Generic, TypeVar, cast

import anyio
from anyio import from_thread
from anyio.lowlevel import EventLoopToken, current_token

from lightning_actors.actors import Clock, SystemClock
from lightning_actors.errors import RunnerError, WrongLoop

__all__ = [
    "DaemonThreads",
    "DetachedCall",
    "DetachedCallEnded",
    "await_on_home_loop",
    "detached_task",
    "home_loop",
    "is_called_by",
    "is_in_detached_task",
    "refuse_what_was_ended",
    "runs_a_loop",
]

R = TypeVar("R")

_PACKAGE: Final = str(Path(__file__).parent) + os.sep
_IDLE_SECONDS: Final = 10.0
_SHARES: Final = (0.5, 0.25, 0.25)
"""A call is asked to end once for each of these, and then has this share of the time: it may have swallowed the first
cancellation, but clean-up that has begun should not be cut short at once."""


def home_loop() -> EventLoopToken | None:
    """In a thread of `DaemonThreads`, the event loop that started it; None elsewhere."""
    seat = _seat.get()
    return None if seat is None else seat.places.loop


def await_on_home_loop(function: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Run an async function on the event loop that this thread belongs to, and wait for it here.

    A thread of `DaemonThreads` gives its place to another meanwhile, so that what it waits for may need one; and it
    can be asked to end as long as it waits.

    Args:
        function: What to run, with a copy of this thread's context variables.

    Raises:
        DetachedCallEnded: This thread was asked to end.
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


def refuse_what_was_ended() -> None:
    """To be called on the event loop, for a thread that wants something of it.

    Raises:
        DetachedCallEnded: The thread was asked to end: what it was for is over.
    """
    seat = _seat.get()
    if seat is not None and seat.call.is_asked_to_end:
        raise _ended(seat.call)


class DetachedCallEnded(Exception):
    """A thread that waited on its event loop was asked to end."""


class DetachedCall(Generic[R]):
    """A call under way outside any task group; its result or error is a value."""

    __slots__ = (
        "_finished",
        "_is_finished",
        "_value",
        "error",
        "has_begun",
        "is_asked_to_end",
        "name",
        "on_cancel",
        "on_finish",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self._finished: anyio.Event | None = None
        self._is_finished = False
        self.has_begun = False
        self.is_asked_to_end = False
        self.error: BaseException | None = None
        self._value: R | None = None
        self.on_cancel: Callable[[], object] | None = None
        self.on_finish: Callable[[], object] | None = None

    @property
    def finished(self) -> anyio.Event:
        """Set once it has ended. Made for whoever wants it, which are few."""
        if self._finished is None:
            self._finished = anyio.Event()
            if self._is_finished:
                self._finished.set()
        return self._finished

    @property
    def value(self) -> R:
        """What it returned. Raises what it raised."""
        if self.error is not None:
            raise self.error
        return cast("R", self._value)

    def cancel(self) -> None:
        """Ask it to end; a thread hears of it only where it waits on its event loop, now or later."""
        self.is_asked_to_end = True
        if self.on_cancel is not None and not self._is_finished:
            self.on_cancel()

    async def end(self, seconds: float, clock: Clock | None = None) -> bool:
        """Ask it to end, again if need be, and wait so long at most.

        Args:
            seconds: How long.
            clock: Whose time that is; the machine's own by default.

        Returns:
            Whether it has ended.
        """
        clock = clock or SystemClock()
        for share in _SHARES:
            self.cancel()
            with clock.move_on_after(seconds * share):
                await self.finished.wait()
                return True
        return self._is_finished

    def settle(self, value: R | None, error: BaseException | None) -> None:
        """Note how it ended; whoever runs it says so, and the first word counts."""
        if self._is_finished:
            return
        self._value, self.error = value, error
        self.on_cancel = None  # it holds the task, and the task this call: a circle that only the collector could undo
        self._is_finished = True
        if self._finished is not None:
            self._finished.set()
        notify, self.on_finish = self.on_finish, None
        if notify is not None:
            notify()

    def finished_with(self, notify: Callable[[], object]) -> None:
        """Have this called once it has ended, or now if it has."""
        if self._is_finished:
            notify()
        else:
            self.on_finish = notify


def detached_task(
    function: Callable[..., Awaitable[R]], *args: Any, name: str, context: Context | None = None
) -> DetachedCall[R]:
    """Run an async function in a task of its own on the running loop.

    Args:
        function: What to run.
        *args: Its arguments.
        name: The task's name.
        context: Context variables to run in; a copy of the current ones by default.
    """
    call: DetachedCall[R] = DetachedCall(name)
    token = current_token()
    start = _start_on_trio if token.backend_class.__module__.endswith("_trio") else _start_on_asyncio
    start(call, function, args, context)
    return call


async def _run(call: DetachedCall[R], function: Callable[..., Awaitable[R]], args: tuple[Any, ...]) -> None:
    call.has_begun = True
    try:
        value = await function(*args)
    except BaseException as error:  # noqa: BLE001 - boundary: whatever the call raises is its result, SystemExit included
        call.settle(None, error)
    else:
        call.settle(value, None)


def is_in_detached_task(frame: FrameType | None) -> bool:
    """Whether this is code that a detached task was given to run, and not code of this package that it called.

    To raise an exception in the one ends that call; in the other, it could leave something half done.
    """
    return is_called_by(frame, _run.__code__)


def is_called_by(frame: FrameType | None, caller: CodeType) -> bool:
    """Whether this is code of the user's that a function of this package called, and none of the package's own.

    Args:
        frame: What runs.
        caller: The code of the function that calls users' code.
    """
    within: list[bool] = []
    while frame is not None and frame.f_code is not caller:
        within.append(frame.f_code.co_filename.startswith(_PACKAGE))
        frame = frame.f_back
    if frame is None:
        return False
    while within and within[-1]:  # what calls the agent is ours too
        within.pop()
    return bool(within) and not any(within)


def _start_on_asyncio(
    call: DetachedCall[R], function: Callable[..., Awaitable[R]], args: tuple[Any, ...], context: Context | None
) -> None:
    # asyncio itself, because anyio has no task outside a task group
    task = asyncio.get_running_loop().create_task(_run(call, function, args), name=call.name, context=context)
    call.on_cancel = _Cancel(task, call)


class _Cancel:
    """Cancels a task of asyncio that runs a call."""

    __slots__ = ("_call", "_task")

    def __init__(self, task: asyncio.Task[None], call: DetachedCall[Any]) -> None:
        self._task = task
        self._call = call

    def __call__(self) -> None:
        if not self._call.has_begun:  # a task that is cancelled before its first step could not say how it ended
            self._task.add_done_callback(self._never_began)
        self._task.cancel()

    def _never_began(self, _task: asyncio.Task[None]) -> None:
        self._call.settle(None, asyncio.CancelledError())


def _start_on_trio(
    call: DetachedCall[R], function: Callable[..., Awaitable[R]], args: tuple[Any, ...], context: Context | None
) -> None:
    import trio  # noqa: PLC0415 - only where this backend runs

    scope = trio.CancelScope()
    call.on_cancel = scope.cancel

    async def within() -> None:
        with scope:
            await _run(call, function, args)

    trio.lowlevel.spawn_system_task(within, name=call.name, context=context or copy_context())


class _Worker(threading.Thread):
    """A daemon thread that runs one job after another and goes away when none comes."""

    def __init__(self, idle: deque[_Worker]) -> None:
        super().__init__(name="lightning-actors agent thread", daemon=True)
        self._idle = idle
        self.jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def run(self) -> None:
        while True:
            try:
                job = self.jobs.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                try:
                    self._idle.remove(self)
                except ValueError:
                    continue  # a job was given at the last moment
                return
            if job is None:
                return
            job()


class _Places:
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


class _Seat:
    """What a thread knows of where it belongs."""

    def __init__(self, places: _Places, call: DetachedCall[Any]) -> None:
        self.places = places
        self.call = call

    async def lend(self, function: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run a function while this thread waits for it: its place is another's, and it can be asked to end."""
        places, call = self.places, self.call
        refuse_what_was_ended()
        has_place = call in places.holders
        with anyio.CancelScope() as scope:
            call.on_cancel = scope.cancel
            places.leave(call)
            try:
                return await function()
            finally:
                call.on_cancel = None
                if has_place:
                    await places.take_back(call)
        raise _ended(call)


def _ended(call: DetachedCall[Any]) -> DetachedCallEnded:
    return DetachedCallEnded(f"the {call.name} was asked to end")


_seat: ContextVar[_Seat | None] = ContextVar("lightning_actors_seat", default=None)


class DaemonThreads:
    """Threads that never keep the process from exiting, at most ``limit`` busy at once.

    A thread that was left behind gives its place to another, until as many were left behind as there are places. It
    may be used from one event loop after another; what a loop left behind when it ended does not count in the next.

    Args:
        limit: How many may be busy at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._replaced: set[DetachedCall[Any]] = set()
        self._places: _Places | None = None
        self._idle: deque[_Worker] = deque()
        self._is_closed = False

    async def start(self, function: Callable[..., R], *args: Any, name: str) -> DetachedCall[R]:
        """Run a function in a thread, with a copy of the current context variables; waits for a free place.

        Raises:
            RunnerError: No place will come free: all are held by calls that were left behind.
        """
        token = current_token()
        places = self._places
        if places is None or places.loop.native_token is not token.native_token:
            places = self._places = _Places(token, self.limit)
            self._replaced.clear()
        self._is_closed = False
        call: DetachedCall[R] = DetachedCall(name)
        await places.take(call)
        context = _context_for_thread(_Seat(places, call))

        def job() -> None:
            value, error = None, None
            try:
                value = context.run(function, *args)
            except BaseException as raised:  # noqa: BLE001 - boundary: whatever the call raises is its result
                error = raised
            self._rest(worker)
            _report(token, lambda: self._done(places, call, value, error))

        try:
            worker = self._idle.pop() if self._idle else self._hire()
        except BaseException:  # the system gives no more threads
            places.leave(call)
            raise
        worker.jobs.put(job)
        return call

    def replace(self, call: DetachedCall[Any]) -> bool:
        """Give the place of a call that does not end to another; False once too many do not end."""
        places = self._places
        if places is None or call not in places.holders:
            return False
        if len(self._replaced) >= self.limit:
            places.give_up(call)
            return False
        self._replaced.add(call)
        places.leave(call)
        return True

    def close(self) -> None:
        """Let the idle threads go; busy ones go when they are done."""
        self._is_closed = True
        self._places = None
        while self._idle:
            self._idle.pop().jobs.put(None)

    def _done(self, places: _Places, call: DetachedCall[R], value: R | None, error: BaseException | None) -> None:
        self._replaced.discard(call)
        places.leave(call)
        call.settle(value, error)

    def _hire(self) -> _Worker:
        worker = _Worker(self._idle)
        worker.start()
        return worker

    def _rest(self, worker: _Worker) -> None:
        if self._is_closed:
            worker.jobs.put(None)
        else:
            self._idle.append(worker)


def _context_for_thread(seat: _Seat) -> Context:
    """A copy of the current context variables, but for the one that says that an event loop runs here."""
    context = copy_context()
    context.run(_seat.set, seat)
    sniffio: Any = sys.modules.get("sniffio")  # where anyio looks first, if it is installed
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, None)
    return context


def _report(token: EventLoopToken, settle: Callable[[], object]) -> None:
    try:
        from_thread.run_sync(settle, token=token)
    except RuntimeError:  # anyio's RunFinishedError is one, and so is what a loop says that closes at this moment
        return  # the loop that asked is gone, and with it everyone who could want the result
