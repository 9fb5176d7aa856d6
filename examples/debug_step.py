"""Run one agent by hand: one rollout, and then all that is known about it.

python examples/debug_step.py
"""

from __future__ import annotations

import anyio
from capitals import PROMPT, QUESTIONS, Question, model_or_exit, name_capital

import lightning_actors as agl
from lightning_actors.report import render_span_tree


async def main(llm: agl.LLM) -> None:
    """Run the agent on one question."""
    tracer = agl.OtelTracer()
    runner = agl.LitAgentRunner[Question](tracer)
    store = agl.InMemoryLightningStore()

    with runner.run_context(agent=name_capital, store=store):
        rollout = await runner.step(QUESTIONS[0], resources={"main_prompt": PROMPT, "llm": llm})

    print(f"{rollout.rollout_id} {rollout.status}: {rollout.input}")
    spans = await store.query_spans(rollout.rollout_id)
    print(render_span_tree(spans))
    print(f"final reward: {agl.find_final_reward(spans)}")


if __name__ == "__main__":
    agl.configure_logger("WARNING")
    with model_or_exit() as model:
        anyio.run(main, model)
