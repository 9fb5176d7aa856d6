"""The homes behind a real server: in the test's own loop, or on trio in a thread with a loop of asyncio's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import pytest
from anyio import sleep
from anyio.from_thread import start_blocking_portal
from sniffio import current_async_library

from lightning_actors import (
    InMemoryLightningStore,
    LightningStore,
    LightningStoreClient,
    LightningStoreServer,
    SqliteLightningStore,
)
from lightning_actors.actors import Clock, Message
from lightning_actors.actors.testkit import VirtualClock

__all__ = [
    "in_a_file",
    "in_memory",
    "over_http",
    "over_http_to_a_file",
    "requests_have_arrived",
    "served",
    "server_of",
]

R = TypeVar("R")

_HOMES: list[CountingClient] = []


@asynccontextmanager
async def served(store: LightningStore) -> AsyncGenerator[LightningStoreServer]:
    """A server of a store: in the test's own loop, or on trio in a thread with a loop of asyncio's."""
    server = LightningStoreServer(store, port=0)
    if current_async_library() == "asyncio":
        async with server:
            yield server
        return
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(server):
        yield server


Opening = Callable[[Clock], AbstractAsyncContextManager[LightningStore]]
"""Opens a store whose time is that of a clock."""


@asynccontextmanager
async def in_memory(clock: Clock) -> AsyncGenerator[LightningStore]:
    """A store in memory."""
    yield InMemoryLightningStore(clock=clock)


@asynccontextmanager
async def in_a_file(clock: Clock, place: Path) -> AsyncGenerator[LightningStore]:
    """A store in a file."""
    async with SqliteLightningStore(place / "store.db", clock=clock) as store:
        yield store


@asynccontextmanager
async def _server(opening: Opening, clock: Clock) -> AsyncGenerator[LightningStoreServer]:
    async with opening(clock) as store, LightningStoreServer(store, port=0, clock=clock) as server:
        yield server


@asynccontextmanager
async def server_of(opening: Opening, clock: Clock) -> AsyncGenerator[LightningStoreServer]:
    """A store and its server: in the test's own loop, or on trio in a thread whose clock goes on with the test's."""
    if current_async_library() == "asyncio":
        async with _server(opening, clock) as server:
            yield server
        return
    follower = VirtualClock(clock.time()) if isinstance(clock, VirtualClock) else clock
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(_server(opening, follower)) as server,
    ):
        if isinstance(clock, VirtualClock):
            with _leading(clock, lambda seconds: portal.call(cast("VirtualClock", follower).advance, seconds)):
                yield server
        else:
            yield server


@asynccontextmanager
async def over_http(clock: Clock, _place: Path) -> AsyncGenerator[LightningStore]:
    """The store in memory, served over HTTP; its client makes a request of each operation."""
    async with server_of(in_memory, clock) as server, _client_of(server, clock) as client:
        yield client


@asynccontextmanager
async def over_http_to_a_file(clock: Clock, place: Path) -> AsyncGenerator[LightningStore]:
    """The store in a file, served over HTTP."""
    async with server_of(partial(in_a_file, place=place), clock) as server, _client_of(server, clock) as client:
        yield client


@contextmanager
def _leading(clock: VirtualClock, follow: Callable[[float], None]) -> Generator[None]:
    """Have another clock, in another thread, go on with this one."""
    advance = clock.advance

    def advance_both(seconds: float) -> None:
        follow(seconds)
        advance(seconds)

    cast("Any", clock).advance = advance_both
    try:
        yield
    finally:
        cast("Any", clock).advance = advance


@asynccontextmanager
async def _client_of(server: LightningStoreServer, clock: Clock) -> AsyncGenerator[LightningStoreClient]:
    client = CountingClient(server, clock)
    _HOMES.append(client)
    try:
        await client.routes.get_acquainted()  # it knows what the server's store can do once it has asked it
        yield client
    finally:
        _HOMES.remove(client)
        await client.close()


async def requests_have_arrived() -> None:
    """Wait until all requests under way wait in the server for what they ask for."""
    # what is under way in the kernel, or in another thread, tells nobody of it
    while any(client.under_way != client.server.waiters for client in _HOMES):  # noqa: ASYNC110
        await sleep(0.001)


class CountingClient(LightningStoreClient):
    """A client that is not open, and knows how many of its operations are under way."""

    def __init__(self, server: LightningStoreServer, clock: Clock) -> None:
        super().__init__(server.endpoint, clock=clock)
        self.server = server
        self.under_way = 0

    async def deliver(self, message: Message[R], /) -> R:
        self.under_way += 1
        try:
            return await super().deliver(message)
        finally:
            self.under_way -= 1

    def watch_queue(self, ready: Callable[[], None], /) -> NoReturn:
        pytest.skip("a client that is not open is told of nothing, and says so")

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> NoReturn:
        pytest.skip("a client that is not open is told of nothing, and says so")
