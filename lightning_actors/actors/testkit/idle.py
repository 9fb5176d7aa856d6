"""Waiting for the moment at which everybody else waits."""

from __future__ import annotations

import asyncio
from typing import Final

import anyio
import anyio.lowlevel

from lightning_actors.actors.testkit.seeded_loop import SeededLoop

__all__ = ["settle", "until_idle"]

ROUNDS: Final = 100


async def settle() -> None:
    """Let every other task run until it waits for something.

    A hundred rounds of the event loop: enough for any chain of that many messages, and a hundred times faster on
    asyncio than ``anyio.wait_all_tasks_blocked``. It does not wait for threads, timers or the network.
    """
    for _ in range(ROUNDS):
        await anyio.lowlevel.checkpoint()


async def until_idle() -> None:
    """Wait until every other task waits for something, as cheaply as the event loop allows.

    trio and a `Schedule`'s loop are asked. Other loops are looked at after `settle`, and where someone is still busy
    then, every tenth of a second. Threads, timers of the machine's own clock and the network are not waited for.
    """
    if in_asyncio():
        loop = asyncio.get_running_loop()
        if isinstance(loop, SeededLoop):
            await loop.until_idle()
            return
        await settle()
    await anyio.wait_all_tasks_blocked()


def in_asyncio() -> bool:
    """Whether the running event loop is asyncio's or one of its kind."""
    return not anyio.lowlevel.current_token().backend_class.__module__.endswith("_trio")
