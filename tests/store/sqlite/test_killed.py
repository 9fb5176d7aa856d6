"""Processes that are killed (``kill -9``): what was answered is there, once, and what was not begun is not."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest

from lightning_actors.store import SqliteLightningStore

pytestmark = pytest.mark.timeout(180)

WORK = """
import sys, anyio
from lightning_actors import SqliteLightningStore

path, start, synchronous = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def say(*words):  # one write, so that no line is cut in two
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

async def enqueue(store, numbers):
    for number in numbers:
        rollout = await store.enqueue_rollout(number, key=f"task-{number}")
        say("enqueued", rollout.rollout_id, number)

async def work(store, worker):
    while True:
        claimed = await store.dequeue_rollout(worker)
        if claimed is None:
            await anyio.lowlevel.checkpoint()
            continue
        attempt = claimed.attempt
        await store.update_attempt(claimed.rollout_id, attempt.attempt_id, status="running")
        number = await store.get_next_span_sequence_id(claimed.rollout_id, attempt.attempt_id)
        say("numbered", claimed.rollout_id, number)
        await store.update_attempt(claimed.rollout_id, attempt.attempt_id, status="succeeded")
        say("ended", claimed.rollout_id)

async def main():
    async with SqliteLightningStore(path, synchronous=synchronous) as store, anyio.create_task_group() as tasks:
        for place in range(8):
            tasks.start_soon(enqueue, store, range(start + place, start + 100_000, 8))
            tasks.start_soon(work, store, f"Worker-{place}")

anyio.run(main)
"""


def killed_after(path: Path, lines: int, start: int, synchronous: str) -> list[list[str]]:
    """What a process has said until it was killed, at some moment after so many lines."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", WORK, str(path), str(start), synchronous], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    said += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    return [line.split() for line in said if line.endswith("\n")]


async def what_is_there(path: Path, said: list[list[str]], rounds: int) -> None:
    enqueued = {words[1]: int(words[2]) for words in said if words[0] == "enqueued"}
    ended = [words[1] for words in said if words[0] == "ended"]
    numbered = Counter[str]()
    for words in said:
        if words[0] == "numbered":
            numbered[words[1]] = max(numbered[words[1]], int(words[2]))
    async with SqliteLightningStore(path) as store:
        rollouts = {rollout.rollout_id: rollout for rollout in await store.query_rollouts()}
        # Every answer that was given holds …
        assert {rollout_id: rollouts[rollout_id].input for rollout_id in enqueued} == enqueued
        assert {rollouts[rollout_id].status for rollout_id in ended} <= {"succeeded"}
        assert max(Counter(ended).values(), default=1) == 1
        for rollout_id, number in numbered.items():
            attempt = (await store.query_attempts(rollout_id))[-1]
            assert await store.get_next_span_sequence_id(rollout_id, attempt.attempt_id) > number
        # … nothing is there twice, and all that had been under way is in the queue again.
        inputs = Counter(rollout.input for rollout in rollouts.values())
        assert max(inputs.values()) == 1
        assert {rollout.status for rollout in rollouts.values()} <= {"queuing", "requeuing", "succeeded"}
        statistics = await store.statistics()
        assert statistics.get("total_rollouts") == len(rollouts)
        completed = [rollout_id async for rollout_id in completions(store)]
        assert sorted(completed) == sorted(r.rollout_id for r in rollouts.values() if r.status == "succeeded")
        waiting = await store.query_rollouts(status_in=["queuing", "requeuing"])
        claims = await store.dequeue_many_rollouts(limit=len(rollouts))
        assert sorted(claim.rollout_id for claim in claims) == sorted(rollout.rollout_id for rollout in waiting)
        assert max((claim.attempt.sequence_id for claim in claims), default=1) <= rounds + 1
        for claim in reversed(claims):
            await store.release_attempt(claim.rollout_id, claim.attempt.attempt_id)


async def completions(store: SqliteLightningStore):
    cursor = None
    while (completion := await store.next_completion(cursor, timeout=0)) is not None:
        cursor = completion.cursor
        yield completion.rollout.rollout_id


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_what_was_answered_survives_any_number_of_kills(tmp_path: Path, synchronous: str) -> None:
    path, said = tmp_path / "run.db", list[list[str]]()
    chance = random.Random(synchronous)  # noqa: S311 - moments to kill at
    for round_ in range(6):
        said += killed_after(path, chance.randrange(1, 1_500), round_ * 100_000, synchronous)
        anyio.run(what_is_there, path, said, round_ + 1)


def test_a_process_that_is_killed_while_it_opens_leaves_a_store_behind(tmp_path: Path) -> None:
    path, chance = tmp_path / "run.db", random.Random(0)  # noqa: S311 - moments to kill at
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", WORK, str(path), "0", "normal"], stdout=subprocess.PIPE)  # noqa: S603 - our own program
        assert process.stdout is not None
        watched = path.with_name("run.db-wal")
        while not watched.exists() and process.poll() is None:  # as early as can be seen from outside
            pass
        for _ in range(chance.randrange(20_000)):
            pass
        process.kill()
        process.communicate()
        with SqliteLightningStore(path) as store:
            anyio.run(store.query_rollouts)
