"""The plain calls: an event loop of their own, and an end that nothing can hold up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import anyio

from lightning_actors.detached import runs_a_loop
from lightning_actors.errors import ConfigError
from lightning_actors.trainer.on_request import telling_on_request
from lightning_actors.trainer.result import RunResult
from lightning_actors.trainer.run import Run
from lightning_actors.trainer.signals import heeding_signals
from lightning_actors.types import Dataset

__all__ = ["refuse_inside_loop", "run_plain", "run_to_its_end"]

R = TypeVar("R")

_CLOSING_SECONDS = 1.0


def refuse_inside_loop(call: str) -> None:
    """Say what to await, where an event loop is running already.

    Raises:
        ConfigError: One is.
    """
    if not runs_a_loop():
        return
    raise ConfigError(
        f"trainer.{call} starts an event loop of its own, and one is running here: "
        f"write `await trainer.{call}_async(...)` with the same arguments"
    )


def run_plain(
    make: Callable[[], Run],
    train: Dataset[Any] | None,
    val: Dataset[Any] | None,
    using: AbstractContextManager[None],
) -> RunResult:
    """Execute a run in an event loop made for it.

    Args:
        make: Makes the run, inside the loop.
        train: The tasks to learn from.
        val: The tasks to measure by.
        using: Entered around it all.
    """
    with using:
        return run_to_its_end(lambda: _execute(make, train, val))


def run_to_its_end(
    main: Callable[[], Coroutine[Any, Any, R]],
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> R:
    """Run a coroutine in an event loop made for it; what refuses to end does not hold up the return.

    Args:
        main: Makes it.
        new_loop: Makes the loop.
    """
    loop = new_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        _close(loop)


async def _execute(make: Callable[[], Run], train: Dataset[Any] | None, val: Dataset[Any] | None) -> RunResult:
    run = make()
    with telling_on_request(run.view), run.census:
        with anyio.CancelScope() as scope, heeding_signals(run, scope.cancel):
            return await run.execute(train, val)
        return await run.result()


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop. Unlike ``asyncio.run``, do not wait for ever for tasks that swallow their cancellation."""
    try:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            _, left = loop.run_until_complete(asyncio.wait(pending, timeout=_CLOSING_SECONDS))
            if left:
                _hold(left)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _hold(tasks: set[asyncio.Task[Any]]) -> None:
    """Keep these tasks until the process has ended, and beyond.

    A coroutine that is thrown away is told so by an exception at its await. One that swallowed its cancellation may
    swallow that too, and then go round for ever, now with nobody beside it. What a daemon thread's frame holds is not
    thrown away even when the interpreter shuts down.
    """
    threading.Thread(target=_wait_with, args=(tasks,), name="lightning-actors left behind", daemon=True).start()


def _wait_with(_tasks: set[asyncio.Task[Any]]) -> None:
    threading.Event().wait()
