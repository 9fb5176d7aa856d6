"""10,000 rollouts in flight in one process, beside 10,000 bare tasks of the event loop.

Each opens a span, waits until all have one open, sleeps 0.1 s, and returns its own number as reward. So all are in
flight at the same moment, on both sides. The bare task does just that, with an SDK provider that keeps its ended spans
in a list. Ours goes through the whole of a run: queue, runner actors, store; or through `runner.step_many`. Making and
stopping the pool is not timed. Afterwards each rollout is looked at: none may be lost, and none may have a span or a
reward that is not its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import anyio
from opentelemetry import trace as otel

from benchmarks.case import Case, Options
from benchmarks.cases.agent import SLEEP, sdk_provider, tracer
from benchmarks.cases.pool import run_pool
from benchmarks.figure import Figure, Sample, ratio
from benchmarks.meter import Meter
from lightning_actors import (
    InMemoryLightningStore,
    LightningStore,
    LitAgent,
    LitAgentRunner,
    OtelTracer,
    Rollout,
    find_final_reward,
    rollout,
)


class Gate:
    """Opens when all have come.

    Args:
        expected: How many that is.
    """

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._open = anyio.Event()

    async def pass_through(self) -> None:
        """Come, and wait for the others."""
        self._missing -= 1
        if self._missing == 0:
            self._open.set()
        await self._open.wait()


async def work(spans: otel.Tracer, gate: Gate, number: int) -> float:
    """What each of them does."""
    with spans.start_as_current_span("work", attributes={"number": number}):
        await gate.pass_through()
        await anyio.sleep(SLEEP)
    return float(number)


def gated_agent(expected: int) -> LitAgent[int]:
    """An agent whose rollouts wait for each other."""
    gate = Gate(expected)

    @rollout
    async def gated(task: int) -> float:
        return await work(tracer, gate, task)

    return gated


def ours(options: Options) -> Sample:
    """A trainer with that many runners, then as many steps at once."""

    async def main() -> Sample:
        count = options.sizes["rollouts"]
        pool = await run_pool(gated_agent(count), count, count)
        await check(pool.store, pool.result.rollouts, count)
        steps = await _step_all(count)
        return {
            "pool_cpu": pool.meter.cpu / count,
            "pool_wall": pool.meter.wall / count,
            "steps_cpu": steps.cpu / count,
        }

    return options.run(main)


async def _step_all(count: int) -> Meter:
    store, runner = InMemoryLightningStore(), LitAgentRunner[int](OtelTracer())
    async with runner.run_context(agent=gated_agent(count), store=store):
        with Meter() as meter:
            ended = [one async for one in runner.step_many(range(count), limit=count)]
    await check(store, ended, count)
    return meter


async def check(store: LightningStore, rollouts: Iterable[Rollout], count: int) -> None:
    """See that every rollout ended well, with its own spans and reward and nobody else's.

    Raises:
        RuntimeError: One did not.
    """
    seen: set[int] = set()
    for one in rollouts:
        spans = await store.query_spans(one.rollout_id)
        numbers = [span.attributes["number"] for span in spans if span.name == "work"]
        if one.status != "succeeded" or numbers != [one.input] or find_final_reward(spans) != one.input:
            raise RuntimeError(f"{one!r} of task {one.input} has the spans of {numbers}: {[s.name for s in spans]}")
        seen.add(one.input)
    if seen != set(range(count)):
        raise RuntimeError(f"{count} rollouts were begun, and {len(seen)} came back")


def bare(options: Options) -> Sample:
    """As many tasks of the event loop."""

    async def main() -> Sample:
        count = options.sizes["rollouts"]
        provider, kept = sdk_provider()
        bare_tracer, gate, rewards = provider.get_tracer("benchmarks"), Gate(count), set[float]()

        async def one(number: int) -> None:
            rewards.add(await work(bare_tracer, gate, number))

        with Meter() as meter:
            async with anyio.create_task_group() as tasks:
                for number in range(count):
                    tasks.start_soon(one, number)
        if len(rewards) != count or len(kept.spans) != count:
            raise RuntimeError(f"{count} tasks were begun, and {len(rewards)} came back")
        return {"cpu": meter.cpu / count, "wall": meter.wall / count}

    return options.run(main)


_BOTH = frozenset({"ours", "bare"})

CASE = Case(
    name="in_flight",
    title="10,000 rollouts in flight in one process, relative to 10,000 bare tasks",
    ours=ours,
    bare=bare,
    figures=(
        Figure(
            "10,000 rollouts in flight in one process, rate by CPU time relative to 10,000 bare tasks",
            ratio(("bare", "cpu"), ("ours", "pool_cpu")),
            "%",
            _BOTH,
            reach=0.25,
            aim=0.40,
            shows=("pool_cpu", "cpu"),
        ),
        Figure(
            "the same by the clock on the wall",
            ratio(("bare", "wall"), ("ours", "pool_wall")),
            "%",
            _BOTH,
            shows=("pool_wall", "wall"),
        ),
        Figure(
            "the same with `step_many` instead of a pool, by CPU time",
            ratio(("bare", "cpu"), ("ours", "steps_cpu")),
            "%",
            _BOTH,
            shows=("steps_cpu", "cpu"),
        ),
    ),
    sizes={"rollouts": 10_000},
    tiny={"rollouts": 20},
    rounds=3,
    chooses_loop=True,
)
