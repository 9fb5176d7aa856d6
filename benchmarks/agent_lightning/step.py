# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""`runner.step`, with the same agent."""

from __future__ import annotations

import asyncio

import agentlightning as agl

from benchmarks.agent_lightning.agents import resources, sizes, spanner, tell
from benchmarks.meter import Meter


async def main(steps: int) -> dict[str, float]:
    """Steps one after another, and a tenth as many before them."""
    store = agl.InMemoryLightningStore()
    await store.add_resources(resources())
    runner = agl.LitAgentRunner(agl.OtelTracer())
    with runner.run_context(agent=spanner, store=store):
        for number in range(steps // 10):
            await runner.step(number)
        with Meter() as meter:
            for number in range(steps):
                await runner.step(number)
    return {"cpu": meter.cpu / steps}


tell(asyncio.run(main(sizes()["steps"])))
