"""A store in a file: durable operations per second, and what a rollout costs beside one in memory.

A rollout is enqueued, claimed, begun, given two spans and ended: five operations, each answered after its commit. The
limit is SQLite itself, given the rows of as many rollouts as there are callers in one transaction.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import anyio

from benchmarks.case import Case, Options
from benchmarks.cases.store import make_span
from benchmarks.figure import Figure, Sample, of_ours
from benchmarks.meter import Meter
from lightning_actors import InMemoryLightningStore, SqliteLightningStore

_OPERATIONS: Final = 5
"""How many there are in the life of a rollout."""
_ROWS: Final = 12
"""How many rows are written in it: the rollout four times, its attempt three, the worker two, its task, its spans."""


async def live(store: Any, callers: int, each: int) -> None:
    """Have so many callers at once see rollouts through their lives, one after another."""

    async def lives() -> None:
        for number in range(each):
            await store.enqueue_rollout({"question": number})
            claimed = await store.dequeue_rollout(worker_id="Worker-0")
            ids = claimed.rollout_id, claimed.attempt.attempt_id
            await store.update_attempt(*ids, status="running")
            await store.add_many_spans([make_span(*ids), make_span(*ids)])
            await store.update_attempt(*ids, status="succeeded")

    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(lives)


async def measured(store: Any, sizes: Mapping[str, int], suffix: str) -> Sample:
    """CPU seconds of a rollout with one caller and with many, and operations per second with many."""
    callers, each, one = sizes["callers"], sizes["each"], sizes["one"]
    await live(store, callers, 1)
    with Meter() as many:
        await live(store, callers, each)
    with Meter() as single:
        await live(store, 1, one)
    return {
        f"cpu_{suffix}": many.cpu / (callers * each),
        f"cpu_one_{suffix}": single.cpu / one,
        f"rate_{suffix}": callers * each * _OPERATIONS / many.wall,
        f"rate_one_{suffix}": one * _OPERATIONS / single.wall,
    }


def ours(options: Options) -> Sample:
    """`SqliteLightningStore` and `InMemoryLightningStore`, in turn."""

    async def main() -> Sample:
        memory = await measured(InMemoryLightningStore(), options.sizes, "memory")
        with tempfile.TemporaryDirectory() as folder:
            async with SqliteLightningStore(Path(folder) / "store.db") as store:
                file = await measured(store, options.sizes, "file")
        return {
            **memory,
            **file,
            "ratio": file["cpu_file"] / memory["cpu_memory"],
            "ratio_one": file["cpu_one_file"] / memory["cpu_one_memory"],
        }

    return options.run(main)


def bare(options: Options) -> Sample:
    """Rows by ``executemany``, and a commit for each round of the callers."""
    callers, each = options.sizes["callers"], options.sizes["each"]
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE bare (number INTEGER PRIMARY KEY, at REAL, text TEXT)")
        row: tuple[Any, ...] = (time.time(), '{"question": 1}')
        with Meter() as meter:
            for _ in range(each * _OPERATIONS):
                connection.execute("BEGIN")
                rows = [row] * (callers * _ROWS // _OPERATIONS)
                connection.executemany("INSERT INTO bare (at, text) VALUES (?, ?)", rows)
                connection.execute("COMMIT")
        connection.close()
    return {"cpu_file": meter.cpu / (callers * each), "rate_file": callers * each * _OPERATIONS / meter.wall}


CASE = Case(
    name="durable",
    title="a store in a file: durable operations per second, and its cost beside one in memory",
    ours=ours,
    bare=bare,
    figures=(
        Figure(
            "store in a file, durable operations per second with 64 callers",
            of_ours("rate_file"),
            "/s",
            frozenset({"ours"}),
            reach=5_000,
            aim=8_000,
            shows=("rate_file", "rate_file"),
            shows_unit="/s",
        ),
        Figure(
            "CPU of a rollout in a file relative to memory, 64 callers",
            of_ours("ratio"),
            "times",
            frozenset({"ours"}),
            reach=3.0,
            aim=2.0,
            shows=("cpu_file", "cpu_file"),
        ),
        Figure(
            "  the same, 1 caller",
            of_ours("ratio_one"),
            "times",
            frozenset({"ours"}),
            shows=("cpu_one_file", "cpu_file"),
        ),
        Figure("  operations per second with 1 caller", of_ours("rate_one_file"), "/s", frozenset({"ours"})),
    ),
    sizes={"callers": 64, "each": 30, "one": 300},
    tiny={"callers": 3, "each": 2, "one": 2},
    rounds=3,
    chooses_loop=True,
)
