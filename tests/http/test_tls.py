"""HTTPS by files of certificate and key, made by openssl."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from self_signed import certificate_in, needs_openssl

from lightning_actors import InMemoryLightningStore, LightningStoreClient, LightningStoreServer
from lightning_actors.errors import ConfigError, StoreUnreachable

pytestmark = [pytest.mark.anyio, needs_openssl]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate for localhost, and its key."""
    return certificate_in(tmp_path_factory.mktemp("tls"))


async def test_a_server_with_a_certificate_is_reached_by_who_trusts_it(files: dict[str, Any]) -> None:
    trusting = ssl.create_default_context(cafile=files["ssl_certfile"])
    with start_blocking_portal("asyncio") as portal:
        server = LightningStoreServer(InMemoryLightningStore(), port=0, **files)
        with portal.wrap_async_context_manager(server):
            assert server.endpoint.startswith("https://127.0.0.1:")
            client = LightningStoreClient(server.endpoint, ssl_context=trusting)
            assert (await client.enqueue_rollout(1)).status == "queuing"
            await client.close()
            doubting = LightningStoreClient(server.endpoint, retry_delays=())
            with pytest.raises(StoreUnreachable, match=r"(?i)certificate"):
                await doubting.statistics()
            await doubting.close()


async def test_an_authority_may_be_named_by_the_environment(
    files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files["ssl_certfile"]))
    with start_blocking_portal("asyncio") as portal:
        server = LightningStoreServer(InMemoryLightningStore(), port=0, **files)
        with portal.wrap_async_context_manager(server):
            client = LightningStoreClient(server.endpoint, retry_delays=())
            assert (await client.enqueue_rollout(1)).status == "queuing"
            async with client:
                assert (await client.enqueue_rollout(2)).status == "queuing"
            await client.close()


async def test_a_link_is_as_safe_as_the_requests(files: dict[str, Any]) -> None:
    trusting = ssl.create_default_context(cafile=files["ssl_certfile"])
    with start_blocking_portal("asyncio") as portal:
        server = LightningStoreServer(InMemoryLightningStore(), port=0, **files)
        with portal.wrap_async_context_manager(server):
            async with LightningStoreClient(server.endpoint, ssl_context=trusting) as client:
                assert client.carrier is not client.routes
                assert (await client.enqueue_rollout(1)).status == "queuing"
            await client.close()
            with pytest.raises(ConfigError, match=r"certificate of 127\.0\.0\.1 is not to be trusted"):
                async with LightningStoreClient(server.endpoint):
                    pytest.fail("it was trusted")


async def test_a_certificate_that_is_none_is_said_at_the_start(files: dict[str, Any]) -> None:
    with start_blocking_portal("asyncio") as portal:
        server = LightningStoreServer(InMemoryLightningStore(), port=0, ssl_certfile=files["ssl_keyfile"])
        with pytest.raises(ConfigError, match="certificate"):
            portal.call(server.start)
