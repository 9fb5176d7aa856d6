"""Run one agent by hand and watch it with a hook.

python examples/debug_step_hooks.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
from capitals import PROMPT, QUESTIONS, Question, model_or_exit, name_capital

import lightning_actors as agl


class Watch(agl.Hook):
    """Says what happens, in the order in which it happens; one that raises would be logged and change nothing."""

    async def on_rollout_start(self, *, agent: Any, runner: Any, rollout: agl.Rollout) -> None:
        """The attempt is about to begin."""
        print(f"rollout starts: {rollout.input}")

    async def on_trace_start(self, *, agent: Any, runner: Any, tracer: Any, rollout: agl.Rollout) -> None:
        """The agent is about to be called. What is emitted here is part of the rollout."""
        agl.emit_message("the hook was here")
        print("trace starts")

    async def on_trace_end(self, *, agent: Any, runner: Any, tracer: Any, rollout: agl.Rollout) -> None:
        """The agent has returned or failed."""
        print(f"trace ends with {len(tracer.get_last_trace())} spans so far")

    async def on_rollout_end(self, *, agent: Any, runner: Any, rollout: agl.Rollout, spans: Sequence[agl.Span]) -> None:
        """All is written; the reward that the agent returned is among the spans."""
        print(f"rollout ends: {', '.join(span.name for span in spans)}")
        print(f"final reward: {agl.find_final_reward(spans)}")


async def main(llm: agl.LLM) -> None:
    """Run the agent on one question that it can answer, and on one that makes it fail."""
    runner = agl.LitAgentRunner[Question](agl.OtelTracer())
    store = agl.InMemoryLightningStore()

    async with runner.run_context(agent=name_capital, store=store, hooks=[Watch()]):
        await runner.step(QUESTIONS[0], resources={"main_prompt": PROMPT, "llm": llm})
        try:
            await runner.step(QUESTIONS[1], resources={"main_prompt": PROMPT})
        except agl.MissingResource as error:
            print(f"the agent wants {error.wanted} and was given {', '.join(error.available)}")


if __name__ == "__main__":
    agl.configure_logger("WARNING")
    with model_or_exit() as model:
        anyio.run(main, model)
