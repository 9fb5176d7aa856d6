"""Each test of the contract runs against every home, on every event loop that the home is put on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from store_homes import HOMES, Home

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.store import LightningStore


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the loops that a home is not put on."""
    items[:] = [item for item in items if not _is_left_out(getattr(item, "callspec", None))]


def _is_left_out(call: Any) -> bool:
    params: dict[str, Any] = {} if call is None else call.params
    home = HOMES.get(params.get("home") or params.get("kept_home") or "")
    if home is None or "anyio_backend" not in params:
        return False
    name, options = params["anyio_backend"]
    return ("uvloop" if options.get("use_uvloop") else name) not in home.loops


@pytest.fixture
def its_clock() -> VirtualClock:
    """The time of a home that takes a clock."""
    return VirtualClock()


@pytest.fixture
def clock(request: pytest.FixtureRequest, its_clock: VirtualClock) -> VirtualClock:
    """The store's time, which the test lets pass."""
    for name in {"home", "kept_home"}.intersection(request.fixturenames):
        home: Home = request.getfixturevalue(name)
        if not home.takes_clock:
            pytest.skip("this home has the machine's time")
    return its_clock


@pytest.fixture
def any_object(home: Home) -> None:
    """The test records what JSON cannot hold."""
    if not home.holds_any_object:
        pytest.skip("this home holds what JSON can hold")


@pytest.fixture(params=HOMES)
def home(request: pytest.FixtureRequest) -> Home:
    """How a store is opened."""
    return HOMES[request.param]


@pytest.fixture(params=[name for name, home in HOMES.items() if home.is_kept])
def kept_home(request: pytest.FixtureRequest) -> Home:
    """How a store is opened that is there when it is opened again."""
    return HOMES[request.param]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the store is, for homes that have a place."""
    return tmp_path


@pytest.fixture
async def store(home: Home, its_clock: VirtualClock, place: Path) -> AsyncGenerator[LightningStore]:
    """An empty store."""
    async with home.open(its_clock, place) as opened:
        yield opened
