"""Find a bad run in the store and replay it: the same task with the same resources, then with a better prompt.

python examples/replay_bad_run.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio
from capitals import PROMPT, QUESTIONS, Question, model_or_exit, name_capital

import lightning_actors as agl

CAREFUL: Final = agl.PromptTemplate(
    template="Answer with the name of the city and nothing else. {any_question}", engine="f-string"
)


async def main(llm: agl.LLM) -> None:
    """Run every task, then look for a bad run and replay it."""
    store = agl.InMemoryLightningStore()
    runner = agl.LitAgentRunner[Question](agl.OtelTracer())

    async with runner.run_context(agent=name_capital, store=store):
        async for rollout in runner.step_many(QUESTIONS, limit=2, resources={"main_prompt": PROMPT, "llm": llm}):
            print(f"{rollout.input['country']}: reward {await reward_of(store, rollout)}")

        for bad in await bad_rollouts(store):
            print(f"a bad run: {bad.rollout_id} {bad.input}")
            resources = await resources_of(store, bad)
            same = await runner.step(bad.input, resources=resources)
            print(f"replayed with the same resources: reward {await reward_of(store, same)}")
            other = await runner.step(bad.input, resources={**resources, "main_prompt": CAREFUL})
            print(f"replayed with another prompt: reward {await reward_of(store, other)}")


async def bad_rollouts(store: agl.LightningStore) -> Sequence[agl.Rollout]:
    """Those that failed or earned nothing, oldest first."""
    ended = await store.query_rollouts(status_in=["succeeded", "failed"])
    return [rollout for rollout in ended if not await reward_of(store, rollout)]


async def resources_of(store: agl.LightningStore, rollout: agl.Rollout) -> agl.NamedResources:
    """What a rollout ran with; it keeps their id, however many resources were added since."""
    update = None if rollout.resources_id is None else await store.get_resources_by_id(rollout.resources_id)
    return {} if update is None else update.resources


async def reward_of(store: agl.LightningStore, rollout: agl.Rollout) -> float | None:
    """A rollout's final reward, if it has one."""
    return agl.find_final_reward(await store.query_spans(rollout.rollout_id, "latest"))


if __name__ == "__main__":
    agl.configure_logger("WARNING")
    with model_or_exit() as model:
        anyio.run(main, model)
