"""Both debug modes in one process: a runner by hand and a trainer, one after the other and side by side.

With Agent Lightning one tracer at a time may be active in a process. Here a tracer may be shared, started again, and
used by any number of rollouts at once: each span is filed under the rollout that it belongs to.

python examples/debug_both.py
"""

from __future__ import annotations

import anyio
from capitals import PROMPT, QUESTIONS, Question, model_or_exit, name_capital

import lightning_actors as agl


async def main(llm: agl.LLM) -> None:
    """Step, then dev, then step again, then all of it at the same time."""
    tracer = agl.OtelTracer()
    resources: agl.NamedResources = {"main_prompt": PROMPT, "llm": llm}
    runner = agl.LitAgentRunner[Question](tracer)
    trainer = agl.Trainer(n_workers=2, tracer=tracer, initial_resources=resources)
    store = agl.InMemoryLightningStore()

    async def by_hand(task: Question) -> None:
        with agl.LitAgentRunner[Question](tracer).run_context(agent=name_capital, store=store) as another:
            await another.step(task, resources=resources)

    print("a step")
    with runner.run_context(agent=name_capital, store=store):
        await runner.step(QUESTIONS[0], resources=resources)

    print("a dry run in the same event loop")
    await trainer.dev_async(name_capital, QUESTIONS[:1])

    print("a dry run beside steps")
    async with anyio.create_task_group() as group:
        group.start_soon(trainer.dev_async, name_capital, QUESTIONS[1:])
        for question in QUESTIONS:
            group.start_soon(by_hand, question)

    await tell_whose_spans_these_are(store, "by hand")
    await tell_whose_spans_these_are(trainer.store, "by the trainer")


async def tell_whose_spans_these_are(store: agl.LightningStore, how: str) -> None:
    """Every rollout has one call of the model, about the country of its own task."""
    rollouts = await store.query_rollouts()
    own = 0
    for rollout in rollouts:
        spans = await store.query_spans(rollout.rollout_id)
        calls = [span for span in spans if "gen_ai.input.messages" in span.attributes]
        own += len(calls) == 1 and rollout.input["country"] in str(calls[0].attributes["gen_ai.input.messages"])
    print(f"{how}: {len(rollouts)} rollouts, {own} with exactly their own call of the model")


if __name__ == "__main__":
    agl.configure_logger("WARNING")
    with model_or_exit() as model:
        anyio.run(main, model)
