"""The client's WebSocket against real servers: one of ours, one without links, one that is none, one that goes."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal

from lightning_actors import InMemoryLightningStore, LightningStoreClient, LightningStoreServer
from lightning_actors.errors import AccessRefused, StoreError, StoreUnreachable
from lightning_actors.http.link.channel import ChannelClosed
from lightning_actors.http.link.limits import LinkOptions
from lightning_actors.http.link.websocket import NoLink, connect_websocket

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def address() -> Generator[str]:
    """A server in a thread of its own, which wants a token."""
    with start_blocking_portal("asyncio") as portal:
        server = LightningStoreServer(InMemoryLightningStore(), port=0, token="sesame")  # noqa: S106 - the test's own
        with portal.wrap_async_context_manager(server):
            yield server.endpoint


async def connected(address: str, token: str | None = "sesame") -> Any:  # noqa: S107 - the test's own
    return await connect_websocket(address, token=token, ssl_context=None, message_bytes=128 * 1024)


async def test_messages_go_there_and_back(address: str) -> None:
    channel = await connected(address)
    await channel.send(b'hello {"client":"client-1"}\nask 1 Statistics {}')
    said = b""
    while b"reply 1 " not in said:
        said += await channel.receive()
    assert said.startswith(b"welcome {")
    await channel.aclose()
    with pytest.raises(ChannelClosed):
        await channel.send(b"ping")


@pytest.mark.parametrize("token", [None, "open"])
async def test_a_wrong_token_is_refused_with_what_the_server_says(address: str, token: str | None) -> None:
    with pytest.raises(AccessRefused, match="LIGHTNING_ACTORS_TOKEN"):
        await connected(address, token)
    client = LightningStoreClient(address, token=token or "none")
    with pytest.raises(AccessRefused):
        async with client:
            pytest.fail("it was let in")


async def test_garbage_is_answered_with_a_last_word_and_the_end(address: str) -> None:
    channel = await connected(address)
    await channel.send(b"\x00\xff garbage")
    assert b'"final":true' in await channel.receive()
    with pytest.raises(ChannelClosed):
        await channel.receive()
    await channel.aclose()


@asynccontextmanager
async def answering(answer: bytes) -> AsyncGenerator[str]:
    """Something that answers every connection with the same bytes, and closes it."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer)

    failure: BaseException | None = None
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django
        try:
            yield f"http://127.0.0.1:{port}"
        except BaseException as error:  # noqa: BLE001 - raised outside the group
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 22\r\nconnection: close\r\n\r\n" + b'{"detail":"Not Found"}'
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("answer", [NOT_FOUND, FORBIDDEN], ids=["404", "403"])
async def test_a_server_without_links_is_known_as_one(answer: bytes) -> None:
    async with answering(answer) as elsewhere:
        with pytest.raises(NoLink, match="the server has no links: it answered 40"):
            await connected(elsewhere)


async def test_a_server_that_is_busy_is_tried_again_later() -> None:
    async with answering(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n") as elsewhere:
        with pytest.raises(ChannelClosed, match="the server answered 503 Service Unavailable"):
            await connected(elsewhere)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n"], ids=["silence", "another protocol"])
async def test_something_that_is_no_server_is_not_taken_for_one(answer: bytes) -> None:
    async with answering(answer) as elsewhere:
        with pytest.raises((ChannelClosed, NoLink)):
            await connected(elsewhere)


async def test_nobody_there_is_unreachable_once_patience_has_ended() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    client = LightningStoreClient(f"http://127.0.0.1:{port}", link_options=LinkOptions(patience=0.3))
    with pytest.raises(StoreUnreachable, match=r"did not answer: there was no connection for 0\.3 s"):
        async with client:
            pytest.fail("there is nobody")


async def test_a_large_batch_does_not_hold_up_a_renewal(address: str) -> None:
    client = LightningStoreClient(address, token="sesame")  # noqa: S106 - the test's own
    async with client:
        text = "x" * 1_000_000
        done: list[str] = []
        async with anyio.create_task_group() as tasks:

            async def enqueue() -> None:
                await client.enqueue_rollout([text] * 10)
                done.append("batch")

            async def renew() -> None:
                await client._link._calls.renew()
                done.append("renewal")

            await client.start_rollout("task")
            tasks.start_soon(enqueue)
            while not client._link._calls.end.has_more_to_say:
                await anyio.lowlevel.checkpoint()
            tasks.start_soon(renew)
        assert done == ["renewal", "batch"]
        with pytest.raises(StoreError, match="less at a time"):
            await client.enqueue_rollout([text] * 70)
    await client.close()
