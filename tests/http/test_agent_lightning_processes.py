"""Agent Lightning 0.3.0 itself, in processes and an environment of its own, on both sides of the wire."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from agent_lightning.exchanges import ask_all, load_recorded
from anyio.from_thread import BlockingPortal, start_blocking_portal

import lightning_actors as agl
from lightning_actors import InMemoryLightningStore, LightningStoreClient, LightningStoreServer
from lightning_actors.errors import AttemptNotFound, InvalidRequest, OperationUnavailable, RolloutNotFound

PROJECT: Final = Path(__file__).parents[2]
SCRIPTS: Final = Path(__file__).with_name("agent_lightning")
PYTHON: Final = Path(os.environ.get("LIGHTNING_ACTORS_PEER", PROJECT / ".benchmarks" / "peer-venv" / "bin" / "python"))
"""Its interpreter; ``python -m benchmarks --peer`` makes one."""

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not PYTHON.exists(), reason="Agent Lightning has no environment: python -m benchmarks --peer"),
]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OTEL_"))}
    return {**kept, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


@pytest.fixture(scope="module")
def portal() -> Generator[BlockingPortal]:
    """An event loop for our server, in a thread."""
    with start_blocking_portal("asyncio") as opened:
        yield opened


@pytest.fixture(scope="module")
def store() -> InMemoryLightningStore:
    """What our server serves."""
    return InMemoryLightningStore()


@pytest.fixture(scope="module")
def seen(portal: BlockingPortal, store: InMemoryLightningStore) -> dict[str, Any]:
    """What its client, runner and exporter saw of our server."""
    with portal.wrap_async_context_manager(LightningStoreServer(store, port=0)) as server:
        command = [PYTHON, SCRIPTS / "use.py", server.endpoint]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())  # noqa: S603 - our own lines
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def peer() -> Generator[str]:
    """The address of its server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, SCRIPTS / "serve.py", str(port)]
    with subprocess.Popen(  # noqa: S603 - our own lines
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        assert any("ready" in line for line in process.stdout)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_its_client_works_on_our_server(seen: dict[str, Any]) -> None:
    assert seen["operations"] == {
        "latest resources before": None,
        "resources": {
            "resource_type": "llm",
            "endpoint": "http://e/v1",
            "model": "m",
            "api_key": None,
            "sampling_parameters": {"t": 0.5},
        },
        "version": 2,
        "resources by id": 2,
        "unknown resources": None,
        "all resources": 1,
        "enqueued": [{"city": "Rome", "n": [1, None]}, "queuing", 2, {"k": 1}, 3],
        "claimed": [True, "preparing", 1],
        "rest": [0, 1, 2],
        "empty": None,
        "span": 3,
        "span again": None,
        "next ids": [4, 5],
        "spans": ["call"],
        "retried": "requeuing",
        "attempt": ["failed", {"why": "x"}],
        "second attempt": 2,
        "attempts": ["failed", "succeeded"],
        "ended": ["succeeded"],
        "cancelled": ["cancelled", None, {}],
        "page": [1, 2, 0],
        "unknown rollout": None,
        "workers": ["peer-1", "peer-2", "peer-3"],
        "worker": {"cpu": 0.5},
        "started": "preparing",
        "statistics": 5,
    }


def test_its_client_is_told_what_is_not_there_at_once(seen: dict[str, Any]) -> None:
    assert seen["refusals"] == {"unknown rollout": 404, "ended rollout": 404}


async def test_its_runner_runs_from_our_queue_and_its_exporter_sends_the_spans(
    seen: dict[str, Any], store: InMemoryLightningStore
) -> None:
    assert len(seen["ran"]) == 3
    for number, rollout_id in enumerate(seen["ran"]):
        rollout = await store.get_rollout_by_id(rollout_id)
        assert rollout is not None
        assert rollout.status == "succeeded"
        spans = await store.query_spans(rollout_id)
        assert agl.find_final_reward(spans) == number * 0.5
        assert [agl.get_message_value(span) for span in spans if agl.get_message_value(span)] == ["asked m"]
        assert [span.sequence_id for span in spans] == sorted({span.sequence_id for span in spans})
        exported = [span for span in spans if "agentlightning.rollout_id" in span.resource.attributes]
        assert {span.resource.attributes["agentlightning.rollout_id"] for span in exported} == {rollout_id}


def test_its_server_answers_as_was_recorded(peer: str) -> None:
    assert ask_all(peer) == load_recorded()


async def test_our_client_works_on_its_server(peer: str) -> None:
    client = LightningStoreClient(peer)
    task = {"city": "Rome", "n": [1, None]}
    config = agl.RolloutConfig(max_attempts=2, retry_condition=["failed"])
    made = await client.enqueue_rollout(task, mode="val", config=config)
    assert (made.input, made.status, made.config.max_attempts) == (task, "queuing", 2)
    assert len(await client.enqueue_many_rollouts([agl.EnqueueRolloutRequest(input=n) for n in range(2)])) == 2
    while (claimed := await client.dequeue_rollout("ours-1")) is not None and claimed.rollout_id != made.rollout_id:
        await client.update_attempt(claimed.rollout_id, "latest", status="succeeded")
    assert claimed is not None
    place = claimed.rollout_id, claimed.attempt.attempt_id
    span = agl.Span.from_attributes(attributes={"x": 1}, rollout_id=place[0], attempt_id=place[1], name="call")
    stored = await client.add_span(span)
    assert stored is not None
    assert stored.sequence_id == 1
    assert await client.add_span(span) is None
    other = agl.Span.from_attributes(attributes={"x": 2}, rollout_id=place[0], attempt_id=place[1], name="more")
    (more,) = await client.add_many_spans([other])
    after = more.sequence_id
    assert after > stored.sequence_id
    assert await client.get_many_span_sequence_ids([place, place]) == [after + 1, after + 2]
    assert [one.name for one in await client.query_spans(*place)] == ["call", "more"]
    await client.update_many_workers(["ours-1", "ours-2"], {"cpu": 1})
    assert (await client.query_workers(limit=0)).total >= 2
    assert await client.release_attempt(*place) is False
    await client.update_attempt(*place, status="succeeded", metadata={"n": 1})
    ended = await client.wait_for_rollouts(rollout_ids=[made.rollout_id], timeout=5)
    assert [rollout.status for rollout in ended] == ["succeeded"]
    begun = await client.start_rollout("now", begun=True)
    assert (begun.status, begun.attempt.status) == ("running", "running")
    await client.close()


async def test_what_its_server_does_not_say_our_client_finds_out(peer: str) -> None:
    client = LightningStoreClient(peer)
    assert await client.get_rollout_by_id("ro-none") is None
    known = await client.enqueue_rollout(1)
    with pytest.raises(RolloutNotFound, match="ro-none"):
        await client.update_rollout("ro-none", status="failed")
    with pytest.raises(RolloutNotFound, match="ro-none"):
        await client.wait_for_rollouts(rollout_ids=[known.rollout_id, "ro-none"])
    with pytest.raises(AttemptNotFound, match="at-none"):
        await client.update_attempt(known.rollout_id, "at-none", status="failed")
    with pytest.raises(InvalidRequest, match="colour"):
        await client.query_rollouts(sort_by="colour")
    assert await client.wait_for_rollouts(rollout_ids=[known.rollout_id], timeout=0.2) == []
    await client.close()


async def test_what_its_server_cannot_do_our_client_says(peer: str) -> None:
    client = LightningStoreClient(peer)
    known = await client.enqueue_rollout(1)
    for call in (
        client.next_completion(timeout=1),
        client.get_completion_cursor(),
        client.explain_rollout(known.rollout_id),
        client.enqueue_rollout(1, key="once"),
    ):
        with pytest.raises(OperationUnavailable, match="Agent Lightning's"):
            await call
    await client.close()


async def test_our_runner_runs_from_its_queue(peer: str) -> None:
    @agl.rollout
    async def agent(task: float) -> float:
        agl.emit_message("at work")
        await anyio.lowlevel.checkpoint()
        return task

    client = LightningStoreClient(peer)
    async with client:
        runner = agl.LitAgentRunner[float](agl.OtelTracer())
        made = [await client.enqueue_rollout(number * 0.5) for number in range(2)]
        ids = [rollout.rollout_id for rollout in made]
        async with runner.run_context(agent=agent, store=client), anyio.create_task_group() as group:
            group.start_soon(runner.iter)
            ended = await client.wait_for_rollouts(rollout_ids=ids, timeout=60)
            assert [rollout.status for rollout in ended] == ["succeeded", "succeeded"]
            group.cancel_scope.cancel()
        for number, rollout_id in enumerate(ids):
            spans = await client.query_spans(rollout_id)
            assert agl.find_final_reward(spans) == number * 0.5
    await client.close()
