"""``store``, ``runner`` and ``explain``: processes of their own that meet at a store."""

from __future__ import annotations

import os
import signal
import ssl
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from processes import Child, Children, children
from self_signed import certificate_in, needs_openssl

from lightning_actors import LightningStoreClient

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a parent can send"),
]

AGENTS: Final = """
import anyio
from lightning_actors import LitAgent, rollout

@rollout
async def quick(task: str) -> float:
    return float(len(task))

@rollout
async def endless(task: str) -> float:
    print("begun", flush=True)
    await anyio.sleep_forever()

@rollout
def counts(task: int) -> float:
    return task + 1.0

@rollout
async def patient(task: str) -> float:
    print("begun", flush=True)
    with await anyio.to_thread.run_sync(open, task) as word:
        return float(word.read())

def plain(task):
    return 1.0

class Older(LitAgent):
    def rollout(self, task, resources, rollout):
        return 0.5

number = 7
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the agents are."""
    folder = tmp_path_factory.mktemp("agents")
    (folder / "my_agents.py").write_text(AGENTS)
    return folder


@pytest.fixture(scope="module")
def shared() -> Generator[Children]:
    with children() as started:
        yield started


@pytest.fixture
def started() -> Generator[Children]:
    with children() as them:
        yield them


@pytest.fixture(scope="module")
def store(shared: Children) -> Child:
    """A store that many tests share."""
    return shared.command("store", "--port", "0")


@pytest.fixture(scope="module")
def address(store: Child) -> str:
    return store.until_says("store in memory listens at").rpartition(" ")[2]


@pytest.fixture
def anyio_backend() -> str:
    """One loop: what is tested here are processes."""
    return "asyncio"


async def test_runners_run_what_is_queued_and_drain_when_they_are_told_to_stop(
    started: Children, folder: Path, address: str
) -> None:
    runner = started.command("runner", "--agent", "my_agents:quick", "-n", "8", "--store", address, cwd=folder)
    async with LightningStoreClient(address) as client:
        ids = [(await client.enqueue_rollout("x" * number)).rollout_id for number in range(20)]
        ended = await client.wait_for_rollouts(rollout_ids=ids, timeout=40)
        assert [one.status for one in ended] == ["succeeded"] * 20
        workers = await client.query_workers()
        assert {worker.worker_id.rpartition("-")[2] for worker in workers} >= {"0", "7"}
    runner.send(signal.SIGTERM)
    assert runner.ended() == 0
    assert any("stopping" in line and "SIGTERM" in line for line in runner.lines)


def test_runners_that_are_yet_to_reach_their_store_stop_when_they_are_told_to(started: Children, folder: Path) -> None:
    runner = started.command("runner", "--agent", "my_agents:quick", "--store", "http://127.0.0.1:9", cwd=folder)
    runner.until_says("store_unreachable")
    runner.send(signal.SIGTERM)
    assert runner.ended() == 0
    assert "Traceback" not in "\n".join(runner.lines)


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (
            "my_agents:quck",
            "it has 'LitAgent', 'Older', 'counts', 'endless', 'patient', 'quick'. Did you mean",
        ),
        ("my_agents:plain", "<function plain at"),
        ("my_agents:number", "is 7, and no agent: write a function with @rollout, or subclass LitAgent"),
        ("your_agents:quick", "No module named 'your_agents'. The working directory, {folder}, has my_agents"),
        ("quick", "'quick' is not an import path: write 'package.module:Name'"),
    ],
)
def test_a_wrong_path_says_what_was_found_there(started: Children, folder: Path, agent: str, words: str) -> None:
    runner = started.command("runner", "--agent", agent, cwd=folder)
    assert runner.ended() == 2
    assert words.format(folder=folder) in runner.lines[-1]
    assert runner.lines[-1].startswith("error: --agent: ")
    assert "Traceback" not in "\n".join(runner.lines)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=lambda stop: stop.name)
