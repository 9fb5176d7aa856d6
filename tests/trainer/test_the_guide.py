"""The debugging guide, line by line: one step by hand, the trainer's dry run, and both in one process."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

import lightning_actors as agl
from lightning_actors import Trainer
from lightning_actors.types import Dataset, PromptTemplate

QUESTION = "Explain why the sky appears blue using principles of light scattering in 100 words."

dataset: Dataset[str] = [QUESTION, "What's the capital of France?"]
resource = PromptTemplate(template="You are a helpful assistant. {any_question}", engine="f-string")


@agl.rollout
async def apo_rollout(task: str, prompt_template: agl.PromptTemplate) -> float:
    with agl.operation(name="ask"):
        agl.emit_message(prompt_template.format(any_question=task))
        await anyio.lowlevel.checkpoint()
    return 1.0 if "France" in task else 0.5


def messages_of(spans: Any) -> list[str]:
    return [message for span in spans if (message := agl.get_message_value(span)) is not None]


@pytest.mark.anyio
async def test_step_by_hand_inside_a_loop() -> None:
    tracer = agl.OtelTracer()
    runner = agl.LitAgentRunner[str](tracer)
    store = agl.InMemoryLightningStore()

    with runner.run_context(agent=apo_rollout, store=store):
        resource = agl.PromptTemplate(template="You are a helpful assistant. {any_question}", engine="f-string")
        rollout = await runner.step(
            "Explain why the sky appears blue using principles of light scattering in 100 words.",
            resources={"main_prompt": resource},
        )

    assert rollout.status == "succeeded"
    spans = await store.query_spans(rollout.rollout_id)
    assert messages_of(spans) == [f"You are a helpful assistant. {QUESTION}"]
    assert agl.find_final_reward(list(spans)) == 0.5
    assert tracer.get_last_trace() == list(spans)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_step_by_hand_with_run_context_outside_of_any_loop(backend: str) -> None:
    tracer = agl.OtelTracer()
    runner = agl.LitAgentRunner[str](tracer)
    store = agl.InMemoryLightningStore()

    async def ask() -> agl.Rollout:
        return await runner.step(QUESTION, resources={"main_prompt": resource})

    with runner.run_context(agent=apo_rollout, store=store):
        rollout = anyio.run(ask, backend=backend)
        spans = anyio.run(store.query_spans, rollout.rollout_id, backend=backend)
        with pytest.raises(agl.MissingResource) as caught:
            anyio.run(runner.step, QUESTION, backend=backend)
    assert rollout.status == "succeeded"
    assert messages_of(spans) == [f"You are a helpful assistant. {QUESTION}"]
    assert "initial_resources" in str(caught.value)


def test_trainer_dev_prints_status_reward_and_spans(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = Trainer(
        n_workers=1,
        initial_resources={"main_prompt": resource},
    )
    result = trainer.dev(apo_rollout, dataset)
    printed = capsys.readouterr().out
    assert result.status_counts == {"succeeded": 2}
    assert sorted(result.rewards.values()) == [0.5, 1.0]
    assert printed.count("succeeded  reward") == 2
    assert "└─ reward 0.5" in printed
    assert "message: You are a helpful assistant. What's the capital of France?" in printed


def step_once(store: agl.InMemoryLightningStore) -> agl.Rollout:
    runner = agl.LitAgentRunner[str](agl.OtelTracer())

    async def ask() -> agl.Rollout:
        return await runner.step("What's the capital of France?", resources={"main_prompt": resource})

    with runner.run_context(agent=apo_rollout, store=store):
        return anyio.run(ask)


def test_both_in_one_process_one_after_another(capsys: pytest.CaptureFixture[str]) -> None:
    store = agl.InMemoryLightningStore()
    trainer = Trainer(n_workers=2, initial_resources={"main_prompt": resource}, store=store)
    for _ in range(2):
        assert step_once(store).status == "succeeded"
        assert trainer.dev(apo_rollout, dataset).status_counts == {"succeeded": 2}
    assert capsys.readouterr().out.count("reward 1 ") == 2


@pytest.mark.anyio
async def test_both_in_one_loop_at_the_same_time(capsys: pytest.CaptureFixture[str]) -> None:
    tracer = agl.OtelTracer()
    trainers = [Trainer(n_workers=2, initial_resources={"main_prompt": resource}, tracer=tracer) for _ in range(2)]
    runner = agl.LitAgentRunner[str](tracer)
    store = agl.InMemoryLightningStore()
    results: list[agl.RunResult] = []
    rollouts: list[agl.Rollout] = []

    async def dry_run(trainer: Trainer) -> None:
        results.append(await trainer.dev_async(apo_rollout, dataset))

    async def by_hand() -> None:
        rollouts.extend([await runner.step(QUESTION, resources={"main_prompt": resource}) for _ in range(3)])

    with runner.run_context(agent=apo_rollout, store=store):
        async with anyio.create_task_group() as tasks:
            for trainer in trainers:
                tasks.start_soon(dry_run, trainer)
            tasks.start_soon(by_hand)
    assert [result.status_counts for result in results] == [{"succeeded": 2}] * 2
    assert [rollout.status for rollout in rollouts] == ["succeeded"] * 3
    assert (await store.query_rollouts()).total == 3
    for rollout in rollouts:
        assert messages_of(await store.query_spans(rollout.rollout_id)) == [f"You are a helpful assistant. {QUESTION}"]
    for trainer in trainers:
        for rollout in await trainer.store.query_rollouts():
            assert len(messages_of(await trainer.store.query_spans(rollout.rollout_id))) == 1
    assert "succeeded" in capsys.readouterr().out
