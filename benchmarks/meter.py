"""What is read off a process: CPU time, wall time, memory; and the event loops to run on."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, Self

import anyio

__all__ = ["BACKENDS", "Backend", "Meter", "resident_bytes", "run_on"]

Backend = Literal["asyncio", "uvloop", "trio"]
BACKENDS: Final[tuple[Backend, ...]] = ("asyncio", "uvloop", "trio")

_STATM: Final = Path("/proc/self/statm")


class Meter:
    """The CPU and wall time of a ``with`` block.

    Attributes:
        cpu: Seconds of CPU time of this process, all threads together.
        wall: Seconds that passed.
    """

    def __enter__(self) -> Self:
        self.cpu = self.wall = 0.0
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = time.process_time() - self._cpu, time.perf_counter() - self._wall


def resident_bytes() -> int:
    """The memory of this process that is resident now; its peak where the system does not say."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def run_on(backend: Backend, main: Callable[[], Any]) -> Any:
    """Run an async function to its end on one of the loops, and return what it returns."""
    if backend == "trio":
        return anyio.run(main, backend="trio")
    return anyio.run(main, backend="asyncio", backend_options={"use_uvloop": backend == "uvloop"})
