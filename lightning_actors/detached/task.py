"""`detached_task`: a task of the running loop outside any task group, and telling its code from ours."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

from anyio.lowlevel import current_token

from lightning_actors.detached.call import DetachedCall

__all__ = ["detached_task", "is_called_by", "is_in_detached_task"]

R = TypeVar("R")

_PACKAGE: Final = str(Path(__file__).parents[1]) + os.sep


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
    start = _start_on_asyncio if _is_on_asyncio() else _start_on_trio
    return start(function, args, name, context)


def _is_on_asyncio() -> bool:
    try:
        if asyncio.current_task() is not None:  # the quick answer; a task of trio's may run in a callback of asyncio's
            return True
    except RuntimeError:
        pass
    return not current_token().backend_class.__module__.endswith("_trio")


async def _run(call: DetachedCall[R], function: Callable[..., Awaitable[R]], args: tuple[Any, ...]) -> None:
    call.has_begun = True
    try:
        running = function(*args)
        del function, args  # what it was called with is its own from here on
        value = await running
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
    function: Callable[..., Awaitable[R]], args: tuple[Any, ...], name: str, context: Context | None
) -> DetachedCall[R]:
    call: _AsyncioCall[R] = _AsyncioCall(name)
    # asyncio itself, because anyio has no task outside a task group
    call.task = asyncio.get_running_loop().create_task(_run(call, function, args), name=name, context=context)
    return call


class _AsyncioCall(DetachedCall[R]):
    """A call that a task of asyncio runs."""

    __slots__ = ("task",)

    task: asyncio.Task[None] | None

    def _cancel(self) -> None:
        if self.task is not None:
            if not self.has_begun:  # a task that is cancelled before its first step could not say how it ended
                self.task.add_done_callback(self._never_began)
            self.task.cancel()

    def _never_began(self, _task: asyncio.Task[None]) -> None:
        self.settle(None, asyncio.CancelledError())

    def settle(self, value: R | None, error: BaseException | None) -> None:
        """Note how it ended."""
        self.task = None  # it holds this call: a circle that only the collector could undo
        super().settle(value, error)


def _start_on_trio(
    function: Callable[..., Awaitable[R]], args: tuple[Any, ...], name: str, context: Context | None
) -> DetachedCall[R]:
    import trio  # noqa: PLC0415 - only where this backend runs

    call: DetachedCall[R] = DetachedCall(name)
    scope = trio.CancelScope()
    call.on_cancel = scope.cancel

    async def within() -> None:
        with scope:
            await _run(call, function, args)

    trio.lowlevel.spawn_system_task(within, name=name, context=context or copy_context())
    return call
