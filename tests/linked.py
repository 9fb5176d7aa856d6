"""A store, a server and a client's link, in memory and in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import TypeVar

from memory_wire import MemoryWire, memory_wire

from lightning_actors.actors import Message
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.http.link.limits import LinkOptions
from lightning_actors.http.link.link import Link
from lightning_actors.store import InMemoryLightningStore, LightningStore

__all__ = ["Linked", "LinkedStore", "linked"]

R = TypeVar("R")


class LinkedStore(LightningStore):
    """A store that is a link and nothing else.

    Args:
        wire: The way to the server.
        clock: The time.
        options: How the link behaves.
        client: Who it is.
    """

    def __init__(
        self, wire: MemoryWire, clock: VirtualClock, options: LinkOptions | None = None, client: str = "client-1"
    ) -> None:
        self.link = Link(
            wire.connect,
            address="memory://",
            client=client,
            options=options,
            clock=clock,
            random=Random(client),  # noqa: S311 - a seed
        )

    async def deliver(self, message: Message[R], /) -> R:
        return await self.link.carry(message)

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        return self.link.watch_queue(ready)

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        return self.link.watch_attempt(attempt_id, stop)

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self.link.opened()

    def leave_within(self, seconds: float, /) -> None:
        self.link.leave_within(seconds)


class Linked:
    """A store that is served, and a client of it that is open.

    Attributes:
        clock: The time of both.
        home: The store.
        wire: The way to it.
        store: The client.
    """

    def __init__(self, clock: VirtualClock, home: LightningStore, wire: MemoryWire, store: LinkedStore) -> None:
        self.clock = clock
        self.home = home
        self.wire = wire
        self.store = store


@asynccontextmanager
async def linked(options: LinkOptions | None = None, home: LightningStore | None = None) -> AsyncGenerator[Linked]:
    """Serve a store and open a client."""
    clock = VirtualClock()
    home = home or InMemoryLightningStore(clock=clock)
    async with memory_wire() as wire:
        await wire.start(home)
        store = LinkedStore(wire, clock, options)
        async with store.opened():
            yield Linked(clock, home, wire, store)
