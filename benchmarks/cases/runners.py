"""Many runners under a trainer, whose agents sleep 0.1 s: the share of the rate that n runners could have, n / 0.1 s.

What is timed is the algorithm's own work, from the first task that it sends to the end of the last rollout; making and
stopping the pool is not. The limit is as many tasks of the event loop, each running the same agent again and again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import anyio
from opentelemetry import trace as otel

from benchmarks.case import Case, Options
from benchmarks.cases.agent import SLEEP, sdk_provider, sleep_in_span, sleeper
from benchmarks.cases.pool import run_pool
from benchmarks.figure import Figure, Sample, of_ours, ratio
from benchmarks.meter import Meter

_POOLS = ("few", "many")


def ours(options: Options) -> Sample:
    """Pools of both sizes, one after another, each in a store of its own."""
    return options.run(lambda: _both(options, _pool))


def bare(options: Options) -> Sample:
    """Tasks that run the agent again and again."""
    return options.run(lambda: _both(options, _tasks))


async def _both(options: Options, run: Callable[[int, int], Awaitable[Meter]]) -> Sample:
    sample: dict[str, float] = {}
    for pool in _POOLS:
        runners, each = options.sizes[pool], options.sizes[f"{pool}_each"]
        meter = await run(runners, runners * each)
        sample[pool] = each * SLEEP / meter.wall
        sample[f"{pool}_cpu"] = meter.cpu / (runners * each)
    return sample


async def _pool(runners: int, rollouts: int) -> Meter:
    return (await run_pool(sleeper, runners, rollouts)).meter


async def _tasks(runners: int, rollouts: int) -> Meter:
    tracer, left = sdk_provider()[0].get_tracer("benchmarks"), iter(range(rollouts))
    with Meter() as meter:
        async with anyio.create_task_group() as tasks:
            for _ in range(runners):
                tasks.start_soon(_work, tracer, left)
    return meter


async def _work(tracer: otel.Tracer, left: Iterator[int]) -> None:
    for _ in left:
        await sleep_in_span(tracer)


def _share(pool: str, runners: str, reach: float, aim: float) -> Figure:
    return Figure(
        f"{runners} runners, agent sleeps 0.1 s: share of the ideal rate",
        of_ours(pool),
        "%",
        frozenset({"ours"}),
        reach=reach,
        aim=aim,
        shows=(pool, pool),
        shows_unit="%",
    )


def _cpu(pool: str, runners: str) -> Figure:
    return Figure(
        f"{runners} runners: CPU for each rollout, relative to bare tasks",
        ratio(("ours", f"{pool}_cpu"), ("bare", f"{pool}_cpu")),
        "times",
        frozenset({"ours", "bare"}),
        shows=(f"{pool}_cpu", f"{pool}_cpu"),
    )


CASE = Case(
    name="runners",
    title="64 and 512 runners under a trainer, the agent sleeps 0.1 s in one span",
    ours=ours,
    bare=bare,
    peer="runners",
    figures=(
        _share("few", "64", 0.93, 0.97),
        _share("many", "512", 0.50, 0.75),
        _cpu("few", "64"),
        _cpu("many", "512"),
    ),
    sizes={"few": 64, "few_each": 30, "many": 512, "many_each": 20},
    tiny={"few": 4, "few_each": 2, "many": 8, "many_each": 1},
    rounds=3,
    chooses_loop=True,
)
