"""Real calls of the OpenAI SDK to a real server, through tracer, store, runner and trainer, and back as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from stand_in import Message, StandIn, serve_stand_in

import lightning_actors as agl
from lightning_actors.adapter import OpenAIMessages

pytestmark = pytest.mark.anyio

TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "look_up", "description": "Looks it up.", "parameters": {"type": "object", "properties": {}}},
}


def backwards(messages: Sequence[Message]) -> str:
    return str(messages[-1]["content"])[::-1]


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with serve_stand_in(backwards) as stand_in:
        yield stand_in


@agl.rollout
async def talk(task: str, llm: agl.LLM) -> float:
    """Ask twice; the second question follows the first answer and a tool's."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": task},
    ]
    async with AsyncOpenAI(base_url=llm.endpoint, api_key="none", max_retries=0) as client:
        first = await client.chat.completions.create(model=llm.model, messages=messages, temperature=0.5)
        agl.emit_reward(0.25)
        looking: ChatCompletionMessageParam = {
            "role": "assistant",
            "content": first.choices[0].message.content,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}],
        }
        found: ChatCompletionMessageParam = {"role": "tool", "content": "found", "tool_call_id": "c1"}
        messages += [looking, found]
        await client.chat.completions.create(model=llm.model, messages=messages, tools=[TOOL])
    return 1.0


def conversations(task: str) -> list[OpenAIMessages]:
    """What `talk` says and hears."""
    asked: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": task}]
    heard = {"role": "assistant", "content": task[::-1]}
    wanted = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    looked = [{**heard, "tool_calls": [wanted]}, {"role": "tool", "content": "found", "tool_call_id": "c1"}]
    return [
        {"messages": [*asked, heard], "tools": None},
        {"messages": [*asked, *looked, {"role": "assistant", "content": "dnuof"}], "tools": [dict(TOOL)]},
    ]


async def spans_of_a_step(server: StandIn) -> Sequence[agl.Span]:
    runner, store = agl.LitAgentRunner[str](agl.OtelTracer(openai=True)), agl.InMemoryLightningStore()
    with runner.run_context(agent=talk, store=store):
        rollout = await runner.step("abc", resources={"llm": agl.LLM(endpoint=server.base_url, model="m")})
    return await store.query_spans(rollout.rollout_id)


async def test_messages_are_those_that_were_sent_and_received(server: StandIn) -> None:
    assert agl.TraceToMessages().adapt(await spans_of_a_step(server)) == conversations("abc")


async def test_triplets_are_the_calls_with_their_rewards(server: StandIn) -> None:
    first, second = agl.TracerTraceToTriplet().adapt(await spans_of_a_step(server))
    assert (first.reward, second.reward) == (0.25, 1.0)
    assert first.prompt["raw_content"] == conversations("abc")[0]["messages"][:2]
    assert first.response["raw_content"] == [{"role": "assistant", "content": "cba", "finish_reason": "stop"}]
    assert first.metadata["request"] == {"model": "m", "temperature": 0.5}
    assert second.metadata["response_id"].startswith("chatcmpl-")
    assert second.metadata["request"]["tools"] == [TOOL]


async def run_all(
    store: agl.LightningStore, tasks: Sequence[str], adapter: agl.TraceAdapter[list[Any]]
) -> dict[str, list[Any]]:
    """Run every task once and adapt what each of them left."""
    rollouts = await store.enqueue_many_rollouts([agl.EnqueueRolloutRequest(input=task) for task in tasks])
    ended = await store.wait_for_rollouts(rollout_ids=[one.rollout_id for one in rollouts], timeout=30)
    return {one.input: adapter.adapt(await store.query_spans(one.rollout_id, "latest")) for one in ended}


async def test_an_algorithm_is_given_triplets_by_default(server: StandIn) -> None:
    found: dict[str, list[agl.Triplet]] = {}

    @agl.algo
    async def learn(
        store: agl.LightningStore, train_dataset: list[str], adapter: agl.TraceAdapter[list[agl.Triplet]]
    ) -> None:
        assert isinstance(adapter, agl.TracerTraceToTriplet)
        found.update(await run_all(store, train_dataset, adapter))

    trainer = agl.Trainer(
        algorithm=learn,
        n_workers=4,
        tracer=agl.OtelTracer(openai=True),
        initial_resources={"llm": agl.LLM(endpoint=server.base_url, model="m")},
    )
    await trainer.fit_async(talk, ["one", "two", "three"])
    rewards = {task: [one.reward for one in triplets] for task, triplets in found.items()}
    assert rewards == {task: [0.25, 1.0] for task in ("one", "two", "three")}


def test_an_algorithm_is_given_the_adapter_that_the_trainer_was_given(server: StandIn) -> None:
    found: dict[str, list[Any]] = {}

    @agl.algo
    async def learn(store: agl.LightningStore, train_dataset: list[str], adapter: agl.TraceToMessages) -> None:
        found.update(await run_all(store, train_dataset, adapter))

    trainer = agl.Trainer(
        algorithm=learn,
        adapter=agl.TraceToMessages,
        tracer=agl.OtelTracer(openai=True),
        initial_resources={"llm": agl.LLM(endpoint=server.base_url, model="m")},
    )
    trainer.fit(talk, ["one", "two"])
    assert found == {task: conversations(task) for task in ("one", "two")}


def test_a_sync_algorithm_adapts_what_its_blocking_store_gives(server: StandIn) -> None:
    found: list[agl.Triplet] = []

    class Learn(agl.Algorithm):
        def run(self, train_dataset: Any = None, val_dataset: Any = None) -> None:
            store = self.blocking_store
            rollout = store.enqueue_rollout("abc")
            store.wait_for_rollouts(rollout_ids=[rollout.rollout_id], timeout=30)
            found.extend(self.get_adapter().adapt(store.query_spans(rollout.rollout_id)))

    trainer = agl.Trainer(
        algorithm=Learn,
        tracer=agl.OtelTracer(openai=True),
        initial_resources={"llm": agl.LLM(endpoint=server.base_url, model="m")},
    )
    trainer.fit(talk)
    assert [one.reward for one in found] == [0.25, 1.0]
