"""A custom algorithm beside runners: it tries two prompts, looks at what happened, and publishes the better one.

The algorithm knows the store and nothing else, so it does not matter where store and runners are.

python examples/custom_algorithm.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import anyio
from capitals import QUESTIONS, Question, model_or_exit, name_capital

import lightning_actors as agl

PROMPTS: Final = (
    "You are a helpful assistant. {any_question}",
    "Answer with the name of the city and nothing else. {any_question}",
)
_PATIENCE: Final = 60.0
"""Seconds for all rollouts of one prompt; when they have passed, look at the runners."""


@agl.algo
async def best_prompt(store: agl.LightningStore, train_dataset: Sequence[Question]) -> None:
    """Score each prompt on all tasks, and leave the best one as the latest resource."""
    latest = await store.get_latest_resources()
    others = {} if latest is None else latest.resources
    scores: dict[str, float] = {}
    for prompt in PROMPTS:
        template = agl.PromptTemplate(template=prompt, engine="f-string")
        update = await store.add_resources({**others, "main_prompt": template})
        scores[prompt] = await score(store, update.resources_id, train_dataset)
        print(f"score {scores[prompt]:.2f}: {prompt}")
    best = max(PROMPTS, key=lambda prompt: scores[prompt])
    await store.add_resources({**others, "main_prompt": agl.PromptTemplate(template=best, engine="f-string")})


async def score(store: agl.LightningStore, resources_id: str, tasks: Sequence[Question]) -> float:
    """The mean reward of all tasks with these resources."""
    rollouts = [await store.enqueue_rollout(task, mode="train", resources_id=resources_id) for task in tasks]
    wanted = [rollout.rollout_id for rollout in rollouts]
    ended = await store.wait_for_rollouts(rollout_ids=wanted, timeout=_PATIENCE)
    if len(ended) < len(wanted):
        raise TimeoutError(
            f"{len(wanted) - len(ended)} rollouts have not ended after {_PATIENCE} s: are runners there?"
        )

    rewards: list[float] = []
    for rollout in ended:
        spans = await store.query_spans(rollout.rollout_id, "latest")
        for span in spans:
            log_llm_span(span)
        rewards.append(agl.find_final_reward(spans) or 0.0)
    return sum(rewards) / len(rewards)


def log_llm_span(span: agl.Span) -> None:
    """Print a span if it is a call of a language model: what it was asked and what it answered."""
    if "gen_ai.input.messages" not in span.attributes:
        return
    prompt, answer = text_of(span, "gen_ai.input.messages"), text_of(span, "gen_ai.output.messages")
    print(f"{span.rollout_id} {span.name}\n  prompt: {prompt}\n  answer: {answer}")


def text_of(span: agl.Span, key: str) -> str:
    """The texts of the messages in an attribute, which OpenTelemetry's conventions write as JSON."""
    messages: list[dict[str, Any]] = json.loads(str(span.attributes.get(key, "[]")))
    return " / ".join(str(part.get("content", part)) for message in messages for part in message["parts"])


async def main(llm: agl.LLM) -> None:
    """Run the algorithm beside two runners that take what it enqueues."""
    store = agl.InMemoryLightningStore()
    await store.add_resources({"llm": llm})
    tracer = agl.OtelTracer()
    enough = anyio.Event()

    async def work(number: int) -> None:
        runner = agl.LitAgentRunner[Question](tracer)
        with runner.run_context(agent=name_capital, store=store, worker_id=number):
            await runner.iter(event=enough)

    async with anyio.create_task_group() as group:
        for number in range(2):
            group.start_soon(work, number)
        await best_prompt(store=store, train_dataset=QUESTIONS)  # called like the function that it is
        enough.set()

    latest = await store.get_latest_resources()
    if latest is not None:
        print(f"latest resources: {latest.resources['main_prompt']}")


if __name__ == "__main__":
    agl.configure_logger("WARNING")
    with model_or_exit() as model:
        anyio.run(main, model)
