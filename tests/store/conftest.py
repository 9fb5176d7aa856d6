"""Each test of the contract runs against every home, on every event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from store_homes import HOMES, Home

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.store import LightningStore


@pytest.fixture
def clock() -> VirtualClock:
    """The store's time, which the test lets pass."""
    return VirtualClock()


@pytest.fixture(params=HOMES.values(), ids=list(HOMES))
def home(request: pytest.FixtureRequest) -> Home:
    """How a store is opened."""
    return request.param


@pytest.fixture
async def store(home: Home, clock: VirtualClock) -> AsyncGenerator[LightningStore]:
    """An empty store."""
    async with home(clock) as opened:
        yield opened
