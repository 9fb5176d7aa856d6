"""The homes behind a link: an open client, and a real server in the test's own loop, or on trio in a thread."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from http_home import Opening, in_a_file, in_memory, server_of

from lightning_actors import LightningStore, LightningStoreClient
from lightning_actors.actors import Clock
from lightning_actors.http.link.limits import LinkOptions

__all__ = ["linked", "over_a_link", "over_a_link_to_a_file"]

_UNLEASED = LinkOptions(lease_seconds=None)
"""The contract is that of claims which nobody named a lease for; and it lets hours go by in one step."""


@asynccontextmanager
async def over_a_link(clock: Clock, _place: Path) -> AsyncGenerator[LightningStore]:
    """The store in memory, served over a link that is kept open."""
    async with linked(in_memory, clock) as client:
        yield client


@asynccontextmanager
async def over_a_link_to_a_file(clock: Clock, place: Path) -> AsyncGenerator[LightningStore]:
    """The store in a file, served over a link that is kept open."""
    async with linked(partial(in_a_file, place=place), clock) as client:
        yield client


@asynccontextmanager
async def linked(opening: Opening, clock: Clock) -> AsyncGenerator[LightningStore]:
    """A store behind a server, asked over a link."""
    async with (
        server_of(opening, clock) as server,
        LightningStoreClient(server.endpoint, clock=clock, link_options=_UNLEASED) as client,
    ):
        yield client
