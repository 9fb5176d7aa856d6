"""`VirtualClock`: time that stands still until it is told to go on."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Final

import anyio

from lightning_actors.actors.testkit.autojump import autojumping

__all__ = ["VirtualClock"]

_SPARE: Final = 64


class _Entry:
    """A scope that waits for its time; one that was left keeps its place until that is tidied up."""

    __slots__ = ("scope",)

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.scope: anyio.CancelScope | None = scope


class VirtualClock:
    """A clock that stands still until it is told to go on.

    Whatever takes a `Clock` takes one of these: a supervisor, a store, a runner, a trainer.

    Args:
        start: The wall clock at the beginning, in seconds since the epoch.

    Raises:
        ValueError: ``start`` is infinite or no number.
    """

    def __init__(self, start: float = 1_000_000_000.0) -> None:
        if not math.isfinite(start):
            raise ValueError(f"start is {start}: a clock begins at a finite number of seconds since the epoch")
        self._start = start
        self._elapsed = 0.0
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, _Entry]] = []
        self._waiting = 0
        self._asked: anyio.Event | None = None

    def time(self) -> float:
        """The wall clock: seconds since the epoch."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass: cancels, in order, the scopes that fall due.

        Raises:
            ValueError: ``seconds`` is negative, infinite or no number.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(
                f"advance({seconds}): time goes on by a finite number of seconds, 0 or more, and does not go back"
            )
        self._go_on_to(self._elapsed + seconds)

    def advance_to_next(self) -> bool:
        """Go on to the moment at which the next scope falls due.

        Returns:
            False, and no time has passed, when nobody waits for this clock.
        """
        self._tidy()
        if not self._due:
            return False
        self._go_on_to(max(self._elapsed, self._due[0][0]))
        return True

    @property
    def next_due(self) -> float | None:
        """Seconds until the next scope falls due, or None when nobody waits for this clock."""
        self._tidy()
        return self._due[0][0] - self._elapsed if self._due else None

    def autojump(self, *, stuck_seconds: float = 10.0) -> AbstractAsyncContextManager[None]:
        """Let time go on by itself for the length of a block: whenever everybody waits, to what falls due next.

        A run of hours takes as long as its work does. Threads, the network and the machine's own clock are not waited
        for: what a thread does takes no time.

        Args:
            stuck_seconds: When everybody has waited for so long, in seconds of the machine's own clock, and nothing is
                due, the block is cancelled and ends with `Stuck`; infinite to wait for ever.

        Raises:
            ValueError: ``stuck_seconds`` is negative or no number.
        """
        if not stuck_seconds >= 0:
            raise ValueError(f"stuck_seconds is {stuck_seconds}: give 0 or more seconds of the machine's clock")
        return self._autojump(stuck_seconds)

    @asynccontextmanager
    async def _autojump(self, stuck_seconds: float) -> AsyncGenerator[None]:
        async with autojumping(self, stuck_seconds):
            yield

    async def until_asked(self) -> None:
        """Wait until somebody waits for this clock."""
        self._tidy()
        while not self._due:
            if self._asked is None:
                self._asked = anyio.Event()
            await self._asked.wait()
            self._tidy()

    def move_on_after(self, seconds: float | None) -> AbstractContextManager[anyio.CancelScope]:
        """A cancel scope that is cancelled when time has gone on by so many seconds; None and infinity are never.

        Raises:
            ValueError: ``seconds`` is no number.
        """
        if seconds is not None and math.isnan(seconds):
            raise ValueError("move_on_after(nan): that is no number of seconds to wait for; None waits for ever")
        return self._move_on_after(seconds)

    @contextmanager
    def _move_on_after(self, seconds: float | None) -> Generator[anyio.CancelScope]:
        with anyio.CancelScope() as scope:
            if seconds is None or seconds == math.inf:
                yield scope
                return
            if seconds <= 0:
                scope.cancel()
            entry = self._wait(seconds, scope)
            try:
                yield scope
            finally:
                self._leave(entry)

    async def sleep(self, seconds: float) -> None:
        """Wait until time has gone on by so many seconds; infinitely many never go by.

        Raises:
            ValueError: ``seconds`` is negative or no number, as for the machine's clock.
        """
        if not seconds >= 0:
            raise ValueError(f"sleep({seconds}): that is no number of seconds to sleep for, 0 or more")
        with self._move_on_after(seconds):
            await anyio.sleep_forever()

    def _wait(self, seconds: float, scope: anyio.CancelScope) -> _Entry:
        entry = _Entry(scope)
        heapq.heappush(self._due, (self._elapsed + seconds, next(self._numbers), entry))
        self._waiting += 1
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.set()
        return entry

    def _leave(self, entry: _Entry) -> None:
        if entry.scope is not None:
            entry.scope = None
            self._waiting -= 1
            if len(self._due) > 2 * self._waiting + _SPARE:
                self._due = [one for one in self._due if one[2].scope is not None]
                heapq.heapify(self._due)

    def _go_on_to(self, when: float) -> None:
        self._elapsed = when
        while self._due and self._due[0][0] <= when:
            entry = heapq.heappop(self._due)[2]
            if entry.scope is not None:
                scope, entry.scope = entry.scope, None
                self._waiting -= 1
                scope.cancel()

    def _tidy(self) -> None:
        """Have somebody who still waits stand first."""
        while self._due and self._due[0][2].scope is None:
            heapq.heappop(self._due)
