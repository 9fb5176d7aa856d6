"""Fails a test that leaves a task or a thread behind."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.to_thread

from lightning_actors.actors.testkit.idle import until_idle

__all__ = ["nothing_left_running"]

_LOOPS: Final = frozenset({"anyio", "asyncio", "trio"})
_BUSY_SECONDS: Final = 0.5
_THREADS: Final = "lightning-actors"
"""What the names of the library's own threads begin with."""


@asynccontextmanager
async def nothing_left_running(*, thread_seconds: float = 1.0) -> AsyncGenerator[None]:
    """Fail if a task, or a thread of this library, that began in the block is still there after it.

    Tasks may take the turns of the event loop that they need to end. Threads of others are theirs.

    Args:
        thread_seconds: How long, in seconds of the machine's own clock, threads may take to end.

    Raises:
        AssertionError: Something is left; it names each and says where it is. Where the block raises its own error, a
            note on that does.
    """
    # The coroutines are kept, so that none of what comes later can be mistaken for one of them.
    tasks_before = {id(task.coro): task.coro for task in anyio.get_running_tasks()}
    threads_before = set(threading.enumerate())
    try:
        yield
    except Exception as error:
        left = await _left(tasks_before, threads_before, thread_seconds)
        if left:
            error.add_note(f"and left running: {'; '.join(left)}")
        raise
    left = await _left(tasks_before, threads_before, thread_seconds)
    if left:
        raise AssertionError(f"left running: {'; '.join(left)}")


async def _left(tasks_before: Iterable[int], threads_before: set[threading.Thread], seconds: float) -> list[str]:
    await _settle()
    threads = [
        thread for thread in threading.enumerate() if thread not in threads_before and thread.name.startswith(_THREADS)
    ]
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join, seconds)
    if threads:
        await _settle()
    tasks = [task for task in anyio.get_running_tasks() if id(task.coro) not in tasks_before]
    return [
        *(f"task {task.name!r} in {_place(task.coro)}" for task in tasks),
        *(f"thread {thread.name!r} in {_place_of(thread)}" for thread in threads if thread.is_alive()),
    ]


async def _settle() -> None:
    """Let everybody come to an end, but not wait for one who never rests."""
    with anyio.move_on_after(_BUSY_SECONDS):
        await until_idle()


def _place(coro: Any) -> str:
    """Where a coroutine stands, down to the last line that is not the event loop's own."""
    places: list[str] = []
    while coro is not None:
        frame = getattr(coro, "cr_frame", None)
        if frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] not in _LOOPS:
            places.append(f"{coro.__qualname__} ({frame.f_code.co_filename}:{frame.f_lineno})")
        coro = getattr(coro, "cr_await", None)
    return " → ".join(places) or "the event loop's own code"


def _place_of(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented in spite of its name
    if frame is None:
        return "its last line"
    last = traceback.extract_stack(frame)[-1]
    return f"{last.name} ({last.filename}:{last.lineno})"
