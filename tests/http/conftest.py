"""What the tests of the server share: a server on a free port, and a plain HTTP client."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx2
import pytest

from lightning_actors import InMemoryLightningStore, LightningStoreServer


@pytest.fixture
async def store() -> InMemoryLightningStore:
    """The store that is served."""
    return InMemoryLightningStore()


@pytest.fixture
async def server(store: InMemoryLightningStore) -> AsyncGenerator[LightningStoreServer]:
    """A server of that store."""
    async with LightningStoreServer(store, port=0) as serving:
        yield serving


@pytest.fixture
async def http(server: LightningStoreServer) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client that knows nothing of stores."""
    async with httpx2.AsyncClient(base_url=server.endpoint, trust_env=False) as client:
        yield client
