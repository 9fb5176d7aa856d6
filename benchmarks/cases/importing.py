"""`import lightning_actors` in a fresh interpreter: time and memory.

The limit is the import of what it stands on.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.case import Case, Options
from benchmarks.figure import Figure, Sample, of_ours, ratio


def ours(options: Options) -> Sample:
    """The package."""
    return _imported(options, "lightning_actors")


def bare(options: Options) -> Sample:
    """Its dependencies."""
    return _imported(options, "anyio", "opentelemetry.sdk.trace", "pydantic", "structlog")


def _imported(options: Options, *modules: str) -> Sample:
    sample: Sample = {}
    for _ in range(options.sizes["times"]):  # the last counts: the first may have to compile
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "benchmarks.cases.import_probe", *modules],
            capture_output=True,
            text=True,
            check=True,
        )
        sample = json.loads(done.stdout)
    return sample


_OURS = frozenset({"ours"})

CASE = Case(
    name="import",
    title="import lightning_actors in a fresh interpreter",
    ours=ours,
    bare=bare,
    peer="importing",
    figures=(
        Figure(
            "`import lightning_actors`, CPU time",
            of_ours("cpu"),
            "s",
            _OURS,
            reach=0.5,
            aim=0.3,
            shows=("cpu", "cpu"),
            shows_unit="s",
        ),
        Figure(
            "`import lightning_actors`, resident memory of the process",
            of_ours("bytes"),
            "MiB",
            _OURS,
            reach=64 * 1024**2,
            aim=48 * 1024**2,
            shows=("bytes", "bytes"),
            shows_unit="MiB",
        ),
        Figure(
            "`import lightning_actors`, relative to what it stands on",
            ratio(("ours", "cpu"), ("bare", "cpu")),
            "times",
            frozenset({"ours", "bare"}),
        ),
    ),
    sizes={"times": 2},
    tiny={"times": 1},
)
