"""`Channel`: what carries a link's messages, whole and in order, until it breaks."""

from __future__ import annotations

from typing import Protocol

import anyio

__all__ = ["Bell", "Channel", "ChannelClosed"]


class ChannelClosed(Exception):
    """The channel is closed, or broken; the message says why as far as it is known."""


class Channel(Protocol):
    """A two-way stream of messages."""

    async def send(self, message: bytes) -> None:
        """Send a message; wait while the other end takes none.

        Raises:
            ChannelClosed: It is not sent.
        """
        ...

    async def receive(self) -> bytes:
        """The next message.

        Raises:
            ChannelClosed: There will be none.
        """
        ...

    async def aclose(self) -> None:
        """Close it; what was sent still arrives."""
        ...


class Bell:
    """Wakes one task that waits for something to do; rung before, it does not wait."""

    __slots__ = ("_rung",)

    def __init__(self) -> None:
        self._rung: anyio.Event | None = None

    def ring(self) -> None:
        """There is something to do."""
        if self._rung is not None:
            self._rung.set()

    async def wait(self) -> None:
        """Wait until it is rung. What was there to do before must have been done."""
        self._rung = anyio.Event()
        try:
            await self._rung.wait()
        finally:
            self._rung = None
