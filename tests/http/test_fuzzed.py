"""A live server that is sent whatever comes: it refuses what it cannot read, goes on, and keeps nothing of it."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from collections.abc import Generator
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import anyio
import httpx2
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lightning_actors import InMemoryLightningStore, LightningStore, LightningStoreServer, SqliteLightningStore
from lightning_actors.http import ServerLimits
from lightning_actors.http.link.asgi import LinkPart
from lightning_actors.http.link.channel import ChannelClosed
from lightning_actors.http.link.websocket import WebSocketChannel, connect_websocket
from lightning_actors.http.routes import AGL, OPERATIONS, ROUTES

LIMITS = ServerLimits(body_bytes=100_000, batch=100, page=100, waiters=20)
PLACE = {"rollout_id": "ro-mine", "attempt_id": "at-mine"}


class Live:
    """A server in a thread of its own, and a client that blocks."""

    def __init__(self, portal: BlockingPortal, server: LightningStoreServer, store: LightningStore) -> None:
        self.portal = portal
        self.server = server
        self.store = store
        self.http = httpx2.Client(base_url=server.endpoint, trust_env=False, timeout=20)

    def send(self, path: str, content: bytes, headers: dict[str, str], method: str = "POST") -> httpx2.Response:
        """Send a request; the answer is none that a failure would give."""
        answer = self.http.request(method, path, content=content, headers=headers)
        assert answer.status_code < 500 or answer.status_code == 501, answer.text
        assert b"Traceback" not in answer.content
        return answer

    def is_at_rest(self) -> bool:
        """Whether nothing is under way, and it still answers."""
        assert self.http.get(f"{AGL}/health").status_code == 200
        return self.server.waiters == 0


@pytest.fixture(scope="module", params=["memory", "file"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Live]:
    path: Path = tmp_path_factory.mktemp("live") / "store.db"
    with start_blocking_portal("asyncio") as portal:
        store = InMemoryLightningStore() if request.param == "memory" else SqliteLightningStore(path)
        with portal.wrap_async_context_manager(LightningStoreServer(store, port=0, limits=LIMITS)) as server:
            live = Live(portal, server, store)
            yield live
            live.http.close()
        if isinstance(store, SqliteLightningStore):
            portal.call(store.aclose)


def a_request() -> ExportTraceServiceRequest:
    """Spans of several kinds, of an attempt that nobody knows."""
    request = ExportTraceServiceRequest()
    for number in range(3):
        span = request.resource_spans.add().scope_spans.add().spans.add()
        span.trace_id, span.span_id, span.name = bytes(16), number.to_bytes(8, "big"), "step"
        for key, value in PLACE.items():
            span.attributes.add(key=f"agentlightning.{key}").value.string_value = value
        span.attributes.add(key="agentlightning.span_sequence_id").value.int_value = number
        span.events.add(name="said").attributes.add(key="many").value.array_value.values.add().bool_value = True
    return request


WHOLE = a_request().SerializeToString()


@st.composite
def nearly(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes that were right before some of them were changed, lost, doubled or cut off."""
    body = bytearray(whole)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(body)))
        match draw(st.integers(0, 3)):
            case 0:
                body[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                del body[at : at + draw(st.integers(1, 20))]
            case 2:
                body[at:at] = body[at : at + draw(st.integers(1, 40))]
            case _:
                del body[at:]
    return bytes(body)


@settings(max_examples=150)
@given(
    body=st.binary() | nearly(WHOLE) | nearly(gzip.compress(WHOLE)),
    kind=st.sampled_from(["application/x-protobuf", "application/json", "text/plain", "application/json; charset=x"]),
    encoding=st.sampled_from(["", "gzip", "deflate", "identity", "br"]),
)
def test_spans_of_any_form_are_taken_or_refused(live: Live, body: bytes, kind: str, encoding: str) -> None:
    headers = {"content-type": kind, **({"content-encoding": encoding} if encoding else {})}
    answer = live.send("/v1/traces", body, headers)
    assert answer.status_code in {200, 400, 413, 415}
    assert live.is_at_rest()
    statistics = live.portal.call(live.store.statistics)
    assert statistics.get("total_spans") == 0


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(sorted({field.name for kind in OPERATIONS.values() for field in fields(cast("Any", kind))}))
# one that waits as long as it is let has its answer when something ends
PATHS = st.sampled_from(
    [(route.method, AGL + route.path.replace("{", "").replace("}", "")) for route in ROUTES]
    + [("POST", f"/v1/lightning/messages/{name}") for name in (*OPERATIONS, "Fly") if name != "NextCompletion"]
)


@settings(max_examples=300)
@given(
    place=PATHS,
    body=st.dictionaries(FIELDS, JUNK, max_size=4).map(lambda some: json.dumps({**some, "timeout": 0}).encode())
    | JUNK.map(lambda junk: json.dumps(junk).encode())
    | st.binary(max_size=40),
    once=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30) | st.just("me;1;0"),
)
def test_requests_of_any_form_are_answered_or_refused(
    live: Live, place: tuple[str, str], body: bytes, once: str | None
) -> None:
    headers = {"content-type": "application/json", **({} if once is None else {"lightning-once": once})}
    live.send(place[1], body, headers, place[0])
    assert live.is_at_rest()


