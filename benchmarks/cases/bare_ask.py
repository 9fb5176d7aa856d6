"""A bare ask: a slot for the reply, a memory stream to send it by, and a task that answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

__all__ = ["BareActor", "Slot"]


class Slot:
    """A message that waits for its reply."""

    __slots__ = ("event", "message", "reply")

    def __init__(self, message: int) -> None:
        self.message = message
        self.event = anyio.Event()
        self.reply = 0


class BareActor:
    """Adds up what it is sent, in a task of its own."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[Slot](1024)
        self._total = 0

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Answer for the length of the block."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._serve)
            yield
            self._send.close()

    async def ask(self, number: int) -> int:
        """Send a number and wait for the sum."""
        slot = Slot(number)
        self._send.send_nowait(slot)
        await slot.event.wait()
        return slot.reply

    async def _serve(self) -> None:
        async with self._receive as receive:
            while True:
                try:
                    slot = receive.receive_nowait()
                except anyio.EndOfStream:
                    return
                except anyio.WouldBlock:
                    try:
                        slot = await receive.receive()
                    except anyio.EndOfStream:
                        return
                self._total += slot.message
                slot.reply = self._total
                slot.event.set()
