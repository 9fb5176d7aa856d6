"""The home behind a link: an open client, and a real server in the test's own loop, or on trio in a thread."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from anyio.from_thread import start_blocking_portal
from http_home import lead
from sniffio import current_async_library

from lightning_actors import (
    InMemoryLightningStore,
    LightningStore,
    LightningStoreClient,
    LightningStoreServer,
    SqliteLightningStore,
)
from lightning_actors.actors import Clock
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.http.link.limits import LinkOptions

__all__ = ["over_a_link", "over_a_link_to_a_file"]

_UNLEASED = LinkOptions(lease_seconds=None)
"""The contract is that of claims which nobody named a lease for; and it lets hours go by in one step."""


@asynccontextmanager
async def over_a_link(clock: Clock, _place: Path) -> AsyncGenerator[LightningStore]:
    """The store in memory, served over a link that is kept open."""
    if current_async_library() == "asyncio":
        async with (
            LightningStoreServer(InMemoryLightningStore(clock=clock), port=0, clock=clock) as server,
            _client_of(server, clock) as client,
        ):
            yield client
        return
    follower = VirtualClock(clock.time())
    with start_blocking_portal("asyncio") as portal:
        server = LightningStoreServer(InMemoryLightningStore(clock=follower), port=0, clock=follower)
        with portal.wrap_async_context_manager(server):
            lead(cast("VirtualClock", clock), lambda seconds: portal.call(follower.advance, seconds))
            async with _client_of(server, clock) as client:
                yield client


@asynccontextmanager
async def over_a_link_to_a_file(clock: Clock, place: Path) -> AsyncGenerator[LightningStore]:
    """The store in a file, served over a link that is kept open."""
    async with (
        SqliteLightningStore(place / "store.db", clock=clock) as store,
        LightningStoreServer(store, port=0, clock=clock) as server,
        _client_of(server, clock) as client,
    ):
        yield client


@asynccontextmanager
async def _client_of(server: LightningStoreServer, clock: Clock) -> AsyncGenerator[LightningStoreClient]:
    async with LightningStoreClient(server.endpoint, clock=clock, link_options=_UNLEASED) as client:
        yield client
        await client.close()
