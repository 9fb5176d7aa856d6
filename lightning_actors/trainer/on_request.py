"""SIGUSR1 during a plain call: what everybody is doing, and why rollouts are not finished, on stderr.

```
in the signal handler     the tree, and where the main thread is: also while an agent blocks the event loop
then in the event loop    the store's explanations
```
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context
from pathlib import Path
from types import FrameType

from lightning_actors.trainer.situation import RunView

__all__ = ["telling_on_request"]

_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_EXPLAINED = 3
_FRAMES = 6
_LOOP = ("run_forever", "_run_once")
_STEP = "_run"


@contextmanager
def telling_on_request(view: RunView) -> Generator[None]:
    """Answer SIGUSR1 for the length of the block, in the running asyncio loop.

    Nothing is touched where the platform has no such signal, outside the main thread, and where somebody has taken the
    signal before: it is theirs.

    Args:
        view: Looks at the run.
    """
    number = getattr(signal, "SIGUSR1", None)
    if number is None or threading.current_thread() is not threading.main_thread() or _is_taken(number):
        yield
        return
    teller = _Teller(view, asyncio.get_running_loop())
    signal.signal(number, teller.asked)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)
        teller.close()


def _is_taken(number: signal.Signals) -> bool:
    """Whether somebody handles the signal: in Python, or, as far as the system tells, below it (``faulthandler``)."""
    if signal.getsignal(number) != signal.SIG_DFL:
        return True
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


class _Teller:
    def __init__(self, view: RunView, loop: asyncio.AbstractEventLoop) -> None:
        self._view = view
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._is_asked = False

    def asked(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        name = signal.Signals(number).name
        try:
            text = f"{self._view.tree()}\n{_where(frame, self._loop)}"
        except Exception as error:  # noqa: BLE001 - boundary: it would be raised in whatever code the signal interrupted
            text = f"the tree could not be drawn: {error!r}"
        _print(f"── {name}: what every actor is doing ──\n{text}")
        if not self._is_asked:
            # Once, for what wakes the loop holds little and has to hold other signals too. In a context of its own,
            # for the one here is that of the task that was interrupted.
            self._is_asked = True
            self._loop.call_soon_threadsafe(self._begin, context=Context())

    def close(self) -> None:
        """Explain no more."""
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._is_asked = False
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._explain(), name="explanation")

    async def _explain(self) -> None:
        try:
            text = await self._view.explain_first(_EXPLAINED)
        except Exception as error:  # noqa: BLE001 - boundary: the store; a look must not disturb the run
            text = f"the store gives no explanation: {error!r}"
        _print(f"── why rollouts are not finished ──\n{text}")


def _where(frame: FrameType | None, loop: asyncio.AbstractEventLoop) -> str:
    """What the main thread was doing when the signal came."""
    frames: list[FrameType] = []
    while frame is not None and not _is_loop(frame, *_LOOP) and not _is_loop(frame, _STEP):
        frames.append(frame)
        frame = frame.f_back
    if frame is None or _is_loop(frame, *_LOOP):
        return "main thread: the event loop has nothing to do at this moment"
    task = asyncio.current_task(loop)
    what = "a callback" if task is None else f"task {task.get_name()!r}"
    theirs = [one for one in frames if not one.f_code.co_filename.startswith(_PACKAGE)] or frames
    stack = traceback.StackSummary.extract((one, one.f_lineno) for one in reversed(theirs[:_FRAMES]))
    return f"main thread: in {what}\n{''.join(stack.format()).rstrip()}"


def _is_loop(frame: FrameType, *names: str) -> bool:
    """Whether this is one of asyncio's own functions that carry the loop, or a step of it."""
    return frame.f_code.co_name in names and frame.f_globals.get("__name__", "").startswith("asyncio.")


def _print(text: str) -> None:
    stream = sys.stderr
    if stream is None:  # pyright: ignore[reportUnnecessaryComparison]  # a windowed program has none
        return
    try:
        print(text, file=stream, flush=True)
    except Exception:  # noqa: BLE001 - boundary: the signal may have come in the middle of a write to the same stream
        with contextlib.suppress(OSError):
            os.write(2, f"{text}\n".encode())
