"""Where the time of a `runner.step` goes, as a Markdown table: ``python -m benchmarks.step_profile``.

Steps are measured as they are, then without the garbage collector, then under cProfile. The profiler makes everything
slower, small functions most of all; its shares are applied to what the steps cost without it. What is built into Python
counts for whoever calls it.
"""

from __future__ import annotations

import cProfile
import gc
import pstats
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio

import lightning_actors
from benchmarks.cases.agent import spanner
from benchmarks.meter import Meter
from lightning_actors import InMemoryLightningStore, LitAgentRunner, OtelTracer

__all__ = ["Share", "StepProfile", "as_markdown", "profile_steps"]

_STEPS: Final = 1000
_PACKAGE: Final = str(Path(lightning_actors.__file__).parent)
_LEAST: Final = 0.01  # of all; what is less is not worth a line

_Function = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Share:
    """What one part takes of a step.

    Attributes:
        part: A layer of the package, or a library.
        seconds: CPU seconds.
        calls: Calls of its own functions.
    """

    part: str
    seconds: float
    calls: float


@dataclass(frozen=True, slots=True)
class StepProfile:
    """What a step costs.

    Attributes:
        seconds: CPU seconds of one step.
        collector: Those of them that are the garbage collector's.
        shares: What the parts take of the rest, the largest first.
    """

    seconds: float
    collector: float
    shares: tuple[Share, ...]


def profile_steps(steps: int = _STEPS) -> StepProfile:
    """Take the measurements, so many steps for each."""
    plain = anyio.run(_steps, steps, None)
    gc.disable()
    try:
        uncollected, profile = anyio.run(_steps, steps, None), cProfile.Profile()
        anyio.run(_steps, steps, profile)
    finally:
        gc.enable()
    raw: Any = pstats.Stats(profile)  # its ``stats`` is missing from the type stubs
    seconds, calls = _by_part(raw.stats)
    whole = sum(seconds.values())
    shares = (Share(part, took / whole * uncollected, calls[part] / steps) for part, took in seconds.most_common())
    return StepProfile(plain, max(plain - uncollected, 0.0), tuple(shares))


async def _steps(count: int, profile: cProfile.Profile | None) -> float:
    runner = LitAgentRunner[int](OtelTracer())
    async with runner.run_context(agent=spanner, store=InMemoryLightningStore()):
        for number in range(count // 10):
            await runner.step(number)
        if profile is not None:
            profile.enable()
        with Meter() as meter:
            for number in range(count):
                await runner.step(number)
        if profile is not None:
            profile.disable()
    return meter.cpu / count


def _by_part(stats: Mapping[_Function, Any]) -> tuple[Counter[str], Counter[str]]:
    seconds, calls = Counter[str](), Counter[str]()
    for (path, _, _), (_, count, own, _, callers) in stats.items():
        if path != "~":
            seconds[_part(path)] += own
            calls[_part(path)] += count
            continue
        for (caller, _, _), (_, _, taken, _) in callers.items():  # built in: it has no file
            seconds[_part(caller)] += taken
    return seconds, calls


def _part(path: str) -> str:
    """The part that a file belongs to."""
    if path.startswith(_PACKAGE):
        layer = Path(path[len(_PACKAGE) + 1 :]).parts[0].removesuffix(".py")
        return f"`{layer}`"
    library = re.search(r"site-packages[\\/](anyio|opentelemetry|pydantic|sniffio)\b", path)
    if library is not None:
        return "anyio" if library[1] == "sniffio" else library[1]
    return "asyncio" if "asyncio" in Path(path).parts else "the rest of Python"


def as_markdown(profile: StepProfile) -> str:
    """The profile as a table, in microseconds."""
    rows = [("garbage collector", profile.collector, "")]
    rows += [
        (share.part, share.seconds, f"{share.calls:.0f}")
        for share in profile.shares
        if share.seconds >= _LEAST * profile.seconds
    ]
    lines = ["| part | µs | share | calls |", "|---|---|---|---|"]
    lines += [f"| {part} | {took * 1e6:.0f} | {took / profile.seconds:.0%} | {calls} |" for part, took, calls in rows]
    return "\n".join([*lines, f"| **a step** | **{profile.seconds * 1e6:.0f}** | | |"])


if __name__ == "__main__":
    print(as_markdown(profile_steps()))
