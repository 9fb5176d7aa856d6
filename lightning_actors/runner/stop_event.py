"""Events of any make that tell a runner to stop: anyio's, threading's, multiprocessing's."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from lightning_actors.actors.plain_group import PlainTaskGroup
from lightning_actors.detached import DaemonThreads
from lightning_actors.errors import ConfigError

__all__ = ["is_set", "when_set"]

_LOOK_SECONDS = 0.1


def is_set(event: Any) -> bool:
    """Whether the event is set; None never is.

    Raises:
        ConfigError: This is no event.
    """
    if event is None:
        return False
    if not callable(getattr(event, "is_set", None)) or not callable(getattr(event, "wait", None)):
        raise ConfigError(f"{event!r} is no event: give an anyio.Event, a threading.Event, or the like")
    return bool(event.is_set())


@asynccontextmanager
async def when_set(event: Any, act: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """Do something once if an event is set while the block runs.

    Args:
        event: None, or anything with ``is_set()`` and an async or blocking ``wait()``.
        act: What to do then. What it raises ends the block and is raised in its place.
    """
    if event is None:
        yield
        return

    async def watch() -> None:
        await _set(event)
        await act()

    async with PlainTaskGroup() as tasks:
        tasks.start_soon(watch)
        yield
        tasks.cancel_scope.cancel()


async def _set(event: Any) -> None:
    if is_set(event):
        return
    if inspect.iscoroutinefunction(event.wait):
        await event.wait()
        return
    left = threading.Event()

    def blocked() -> None:
        while not left.is_set() and not event.is_set():
            event.wait(_LOOK_SECONDS)  # a thread that waits without end could never be called back

    threads = DaemonThreads(1)
    call = await threads.start(blocked, name="stop event")
    try:
        await call.finished.wait()
    finally:
        left.set()
        threads.close()
    call.value  # noqa: B018 - raises what the event's wait raised
