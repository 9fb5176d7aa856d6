"""Reads and writes of a store in memory that holds 1,000 and then 100,000 rollouts: what they cost should not change.

The limit is a dict, whose own reads and writes also slow down a little as it outgrows the processor's caches.
"""

from __future__ import annotations

import secrets
import statistics
from collections.abc import Callable

from benchmarks.case import Case, Options
from benchmarks.cases.store_workload import OPERATIONS, measure_store, ratios
from benchmarks.figure import Figure, Sample, highest, of_ours
from benchmarks.meter import Meter
from lightning_actors import InMemoryLightningStore, Span

_STRIDE = 7919  # as the workload's
_WRITES = frozenset({"enqueue", "dequeue", "update", "spans"})


def make_span(rollout_id: str, attempt_id: str) -> Span:
    """A span with one attribute."""
    return Span.from_attributes(
        attributes={"words": 3}, rollout_id=rollout_id, attempt_id=attempt_id, start_time=1.0, end_time=2.0
    )


def ours(options: Options) -> Sample:
    """`InMemoryLightningStore`, called directly."""
    return options.run(lambda: measure_store(InMemoryLightningStore(), make_span, options.sizes))


def bare(options: Options) -> Sample:
    """A dict from ids to records."""
    table: dict[str, list[str]] = {}
    ids: list[str] = []

    def write(_: int) -> None:
        key = secrets.token_hex(6)
        ids.append(key)
        table[key] = [key]

    def read(number: int) -> None:
        table[ids[(number * _STRIDE) % len(ids)]].append("")

    def at(size: int, suffix: str) -> Sample:
        while len(ids) < size:
            write(0)
        writing, reading = _timed(write, options), _timed(read, options)
        return {f"{name}_{suffix}": writing if name in _WRITES else reading for name in OPERATIONS}

    small, large = at(options.sizes["small"], "small"), at(options.sizes["large"], "large")
    return {**small, **large, **ratios(small, large)}


def _timed(call: Callable[[int], None], options: Options) -> float:
    spent: list[float] = []
    calls = options.sizes["calls"]
    for chunk in range(options.sizes["chunks"]):
        with Meter() as meter:
            for number in range(calls):
                call(chunk * calls + number)
        spent.append(meter.cpu / calls)
    return statistics.median(spent)


CASE = Case(
    name="store",
    title="store reads and writes at 100,000 rollouts relative to 1,000",
    ours=ours,
    bare=bare,
    peer="store",
    figures=(
        Figure(
            "store reads and writes, 1k → 100k rollouts, the worst of them",
            highest(tuple(OPERATIONS)),
            "times",
            frozenset({"ours"}),
            reach=1.5,
            aim=1.2,
            shows=("worst", "worst"),
            shows_unit="times",
        ),
        *(
            Figure(f"  {what}", of_ours(name), "times", frozenset({"ours"}), shows=(name, name), shows_unit="times")
            for name, what in OPERATIONS.items()
        ),
    ),
    sizes={"small": 1000, "large": 100_000, "chunks": 25, "calls": 20},
    tiny={"small": 40, "large": 80, "chunks": 2, "calls": 3},
    rounds=3,
)
