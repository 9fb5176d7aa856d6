"""Who may come in: the token, the origin of a page, and the name that a request calls this machine by."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from lightning_actors import InMemoryLightningStore, LightningStoreClient, LightningStoreServer
from lightning_actors.errors import AccessRefused, ConfigError
from lightning_actors.http import Guard, ServedStore, app_of
from lightning_actors.http.guard import is_loopback
from lightning_actors.http.parts import ServerPart
from lightning_actors.http.tokens import token_or_environment

pytestmark = pytest.mark.anyio

TOKEN = "s3cret-token"  # noqa: S105 - a test's


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """A server needs asyncio."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def client_of(guard: Guard, **options: Any) -> httpx2.AsyncClient:
    """A client of the application itself, without a network."""
    app = app_of(ServedStore(InMemoryLightningStore()), guard)
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:4747", **options)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f":{password}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (basic(TOKEN), 200),
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (TOKEN, 401),
        (f"Digest {TOKEN}", 401),
        (basic("other"), 401),
        ("Basic !!", 401),
        (b"Bearer \xff\xfe", 401),
    ],
)
async def test_only_who_shows_the_token_comes_in(authorization: Any, status: int) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    async with client_of(Guard(TOKEN)) as client:
        for path in ("/v1/agl/statistics", "/openapi.json", "/v1/agl/nothing"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == (404 if status == 200 and path.endswith("nothing") else status)
        assert (await client.post("/v1/traces", headers=headers)).status_code == (400 if status == 200 else 401)
        assert (await client.get("/v1/agl/health")).status_code == 200
        if status == 401:
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["error"]["type"] == "AccessRefused"
            assert "LIGHTNING_ACTORS_TOKEN" in answer.json()["detail"]


async def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr("hmac.compare_digest", compare)
    async with client_of(Guard(TOKEN)) as client:
        await client.get("/v1/agl/statistics", headers={"authorization": "Bearer guess"})
    assert compared == [(b"guess", TOKEN.encode())]


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        ((), "http://evil.example", 403),
        ((), "null", 403),
        ((), "http://127.0.0.1:4747", 200),
        ((), "http://127.0.0.1:80", 403),
        (("http://app.example",), "http://app.example", 200),
        (("http://app.example",), "https://app.example", 403),
        (("http://app.example",), "http://app.example.evil", 403),
        (("*",), "http://anything.example", 200),
    ],
)
async def test_pages_of_other_origins_are_kept_out(origins: tuple[str, ...], origin: str, status: int) -> None:
    async with client_of(Guard(cors_allow_origins=origins)) as client:
        answer = await client.post("/v1/agl/queues/rollouts/dequeue", headers={"origin": origin})
    assert answer.status_code == status
    if origins and status == 200:
        assert answer.headers["access-control-allow-origin"] in {origin, "*"}
        assert "access-control-allow-credentials" not in answer.headers
    elif not origins:
        assert "access-control-allow-origin" not in answer.headers


async def test_a_browser_may_ask_first_without_the_token() -> None:
    asks = {
        "origin": "http://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    async with client_of(Guard(TOKEN, cors_allow_origins=["http://app.example"])) as client:
        allowed = await client.options("/v1/agl/rollouts", headers=asks)
        refused = await client.options("/v1/agl/rollouts", headers={**asks, "origin": "http://evil.example"})
    assert allowed.status_code == 200
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:4747", 200),
        ("localhost:4747", 200),
        ("LOCALHOST", 200),
        ("[::1]:4747", 200),
        ("127.1.2.3", 200),
        ("store.evil.example:4747", 403),
        ("localhost.evil.example", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
async def test_without_a_token_a_name_that_was_made_to_point_here_is_refused(host: str, status: int) -> None:
    async with client_of(Guard(only_loopback=True)) as client:
        assert (await client.get("/v1/agl/statistics", headers={"host": host})).status_code == status


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"])
def test_loopback_is_told_from_the_rest(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.com", ""])  # noqa: S104 - to be told apart
def test_the_rest_is_told_from_loopback(host: str) -> None:
    assert not is_loopback(host)


async def test_a_websocket_stands_behind_the_same_guard() -> None:
    async def greet(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    app = app_of(ServedStore(InMemoryLightningStore()), Guard(TOKEN), routes=[WebSocketRoute("/ws", greet)])

    async def first(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        scope = {"type": "websocket", "path": "/ws", "raw_path": b"/ws", "query_string": b"", "headers": headers}
        sent: list[Any] = []

        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app({**scope, "subprotocols": [], "root_path": ""}, receive, send)
        return sent[0]

    refused = await first([(b"host", b"127.0.0.1")])
    assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 401)
    foreign = [
        (b"host", b"127.0.0.1"),
        (b"origin", b"http://evil.example"),
        (b"authorization", f"Bearer {TOKEN}".encode()),
    ]
    assert (await first(foreign))["status"] == 403
    assert (await first([(b"authorization", f"Bearer {TOKEN}".encode())]))["type"] == "websocket.accept"


@pytest.mark.parametrize("how", ["argument", "address", "environment"])
async def test_a_client_shows_its_token(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_ACTORS_TOKEN", raising=False)
    async with LightningStoreServer(InMemoryLightningStore(), port=0, token=TOKEN) as server:
        with pytest.raises(AccessRefused, match="wants a token"):
            await LightningStoreClient(server.endpoint).statistics()
        with pytest.raises(AccessRefused, match="not this server's"):
            await LightningStoreClient(server.endpoint, token="other").statistics()  # noqa: S106 - a test's
        address, token = server.endpoint, None
        if how == "argument":
            token = TOKEN
        elif how == "address":
            address = address.replace("http://", f"http://:{TOKEN}@")
        else:
            monkeypatch.setenv("LIGHTNING_ACTORS_TOKEN", TOKEN)
        client = LightningStoreClient(address, token=token)
        assert TOKEN not in repr(client)
        assert TOKEN not in client.otlp_traces_endpoint()
        assert (await client.statistics()).get("total_rollouts") == 0
        await client.close()


@pytest.mark.parametrize("token", ["two words", "new\nline", "ümlaut"])
def test_a_token_that_no_header_can_bear_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="printable"):
        token_or_environment(token)


def test_a_part_of_a_server_is_what_the_protocol_says() -> None:
    assert {"routes", "opened", "drain"} <= set(dir(ServerPart))
