"""What tests of actors need."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import anyio
import anyio.lowlevel

__all__ = ["VirtualClock", "settle"]

ROUNDS: Final = 100


async def settle() -> None:
    """Let every other task run until it waits for something.

    A hundred rounds of the event loop: enough for any chain of that many messages, and a hundred times faster on
    asyncio than ``anyio.wait_all_tasks_blocked``. It does not wait for threads, timers or the network.
    """
    for _ in range(ROUNDS):
        await anyio.lowlevel.checkpoint()


class VirtualClock:
    """A clock that stands still until it is told to go on.

    Args:
        start: The wall clock at the beginning, in seconds since the epoch.
    """

    def __init__(self, start: float = 1_000_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, anyio.CancelScope]] = []

    def time(self) -> float:
        """The wall clock: seconds since the epoch."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass: cancels, in order, the scopes that fall due."""
        if seconds < 0:
            raise ValueError(f"time does not go back by {-seconds} s: advance by 0 or more")
        self._elapsed += seconds
        while self._due and self._due[0][0] <= self._elapsed:
            heapq.heappop(self._due)[2].cancel()

    @property
    def next_due(self) -> float | None:
        """Seconds until the next scope falls due, or None when nobody waits for this clock."""
        return self._due[0][0] - self._elapsed if self._due else None

    def move_on_after(self, seconds: float | None) -> AbstractContextManager[anyio.CancelScope]:
        """A cancel scope that is cancelled when time has gone on by so many seconds; None is never."""
        return self._move_on_after(seconds)

    @contextmanager
    def _move_on_after(self, seconds: float | None) -> Generator[anyio.CancelScope]:
        with anyio.CancelScope() as scope:
            if seconds is None:
                yield scope
                return
            if seconds <= 0:
                scope.cancel()
            entry = (self._elapsed + seconds, next(self._numbers), scope)
            heapq.heappush(self._due, entry)
            try:
                yield scope
            finally:
                if entry in self._due:
                    self._due.remove(entry)
                    heapq.heapify(self._due)

    async def sleep(self, seconds: float) -> None:
        """Wait until time has gone on by so many seconds."""
        with self._move_on_after(seconds):
            await anyio.sleep_forever()
