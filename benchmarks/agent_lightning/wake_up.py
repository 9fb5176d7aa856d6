# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""Its store, its runner and the one who enqueues, in three processes."""

from __future__ import annotations

import asyncio
import statistics
import time

import agentlightning as agl

from benchmarks.agent_lightning.agents import resources, tell
from benchmarks.serving import beside, serving

_TIMES = 5  # its runner looks every five seconds


async def main(address: str) -> dict[str, float]:
    """Enqueue while it waits."""
    client = agl.LightningStoreClient(address)
    await client.add_resources(resources())

    async def wake() -> float:
        began = time.time()
        rollout_id = (await client.enqueue_rollout(1)).rollout_id
        while not await client.wait_for_rollouts(rollout_ids=[rollout_id], timeout=0):  # noqa: ASYNC110 - its client cannot wait longer
            await asyncio.sleep(0.05)
        told = agl.find_final_reward(await client.query_spans(rollout_id))
        return told - began

    try:
        await wake()
        return {"seconds": statistics.median([await wake() for _ in range(_TIMES)])}
    finally:
        await client.close()


if __name__ == "__main__":
    runner = "benchmarks.agent_lightning.wake_up_runner"
    with serving(("-m", "benchmarks.agent_lightning.serve")) as where, beside(("-m", runner, where)):
        tell(asyncio.run(main(where)))
