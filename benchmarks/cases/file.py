"""Reads and writes of a store in a file that holds 1,000 and then 100,000 rollouts: what they cost should not change.

At the smaller size all that is asked for is at hand; at the larger one most of it is read from the file. The limit is
the dict of the store in memory.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.case import Case, Options
from benchmarks.cases import store
from benchmarks.cases.store_workload import OPERATIONS, measure_store
from benchmarks.figure import Figure, Sample, highest, of_ours
from lightning_actors import SqliteLightningStore


def ours(options: Options) -> Sample:
    """`SqliteLightningStore`, called directly."""

    async def main() -> Sample:
        with tempfile.TemporaryDirectory() as folder:
            async with SqliteLightningStore(Path(folder) / "store.db") as opened:
                return await measure_store(opened, store.make_span, options.sizes)

    return options.run(main)


CASE = Case(
    name="file",
    title="reads and writes of a store in a file at 100,000 rollouts relative to 1,000",
    ours=ours,
    bare=store.bare,
    figures=(
        Figure(
            "store in a file, reads and writes, 1k → 100k rollouts, the worst of them",
            highest(tuple(OPERATIONS)),
            "times",
            frozenset({"ours"}),
            reach=2.0,
            aim=1.3,
            shows=("worst", "worst"),
            shows_unit="times",
        ),
        *(
            Figure(f"  {what}", of_ours(name), "times", frozenset({"ours"}), shows=(name, name), shows_unit="times")
            for name, what in OPERATIONS.items()
        ),
    ),
    sizes=store.CASE.sizes,
    tiny=store.CASE.tiny,
    rounds=1,
)
