"""The agent: prompts as chats, answers as rewards."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest
from openai import AsyncOpenAI
from stand_in import Message, StandIn, serve_stand_in

from lightning_actors.demo.agent import chat_messages, continent_agent
from lightning_actors.demo.countries import Country
from lightning_actors.emitter import find_final_reward
from lightning_actors.runner import LitAgentRunner
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.tracer import OtelTracer
from lightning_actors.types import LLM, PromptTemplate, Resource, RolloutMode, Span

PERU = Country(name="Peru", continent="South America")
MANNERS = {"brief": "South America.", "wordy": "Peru is in South America.", "ignorant": "I do not know"}


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


def answers(messages: Sequence[Message]) -> str:
    """Answer in the manner that the system message asks for."""
    assert messages[-1] == {"role": "user", "content": "Which continent is Peru in?"}
    return MANNERS[messages[0]["content"]]


@pytest.fixture(scope="module")
def model() -> Generator[StandIn]:
    with serve_stand_in(answers) as stand_in:
        yield stand_in


async def step(model: StandIn, manner: str, mode: RolloutMode) -> Sequence[Span]:
    """The spans of one rollout of the agent."""
    store = InMemoryLightningStore()
    prompt = PromptTemplate(template=f"system: {manner}\nuser: Which continent is {{country}} in?", engine="f-string")
    resources: dict[str, Resource] = {"prompt": prompt, "llm": LLM(endpoint=model.base_url, model="stand-in")}
    async with AsyncOpenAI(base_url=model.base_url, api_key="none") as client:
        runner = LitAgentRunner[Country](OtelTracer())
        async with runner.run_context(agent=continent_agent(client), store=store):
            rollout = await runner.step(PERU, resources=resources, mode=mode)
    return list(await store.query_spans(rollout.rollout_id))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("manner", "reward", "contained"), [("brief", 1.0, True), ("wordy", 0.0, True), ("ignorant", 0.0, False)]
)
async def test_the_reward_is_1_for_an_exact_answer_and_the_answer_is_in_the_trace(
    model: StandIn,
    manner: str,
    reward: float,
    contained: bool,  # noqa: FBT001 - a case
) -> None:
    spans = await step(model, manner, "val")
    assert find_final_reward(spans) == reward
    noted = [span.attributes for span in spans if "answer" in span.attributes]
    assert noted == [{"answer": MANNERS[manner], "is_contained": contained}]
    assert [span.name for span in spans if span.name.startswith("chat")] == ["chat stand-in"]


@pytest.mark.anyio
@pytest.mark.parametrize(("mode", "tokens"), [("train", 8), ("val", 24)])
async def test_answers_are_short_in_training_and_complete_when_held_out(
    model: StandIn, mode: RolloutMode, tokens: int
) -> None:
    await step(model, "brief", mode)
    request = model.requests[-1]
    assert request["max_tokens"] == tokens
    assert request["temperature"] == 0
    assert request["model"] == "stand-in"
