"""`Trainer.dev` with ten trivial tasks: how long somebody waits for a dry run, the imports done.

The limit is an event loop that awaits the agent ten times.
"""

from __future__ import annotations

import asyncio
import contextlib
import io

from benchmarks.case import Case, Options
from benchmarks.cases.agent import one_span, sdk_provider, spanner
from benchmarks.figure import Figure, Sample, of_ours, ratio
from benchmarks.meter import Meter
from lightning_actors import OtelTracer, Trainer


def ours(options: Options) -> Sample:
    """The first dry run of the process, with the trainer's defaults; what it prints is formatted and thrown away."""
    with contextlib.redirect_stdout(io.StringIO()), Meter() as meter:
        result = Trainer(tracer=OtelTracer()).dev(spanner, range(options.sizes["tasks"]))
    if list(result.rewards.values()) != [1.0] * options.sizes["tasks"]:
        raise RuntimeError(f"the dry run came to {result!r}")
    return {"wall": meter.wall, "cpu": meter.cpu}


def bare(options: Options) -> Sample:
    """The agent alone."""
    tracer = sdk_provider()[0].get_tracer("benchmarks")

    async def main() -> None:
        for _ in range(options.sizes["tasks"]):
            await one_span(tracer)

    with Meter() as meter:
        asyncio.run(main())
    return {"wall": meter.wall, "cpu": meter.cpu}


CASE = Case(
    name="dev",
    title="Trainer.dev, ten trivial tasks, after import",
    ours=ours,
    bare=bare,
    peer="dev",
    figures=(
        Figure(
            "`dev`, ten trivial tasks, after import",
            of_ours("wall"),
            "s",
            frozenset({"ours"}),
            reach=0.2,
            aim=0.05,
            shows=("wall", "wall"),
            shows_unit="s",
        ),
        Figure(
            "the same, times shorter than Agent Lightning's with polls every 0.05 s",
            ratio(("peer", "tuned_wall"), ("ours", "wall")),
            "times",
            frozenset({"ours", "peer"}),
            shows=("wall", "tuned_wall"),
            shows_unit="s",
        ),
    ),
    sizes={"tasks": 10},
    tiny={"tasks": 2},
)
