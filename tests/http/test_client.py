"""The client: from any event loop, tried again where that can do no harm, and clear about what went wrong."""

from __future__ import annotations

import json
import pickle
import re
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.from_thread import start_blocking_portal
from anyio.streams.buffered import BufferedByteReceiveStream

import lightning_actors as agl
from lightning_actors import InMemoryLightningStore, LightningStoreClient, LightningStoreServer
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import (
    BoundExceeded,
    ConfigError,
    InvalidTransition,
    NotJson,
    StoreError,
    StoreUnreachable,
)
from lightning_actors.http import ServerLimits

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def served(store: agl.LightningStore, **options: Any) -> AsyncGenerator[LightningStoreServer]:
    """A server in a thread with a loop of its own, so that the client may be on any."""
    with start_blocking_portal("asyncio") as portal:
        server = LightningStoreServer(store, port=0, **options)
        with portal.wrap_async_context_manager(server):
            yield server


Answer = Callable[[SocketStream], Awaitable[None]]


@asynccontextmanager
async def listening(*answers: Answer) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """Something that answers each request as it is told, the last way for ever; its address, and what it was sent."""
    received: list[bytes] = []
    left = list(answers)

    async def handle(stream: SocketStream) -> None:
        reader = BufferedByteReceiveStream(stream)
        async with stream:
            while True:
                try:
                    received.append(await whole_request(reader))
                except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                    return
                answer = left.pop(0) if len(left) > 1 else left[0]
                await answer(stream)
                if answer is hangs_up:
                    return

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        yield f"http://127.0.0.1:{port_of(listener)}", received
        group.cancel_scope.cancel()


async def whole_request(reader: BufferedByteReceiveStream) -> bytes:
    head = await reader.receive_until(b"\r\n\r\n", 65_536) + b"\r\n\r\n"
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return head + (b"" if length is None else await reader.receive_exactly(int(length[1])))


def port_of(listener: Any) -> int:
    return listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not Django's


def says(status: str, body: str, kind: str = "application/json", more: str = "") -> Answer:
    async def answer(stream: SocketStream) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        await stream.send((head + body).encode())

    return answer


async def hangs_up(stream: SocketStream) -> None:
    """Answers nothing."""


OURS = "lightning-actors: 0.1.0\r\n"
NULL = says("200 OK", "null", more=OURS)
REMEMBERS = says("200 OK", '{"status":"ok","remembers_replies":true}', more=OURS)
FORGETS = says("200 OK", '{"status":"ok"}')
BUSY = says(
    "429 Too Many Requests",
    '{"detail":"x","error":{"type":"BoundExceeded","message":"many","fields":{"bound":"waiters","allowed":3}}}',
    more=OURS + "retry-after: 1\r\n",
)


def hasty(address: str, tries: int = 2) -> LightningStoreClient:
    return LightningStoreClient(address, retry_delays=[0.001] * tries, request_timeout=5)


async def test_one_client_serves_one_loop_after_another_and_leaves_nothing_open() -> None:
    store = InMemoryLightningStore()
    async with served(store) as server:
        client = LightningStoreClient(server.endpoint)

        async def use() -> str:
            return (await client.enqueue_rollout(1)).rollout_id

        ids = [await anyio.to_thread.run_sync(anyio.run, use) for _ in range(2)]
        ids.append(await use())
        assert len(await client.query_rollouts(rollout_id_in=ids)) == 3
        await client.close()
        assert (await client.statistics()).get("total_rollouts") == 3
        await client.close()
        await client.close()


async def test_many_tasks_use_one_client_at_once() -> None:
    store = InMemoryLightningStore()
    async with served(store) as server:
        client = LightningStoreClient(server.endpoint)
        made: list[str] = []

        async def enqueue(number: int) -> None:
            made.append((await client.enqueue_rollout(number)).rollout_id)

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(enqueue, number)
        assert len(set(made)) == 100
        await client.close()