async def test_what_runs_when_the_signal_comes_ends_as_it_would_have(
    started: Children, folder: Path, address: str, tmp_path: Path, stop: signal.Signals
) -> None:
    pipe = tmp_path / "word"
    os.mkfifo(pipe)
    runner = started.command(
        *("runner", "--agent", "my_agents:patient", "-n", "1", "--store", address, "--grace", "60"), cwd=folder
    )
    async with LightningStoreClient(address) as client:
        rollout = await client.enqueue_rollout(str(pipe))
        runner.until_says("begun")
        left = await client.enqueue_rollout("nobody takes this one")
        runner.send(stop)
        runner.until_says("stopping")
        pipe.write_text("0.5")
        assert runner.ended() == 0
        (ended,) = await client.wait_for_rollouts(rollout_ids=[rollout.rollout_id], timeout=0)
        assert ended.status == "succeeded"
        assert not await client.query_attempts(left.rollout_id)
        await client.update_rollout(left.rollout_id, status="cancelled")


async def test_a_second_signal_cancels_what_still_runs(started: Children, folder: Path, address: str) -> None:
    runner = started.command("runner", "--agent", "my_agents:endless", "--store", address, "--grace", "600", cwd=folder)
    async with LightningStoreClient(address) as client:
        rollout = await client.enqueue_rollout("task")
        runner.until_says("begun")
        runner.send(signal.SIGINT)
        runner.until_says("stopping")
        assert (await client.get_latest_attempt(rollout.rollout_id)).status == "running"  # pyright: ignore[reportOptionalMemberAccess]  # it has begun
        runner.send(signal.SIGINT)
        assert runner.ended() == 130
        (ended,) = await client.wait_for_rollouts(rollout_ids=[rollout.rollout_id], timeout=20)
        assert ended.status == "cancelled"


async def test_cancelling_a_rollout_reaches_the_runner_in_another_process(
    started: Children, folder: Path, address: str
) -> None:
    runner = started.command("runner", "--agent", "my_agents:endless", "--store", address, cwd=folder)
    async with LightningStoreClient(address) as client:
        rollout = await client.enqueue_rollout("task")
        runner.until_says("begun")
        await client.update_rollout(rollout.rollout_id, status="cancelled")
        assert "status=failed" in runner.until_says("rollout_finished")


async def test_each_runner_may_be_given_a_number_of_rollouts_after_which_it_ends(
    started: Children, folder: Path, address: str
) -> None:
    async with LightningStoreClient(address) as client:
        ids = [(await client.enqueue_rollout(number)).rollout_id for number in range(4)]
        runner = started.command(
            *("runner", "--agent", "my_agents:counts", "-n", "2", "--max-rollouts", "2", "--name", "counter"),
            *("--tracer", "dummy", "--store", address),
            cwd=folder,
        )
        assert runner.ended() == 0
        assert len(await client.wait_for_rollouts(rollout_ids=ids, timeout=0)) == 4
        workers = await client.query_workers(worker_id_contains="counter")
        assert [worker.worker_id for worker in workers] == ["counter-0", "counter-1"]


async def test_explain_tells_from_another_process_why_nothing_happens(started: Children, address: str) -> None:
    async with LightningStoreClient(address) as client:
        rollout = await client.enqueue_rollout("task")
        explain = started.command("explain", rollout.rollout_id, "--store", address)
        assert explain.ended() == 0
        said = "\n".join(explain.lines)
        assert rollout.rollout_id in said
        assert "queue" in said
        await client.update_rollout(rollout.rollout_id, status="cancelled")


def test_explain_of_a_rollout_that_is_not_there_is_an_error_in_one_line(started: Children, address: str) -> None:
    explain = started.command("explain", "ro-none", "--store", address)
    assert explain.ended() == 2
    assert explain.lines == ["error: there is no rollout 'ro-none' in this store: check the id, or enqueue it first"]


WAITS: Final = """
import sys, anyio
import lightning_actors as agl

async def main() -> None:
    async with agl.LightningStoreClient(sys.argv[1]) as client:
        rollout = await client.enqueue_rollout("nobody runs this")
        print(await client.wait_for_rollouts(rollout_ids=[rollout.rollout_id], timeout=1.5))
        await client.update_rollout(rollout.rollout_id, status="cancelled")

agl.configure_logger()
anyio.run(main)
"""


def test_a_wait_that_times_out_says_why_in_the_process_that_waited(started: Children, address: str) -> None:
    waits = started.start("-c", WAITS, address)
    assert waits.ended() == 0
    said = "\n".join(waits.lines)
    assert "[]" in waits.lines
    assert "wait_timed_out" in said
    assert "queue" in said


