"""Trainers and runners whose store is elsewhere: nothing else changes."""

from __future__ import annotations

from collections.abc import Generator

import anyio
import anyio.lowlevel
import pytest
from anyio.from_thread import start_blocking_portal

import lightning_actors as agl
from lightning_actors import LightningStoreClient, LightningStoreServer
from lightning_actors.store.blocking import BlockingStore
from lightning_actors.store.messages import EnqueueRollout, WaitForRollouts

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def address() -> Generator[str]:
    """A store that is served by a thread of its own."""
    with start_blocking_portal("asyncio") as portal:
        server = LightningStoreServer(agl.InMemoryLightningStore(), port=0)
        with portal.wrap_async_context_manager(server):
            yield server.endpoint


@agl.rollout
async def length(task: str, prompt_template: agl.PromptTemplate) -> float:
    with agl.operation(name="thinking"):
        await anyio.lowlevel.checkpoint()
    return float(len(prompt_template.format(task=task)))


@agl.rollout
def sync_length(task: str) -> float:
    return float(len(task))


RESOURCES = {"main_prompt": agl.PromptTemplate(template="say {task}", engine="f-string")}


@agl.algo
async def run_all(store: agl.LightningStore, train_dataset: agl.Dataset[str]) -> None:
    tasks = [train_dataset[number] for number in range(len(train_dataset))]
    ids = [(await store.enqueue_rollout(task)).rollout_id for task in tasks]
    assert len(await store.wait_for_rollouts(rollout_ids=ids, timeout=30)) == len(ids)


@agl.algo
def run_all_blocking(store: BlockingStore, train_dataset: agl.Dataset[str]) -> None:
    for number in range(len(train_dataset)):
        rollout = store.ask(EnqueueRollout(train_dataset[number]))
        store.ask(WaitForRollouts(rollout_ids=[rollout.rollout_id], timeout=30))


TASKS = ["a", "bb", "ccc", "dddd"]


async def test_a_trainer_runs_with_a_store_elsewhere(address: str) -> None:
    client = LightningStoreClient(address)
    trainer = agl.Trainer(store=client, algorithm=run_all, n_workers=4, initial_resources=RESOURCES)
    result = await trainer.fit_async(length, TASKS)
    assert result.status_counts == {"succeeded": 4}
    assert sorted(result.rewards.values()) == [5.0, 6.0, 7.0, 8.0]
    spans = await client.query_spans(result.rollouts[0].rollout_id)
    assert {"thinking"} <= {str(span.attributes.get("agentlightning.operation.name")) for span in spans}
    assert not (await client.query_rollouts(status_in=["queuing", "preparing", "running"])).total
    await client.close()


def test_plain_fit_runs_with_a_store_elsewhere(address: str) -> None:
    trainer = agl.Trainer(store=LightningStoreClient(address), algorithm=run_all, n_workers=2)
    assert trainer.fit(sync_length, TASKS).status_counts == {"succeeded": 4}


async def test_a_runner_by_hand_steps_with_a_store_elsewhere(address: str) -> None:
    client = LightningStoreClient(address)
    runner = agl.LitAgentRunner[str](agl.OtelTracer())
    with runner.run_context(agent=length, store=client):
        rollout = await runner.step("hello", resources=RESOURCES)
    assert rollout.status == "succeeded"
    assert agl.find_final_reward(await client.query_spans(rollout.rollout_id)) == 9.0
    async with runner.run_context(agent=length, store=client):
        statuses = [one.status async for one in runner.step_many(TASKS, limit=2, resources=RESOURCES)]
    assert statuses == ["succeeded"] * 4
    await client.close()


async def test_a_runner_is_told_of_work_and_of_its_end(address: str) -> None:
    client, enough, begun = LightningStoreClient(address), anyio.Event(), anyio.Event()

    @agl.rollout
    async def endless(task: str) -> None:
        begun.set()
        await anyio.sleep_forever()

    runner = agl.LitAgentRunner[str](agl.DummyTracer())
    async with client, anyio.create_task_group() as tasks:

        async def work() -> None:
            with runner.run_context(agent=endless, store=client):
                await runner.iter(event=enough)

        tasks.start_soon(work)
        for _ in range(3):
            begun = anyio.Event()
            rollout = await client.enqueue_rollout("task")
            await begun.wait()
            await client.update_rollout(rollout.rollout_id, status="cancelled")
            (ended,) = await client.wait_for_rollouts(rollout_ids=[rollout.rollout_id], timeout=20)
            assert ended.status == "cancelled"
        enough.set()
    await client.close()


async def test_completions_come_across(address: str) -> None:
    client = LightningStoreClient(address)
    async with client:
        after = await client.get_completion_cursor()
        seen: list[str] = []
        async with anyio.create_task_group() as tasks:

            async def follow() -> None:
                async for rollout in client.completions(after):
                    seen.append(rollout.input)
                    if len(seen) == len(TASKS):
                        return

            tasks.start_soon(follow)
            for task in TASKS:
                started = await client.start_rollout(task)
                await client.update_attempt(started.rollout_id, started.attempt.attempt_id, status="succeeded")
        assert seen == TASKS
    await client.close()


async def test_an_agent_may_run_where_the_store_is_asked_by_a_blocking_view(address: str) -> None:
    client = LightningStoreClient(address)
    trainer = agl.Trainer(store=client, algorithm=run_all_blocking, n_workers=2)
    result = await trainer.fit_async(sync_length, TASKS)
    assert result.status_counts == {"succeeded": 4}
    await client.close()