async def test_a_pickled_client_and_a_pickled_server_speak_to_the_same_server() -> None:
    async with served(InMemoryLightningStore(), token="t0ken") as server:  # noqa: S106 - a test's
        client = LightningStoreClient(server.endpoint, token="t0ken", retry_delays=[0.5], request_timeout=7)  # noqa: S106 - a test's
        rollout = await client.enqueue_rollout(1)
        for twin in (pickle.loads(pickle.dumps(client)), pickle.loads(pickle.dumps(server))):  # noqa: S301 - our own bytes
            assert isinstance(twin, LightningStoreClient)
            assert twin.address == client.address
            assert await twin.get_rollout_by_id(rollout.rollout_id) == rollout
            await twin.close()
        await client.close()
    with pytest.raises(TypeError, match="SSL_CERT_FILE"):
        pickle.dumps(LightningStoreClient("https://localhost", ssl_context=ssl.create_default_context()))


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://localhost:4747", "http://localhost:4747"),
        ("http://localhost:4747/", "http://localhost:4747"),
        ("http://localhost:4747/v1/agl", "http://localhost:4747"),
        ("localhost:4747", "http://localhost:4747"),
        ("https://store.example/under/here/", "https://store.example/under/here"),
        ("http://[::1]:4747", "http://[::1]:4747"),
        ("http://user:p%40ss@localhost:1", "http://localhost:1"),
    ],
)
def test_an_address_is_understood_however_it_is_written(given: str, address: str) -> None:
    client = LightningStoreClient(given)
    assert client.address == address
    assert client.token == ("p@ss" if "user" in given else None)
    assert client.otlp_traces_endpoint() == f"{address}/v1/traces"


@pytest.mark.parametrize(
    "address", ["", "ftp://localhost", "http://", "http://localhost:port", "http://localhost:99999"]
)
def test_what_is_no_address_is_an_error_that_shows_one(address: str) -> None:
    with pytest.raises(ConfigError, match="http://localhost:4747"):
        LightningStoreClient(address)


def test_an_option_of_agent_lightning_that_has_no_meaning_here_says_so() -> None:
    LightningStoreClient(health_retry_delays=(0.1, 0.2, 0.5))
    with pytest.warns(UserWarning, match="retry_delays says when"):
        LightningStoreClient(health_retry_delays=(9.0,))


async def test_an_address_where_nothing_listens_is_said_after_all_tries() -> None:
    client = hasty("http://127.0.0.1:9")
    with pytest.raises(StoreUnreachable, match="lightning-actors store") as caught:
        await client.enqueue_rollout(1)
    assert caught.value.address == "http://127.0.0.1:9"
    assert isinstance(caught.value, ConnectionError)


async def test_what_did_not_reach_the_server_is_tried_again() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = port_of(listener)
    await listener.aclose()
    client = LightningStoreClient(f"http://127.0.0.1:{port}", retry_delays=[0.2] * 50)
    async with anyio.create_task_group() as group:
        made: list[agl.Rollout] = []

        async def enqueue() -> None:
            made.append(await client.enqueue_rollout(1))

        group.start_soon(enqueue)
        await anyio.sleep(0.05)
        store = InMemoryLightningStore()
        with start_blocking_portal("asyncio") as portal:
            server = LightningStoreServer(store, port=port)
            with portal.wrap_async_context_manager(server), anyio.fail_after(20):
                while not made:  # noqa: ASYNC110 - in another thread
                    await anyio.sleep(0.01)
        assert len(await store.query_rollouts()) == 1
    await client.close()


async def test_a_read_whose_answer_was_lost_is_asked_again() -> None:
    async with listening(hangs_up, hangs_up, NULL) as (address, received):
        client = hasty(address)
        assert await client.get_latest_resources() is None
        assert len(received) == 3
        await client.close()


async def test_a_change_whose_answer_was_lost_is_repeated_where_the_server_knows_it_again() -> None:
    worker = says("200 OK", '{"worker_id":"w"}', more=OURS)
    async with listening(hangs_up, REMEMBERS, worker) as (address, received):
        client = hasty(address)
        assert (await client.update_worker("w")).worker_id == "w"
        first, health, second = received
        assert b"GET /v1/agl/health" in health
        assert once_of(first) == once_of(second)
        assert once_of(first).split(b";")[1:] == [b"1", b"1"]
        await client.close()


async def test_a_change_whose_answer_was_lost_is_not_repeated_where_it_would_be_done_twice() -> None:
    async with listening(hangs_up, FORGETS) as (address, received):
        client = hasty(address)
        with pytest.raises(StoreUnreachable):
            await client.update_worker("w")
        assert len(received) == 2
        await client.close()


