"""A trainer's run that is timed from the first task that its algorithm sends to the end of the last rollout."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio.lowlevel

from benchmarks.meter import Meter
from lightning_actors import (
    Algorithm,
    Dataset,
    EnqueueRolloutRequest,
    InMemoryLightningStore,
    LitAgent,
    OtelTracer,
    RunResult,
    Trainer,
)

__all__ = ["PoolRun", "run_pool"]


class SendAll(Algorithm):
    """Sends all tasks, as many at a time as there are runners, and waits until they have ended.

    Attributes:
        meter: What that took.
        before: Awaited before the first task is sent, when every runner is idle.
    """

    def __init__(self, runners: int, rollouts: int, before: Callable[[], Awaitable[None]]) -> None:
        self.meter = Meter()
        self.before = before
        self._runners, self._rollouts = runners, rollouts

    async def run(self, train_dataset: Dataset[Any] | None = None, val_dataset: Dataset[Any] | None = None) -> None:
        """Send and wait."""
        store, sent = self.get_store(), list[str]()
        await self.before()
        with self.meter:
            for begin in range(0, self._rollouts, self._runners):
                numbers = range(begin, min(begin + self._runners, self._rollouts))
                requests = [EnqueueRolloutRequest(input=number) for number in numbers]
                sent += [one.rollout_id for one in await store.enqueue_many_rollouts(requests)]
            await store.wait_for_rollouts(rollout_ids=sent)


@dataclass(frozen=True, slots=True)
class PoolRun:
    """What came of it.

    Attributes:
        meter: What it took.
        result: What the trainer says.
        store: What is remembered of it.
    """

    meter: Meter
    result: RunResult
    store: InMemoryLightningStore = field(repr=False)


async def run_pool(
    agent: LitAgent[int],
    runners: int,
    rollouts: int,
    *,
    before: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
) -> PoolRun:
    """Have so many runners run so many rollouts of an agent; each task is its own number.

    Raises:
        RuntimeError: A rollout did not succeed.
    """
    algorithm, store = SendAll(runners, rollouts, before), InMemoryLightningStore()
    trainer = Trainer(n_workers=runners, algorithm=algorithm, store=store, tracer=OtelTracer())
    result = await trainer.fit_async(agent)
    if result.status_counts != ({"succeeded": rollouts} if rollouts else {}):
        raise RuntimeError(f"{rollouts} rollouts were sent, and this came of them: {result!r}")
    return PoolRun(algorithm.meter, result, store)
