"""A run in a process that is killed, or interrupted, and run again by another process on the same file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a process can send")

PROGRAM = """
import json, os, signal, sys
import lightning_actors as agl
from lightning_actors.store import SqliteLightningStore

file, done, stop_with, stop_at = sys.argv[1:]

@agl.rollout
async def agent(task):
    if task == int(stop_at):
        os.kill(os.getpid(), getattr(signal, stop_with))
    with open(done, "a") as log:
        print(task, file=log)
    return float(task)

if __name__ == "__main__":
    store = SqliteLightningStore(file)
    trainer = agl.Trainer(algorithm=agl.Baseline(), n_workers=2, store=store)
    result = trainer.fit(agent, list(range(30)))
    said = {"counts": dict(result.status_counts), "before": result.done_before, "interrupted": result.interrupted}
    print(json.dumps(said))
"""


def run(folder: Path, stop_with: str = "SIGINT", stop_at: int = -1) -> tuple[int, dict[str, Any], Counter[int]]:
    """Run the program to its end, or to what stops it.

    Returns:
        Its exit code, what it said of its result, and how often each task was done in all runs so far.
    """
    program, done = folder / "program.py", folder / "done"
    program.write_text(PROGRAM, encoding="utf-8")
    done.touch()
    arguments = [str(folder / "run.db"), str(done), stop_with, str(stop_at)]
    ended = subprocess.run(  # noqa: S603 - this test's own program
        [sys.executable, str(program), *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode in {0, -9}, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1]) if ended.stdout else {}
    return ended.returncode, said, Counter(int(line) for line in done.read_text(encoding="utf-8").split())


@pytest.mark.timeout(200)
def test_a_run_that_was_killed_twice_is_done_by_the_third_process(tmp_path: Path) -> None:
    for stop_at in (8, 20):
        code, said, tasks = run(tmp_path, "SIGKILL", stop_at)
        assert (code, said) == (-9, {})
        assert stop_at not in tasks
    _, said, tasks = run(tmp_path)
    assert said["counts"] == {"succeeded": 30}
    assert 16 <= said["before"] < 30
    assert set(tasks) == set(range(30))
    assert tasks.total() <= 30 + 2 * 2, "what each kill found under way, and no more, is done again"


@pytest.mark.timeout(200)
def test_a_run_that_was_interrupted_by_ctrl_c_is_done_by_the_next_process(tmp_path: Path) -> None:
    _, said, tasks = run(tmp_path, "SIGINT", 8)
    assert said["interrupted"] is True
    assert 8 <= tasks.total() < 30
    first = tasks.total()
    _, said, tasks = run(tmp_path)
    assert (said["counts"], said["interrupted"]) == ({"succeeded": 30}, False)
    assert said["before"] == first, "each rollout under way had its grace time"
    assert tasks == Counter(range(30))
    _, said, tasks = run(tmp_path)
    assert (said["counts"], said["before"]) == ({"succeeded": 30}, 0), "it had come to its end: a new run"
    assert tasks == Counter([*range(30), *range(30)])
