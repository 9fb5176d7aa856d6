"""A network in memory: links between clients and one server on the same event loop, which can be cut at any moment."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from lightning_actors.http.link.channel import Channel, ChannelClosed
from lightning_actors.http.link.hub import LinkHub
from lightning_actors.http.link.limits import LinkLimits
from lightning_actors.http.served import ServedStore
from lightning_actors.store import LightningStore

__all__ = ["MemoryChannel", "MemoryWire", "channels", "memory_wire"]


class MemoryChannel:
    """One end of a connection.

    Attributes:
        sent: The messages that were sent from here.
        loses_answers: The next answer that arrives here is lost, and the connection with it.
    """

    def __init__(self, sends: MemoryObjectSendStream[bytes], receives: MemoryObjectReceiveStream[bytes]) -> None:
        self._sends = sends
        self._receives = receives
        self.sent: list[bytes] = []
        self.loses_answers = False

    async def send(self, message: bytes) -> None:
        self.sent.append(message)
        try:
            await self._sends.send(message)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise ChannelClosed("the wire was cut") from None

    async def receive(self) -> bytes:
        try:
            message = await self._receives.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise ChannelClosed("the wire was cut") from None
        if self.loses_answers and b"reply" in message:
            self.cut()
            raise ChannelClosed("the wire was cut")
        return message

    async def aclose(self) -> None:
        self.cut()

    def cut(self) -> None:
        """Break it; what is on its way is lost."""
        self._sends.close()
        self._receives.close()


def channels() -> tuple[MemoryChannel, MemoryChannel]:
    """Both ends of a connection."""
    to_server = anyio.create_memory_object_stream[bytes](math.inf)
    to_client = anyio.create_memory_object_stream[bytes](math.inf)
    return MemoryChannel(to_server[0], to_client[1]), MemoryChannel(to_client[0], to_server[1])


class MemoryWire:
    """A server and the way to it.

    Attributes:
        hub: The server, while there is one.
        connections: Both ends of each connection that was made, the client's first.
        is_down: Nobody answers.
        attempts: How often somebody tried to connect.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self.hub: LinkHub | None = None
        self.connections: list[tuple[MemoryChannel, MemoryChannel]] = []
        self.is_down = False
        self.attempts = 0
        self._tasks = tasks
        self._stopping = anyio.Event()

    async def connect(self) -> Channel:
        """Makes a connection: what a `Link` is given."""
        self.attempts += 1
        await anyio.lowlevel.checkpoint()
        if self.is_down or self.hub is None:
            raise ConnectionRefusedError("nobody listens there")
        client, server = channels()
        self.connections.append((client, server))
        self._tasks.start_soon(self._answer, self.hub, server)
        return client

    def lose_the_next_answer(self) -> None:
        """Break the connection when the next answer arrives; the server has carried out what it answers."""
        self.connections[-1][0].loses_answers = True

    def cut(self) -> None:
        """Break all connections."""
        for client, server in self.connections:
            client.cut()
            server.cut()

    async def start(self, store: LightningStore, limits: LinkLimits | None = None) -> None:
        """Start a server."""
        self._stopping = anyio.Event()
        await self._tasks.start(self._serve, store, limits)

    async def stop(self) -> None:
        """Stop it as if it had been killed, and cut its connections."""
        self._stopping.set()
        self.cut()
        while self.hub is not None:
            await anyio.lowlevel.checkpoint()

    async def _serve(self, store: LightningStore, limits: LinkLimits | None, *, task_status: TaskStatus[None]) -> None:
        async with LinkHub(ServedStore(store), limits=limits) as self.hub:
            task_status.started()
            await self._stopping.wait()
        self.hub = None

    @staticmethod
    async def _answer(hub: LinkHub, channel: MemoryChannel) -> None:
        await hub.serve(channel)
        channel.cut()


@asynccontextmanager
async def memory_wire() -> AsyncGenerator[MemoryWire]:
    """A network for the length of a block."""
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        wire = MemoryWire(tasks)
        try:
            yield wire
        except BaseException as error:  # noqa: BLE001 - raised outside the group, so that no ExceptionGroup wraps it
            failure = error
        wire.cut()
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