@pytest.mark.parametrize(("kind", "more", "times"), [("StoreError", "", 1), ("StoreClosed", "retry-after: 1\r\n", 3)])
async def test_a_failure_is_asked_again_about_where_the_server_says_that_it_may_pass(
    kind: str, more: str, times: int
) -> None:
    body = f'{{"detail":"x","error":{{"type":"{kind}","message":"no","fields":{{}}}}}}'
    async with listening(says("503 Service Unavailable", body, more=OURS + more)) as (address, received):
        client = hasty(address)
        with pytest.raises(StoreError, match="no"):
            await client.get_latest_resources()
        assert len(received) == times
        await client.close()


async def test_a_server_that_is_busy_is_asked_again_and_then_believed() -> None:
    async with listening(BUSY, BUSY, NULL) as (address, received):
        client = hasty(address)
        assert await client.get_latest_resources() is None
        assert len(received) == 3
        await client.close()
    async with listening(BUSY) as (address, received):
        client = hasty(address)
        with pytest.raises(BoundExceeded) as caught:
            await client.get_latest_resources()
        assert (caught.value.bound, caught.value.allowed, len(received)) == ("waiters", 3, 3)
        await client.close()


def once_of(request: bytes) -> bytes:
    """The header by which a request is known again."""
    (line,) = [line for line in request.split(b"\r\n") if line.startswith(b"lightning-once: ")]
    return line.removeprefix(b"lightning-once: ")


async def test_numbers_say_which_answers_are_needed_no_more() -> None:
    worker = says("200 OK", '{"worker_id":"w"}', more=OURS)
    async with listening(worker) as (address, received):
        client = hasty(address)
        await client.update_worker("w")
        await client.update_worker("w")
        assert [once_of(request).split(b";")[1:] for request in received] == [[b"1", b"1"], [b"2", b"2"]]
        assert len({once_of(request).split(b";")[0] for request in received}) == 1
        await client.close()


@pytest.mark.parametrize(
    ("answer", "error", "says_so"),
    [
        (says("200 OK", "<html>", "text/html"), StoreUnreachable, "is no store"),
        (says("404 Not Found", "<html>", "text/html"), StoreUnreachable, "is no store"),
        (says("502 Bad Gateway", "", "text/plain"), StoreUnreachable, "is no store"),
        (says("200 OK", '{"total_rollouts": "many"}', more=OURS), StoreError, "cannot be read"),
        (says("500 Oh", "{}", more=OURS), StoreError, "answered 500"),
        (says("500 Oh", '{"detail":"Internal server error","error_type":"KeyError"}'), StoreError, "KeyError"),
    ],
)
async def test_what_is_no_store_or_no_answer_is_said(answer: Answer, error: type[Exception], says_so: str) -> None:
    async with listening(answer) as (address, _):
        client = hasty(address, tries=0)
        with pytest.raises(error, match=says_so):
            await client.statistics()
        await client.close()


async def test_errors_are_those_of_the_store_with_their_fields() -> None:
    store = InMemoryLightningStore()
    async with served(store) as server:
        client = LightningStoreClient(server.endpoint)
        done = await client.start_rollout(1)
        await client.update_attempt(done.rollout_id, done.attempt.attempt_id, status="succeeded")
        with pytest.raises(InvalidTransition) as caught:
            await client.update_attempt(done.rollout_id, done.attempt.attempt_id, status="running")
        assert (caught.value.before, caught.value.after) == ("succeeded", "running")
        with pytest.raises(ValueError, match="cannot sort by 'colour'"):
            await client.query_rollouts(sort_by="colour")
        with pytest.raises(NotJson) as refused:
            await client.enqueue_rollout({"tags": {1, 2}})
        assert refused.value.place == "input['tags']"
        await client.close()


async def test_ids_that_a_path_cannot_bear_are_sent_another_way() -> None:
    async with served(InMemoryLightningStore()) as server:
        client = LightningStoreClient(server.endpoint)
        for name in ("host/1", "..", "latest", "search", "a b", "ü", "?x=1#y", "%2F", ""):
            assert (await client.update_worker(name, {"n": 1})).worker_id == name
            assert (await client.get_worker_by_id(name)) is not None
            assert (await client.update_resources(name, {})).resources_id == name
            assert (await client.get_resources_by_id(name)) is not None
        await client.close()


class Policy(agl.Resource):
    """A user's own resource."""

    resource_type: str = "client-policy"
    weights: tuple[float, ...] = ()


