# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""Its client and its server, with the same workload."""

from __future__ import annotations

import asyncio

import agentlightning as agl

from benchmarks.agent_lightning.agents import sizes, tell
from benchmarks.cases.remote_workload import measure_remote
from benchmarks.serving import serving


def make_span(rollout_id: str, attempt_id: str, number: int) -> agl.Span:
    """A span as large as ours."""
    return agl.Span.from_attributes(
        attributes={f"attribute.{one}": f"value {one}" for one in range(12)},
        rollout_id=rollout_id,
        attempt_id=attempt_id,
        sequence_id=number + 1,
        start_time=1.0,
        end_time=2.0,
    )


async def main(address: str) -> dict[str, float]:
    """Ask."""
    client = agl.LightningStoreClient(address)
    try:
        return await measure_remote(client, make_span, sizes())
    finally:
        await client.close()


with serving(("-m", "benchmarks.agent_lightning.serve")) as address:
    tell(asyncio.run(main(address)))
