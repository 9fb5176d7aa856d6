"""`Door`: the way from another thread to an event loop, of asyncio, uvloop or trio."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import anyio.lowlevel

__all__ = ["Door"]


class Door:
    """An event loop, as a thread sees it; made on the loop.

    Args:
        collect: What is to be called on the loop.

    Attributes:
        loop: The loop itself.
    """

    __slots__ = ("_collect", "_post", "loop")

    def __init__(self, collect: Callable[[], None]) -> None:
        native: Any = anyio.lowlevel.current_token().native_token
        self.loop: object = native
        self._collect = collect
        # anyio has no call that does not wait for the loop.
        self._post: Callable[..., object] = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon

    def is_open(self) -> bool:
        """Whether the loop has not ended."""
        try:
            self._post(_nothing)
        except RuntimeError:
            return False
        return True

    def ring(self) -> None:
        """Have the loop collect; nothing happens where it has ended, for then nobody waits there."""
        with contextlib.suppress(RuntimeError):
            self._post(self._collect)


def _nothing() -> None:
    """What is done to see whether anything can be."""
