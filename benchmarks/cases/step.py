"""`runner.step` with an agent that opens one span and returns its reward.

The limit is the await of such an agent within a root span, and four asks: start, begin, spans and end.
"""

from __future__ import annotations

from benchmarks.case import Case, Options
from benchmarks.cases.agent import one_span, sdk_provider, spanner
from benchmarks.cases.bare_ask import BareActor
from benchmarks.figure import Figure, Sample, ratio
from benchmarks.meter import Meter
from lightning_actors import InMemoryLightningStore, LitAgentRunner, OtelTracer

_ASKS = 4


def ours(options: Options) -> Sample:
    """Steps one after another, in ``async with`` and in ``with``, each in a store of its own."""

    async def steps(runner: LitAgentRunner[int], count: int) -> float:
        for number in range(count // 10):
            await runner.step(number)
        with Meter() as meter:
            for number in range(count):
                await runner.step(number)
        return meter.cpu / count

    async def main() -> Sample:
        runner = LitAgentRunner[int](OtelTracer())
        async with runner.run_context(agent=spanner, store=InMemoryLightningStore()):
            resident = await steps(runner, options.sizes["steps"])
        with runner.run_context(agent=spanner, store=InMemoryLightningStore()):
            plain = await steps(runner, options.sizes["steps"])
        return {"async_with": resident, "with": plain}

    return options.run(main)


def bare(options: Options) -> Sample:
    """Two SDK spans around the same agent, and four bare asks."""
    provider, _ = sdk_provider()
    tracer = provider.get_tracer("benchmarks")
    actor = BareActor()

    async def step(number: int) -> None:
        for _ in range(_ASKS):
            await actor.ask(number)
        with tracer.start_as_current_span("root"):
            await one_span(tracer)

    async def main() -> Sample:
        count = options.sizes["steps"]
        async with actor.serving():
            for number in range(count // 10):
                await step(number)
            with Meter() as meter:
                for number in range(count):
                    await step(number)
        return {"cpu": meter.cpu / count}

    return options.run(main)


CASE = Case(
    name="step",
    title="runner.step, the agent opens one span and returns a reward",
    ours=ours,
    bare=bare,
    peer="step",
    figures=(
        Figure(
            "`runner.step` in `async with`, one agent span: CPU, times less than Agent Lightning",
            ratio(("peer", "cpu"), ("ours", "async_with")),
            "times",
            frozenset({"ours", "peer"}),
            reach=10,
            aim=20,
            shows=("async_with", "cpu"),
        ),
        Figure(
            "the same in `with`, where each step makes an actor of its own",
            ratio(("peer", "cpu"), ("ours", "with")),
            "times",
            frozenset({"ours", "peer"}),
            shows=("with", "cpu"),
        ),
        Figure(
            "`runner.step` in `async with`, relative to an await, two SDK spans and four bare asks",
            ratio(("ours", "async_with"), ("bare", "cpu")),
            "times",
            frozenset({"ours", "bare"}),
            shows=("async_with", "cpu"),
        ),
    ),
    sizes={"steps": 1000},
    tiny={"steps": 10},
    chooses_loop=True,
)
