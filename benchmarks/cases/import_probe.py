"""Importing, measured: run as a program with the modules' names, which should be the first thing that it imports."""

from __future__ import annotations

import importlib
import json
import sys
import time

__all__ = ["measure_import"]


def measure_import(*modules: str) -> None:
    """Import modules and print what that took, as a sample."""
    wall, cpu = time.perf_counter(), time.process_time()
    for module in modules:
        importlib.import_module(module)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    from benchmarks.meter import resident_bytes  # noqa: PLC0415 - it imports anyio, whose time must not be missing above

    print(json.dumps({"wall": wall, "cpu": cpu, "bytes": resident_bytes()}))


if __name__ == "__main__":
    measure_import(*sys.argv[1:])
