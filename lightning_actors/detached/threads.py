"""`DaemonThreads`: threads that never keep the process from exiting."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from anyio import from_thread
from anyio.lowlevel import EventLoopToken, current_token

from lightning_actors.detached.call import DetachedCall
from lightning_actors.detached.seat import Places, Seat, context_for_thread

__all__ = ["DaemonThreads"]

R = TypeVar("R")

_IDLE_SECONDS: Final = 10.0


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
        self._places: Places | None = None
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
            places = self._places = Places(token, self.limit)
            self._replaced.clear()
        self._is_closed = False
        call: DetachedCall[R] = DetachedCall(name)
        await places.take(call)
        context = context_for_thread(Seat(places, call))

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

    def _done(self, places: Places, call: DetachedCall[R], value: R | None, error: BaseException | None) -> None:
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


def _report(token: EventLoopToken, settle: Callable[[], object]) -> None:
    try:
        from_thread.run_sync(settle, token=token)
    except RuntimeError:  # anyio's RunFinishedError is one, and so is what a loop says that closes at this moment
        return  # the loop that asked is gone, and with it everyone who could want the result
