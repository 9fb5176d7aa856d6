# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""Runners that wait for work, as many as one process takes, each in `iter` with its heartbeat."""

from __future__ import annotations

import asyncio
import os

import agentlightning as agl

from benchmarks.agent_lightning.agents import resources, sizes, spanner, tell
from benchmarks.meter import resident_bytes

_MOST = 200  # each has threads of its own


async def main(runners: int) -> dict[str, float]:
    """One to make what a process has once, then the others."""
    store = agl.InMemoryLightningStore()
    await store.add_resources(resources())
    stop = asyncio.Event()
    waiting: list[asyncio.Task[None]] = []

    async def wait(number: int) -> None:
        runner = agl.LitAgentRunner(agl.OtelTracer())
        runner.init(spanner)
        runner.init_worker(number, store)
        waiting.append(asyncio.create_task(runner.iter(event=stop)))
        await asyncio.sleep(0.05)

    await wait(0)
    await asyncio.sleep(1)
    before, count = resident_bytes(), min(runners, _MOST)
    for number in range(1, count + 1):
        await wait(number)
    await asyncio.sleep(1)
    return {"bytes": (resident_bytes() - before) / count}


async def measured(runners: int) -> None:
    """Measure, and leave without waiting for the heartbeats."""
    tell(await main(runners))
    os._exit(0)


asyncio.run(measured(sizes()["runners"]))