async def test_a_resource_of_the_users_own_comes_back_from_a_server() -> None:
    async with served(InMemoryLightningStore()) as server:
        client = LightningStoreClient(server.endpoint)
        await client.add_resources({"policy": Policy(weights=(0.5, 1.5))})
        latest = await client.get_latest_resources()
        assert latest is not None
        assert latest.resources == {"policy": Policy(weights=(0.5, 1.5))}
        await client.close()


async def test_more_records_than_a_page_holds_come_page_by_page() -> None:
    store = InMemoryLightningStore()
    async with served(store, limits=ServerLimits(page=10)) as server:
        client = LightningStoreClient(server.endpoint)
        for number in range(35):
            await client.enqueue_rollout(number)
        assert [rollout.input for rollout in await client.query_rollouts()] == list(range(35))
        page = await client.query_rollouts(offset=20)
        assert ([rollout.input for rollout in page], page.limit, page.offset, page.total) == (
            list(range(20, 35)),
            -1,
            20,
            35,
        )
        assert len(await client.query_rollouts(limit=10)) == 10
        with pytest.raises(BoundExceeded, match="page is 10"):
            await client.query_rollouts(limit=11)
        await client.close()


async def test_a_long_page_is_whole() -> None:
    store = InMemoryLightningStore()
    async with served(store) as server:
        client = LightningStoreClient(server.endpoint)
        await client.enqueue_many_rollouts([agl.EnqueueRolloutRequest(input={"n": number}) for number in range(1_001)])
        assert [rollout.input["n"] for rollout in await client.query_rollouts()] == list(range(1_001))
        await client.close()


async def test_too_much_at_once_is_refused_with_the_bound() -> None:
    limits = ServerLimits(batch=5, body_bytes=2_000)
    async with served(InMemoryLightningStore(), limits=limits) as server:
        client = LightningStoreClient(server.endpoint)
        with pytest.raises(BoundExceeded, match="batch is 5") as caught:
            await client.enqueue_many_rollouts([agl.EnqueueRolloutRequest(input=number) for number in range(6)])
        assert (caught.value.bound, caught.value.allowed) == ("batch", 5)
        with pytest.raises(BoundExceeded, match="2,000 bytes"):
            await client.enqueue_rollout("x" * 3_000)
        assert (await client.statistics()).get("total_rollouts") == 0
        await client.close()


async def test_too_many_waiters_are_refused() -> None:
    store = InMemoryLightningStore()
    async with served(store, limits=ServerLimits(waiters=1)) as server:
        client = hasty(server.endpoint, tries=0)
        open_one = await client.enqueue_rollout(1)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: client.wait_for_rollouts(rollout_ids=[open_one.rollout_id]))
            while not server.waiters:  # noqa: ASYNC110 - in another thread
                await anyio.sleep(0.001)
            with pytest.raises(BoundExceeded, match="waiters is 1"):
                await client.wait_for_rollouts(rollout_ids=[open_one.rollout_id], timeout=5)
            assert await client.wait_for_rollouts(rollout_ids=[open_one.rollout_id], timeout=0) == []
            group.cancel_scope.cancel()
        await client.close()


async def test_a_wait_that_is_answered_early_is_asked_again_after_a_pause() -> None:
    clock = VirtualClock()
    async with (
        listening(REMEMBERS, says("200 OK", "[]", more=OURS)) as (address, received),
        anyio.create_task_group() as group,
    ):
        client = LightningStoreClient(address, clock=clock)
        answers: list[Any] = []

        async def wait() -> None:
            answers.append(await client.wait_for_rollouts(rollout_ids=["ro-1"], timeout=2.5))

        group.start_soon(wait)
        for seconds in (1, 1, 0.5):
            await clock.until_asked()
            clock.advance(seconds)
        with anyio.fail_after(10):
            while not answers:  # noqa: ASYNC110 - a request is under way
                await anyio.sleep(0.001)
        assert answers == [[]]
        asked = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in received if b"/waits/" in request]
        assert [ask["timeout"] for ask in asked] == [2.5, 1.5, 0.5, 0]
        await client.close()


async def test_a_client_that_is_not_open_cannot_be_told_of_anything() -> None:
    client = LightningStoreClient("http://127.0.0.1:9")
    with pytest.raises(StoreError, match="async with client"):
        client.watch_queue(lambda: None)
    with pytest.raises(StoreError, match="async with client"):
        client.watch_attempt("at-1", lambda _: None)
