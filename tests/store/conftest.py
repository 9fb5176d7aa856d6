"""Each test of the contract runs against every home, on every event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from store_homes import HOMES, ON_ONE_LOOP, Home

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.store import LightningStore


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the loops on which a home has nothing to show that another has not."""
    items[:] = [item for item in items if not _is_left_out(getattr(item, "callspec", None))]


def _is_left_out(call: Any) -> bool:
    params: dict[str, Any] = {} if call is None else call.params
    return params.get("home") in ON_ONE_LOOP and params.get("anyio_backend") != ("asyncio", {"use_uvloop": False})


@pytest.fixture
def clock() -> VirtualClock:
    """The store's time, which the test lets pass."""
    return VirtualClock()


@pytest.fixture(params=HOMES)
def home(request: pytest.FixtureRequest) -> Home:
    """How a store is opened."""
    return HOMES[request.param]


@pytest.fixture
async def store(home: Home, clock: VirtualClock) -> AsyncGenerator[LightningStore]:
    """An empty store."""
    async with home(clock) as opened:
        yield opened
