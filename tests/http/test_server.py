"""The server's life: where it listens, who may come in, and how it stops."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest

from lightning_actors import InMemoryLightningStore, LightningStoreServer, RolloutConfig
from lightning_actors.errors import ConfigError, PortInUse, StoreError
from lightning_actors.http import ServerLimits

pytestmark = pytest.mark.anyio


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """A server needs asyncio; what it says on trio has a test of its own."""
    return request.param


def client_of(server: LightningStoreServer, **options: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.endpoint, trust_env=False, **options)


async def test_a_server_serves_its_store_which_stays_usable_beside_it(
    server: LightningStoreServer, store: InMemoryLightningStore, http: httpx2.AsyncClient
) -> None:
    made = (await http.post("/v1/agl/queues/rollouts/enqueue", json={"rollouts": [{"input": {"a": 1}}]})).json()
    rollout = await store.get_rollout_by_id(made[0]["rollout_id"])
    assert rollout is not None
    assert rollout.input == {"a": 1}
    assert await server.get_rollout_by_id(rollout.rollout_id) == rollout
    assert server.port != 0
    assert server.otlp_traces_endpoint() == f"http://127.0.0.1:{server.port}/v1/traces"
    assert server.capabilities.get("otlp_traces") is True
    assert server.run_ledger is store.run_ledger


async def test_it_says_that_it_is_ours_and_alive(http: httpx2.AsyncClient) -> None:
    told = await http.get("/v1/agl/health")
    assert told.json()["status"] == "ok"
    assert told.json()["server"] == "lightning-actors"
    assert told.headers["lightning-actors"] == told.json()["version"]


async def test_a_port_that_one_of_ours_holds_is_said_at_once_and_by_whom(server: LightningStoreServer) -> None:
    with pytest.raises(PortInUse, match=r"by a store server of lightning-actors .*, process \d+") as caught:
        await LightningStoreServer(InMemoryLightningStore(), port=server.port).start()
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", server.port)
    assert isinstance(caught.value, OSError)


async def test_a_port_that_something_else_holds_is_said_too() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port} of 127.0.0.1 is in use, by something that is no store"):
            await LightningStoreServer(InMemoryLightningStore(), port=port).start()


async def test_a_host_that_is_none_of_this_machine_is_an_error() -> None:
    with pytest.raises(ConfigError, match="cannot listen at"):
        await LightningStoreServer(InMemoryLightningStore(), "192.0.2.1", 0, insecure=True).start()
    with pytest.raises(ConfigError, match="no-such-host"):
        await LightningStoreServer(InMemoryLightningStore(), "no-such-host.invalid", 0, insecure=True).start()


async def test_a_server_that_runs_is_not_started_again_and_a_stopped_one_is(store: InMemoryLightningStore) -> None:
    server = LightningStoreServer(store, port=0)
    await server.start()
    with pytest.raises(ConfigError, match="runs already"):
        await server.start()
    await server.stop()
    await server.stop()
    async with server, client_of(server) as client:
        assert (await client.get("/v1/agl/health")).status_code == 200


async def test_idle_connections_and_open_waits_do_not_hold_up_a_stop(store: InMemoryLightningStore) -> None:
    open_one = await store.enqueue_rollout(1)
    done = await store.start_rollout(2)
    await store.update_attempt(done.rollout_id, done.attempt.attempt_id, status="succeeded")
    answers: list[httpx2.Response] = []
    server = LightningStoreServer(store, port=0, grace_seconds=60)
    async with server, client_of(server, timeout=60) as client, anyio.create_task_group() as group:
        await client.get("/v1/agl/health")

        async def wait() -> None:
            body = {"rollout_ids": [open_one.rollout_id, done.rollout_id], "timeout": None}
            answers.append(await client.post("/v1/agl/waits/rollouts", json=body))

        group.start_soon(wait)
        while not (await store.explain_rollout(open_one.rollout_id)).waiters:
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(5):
            await server.stop()
    assert [one["rollout_id"] for one in answers[0].json()] == [done.rollout_id]


async def test_a_wait_ends_when_its_client_goes_away(
    server: LightningStoreServer, store: InMemoryLightningStore
) -> None:
    rollout = await store.enqueue_rollout(1)
    with anyio.fail_after(10):
        async with client_of(server) as client, anyio.create_task_group() as group:
            body = {"rollout_ids": [rollout.rollout_id]}
            group.start_soon(lambda: client.post("/v1/agl/waits/rollouts", json=body, timeout=None))
            while not (await store.explain_rollout(rollout.rollout_id)).waiters:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        while (await store.explain_rollout(rollout.rollout_id)).waiters:
            await anyio.lowlevel.checkpoint()


async def test_deadlines_are_kept_while_nobody_asks(
    server: LightningStoreServer, store: InMemoryLightningStore
) -> None:
    claimed = await store.start_rollout(1, config=RolloutConfig(timeout_seconds=0.05))
    stopped = anyio.Event()
    leave = store.watch_attempt(claimed.attempt.attempt_id, lambda _: stopped.set())
    with anyio.fail_after(10):
        await stopped.wait()
    leave()


async def test_a_store_that_fails_ends_the_server_with_its_error() -> None:
    class Broken(InMemoryLightningStore):
        """Its time cannot be kept."""

        async def keep_time(self) -> None:
            await anyio.sleep(0.01)
            raise StoreError("the disk is gone")

    with anyio.fail_after(10), pytest.raises(StoreError, match="the disk is gone"):
        await LightningStoreServer(Broken(), port=0).run_forever()


async def test_run_forever_serves_until_it_is_cancelled(store: InMemoryLightningStore) -> None:
    server = LightningStoreServer(store, port=0)
    async with anyio.create_task_group() as group:
        group.start_soon(server.run_forever)
        while not server.port:
            await anyio.lowlevel.checkpoint()
        async with client_of(server) as client:
            assert (await client.get("/v1/agl/health")).status_code == 200
        group.cancel_scope.cancel()
    with pytest.raises(httpx2.ConnectError):
        await httpx2.AsyncClient(trust_env=False).get(f"http://127.0.0.1:{server.port}/")


async def test_a_connection_too_many_is_told_so_and_the_others_go_on(store: InMemoryLightningStore) -> None:
    async with LightningStoreServer(store, port=0, limits=ServerLimits(connections=2)) as server:
        async with client_of(server) as first, client_of(server) as second, client_of(server) as third:
            assert (await first.get("/v1/agl/health")).status_code == 200
            assert (await second.get("/v1/agl/health")).status_code == 200
            refused = await third.get("/v1/agl/health")
            assert refused.status_code == 429
            assert "bound for connections is 2" in refused.json()["detail"]
            assert (await first.get("/v1/agl/health")).status_code == 200
        with anyio.fail_after(10):
            while True:
                async with client_of(server) as later:
                    if (await later.get("/v1/agl/health")).status_code == 200:
                        break


def test_to_listen_to_others_needs_a_token_or_the_users_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_ACTORS_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):  # noqa: S104 - to be refused
        with pytest.raises(ConfigError, match="token"):
            LightningStoreServer(InMemoryLightningStore(), host)
    LightningStoreServer(InMemoryLightningStore(), "0.0.0.0", insecure=True)  # noqa: S104 - the user's word
    LightningStoreServer(InMemoryLightningStore(), "0.0.0.0", token="t")  # noqa: S104, S106 - a token's test
    monkeypatch.setenv("LIGHTNING_ACTORS_TOKEN", "t")
    LightningStoreServer(InMemoryLightningStore(), "0.0.0.0")  # noqa: S104 - the variable is a token too


def test_options_of_agent_lightning_are_taken_and_those_with_another_meaning_warn() -> None:
    LightningStoreServer(InMemoryLightningStore(), launch_mode="thread", n_workers=1, tracker=None)
    with pytest.warns(UserWarning, match="n_workers"):
        LightningStoreServer(InMemoryLightningStore(), n_workers=4)
    with pytest.raises(TypeError, match="no option 'colour'"):
        LightningStoreServer(InMemoryLightningStore(), colour="red")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"ssl_certfile": "absent.pem"}, "absent.pem"),
        ({"ssl_keyfile": __file__}, "without a certificate"),
        ({"ssl_keyfile_password": "p"}, "without a certificate"),
    ],
)
def test_files_of_tls_that_do_not_fit_are_said_by_name(files: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        LightningStoreServer(InMemoryLightningStore(), **files)


def test_a_bound_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="page"):
        ServerLimits(page=0)


SERVES: str = """
import asyncio, json, logging, signal, sys
import lightning_actors as agl

