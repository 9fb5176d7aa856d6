# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""Its runner, in a process of its own, with the store at the address that it is given."""

from __future__ import annotations

import asyncio
import sys
import time

import agentlightning as agl


@agl.rollout
async def clock(task: int, prompt_template: agl.PromptTemplate) -> float:
    """Say what time it is. An agent has to want a resource here."""
    return time.time()


async def main(address: str) -> None:
    """Run what is queued."""
    runner = agl.LitAgentRunner(agl.OtelTracer())
    with runner.run_context(agent=clock, store=agl.LightningStoreClient(address)):
        await runner.iter()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
