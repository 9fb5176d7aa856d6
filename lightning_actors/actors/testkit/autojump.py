"""Time that goes on by itself, whenever everybody waits."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

import anyio

from lightning_actors.actors.plain_group import PlainTaskGroup
from lightning_actors.actors.testkit.idle import until_idle

__all__ = ["Stuck", "autojumping"]


class Stuck(AssertionError):
    """Everybody waits, and nothing is due: nothing will ever happen."""


class _Jumping(Protocol):
    """What is asked of a clock that goes on by itself."""

    def advance_to_next(self) -> bool:
        """Go on to the moment at which the next scope falls due, if there is one."""
        ...

    async def until_asked(self) -> None:
        """Wait until somebody waits for the clock."""
        ...


@asynccontextmanager
async def autojumping(clock: _Jumping, stuck_seconds: float) -> AsyncGenerator[None]:
    """Move a clock for the length of a block; what the block raises leaves it as it is.

    Raises:
        Stuck: Everybody has waited for ``stuck_seconds`` of the machine's own time, and nothing is due.
    """

    async def jump() -> None:
        while True:
            await until_idle()
            if clock.advance_to_next():
                continue
            with anyio.move_on_after(stuck_seconds) as scope:
                await clock.until_asked()
            if scope.cancelled_caught:
                raise Stuck(_who_waits(stuck_seconds))

    async with PlainTaskGroup() as group:
        group.start_soon(jump, name="autojump")
        yield
        group.cancel_scope.cancel()


def _who_waits(seconds: float) -> str:
    names = ", ".join(sorted(repr(task.name) for task in anyio.get_running_tasks() if task.name != "autojump"))
    return f"everybody has waited for {seconds:g} s, and nothing is due: {names}"
