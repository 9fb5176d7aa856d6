"""Ctrl-C and SIGTERM during a plain call: the first ends the run in order, the second at once."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning_actors.log import get_logger

__all__ = ["heeding_signals"]

log = get_logger("lightning_actors.trainer")

_HEEDED = (signal.SIGINT, signal.SIGTERM)
_BLOCKED_SECONDS = 1.0


@contextmanager
def heeding_signals(
    received: Callable[[], None], first: Callable[[], None], again: Callable[[], None]
) -> Generator[None]:
    """Call these in the running event loop, instead of what signals did before, for the length of the block.

    In a thread other than the main one signals are nobody's to take, and this does nothing.

    Args:
        received: Called at once at each signal, in the signal handler, even while the loop is blocked.
        first: Called at the first signal.
        again: Called at each further one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _Watch(asyncio.get_running_loop(), received, first, again)
    before = {number: watch.take(number) for number in _HEEDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            watch.give_back(number, handler)


class _Watch:
    """Hears signals twice: in the loop, which acts on them, and in Python's handler, which sees when the loop does not.

    A loop that is blocked hears nothing, and an agent that blocks it could never be interrupted. So a signal that
    comes when another has waited for a second raises KeyboardInterrupt where the main thread is: in that agent.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        received: Callable[[], None],
        first: Callable[[], None],
        again: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._at_once = received
        self._first = first
        self._again = again
        self._count = 0
        self._unheard_since: float | None = None
        self._loop_hears = True

    def take(self, number: signal.Signals) -> Any:
        """Heed this signal; returns what heeded it before."""
        before = signal.getsignal(number)
        try:
            self._loop.add_signal_handler(number, self._heard, number.name)
        except NotImplementedError:  # Windows
            self._loop_hears = False
        signal.signal(number, self._received)
        return before

    def give_back(self, number: signal.Signals, handler: Any) -> None:
        """Leave this signal to what heeded it before."""
        if self._loop_hears:
            self._loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        self._at_once()
        if self._unheard_since is None:
            self._unheard_since = now
        elif now - self._unheard_since > _BLOCKED_SECONDS:
            raise KeyboardInterrupt
        if not self._loop_hears:
            self._loop.call_soon_threadsafe(self._heard, signal.Signals(number).name)

    def _heard(self, name: str) -> None:
        self._unheard_since = None
        self._count += 1
        if self._count == 1:
            log.warning("stopping", signal=name, hint="rollouts under way finish; once more stops at once")
            self._first()
        else:
            log.warning("stopping_at_once", signal=name)
            self._again()