def test_bombs_are_refused_before_they_take_up_room(live: Live) -> None:
    bomb = gzip.compress(bytes(300_000_000))
    doubled = gzip.compress(bomb)
    headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
    assert live.send("/v1/traces", gzip.compress(b""), headers).status_code == 200
    tracemalloc.start()
    try:
        for body in (bomb, doubled):
            for path in ("/v1/traces", f"{AGL}/queues/rollouts/enqueue"):
                answer = live.send(path, body, {**headers, "content-type": "application/json"})
                assert answer.status_code in {400, 413, 422}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000  # the body as it came, and what the bound lets in of it
    assert live.is_at_rest()


PAYLOADS = [
    *('{"input":1}', '{"rollout_id":"ro-mine"}', '{"worker_id":"w"}', "{}", "[]", "null", "7", "{", '"\\ud800"'),
    *('{"rollout_ids":["ro-mine"],"timeout":null}', '{"holder":"me"}', '{"spans":[]}', "[1,2]", "[" * 200),
    *('{"around":["me",1,0,"EnqueueRollout"],"message":{"input":1}}', '{"around":["me",-1,0,"Fly"],"message":{}}'),
]
HELLO = b'hello {"client":"fuzz"}'
WRONG = [
    b"ping",
    b'hello {"client":"fuzz","version":9}',
    b"",
    b"shout",
    b"reply 1 {}",
    b"ask -1 Statistics {}",
    b"cancel x",
]


def a_frame(draw: random.Random) -> bytes:
    """A line as a client might say it, and now and then as none would."""
    number, payload, name = draw.randrange(50), draw.choice(PAYLOADS), draw.choice([*OPERATIONS, "Fly"])
    watched = draw.choice(['{"attempt_id":"at-1"}', '{"attempt_id":null}', "{}"])
    if draw.random() < 0.02:
        return draw.choice([*WRONG, HELLO, draw.randbytes(draw.randrange(60)).replace(b"\n", b"")])
    line = draw.choice(
        [f"ask {number} {name} {payload}"] * 6
        + [f"items {number} {draw.choice(['AddManySpans', name])} {payload}"] * 2
        + [f"part {number} {payload}", f"last {number} {payload}", f"cancel {number}", f"settled {number}"]
        + [f"credit {number}", f"watch {watched}", f"unwatch {watched}", "ping", "pong"]
    )
    return line.encode()


async def say(endpoint: str, seed: int) -> int:
    """Say any frames in any order over one WebSocket; how many messages were sent before it had enough."""
    draw = random.Random(seed)  # noqa: S311 - what is said, not a secret
    channel: WebSocketChannel = await connect_websocket(endpoint, token=None, ssl_context=None, message_bytes=2**20)
    sent = 0
    try:
        await channel.send(draw.choice([*[HELLO] * 9, *WRONG]))
        for _ in range(draw.randrange(40)):
            await channel.send(b"\n".join(a_frame(draw) for _ in range(draw.randrange(1, 4))))
            sent += 1
    except ChannelClosed:
        pass
    finally:
        await channel.aclose()
    return sent


def test_frames_in_any_order_are_answered_or_end_the_link(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    sent = [live.portal.call(say, live.server.endpoint, seed) for seed in range(200)]
    assert sum(sent) > 400
    (part,) = live.server._parts
    assert isinstance(part, LinkPart)
    hub = part._hub
    while hub.clients:
        live.portal.call(anyio.sleep, 0.001)  # a server is told of an end by its kernel alone
    assert (hub._desks, hub._sessions) == ({}, {})
    assert live.is_at_rest()
    assert "Traceback" not in caplog.text
