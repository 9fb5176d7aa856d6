"""Ctrl-C and SIGTERM during a plain call: the first ends the run in order, the second at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from lightning_actors.detached import is_in_detached_task
from lightning_actors.log import get_logger
from lightning_actors.runner.rig import is_in_hook

__all__ = ["heeding_signals"]

log = get_logger("lightning_actors.trainer")

_HEEDED = (signal.SIGINT, signal.SIGTERM)
_BLOCKED_SECONDS = 1.0
_INTERRUPTS = 3


class Stoppable(Protocol):
    """What a signal stops."""

    def close(self) -> None:
        """Begin no more rollouts; called in the signal handler, at every signal."""
        ...

    def interrupt(self) -> None:
        """End in order; called in the event loop, at the first signal."""
        ...

    def abort(self) -> None:
        """Ask every agent to end; called in the signal handler, before what blocks the loop is interrupted."""
        ...

    def tree(self) -> object:
        """What everybody is doing; its ``str()`` is logged where there is no grace time to see who outlasts it."""
        ...


@contextmanager
def heeding_signals(
    run: Stoppable, again: Callable[[], None], *, hint: str = "rollouts under way finish; once more stops at once"
) -> Generator[None]:
    """Stop this in the running event loop, instead of what signals did before, for the length of the block.

    In a thread other than the main one signals are nobody's to take, and this does nothing.

    Args:
        run: What to stop.
        again: Called in the event loop at each signal after the first.
        hint: What is said of the first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _Watch(asyncio.get_running_loop(), run, again, hint)
    before = {number: watch.take(number) for number in _HEEDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            watch.give_back(number, handler)


class _Watch:
    """Hears signals twice: in the loop, which acts on them, and in Python's handler, which sees when the loop does not.

    A loop that is blocked hears nothing, and an agent that blocks it could never be interrupted. So from the second
    signal on, KeyboardInterrupt is raised in the main thread if that is within an agent or a hook, or if another signal
    has waited for a second: all other agents are asked to end first, so that none of them blocks the loop in its turn.
    What swallows that three times over is left to the system: the next signal ends the process.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, run: Stoppable, again: Callable[[], None], hint: str) -> None:
        self._loop = loop
        self._run = run
        self._again = again
        self._hint = hint
        self._received_count = 0
        self._heard_count = 0
        self._unheard_since: float | None = None
        self._interrupts = 0
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

    def _received(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self._run.close()
        self._received_count += 1
        if not self._loop_hears:
            self._loop.call_soon_threadsafe(self._heard, signal.Signals(number).name)
        waited = 0.0 if self._unheard_since is None else now - self._unheard_since
        if self._unheard_since is None:
            self._unheard_since = now
        is_blocked = is_in_detached_task(frame) or is_in_hook(frame)
        if waited > _BLOCKED_SECONDS or (self._received_count > 1 and is_blocked):
            self._interrupt(number)
        if is_blocked:
            _say("if an agent or a hook blocks the event loop, the next signal interrupts it")

    def _interrupt(self, number: int) -> None:
        """Raise KeyboardInterrupt in what blocks the loop; give up on what has swallowed that."""
        self._interrupts += 1
        if self._interrupts >= _INTERRUPTS:
            signal.signal(number, signal.SIG_DFL)
            _say("what blocks the event loop does not end: the next signal ends this process")
        self._run.abort()
        raise KeyboardInterrupt

    def _heard(self, name: str) -> None:
        self._unheard_since = None
        self._heard_count += 1
        if self._heard_count == 1:
            log.warning("stopping", signal=name, hint=self._hint)
            self._run.interrupt()
        else:
            log.warning("stopping_at_once", signal=name, tree=str(self._run.tree()))
            self._again()


def _say(text: str) -> None:
    """Tell a person, from a signal handler: the log may be what was interrupted."""
    os.write(2, f"lightning-actors: {text}\n".encode())
