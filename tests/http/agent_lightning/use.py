# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""Agent Lightning's own client, runner and exporter on a server: ``python use.py ADDRESS`` says what it saw."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import agentlightning as agl
from agentlightning.store.base import UNSET


async def operations(client: agl.LightningStoreClient) -> dict[str, Any]:
    """Every operation of the client, and what came back."""
    saw: dict[str, Any] = {}
    saw["latest resources before"] = await client.get_latest_resources()
    resources = await client.add_resources(
        {
            "llm": agl.LLM(endpoint="http://e/v1", model="m", sampling_parameters={"t": 0.5}),
            "prompt": agl.PromptTemplate(template="{x}", engine="f-string"),
        }
    )
    saw["resources"] = resources.resources["llm"].model_dump()
    updated = await client.update_resources(resources.resources_id, {"llm": resources.resources["llm"]})
    saw["version"] = updated.version
    saw["resources by id"] = (await client.get_resources_by_id(resources.resources_id)).version
    saw["unknown resources"] = await client.get_resources_by_id("rs-none")
    saw["all resources"] = len(await client.query_resources())
    config = agl.RolloutConfig(max_attempts=2, retry_condition=["failed"])
    one = await client.enqueue_rollout({"city": "Rome", "n": [1, None]}, mode="val", config=config, metadata={"k": 1})
    many = await client.enqueue_many_rollouts([agl.EnqueueRolloutRequest(input=number) for number in range(3)])
    saw["enqueued"] = [one.input, one.status, one.config.max_attempts, one.metadata, len(many)]
    claimed = await client.dequeue_rollout(worker_id="peer-1")
    saw["claimed"] = [claimed.rollout_id == one.rollout_id, claimed.status, claimed.attempt.sequence_id]
    rest = await client.dequeue_many_rollouts(limit=10, worker_id="peer-2")
    saw["rest"] = [rollout.input for rollout in rest]
    saw["empty"] = await client.dequeue_rollout()
    place = claimed.rollout_id, claimed.attempt.attempt_id
    span = agl.Span.from_attributes(
        attributes={"x": 1, "many": ["a"]}, rollout_id=place[0], attempt_id=place[1], name="call", sequence_id=3
    )
    saw["span"] = (await client.add_span(span)).sequence_id
    saw["span again"] = await client.add_span(span)
    saw["next ids"] = await client.get_many_span_sequence_ids([place, place])
    saw["spans"] = [one.name for one in await client.query_spans(place[0], "latest", name_contains="al")]
    await client.update_attempt(*place, status="failed", metadata={"why": "x"})
    saw["retried"] = (await client.get_rollout_by_id(place[0])).status
    attempt = await client.get_latest_attempt(place[0])
    saw["attempt"] = [attempt.status, attempt.metadata]
    again = await client.dequeue_rollout(worker_id="peer-1")
    saw["second attempt"] = again.attempt.sequence_id
    await client.update_attempt(again.rollout_id, "latest", status="succeeded")
    saw["attempts"] = [one.status for one in await client.query_attempts(again.rollout_id)]
    saw["ended"] = [one.status for one in await client.wait_for_rollouts(rollout_ids=[again.rollout_id], timeout=0.1)]
    cancelled = await client.update_rollout(rest[0].rollout_id, status="cancelled", mode=None, metadata=UNSET)
    saw["cancelled"] = [cancelled.status, cancelled.mode, cancelled.metadata]
    page = await client.query_rollouts(status_in=["succeeded", "cancelled"], sort_by="start_time", limit=1, offset=1)
    saw["page"] = [len(page), page.total, page[0].input]
    saw["unknown rollout"] = await client.get_rollout_by_id("ro-none")
    await client.update_worker("peer-3", {"cpu": 0.5})
    saw["workers"] = sorted(worker.worker_id for worker in await client.query_workers())
    saw["worker"] = (await client.get_worker_by_id("peer-3")).heartbeat_stats
    started = await client.start_rollout("now", worker_id="peer-3")
    saw["started"] = started.status
    saw["statistics"] = (await client.statistics())["total_rollouts"]
    return saw


async def refusals(client: agl.LightningStoreClient) -> dict[str, Any]:
    """What the client makes of what the server refuses."""
    saw: dict[str, Any] = {}
    calls = {
        "unknown rollout": client.update_rollout("ro-none", status="failed"),
        "ended rollout": client.update_attempt("ro-none", "latest", status="failed"),
    }
    for name, call in calls.items():
        try:
            saw[name] = repr(await call)
        except Exception as error:  # noqa: BLE001 - whatever its client makes of it
            saw[name] = getattr(error, "status", repr(error))
    return saw


@agl.rollout
async def agent(task: dict[str, Any], llm: agl.LLM) -> float:
    """Emits, and returns its reward."""
    agl.emit_message(f"asked {llm.model}")
    agl.emit_reward(0.25)
    return task["reward"]


async def runs(client: agl.LightningStoreClient) -> list[str]:
    """Its runner takes rollouts from the queue, and its exporter sends their spans."""
    made = await client.enqueue_many_rollouts([agl.EnqueueRolloutRequest(input={"reward": n * 0.5}) for n in range(3)])
    runner = agl.LitAgentRunner(agl.OtelTracer(), max_rollouts=3, poll_interval=0.1, interval_jitter=0.0)
    with runner.run_context(agent=agent, store=client):
        await runner.iter()
    return [rollout.rollout_id for rollout in made]


async def main(address: str) -> None:
    """All of it."""
    client = agl.LightningStoreClient(address, retry_delays=())
    saw = {"operations": await operations(client), "refusals": await refusals(client), "ran": await runs(client)}
    await client.close()
    print(json.dumps(saw))  # noqa: T201 - what the test reads


asyncio.run(main(sys.argv[1]))
