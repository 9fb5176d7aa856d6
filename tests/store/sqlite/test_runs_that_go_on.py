"""Runs of a trainer on a store in a file: killed, and run again, they go on where they stopped."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest

from lightning_actors import Baseline, RunResult, SqliteLightningStore, Trainer, rollout
from lightning_actors.types import Rollout

RUN = """
import sys, anyio
import lightning_actors as agl

@agl.rollout
async def agent(task: int) -> float:
    print("begun", task, flush=True)
    agl.emit_message(f"task {task}")
    await anyio.sleep(0.01)
    return float(task)

with agl.SqliteLightningStore(sys.argv[1]) as store:
    result = agl.Trainer(algorithm=agl.Baseline(), n_workers=4, store=store).fit(agent, list(range(60)))
    print("done", len(result.rollouts), result.done_before, sum(result.rewards.values()), flush=True)
"""


@pytest.mark.timeout(180)
def test_a_run_that_is_killed_again_and_again_does_each_task_once(tmp_path: Path) -> None:
    path, chance = tmp_path / "run.db", random.Random(0)  # noqa: S311 - moments to kill at
    begun: Counter[str] = Counter()
    kills, last = 0, ""
    while not last.startswith("done"):
        process = subprocess.Popen([sys.executable, "-c", RUN, str(path)], stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own program
        assert process.stdout is not None
        until = chance.randrange(1, 25)
        for count, line in enumerate(process.stdout, start=1):
            last = line
            begun[line.split()[1]] += line.startswith("begun")
            if count == until and kills < 4:
                process.kill()
                kills += 1
        process.wait()
        process.stdout.close()
    _, rollouts, done_before, rewards = last.split()
    assert (kills, int(rollouts), float(rewards)) == (4, 60, float(sum(range(60))))
    assert int(done_before) > 0
    assert begun.total() - 60 <= kills * 4, "no more was begun twice than was under way when it was killed"

    async def look() -> list[Rollout]:
        async with SqliteLightningStore(path) as store:
            found = await store.query_rollouts()
            for one in found:
                assert [
                    span.name for span in await store.query_spans(one.rollout_id, "latest", name_contains="message")
                ]
            return list(found)

    kept = anyio.run(look)
    assert sorted(one.input for one in kept) == list(range(60))
    assert {one.status for one in kept} == {"succeeded"}


@pytest.mark.anyio
async def test_a_run_that_was_left_in_its_process_goes_on_in_the_next_store(tmp_path: Path) -> None:
    calls: Counter[int] = Counter()

    async def fit(stop_at: int | None) -> RunResult | None:
        with anyio.CancelScope() as scope:

            @rollout
            async def agent(task: int) -> float:
                if task == stop_at:
                    scope.cancel()
                    await anyio.sleep_forever()
                calls[task] += 1
                return float(task)

            async with SqliteLightningStore(tmp_path / "run.db") as store:
                trainer = Trainer(algorithm=Baseline(), n_workers=2, store=store, grace=0.1)
                return await trainer.fit_async(agent, list(range(20)))
        return None

    assert await fit(8) is None
    result = await fit(None)
    assert result is not None
    assert (len(result.rollouts), result.status_counts) == (20, {"succeeded": 20})
    assert result.done_before > 0
    assert set(calls) == set(range(20))
    assert calls.total() <= 22, "no more was done twice than was under way"
