"""A directory with agents in it, where `examples/benchmark_agent.py` is run as a program of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import lightning_actors

__all__ = ["Place", "wait_for"]

AGENTS: Final = r"""
import os
import time
from pathlib import Path

import anyio

import lightning_actors as agl

LOG, GO = Path("calls.txt"), Path("go")


class OutOfLuck(Exception):
    pass


@agl.rollout
async def lucky(task):
    if task["n"] % 4 == 0:
        raise OutOfLuck(f"with {task['n']}\nand more")
    if task["n"] % 4 == 1:
        await anyio.sleep_forever()
    return float(task["n"] % 4 == 2)


@agl.rollout
async def halting(task):
    '''Tasks after the fifth wait for a file.'''
    with LOG.open("a") as log:
        log.write(f"{task}\n")
    while task > 5 and not GO.exists():
        await anyio.sleep(0.01)
    return task / 10


@agl.rollout
def busy(task):
    time.sleep(0.05)
    return task


@agl.rollout
async def asking(task, llm: agl.LLM):
    return float(llm.model == "small")


@agl.rollout
async def silent(task):
    return None


@agl.rollout
async def generous(task):
    return float(task)


@agl.rollout
async def unspeakable(task):
    raise OutOfLuck(os.fsdecode(b"no file caf\xe9"))


@agl.rollout
async def tight_lipped(task):
    '''Its span has an exception of which nothing is said.'''
    from opentelemetry import trace

    trace.get_current_span().add_event("exception", {})
    raise OutOfLuck
"""


class Place:
    """The directory: the program reads tasks.jsonl there and writes results.jsonl."""

    def __init__(self, path: Path, program: Path) -> None:
        self.path = path
        self.program = program
        self.tasks = path / "tasks.jsonl"
        self.results = path / "results.jsonl"
        (path / "agents.py").write_text(AGENTS, encoding="utf-8")

    def write_tasks(self, *values: Any) -> None:
        """One JSON value to a line."""
        self.tasks.write_text("".join(f"{json.dumps(value)}\n" for value in values), encoding="utf-8")

    def start(self, agent: str, *options: str, out: str = "results.jsonl") -> subprocess.Popen[str]:
        """Start the program."""
        return subprocess.Popen(  # noqa: S603 - our own example
            [sys.executable, str(self.program), f"agents:{agent}", "tasks.jsonl", "--out", out, *options],
            cwd=self.path,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(lightning_actors.__file__).parents[1]),
                "PYTHONWARNINGS": "error",
                "PYTHONDONTWRITEBYTECODE": "1",  # CPython keeps the half of one that fitted on a full disk
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, agent: str, *options: str, out: str = "results.jsonl") -> tuple[int, str, str]:
        """Run the program to its end: exit code, standard output, standard error."""
        process = self.start(agent, *options, out=out)
        out, told = process.communicate(timeout=50)
        return process.returncode, out, told

    def read_results(self) -> list[dict[str, Any]]:
        """Each line of the results."""
        text = self.results.read_text(encoding="utf-8")
        assert text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    def ids(self) -> list[int | str]:
        """Which tasks have a result."""
        return [result["task_id"] for result in self.read_results()]


def wait_for(process: subprocess.Popen[str], beginning: str) -> None:
    """Read what the program tells until a line begins so."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            return
    pytest.fail(f"the program ended and had not told of {beginning!r}")
