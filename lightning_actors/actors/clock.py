"""Where an actor's time comes from: one small protocol, so that tests can replace it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import monotonic as _monotonic
from time import time as _time
from typing import Protocol

import anyio

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time as the kernel and its actors see it. All times are float seconds."""

    def time(self) -> float:
        """The wall clock: seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...

    def move_on_after(self, seconds: float | None) -> AbstractContextManager[anyio.CancelScope]:
        """A cancel scope that is cancelled after so many seconds of this clock; None is never."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
        ...


class SystemClock:
    """The machine's own clock."""

    __slots__ = ()

    time = staticmethod(_time)
    """The wall clock: seconds since the epoch."""
    monotonic = staticmethod(_monotonic)
    """Seconds since some fixed point; never goes back."""

    def move_on_after(self, seconds: float | None) -> AbstractContextManager[anyio.CancelScope]:
        """A cancel scope that is cancelled after so many seconds; None is never."""
        return anyio.move_on_after(seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        await anyio.sleep(seconds)
