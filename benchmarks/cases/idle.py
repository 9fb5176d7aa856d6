"""The memory of a runner actor that waits for work: 10,000 of them under a trainer, against one.

The limit is a task of the event loop that waits on a memory stream of its own.
"""

from __future__ import annotations

import anyio

from benchmarks.case import Case, Options
from benchmarks.cases.agent import spanner
from benchmarks.cases.pool import run_pool
from benchmarks.figure import Figure, Sample, of_ours
from benchmarks.meter import resident_bytes


def ours(options: Options) -> Sample:
    """A pool with one runner, then one with very many, each looked at when all its runners wait."""

    async def resident(runners: int) -> int:
        seen: list[int] = []

        async def look() -> None:
            await anyio.wait_all_tasks_blocked()
            seen.append(resident_bytes())

        await run_pool(spanner, runners, 0, before=look)
        return seen[0]

    async def main() -> Sample:
        runners = options.sizes["runners"]
        await resident(1)  # what is made once in a process is none of theirs
        before = await resident(1)
        return {"bytes": (await resident(runners) - before) / (runners - 1)}

    return options.run(main)


def bare(options: Options) -> Sample:
    """As many tasks, each waiting for a message."""

    async def main() -> Sample:
        runners = options.sizes["runners"]
        before = resident_bytes()
        streams = [anyio.create_memory_object_stream[int](16) for _ in range(runners)]
        after = before
        async with anyio.create_task_group() as tasks:
            for _, receive in streams:
                tasks.start_soon(receive.receive)
            await anyio.wait_all_tasks_blocked()
            after = resident_bytes()
            tasks.cancel_scope.cancel()
        for send, receive in streams:
            send.close()
            receive.close()
        return {"bytes": (after - before) / runners}

    return options.run(main)


CASE = Case(
    name="idle",
    title="resident memory of an idle runner actor",
    ours=ours,
    bare=bare,
    peer="idle",
    figures=(
        Figure(
            "idle runner actor, resident memory of 10,000 ÷ 10,000",
            of_ours("bytes"),
            "KiB",
            frozenset({"ours"}),
            reach=32 * 1024,
            aim=16 * 1024,
            shows=("bytes", "bytes"),
            shows_unit="KiB",
        ),
    ),
    sizes={"runners": 10_000},
    tiny={"runners": 50},
    rounds=3,
    chooses_loop=True,
)
