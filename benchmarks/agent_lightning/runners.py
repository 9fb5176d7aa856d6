# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""64 runners, which are processes here, and an agent that sleeps 0.1 s. 512 of them are more than a machine takes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import agentlightning as agl

from benchmarks.agent_lightning.agents import resources, sizes, sleeper, tell

_EACH = 2  # rollouts for each runner: more would only take longer
_POLL = 0.2
_STARTING_SECONDS = 30.0
_SLEEP = 0.1


class SendAll(agl.Algorithm):
    """Waits until all runners have been heard of, sends all tasks, and waits until the last has ended.

    Attributes:
        wall: The seconds that took.
    """

    wall = 0.0

    def __init__(self, runners: int) -> None:
        self.runners = runners

    async def run(self, train_dataset: Any = None, val_dataset: Any = None) -> None:
        """Send and wait."""
        store = self.get_store()
        await store.add_resources(resources())
        await self._until_started(store)
        started = time.perf_counter()
        requests = [agl.EnqueueRolloutRequest(input=number) for number in range(self.runners * _EACH)]
        ids = [one.rollout_id for one in await store.enqueue_many_rollouts(requests)]
        while len(await store.wait_for_rollouts(rollout_ids=ids, timeout=0)) < len(ids):  # noqa: ASYNC110 - its store cannot be waited for from here
            await asyncio.sleep(_POLL)
        self.wall = time.perf_counter() - started

    async def _until_started(self, store: Any) -> None:
        until = time.monotonic() + _STARTING_SECONDS
        while len(await store.query_workers()) < self.runners and time.monotonic() < until:  # noqa: ASYNC110 - the same
            await asyncio.sleep(_POLL)


if __name__ == "__main__":
    count = sizes()["few"]
    tracer, algorithm = agl.OtelTracer(), SendAll(count)
    runner = agl.LitAgentRunner(tracer, poll_interval=_POLL)
    trainer = agl.Trainer(n_runners=count, tracer=tracer, runner=runner, algorithm=algorithm)
    trainer.fit(sleeper)
    tell({"few": _EACH * _SLEEP / algorithm.wall})
