"""Frames of any kind in any order over a real WebSocket: a server answers, or ends the connection, and is as it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Sequence
from typing import Any, Final

import anyio
import httpx2
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from lightning_actors import InMemoryLightningStore, LightningStoreServer, SqliteLightningStore
from lightning_actors.http import ServerLimits
from lightning_actors.http.link.asgi import LinkPart
from lightning_actors.http.link.limits import LinkLimits
from lightning_actors.http.link.operations import OPERATIONS as BY_LINK
from lightning_actors.http.routes import HEALTH, LINK, OPERATIONS
from lightning_actors.store.json_data import field_names

Json = st.SearchStrategy[Any]
Home = InMemoryLightningStore | SqliteLightningStore

SMALL: Final = LinkLimits(
    part_bytes=256, message_bytes=4096, window_bytes=2048, payload_bytes=8192, asks=8, waits=4, watches=6
)
INTERNAL_ERROR: Final = 1011
"""How a WebSocket is closed whose server has crashed."""
TOO_BIG: Final = 1009


class SmallServer(LightningStoreServer):
    """Takes so little that its bounds are met."""

    def _make_parts(self) -> Sequence[LinkPart]:
        self.links = LinkPart(self._served, limits=SMALL)
        return (self.links,)


class Fuzzed:
    """A server in a thread, and what was logged as an error."""

    def __init__(self, portal: BlockingPortal, server: SmallServer, store: Home) -> None:
        self.server = server
        self.http = httpx2.Client(base_url=server.endpoint, trust_env=False, timeout=20)
        self.errors: list[str] = []
        self._portal = portal
        self._store = store

    def check(self) -> None:
        """It answers, nothing of any client is left in it, and nothing went wrong that nobody foresaw."""
        assert self.http.get(HEALTH).json()["status"] == "ok"
        self._portal.call(self._until_all_have_gone)
        assert self.errors == []

    async def _until_all_have_gone(self) -> None:
        hub = self.server.links._hub
        with anyio.fail_after(10):
            # nobody is told of the moment at which the server has read that a socket was closed
            while hub._sessions or hub._desks or left_in(self._store):  # noqa: ASYNC110
                await anyio.sleep(0.001)


def left_in(store: Home) -> int:
    """How many wait or watch there."""
    if isinstance(store, InMemoryLightningStore):
        return len(store._clerk.waiters) + len(store._watchers)
    reception = store._reception
    return len(reception._writer.clerk.waiters) + len(reception.watchers) + reception._in_flight


class Errors(logging.Handler):
    """Notes what is logged as an error."""

    def __init__(self, noted: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._noted = noted

    def emit(self, record: logging.LogRecord) -> None:
        self._noted.append(self.format(record))


@pytest.fixture(scope="module", params=["memory", "file"])
def fuzzed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Fuzzed]:
    folder = tmp_path_factory.mktemp("store")
    store = InMemoryLightningStore() if request.param == "memory" else SqliteLightningStore(folder / "store.db")
    with start_blocking_portal("asyncio") as portal:
        server = SmallServer(store, port=0, limits=ServerLimits(batch=20, page=50))
        with portal.wrap_async_context_manager(server):
            noted = Fuzzed(portal, server, store)
            handler = Errors(noted.errors)
            loggers = [logging.getLogger(name) for name in ("lightning_actors", "uvicorn.error", "asyncio")]
            for logger in loggers:
                logger.addHandler(handler)
            with noted.http:
                yield noted
            for logger in loggers:
                logger.removeHandler(handler)
        if isinstance(store, SqliteLightningStore):
            portal.call(store.aclose)


NUMBERS: Json = st.integers() | st.sampled_from([2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63)]) | st.floats()
SCALARS: Json = st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | st.just("\ud800")
JUNK: Json = st.recursive(SCALARS, lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(max_size=8), some))
FIELDS = sorted({name for kind in OPERATIONS.values() for name in field_names(kind)} | {"rollouts", "worker_ids"})
OBJECTS: Json = st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=5)


def written(value: Any) -> bytes:
    return value.encode(errors="replace") if isinstance(value, str) else json.dumps(value).encode()


QUICK = settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

SMALL_NUMBERS = st.integers(0, 12)
ASKED: Json = st.fixed_dictionaries(
    {},
    optional={
        "input": st.integers(0, 3),
        "rollout_ids": st.lists(st.sampled_from(["ro-none"]), max_size=3),
        "requests": st.lists(st.just({"input": 1}), max_size=3),
        "spans": st.just([]),
        "key": st.sampled_from(["a", ""]),
        "holder": st.just("client-1"),
        "limit": st.integers(-2, 3),
        "timeout": st.none(),
    },
)


def frame(verb: str, number: int, name: str, rest: bytes) -> bytes:
    if verb in {"ask", "items"}:
        return b"%b %d %b %b" % (verb.encode(), number, name.encode(), rest)
    if verb in {"watch", "unwatch", "hello", "bye"}:
        return verb.encode() + b" " + rest
    return b"%b %d" % (verb.encode(), number) + (b" " + rest if verb in {"part", "last"} else b"")


RESTS = st.one_of(
    ASKED.map(written),
    OBJECTS.map(written),
    st.sampled_from([b"{}", b"[]", b"[{}]", b"null", b'{"attempt_id":"at-1"}', b'{"client":""}', b'{"reason":"x"}']),
    st.binary(max_size=60),
    st.sampled_from(
        [b"x" * 3000, b'{"input":"%b"}' % (b"x" * 3000), b"ask 3 Statistics {}", b'{"around":["c",1,0,"X"]}']
    ),
)
VERBS = [*["items", "part", "last", "cancel", "settled", "credit", "watch", "unwatch", "ping", "hello"], *["ask"] * 3]
MEANT = [
    b'EnqueueRollout {"input":1}',
    b'EnqueueManyRollouts {"requests":[]}',
    b'StartRollout {"input":1,"worker_id":"w"}',
    b"DequeueRollout {}",
    b'UpdateWorker {"worker_id":"w"}',
    b'AddManySpans {"spans":[]}',
    b'RenewLeases {"holder":"client-1"}',
    b'WaitForRollouts {"rollout_ids":[]}',
    b"NextCompletion {}",
    b'QueryRollouts {"limit":2}',
    b"Statistics {}",
    b'Once {"around":["client-1",3,0,"EnqueueRollout"],"message":{"input":1}}',
    b'Once {"around":["client-1",3,0,"Statistics"],"message":{}}',
    b'Once {"around":["",9223372036854775808,0,"EnqueueRollout"],"message":{"input":1}}',
]


def ask(number: int, what: bytes) -> bytes:
    return b"ask %d %b" % (number, what)


ASKS = st.builds(ask, SMALL_NUMBERS, st.sampled_from(MEANT))
FRAMES = st.one_of(
    st.builds(frame, st.sampled_from(VERBS), SMALL_NUMBERS, st.sampled_from([*BY_LINK, "Nothing"]), RESTS),
    ASKS,
    ASKS,
    st.binary(max_size=30),
)
MESSAGES_OF_FRAMES = st.lists(st.lists(FRAMES, min_size=1, max_size=6).map(b"\n".join), max_size=12)
HELLOS = st.sampled_from(
    [
        b'hello {"client":"client-1"}',
        b'hello {"client":"client-1"}',
        b'hello {"client":"client-2","settled":9,"payload_bytes":-1}',
        b'hello {"client":""}',
        b'hello {"client":"c","settled":-9223372036854775809}',
        b"ping",
        b"",
    ]
)


def talk(link: ClientConnection, messages: Sequence[bytes | str]) -> int | None:
    """Say all of it, hear what comes until an answer to the last, or the end; the code of the end."""
    try:
        for message in messages:
            link.send(message)
        link.send(b"ping")
        while b"pong" not in link.recv(timeout=20, decode=False):
            pass
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code
    return None


@QUICK
@given(HELLOS, MESSAGES_OF_FRAMES, st.booleans())
def test_frames_of_any_kind_in_any_order_are_answered_or_end_their_connection(
    fuzzed: Fuzzed,
    hello: bytes,
    messages: list[bytes],
    is_text: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    address = fuzzed.server.endpoint.replace("http", "ws") + LINK
    with connect(address, proxy=None, compression=None, close_timeout=5) as link:
        assert talk(link, [hello.decode() if is_text else hello, *messages]) != INTERNAL_ERROR
    fuzzed.check()


def test_a_message_that_is_too_long_for_a_websocket_ends_its_connection(fuzzed: Fuzzed) -> None:
    with connect(fuzzed.server.endpoint.replace("http", "ws") + LINK, proxy=None, compression=None) as link:
        code = talk(link, [b'hello {"client":"c"}', b"x" * 1_000_000])
        assert code in {TOO_BIG, None}  # None where the connection was gone before the server's last word was read
        assert link.close_code is not None
    fuzzed.check()
