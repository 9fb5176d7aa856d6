"""Store, runners and algorithm are killed at random moments, again and again: what was answered is kept, and done once.

Each seed is a run of its own; LIGHTNING_ACTORS_CRASHES says how many there are.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import pytest
from processes import Child, Children, children

from lightning_actors import AttemptedRollout, LightningStore, LightningStoreClient, SqliteLightningStore

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed there as it is here"),
    pytest.mark.timeout(300),
]

SEEDS: Final = range(int(os.environ.get("LIGHTNING_ACTORS_CRASHES", "2")))
KILLS: Final = 3
"""How often each of those that may be killed is killed in one run."""
LEASE_SECONDS: Final = "2"

AGENT: Final = """
import random
import anyio
from lightning_actors import rollout

@rollout
async def work(task: int) -> float:
    await anyio.sleep(random.uniform(0.0, 0.2))
    return float(task)
"""

ALGORITHM: Final = """
import sys
import time
from pathlib import Path
import anyio
import lightning_actors as agl

CONFIG = agl.RolloutConfig(max_attempts=20, retry_condition=["unresponsive", "timeout", "failed"])

async def main(address: str) -> None:
    began, ids = time.time(), []
    async with agl.LightningStoreClient(address) as store:
        while True:
            task = len(ids)
            rollout = await store.enqueue_rollout(task, key=f"task-{task}", config=CONFIG)
            print("answered", task, rollout.rollout_id, flush=True)
            ids.append(rollout.rollout_id)
            if rollout.start_time > began:  # it is none that one before this process has sent
                if Path("enough").exists():
                    break
                await anyio.sleep(0.02)
        ended = await store.wait_for_rollouts(rollout_ids=ids)
        print("all have ended", len(ended), flush=True)

anyio.run(main, sys.argv[1])
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass
class Cast:
    """The processes of one run, each of which may be killed and is started again.

    Attributes:
        folder: Where everything is.
        started: What starts them.
        port: Where the store listens, each time again.
        is_kept: Whether the store is kept in a file, so that it may be killed too.
        answered: What the algorithm was answered: task to rollout id.
    """

    folder: Path
    started: Children
    port: int
    is_kept: bool
    answered: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
    players: dict[str, Child] = field(default_factory=dict[str, Child])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, name: str) -> None:
        """Start one of them."""
        if name == "store":
            kept = ("--db", "run.db") if self.is_kept else ()
            child = self.started.command("store", "--port", str(self.port), *kept, cwd=self.folder)
        elif name == "algorithm":
            child = self.started.start("algorithm.py", self.address, cwd=self.folder)
        else:
            child = self.started.command(
                *("runner", "--agent", "agent:work", "-n", "4", "--store", self.address),
                *("--lease", LEASE_SECONDS, "--name", name),
                cwd=self.folder,
            )
        self.players[name] = child

    def kill(self, name: str) -> None:
        """Kill one of them as it stands, and start another in its place."""
        self.players[name].kill()
        self.note_answers()
        self.start(name)

    def note_answers(self) -> None:
        """What the algorithm has been answered so far."""
        for line in tuple(self.players["algorithm"].lines):
            if line.startswith("answered "):
                _, task, rollout_id = line.split()
                self.answered.setdefault(int(task), set()).add(rollout_id)


@pytest.fixture
def started() -> Generator[Children]:
    with children() as them:
        yield them


def run_and_kill(cast: Cast, victims: Iterable[str], seed: int) -> None:
    """Play a run through: the algorithm sends tasks until the last accident is over, and waits for them all."""
    draw = random.Random(seed)  # noqa: S311 - a seed
    (cast.folder / "agent.py").write_text(AGENT)
    (cast.folder / "algorithm.py").write_text(ALGORITHM)
    for name in ("store", "runner-1", "runner-2", "algorithm"):
        cast.start(name)
    accidents = [victim for victim in victims for _ in range(KILLS)]
    draw.shuffle(accidents)
    for victim in accidents:
        time.sleep(draw.uniform(0.1, 1.5))
        cast.kill(victim)
    (cast.folder / "enough").touch()
    cast.players["algorithm"].until_says("all have ended", seconds=120)
    cast.note_answers()


async def check(store: LightningStore, cast: Cast) -> None:
    """Every answered enqueue has ended in exactly one rollout; none is lost, none has finished twice."""
    tasks = list(range(len(cast.answered)))
    assert sorted(cast.answered) == tasks
    assert all(len(ids) == 1 for ids in cast.answered.values()), "a key stands for one rollout, whoever asks how often"
    rollouts = await store.query_rollouts()
    assert sorted(rollout.input for rollout in rollouts) == tasks
    assert {rollout.rollout_id for rollout in rollouts} == {one for ids in cast.answered.values() for one in ids}
    assert Counter(rollout.status for rollout in rollouts) == {"succeeded": len(tasks)}
    for rollout in rollouts:
        assert isinstance(rollout, AttemptedRollout)
        attempts = await store.query_attempts(rollout.rollout_id)
        assert [one.status for one in attempts if one.status == "succeeded"] == ["succeeded"]
        assert attempts[-1].status == "succeeded"
        assert {one.status for one in attempts[:-1]} <= {"unresponsive", "failed"}
    completions = store.completions()
    ended = [(await anext(completions)).rollout_id for _ in tasks]
    assert len(set(ended)) == len(tasks)
    with anyio.move_on_after(0.2):
        pytest.fail(f"{await anext(completions)} ended once more")


async def check_remotely(cast: Cast) -> None:
    async with LightningStoreClient(cast.address) as client:
        await check(client, cast)


async def check_file(cast: Cast) -> None:
    async with SqliteLightningStore(cast.folder / "run.db") as store:
        await check(store, cast)


@pytest.mark.parametrize("seed", SEEDS)
def test_runners_and_algorithm_may_be_killed_at_any_moment(seed: int, started: Children, tmp_path: Path) -> None:
    cast = Cast(tmp_path, started, free_port(), is_kept=False)
    run_and_kill(cast, ["runner-1", "runner-2", "algorithm"], seed)
    anyio.run(check_remotely, cast)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_store_too_may_be_killed_at_any_moment(seed: int, started: Children, tmp_path: Path) -> None:
    cast = Cast(tmp_path, started, free_port(), is_kept=True)
    run_and_kill(cast, ["store", "runner-1", "runner-2", "algorithm"], seed)
    anyio.run(check_remotely, cast)
    for name in ("runner-1", "runner-2", "store"):
        cast.players[name].until_says("listens at" if name == "store" else "runners_started")
    for name in ("runner-1", "runner-2", "store"):
        cast.players[name].send(signal.SIGTERM)
    assert [cast.players[name].ended() for name in ("runner-1", "runner-2", "store")] == [0, 0, 0]
    anyio.run(check_file, cast)