def test_a_port_in_use_is_said_at_once_and_by_whom(started: Children, store: Child, address: str) -> None:
    port = address.rpartition(":")[2]
    second = started.command("store", "--port", port)
    assert second.ended() == 2
    assert f"error: port {port} of 127.0.0.1 is in use, by a store server of lightning-actors" in second.lines[-1]
    assert f"process {store.process.pid}" in second.lines[-1]


def test_a_store_that_others_reach_wants_a_token(started: Children) -> None:
    refused = started.command("store", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - what is refused
    assert refused.ended() == 2
    assert "give it a token" in refused.lines[-1]


def test_a_store_that_others_reach_listens_where_the_user_says_so(started: Children) -> None:
    everywhere = ("store", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - what is tested
    for how in (("--insecure",), ("--token", "sesame")):
        store = started.command(*everywhere, *how)
        assert "store in memory listens at http://" in store.until_says("listens at")
        store.send(signal.SIGTERM)
        assert store.ended() == 0
        assert "sesame" not in "\n".join(store.lines)


@needs_openssl
async def test_runners_and_explain_trust_whom_the_environment_names(
    started: Children, folder: Path, tmp_path: Path
) -> None:
    made = certificate_in(tmp_path)
    files = ("--ssl-certfile", str(made["ssl_certfile"]), "--ssl-keyfile", str(made["ssl_keyfile"]))
    store = started.command("store", "--port", "0", *files, "--token", "sesame")
    address = store.until_says("listens at https://").rpartition(" ")[2]
    trusting = {"SSL_CERT_FILE": str(made["ssl_certfile"]), "LIGHTNING_ACTORS_TOKEN": "sesame"}
    runner = started.command(
        "runner", "--agent", "my_agents:quick", "--store", address, cwd=folder, environment=trusting
    )
    context = ssl.create_default_context(cafile=made["ssl_certfile"])
    async with LightningStoreClient(address, token="sesame", ssl_context=context) as client:  # noqa: S106 - the test's own
        rollout = await client.enqueue_rollout("task")
        (ended,) = await client.wait_for_rollouts(rollout_ids=[rollout.rollout_id], timeout=40)
        assert ended.status == "succeeded"
    explain = started.command("explain", rollout.rollout_id, "--store", address, environment=trusting)
    assert explain.ended() == 0
    for child, stop in ((runner, signal.SIGTERM), (store, signal.SIGINT)):
        child.send(stop)
        assert child.ended() == 0


@needs_openssl
async def test_a_store_in_a_file_is_served_by_https_and_goes_on_where_it_was(started: Children, tmp_path: Path) -> None:
    made = certificate_in(tmp_path)
    trusting = ssl.create_default_context(cafile=made["ssl_certfile"])
    files = ("--ssl-certfile", str(made["ssl_certfile"]), "--ssl-keyfile", str(made["ssl_keyfile"]))
    ids: list[str] = []
    for _ in range(2):
        store = started.command("store", "--port", "0", "--db", str(tmp_path / "run.db"), *files)
        address = store.until_says("run.db listens at https://").rpartition(" ")[2]
        async with LightningStoreClient(address, ssl_context=trusting) as client:
            assert [rollout.rollout_id for rollout in await client.query_rollouts()] == ids
            ids.append((await client.enqueue_rollout("task")).rollout_id)
        store.send(signal.SIGTERM)
        assert store.ended() == 0


async def test_a_token_is_wanted_of_runners_and_never_logged(started: Children, folder: Path) -> None:
    secret = {"LIGHTNING_ACTORS_TOKEN": "sesame"}
    store = started.command("store", "--port", "0", environment=secret)
    address = store.until_says("listens at").rpartition(" ")[2]
    without = started.command("runner", "--agent", "my_agents:quick", "--store", address, cwd=folder)
    runner = started.command(
        "runner", "--agent", "my_agents:quick", "--store", address, "--token", "sesame", cwd=folder
    )
    async with LightningStoreClient(address, token="sesame") as client:  # noqa: S106 - the test's own
        rollout = await client.enqueue_rollout("task")
        assert len(await client.wait_for_rollouts(rollout_ids=[rollout.rollout_id], timeout=40)) == 1
    assert without.ended() == 2
    assert without.lines[-1].startswith("error: ")
    assert "LIGHTNING_ACTORS_TOKEN" in without.lines[-1]
    runner.send(signal.SIGTERM)
    store.send(signal.SIGTERM)
    assert (runner.ended(), store.ended()) == (0, 0)
    assert "sesame" not in "\n".join([*store.lines, *runner.lines])
