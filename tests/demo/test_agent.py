"""The agent: prompts as chats, answers as rewards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from openai import AsyncOpenAI
from stand_in import Message, serve_stand_in

from lightning_actors.demo.agent import chat_messages, continent_agent
from lightning_actors.demo.countries import Country
from lightning_actors.emitter import find_final_reward
from lightning_actors.runner import LitAgentRunner
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.tracer import OtelTracer
from lightning_actors.types import LLM, PromptTemplate, Resource, RolloutMode, Span

PROMPT = PromptTemplate(template="system: Be brief.\nuser: Which continent is {country} in?", engine="f-string")
PERU = Country(name="Peru", continent="South America")


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        ("Where?", [("user", "Where?")]),
        (
            "system: A\nuser: B\nassistant: C\nuser: D",
            [("system", "A"), ("user", "B"), ("assistant", "C"), ("user", "D")],
        ),
        ("user: one\ntwo: three\nContinent:", [("user", "one\ntwo: three\nContinent:")]),
        ("before\nuser: after", [("user", "before"), ("user", "after")]),
        ("system:\nuser: left\nassistant: ", [("user", "left")]),
        ("", []),
    ],
)
def test_lines_with_a_role_begin_a_message(prompt: str, messages: list[tuple[str, str]]) -> None:
    assert chat_messages(prompt) == [{"role": role, "content": content} for role, content in messages]


async def step(answer: str, mode: RolloutMode) -> tuple[Sequence[Span], dict[str, object]]:
    """One rollout of the agent against a model that answers like this, and the request that it sent."""

    def answers(messages: Sequence[Message]) -> str:
        assert messages[-1]["content"] == "Which continent is Peru in?"
        return answer

    store = InMemoryLightningStore()
    with serve_stand_in(answers) as stand_in:
        async with AsyncOpenAI(base_url=stand_in.base_url, api_key="none") as client:
            llm = LLM(endpoint=stand_in.base_url, model="stand-in")
            resources: dict[str, Resource] = {"prompt": PROMPT, "llm": llm}
            runner = LitAgentRunner[Country](OtelTracer())
            async with runner.run_context(agent=continent_agent(client), store=store):
                rollout = await runner.step(PERU, resources=resources, mode=mode)
    return list(await store.query_spans(rollout.rollout_id)), stand_in.requests[0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "reward", "contained"),
    [("South America.", 1.0, True), ("Peru is in South America.", 0.0, True), ("I do not know", 0.0, False)],
)
async def test_the_reward_is_1_for_an_exact_answer_and_the_answer_is_in_the_trace(
    answer: str,
    reward: float,
    contained: bool,  # noqa: FBT001 - a case
) -> None:
    spans, _ = await step(answer, "val")
    assert find_final_reward(spans) == reward
    noted = [span.attributes for span in spans if "answer" in span.attributes]
    assert noted == [{"answer": answer, "is_contained": contained}]
    assert [span.name for span in spans if span.name.startswith("chat")] == ["chat stand-in"]


@pytest.mark.anyio
@pytest.mark.parametrize(("mode", "tokens"), [("train", 8), ("val", 24)])
async def test_answers_are_short_in_training_and_complete_when_held_out(mode: RolloutMode, tokens: int) -> None:
    _, request = await step("South America", mode)
    assert request["max_tokens"] == tokens
    assert request["temperature"] == 0
    assert request["model"] == "stand-in"
    assert request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which continent is Peru in?"},
    ]