def ours(number, frame): ...

async def main():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ours)
    before = {name: (list(logger.handlers), logger.level) for name, logger in loggers().items()}
    async with agl.LightningStoreServer(agl.InMemoryLightningStore(), port=0):
        kept = [signal.getsignal(number) is ours for number in (signal.SIGINT, signal.SIGTERM)]
        after = {name: (list(logger.handlers), logger.level) for name, logger in loggers().items()}
    changed = [name for name in before if before[name] != after.get(name)]
    handled = [name for name, (handlers, level) in after.items() if handlers or (level and name != "root")]
    print(json.dumps({"kept": kept, "changed": changed, "handled": handled}))

def loggers():
    named = {name: one for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    return {"root": logging.root, **named}

asyncio.run(main())
"""


def test_signals_and_logging_stay_the_applications() -> None:
    done = subprocess.run([sys.executable, "-c", SERVES], capture_output=True, text=True, check=True)  # noqa: S603 - our own lines
    told = json.loads(done.stdout)
    assert told["kept"] == [True, True]
    assert told["changed"] == []
    assert not [name for name in told["handled"] if name.startswith(("uvicorn", "lightning_actors", "root"))]
    assert done.stderr == ""


def test_on_trio_it_says_what_to_do() -> None:
    async def start() -> None:
        await LightningStoreServer(InMemoryLightningStore(), port=0).start()

    with pytest.raises(ConfigError, match="lightning-actors store"):
        anyio.run(start, backend="trio")
