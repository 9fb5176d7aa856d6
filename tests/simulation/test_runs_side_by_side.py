"""Runs on one store that begin, end, fail and are cancelled at moments that a seed decides: each counts its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import anyio
import pytest

import lightning_actors as agl
from lightning_actors.actors.testkit import Schedule, VirtualClock
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.types import AttemptedRollout, Rollout

SEEDS = 60
QUEUED = {"queuing", "requeuing"}
ENDED = {"succeeded", "failed", "cancelled"}
RETRIED = agl.RolloutConfig(max_attempts=3, retry_condition=["failed"])


@dataclass
class SideBySide:
    """Some runs on one store, and somebody else who records rollouts of his own."""

    random: Random
    clock: VirtualClock
    results: list[agl.RunResult] = field(default_factory=list[agl.RunResult])
    unseen: int = 0

    def __post_init__(self) -> None:
        self.store = InMemoryLightningStore(clock=self.clock)

    async def run(self) -> None:
        """Let all of them come to their ends."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._record_outside)
            for _ in range(self.random.randint(2, 4)):
                group.start_soon(self._fit, self.random.random() < 0.2)

    async def _record_outside(self) -> None:
        for _ in range(self.random.randint(0, 4)):
            await self.store.enqueue_rollout("outside", config=self._config())
            await self._pause()

    async def _fit(self, fails: bool) -> None:  # noqa: FBT001 - how task groups call
        await self._pause()
        trainer = agl.Trainer(
            algorithm=self._algorithm(fails=fails),
            store=self.store,
            tracer=agl.DummyTracer(),
            n_workers=self.random.randint(1, 2),
            max_rollouts=self.random.choice([None, None, 1, 2]),
            grace=self.random.choice([0.0, 1.0, 100.0]),
            clock=self.clock,
        )
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                if fails and self.random.random() < 0.5:
                    group.start_soon(self._cancel_later, scope)
                try:
                    self.results.append(await trainer.fit_async(self._agent()))
                except ZeroDivisionError:
                    self.unseen += 1
                group.cancel_scope.cancel()
        self.unseen += scope.cancelled_caught

    async def _cancel_later(self, scope: anyio.CancelScope) -> None:
        await self._pause()
        scope.cancel()

    def _algorithm(self, *, fails: bool) -> agl.Algorithm:
        @agl.algo
        async def algorithm(store: agl.LightningStore) -> None:
            recorded: list[str] = []
            for number in range(self.random.randint(0, 5)):
                rollout = await store.enqueue_rollout(str(number), config=self._config())
                recorded.append(rollout.rollout_id)
                await self._pause()
            if recorded and self.random.random() < 0.4:
                await store.wait_for_rollouts(rollout_ids=recorded, timeout=20.0)
            await self._pause()
            if fails:
                raise ZeroDivisionError

        return algorithm

    def _agent(self) -> agl.LitAgent[str]:
        @agl.rollout
        async def agent(task: str) -> float:
            await self._pause()
            if self.random.random() < 0.4:
                raise ValueError(task)
            return 1.0

        return agent

    def _config(self) -> agl.RolloutConfig | None:
        return self.random.choice([None, RETRIED])

    async def _pause(self) -> None:
        await self.clock.sleep(self.random.choice([0.0, 0.1, 1.0, 5.0]))

    async def judge(self) -> None:
        """No outcome is told twice, and where every run was heard of, none is lost."""
        told = [rollout for result in self.results for rollout in result.rollouts]
        outcomes = Counter(rollout.rollout_id for rollout in told if rollout.status in ENDED)
        left_over = Counter((one.rollout_id, attempts_over(one)) for one in told if one.status not in ENDED)
        assert set(outcomes.values()) <= {1}, "an outcome is in two results"
        assert set(left_over.values()) <= {1}, "two runs left over the same, and nobody ran it in between"
        for rollout in await self.store.query_rollouts():
            assert rollout.status in QUEUED | ENDED
            if not self.unseen and rollout.status in ENDED:
                assert outcomes[rollout.rollout_id] == 1, f"the outcome of {rollout} is lost"


def attempts_over(rollout: Rollout) -> int:
    if not isinstance(rollout, AttemptedRollout):
        return 0
    return rollout.attempt.sequence_id if rollout.status in QUEUED else rollout.attempt.sequence_id - 1


def simulate(seed: int, backend: Literal["asyncio", "trio"]) -> None:
    clock = VirtualClock()

    async def main() -> None:
        world = SideBySide(Random(seed), clock)  # noqa: S311 - a simulation, not a secret
        await world.run()
        await world.judge()

    Schedule(seed, backend).run(main, clock=clock)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whenever_runs_end_each_outcome_is_in_one_result(backend: Literal["asyncio", "trio"]) -> None:
    for seed in range(SEEDS):
        simulate(seed, backend)
