"""Ctrl-C and SIGTERM on plain `fit`, for real: other processes, real signals, and an exit that nothing holds up."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import lightning_actors

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a parent can send")

SCRIPT = """
import json, sys, threading, time
import anyio
import lightning_actors as agl
from lightning_actors.actors import current_actor

case, ready = sys.argv[1], threading.Event()


def say_ready():
    print("ready", flush=True)


@agl.rollout
async def waits(task):
    say_ready()
    await anyio.sleep(3600)


@agl.rollout
async def finishes_when_asked(task):
    say_ready()
    while current_actor().inspect().state != "stopping":
        await anyio.sleep(0.01)
    return 1.0


@agl.rollout
async def swallows(task):
    say_ready()
    while True:
        try:
            await anyio.sleep(3600)
        except BaseException:
            pass


@agl.rollout
async def blocks(task):
    say_ready()
    time.sleep(3600)


def block(agent):
    closing = agent.runner.bound_rig().closing
    while not closing.is_set():
        time.sleep(0.01)
    print("received", flush=True)
    time.sleep(3600)


@agl.rollout
async def blocks_from_the_start(task):
    say_ready()
    block(blocks_from_the_start)


@agl.rollout
async def blocks_and_swallows(task):
    say_ready()
    has_swallowed = False
    while True:
        try:
            if has_swallowed:
                print("swallowed", flush=True)  # here, where the next interrupt is swallowed too
            block(blocks_and_swallows)
        except BaseException:
            has_swallowed = True


class BlockingHook(agl.Hook):
    async def on_trace_end(self, agent, **_):
        say_ready()
        block(agent)


@agl.rollout
async def ends_at_once(task):
    return 1.0


arrived = []


@agl.rollout
async def blocks_after_a_wait(task):
    arrived.append(anyio.Event())
    if len(arrived) == 2:
        for event in arrived:
            event.set()
    await arrived[0 if task == "a" else 1].wait()
    say_ready()
    block(blocks_after_a_wait)


@agl.algo
async def algorithm_blocks(store):
    say_ready()
    block(algorithm_blocks.trainer.runner._agent)


@agl.rollout
def hangs_in_its_thread(task):
    say_ready()
    time.sleep(3600)


@agl.algo
async def algorithm(store):
    rollouts = [await store.enqueue_rollout(task) for task in ("a", "b")]
    await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id for rollout in rollouts])


@agl.algo
async def algorithm_swallows(store):
    say_ready()
    while True:
        try:
            await anyio.sleep(3600)
        except BaseException:
            pass


agents = {
    "waits": waits,
    "finishes": finishes_when_asked,
    "swallows": swallows,
    "blocks": blocks,
    "blocks from the start": blocks_from_the_start,
    "blocks after a wait": blocks_after_a_wait,
    "hangs in its thread": hangs_in_its_thread,
    "blocks and swallows": blocks_and_swallows,
    "hook blocks": ends_at_once,
}
algorithms = {"algorithm swallows": algorithm_swallows, "algorithm blocks": algorithm_blocks}
trainer = agl.Trainer(
    algorithm=algorithms.get(case, algorithm),
    n_workers=int(sys.argv[3]),
    runner={"type": agl.LitAgentRunner, "patience": 0.2},
    tracer=agl.DummyTracer(),
    hooks=[BlockingHook()] if case == "hook blocks" else [],
    grace=float(sys.argv[2]),
)
result = trainer.fit(agents.get(case, waits))
print(json.dumps({
    "statuses": result.status_counts,
    "interrupted": result.interrupted,
    "left_behind": len(result.left_behind),
    "errors": [type(error).__name__ for error in result.errors.values()],
}), flush=True)
"""


@dataclass
class Child:
    """A process that runs ``fit``, and what it has said so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list[str])
    changed: threading.Condition = field(default_factory=threading.Condition)
    reader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            for line in said:
                with self.changed:
                    self.lines.append(line.rstrip())
                    self.changed.notify_all()

    def until_says(self, word: str, times: int = 1) -> None:
        with self.changed:
            said = self.changed.wait_for(lambda: sum(word in line for line in self.lines) >= times, timeout=40)
        assert said, f"it did not say {word!r} but {self.lines}"

    def result(self) -> dict[str, Any]:
        """What came of the run. The process has exited by itself."""
        self.process.wait(timeout=40)
        self.reader.join()
        assert self.process.returncode == 0, self.lines
        (line,) = [line for line in self.lines if line.startswith("{")]
        return json.loads(line)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signals") / "fit.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return path


CASES = {
    "one Ctrl-C, grace time over": ("waits", 0.2, 1),
    "one Ctrl-C, finished in grace time": ("finishes", 3600.0, 1),
    "two Ctrl-C": ("waits", 3600.0, 1),
    "one SIGTERM": ("waits", 0.2, 1),
    "two Ctrl-C, agent swallows": ("swallows", 3600.0, 1),
    "two Ctrl-C, agent hangs in its thread": ("hangs in its thread", 3600.0, 1),
    "algorithm swallows": ("algorithm swallows", 0.2, 1),
    "algorithm blocks": ("algorithm blocks", 3600.0, 1),
    "agent blocks and swallows": ("blocks and swallows", 3600.0, 1),
    "hook blocks": ("hook blocks", 3600.0, 1),
    "agents block the loop from the start": ("blocks from the start", 3600.0, 2),
    "agents block the loop after a wait": ("blocks after a wait", 3600.0, 2),
}
"""What each runs, the grace time in seconds, and the number of workers."""


@pytest.fixture(scope="module")
def children(script: Path) -> Generator[dict[str, Child]]:
    """All of them at once: most of what a process takes is its start."""
    root = str(Path(lightning_actors.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONWARNINGS": "default"}
    found: dict[str, Child] = {}
    try:
        for name, arguments in CASES.items():
            command = [sys.executable, str(script), *map(str, arguments)]
            process = subprocess.Popen(  # noqa: S603 - our own script
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
            )
            found[name] = Child(process)
        yield found
    finally:
        for child in found.values():
            child.process.kill()
            child.process.wait()
            child.reader.join()


def test_one_ctrl_c_cancels_what_runs_after_the_grace_time(children: dict[str, Child]) -> None:
    child = children["one Ctrl-C, grace time over"]
    child.until_says("ready")
    child.process.send_signal(signal.SIGINT)
    assert child.result() == {
        "statuses": {"cancelled": 1, "queuing": 1},
        "interrupted": True,
        "left_behind": 0,
        "errors": [],
    }
    assert any("stopping" in line and "SIGINT" in line for line in child.lines)


def test_one_ctrl_c_lets_what_runs_finish_in_the_grace_time(children: dict[str, Child]) -> None:
    child = children["one Ctrl-C, finished in grace time"]
    child.until_says("ready")
    child.process.send_signal(signal.SIGINT)
    assert child.result()["statuses"] == {"succeeded": 1, "queuing": 1}


def test_one_sigterm_is_the_same_as_one_ctrl_c(children: dict[str, Child]) -> None:
    child = children["one SIGTERM"]
    child.until_says("ready")
    child.process.send_signal(signal.SIGTERM)
    result = child.result()
    assert result["statuses"] == {"cancelled": 1, "queuing": 1}
    assert result["interrupted"]


@pytest.mark.parametrize(
    ("name", "left_behind"),
    [
        ("two Ctrl-C", 0),
        ("two Ctrl-C, agent swallows", 1),
        ("two Ctrl-C, agent hangs in its thread", 1),
    ],
)
def test_a_second_ctrl_c_ends_the_run_at_once_whatever_the_agent_does(
    children: dict[str, Child], name: str, left_behind: int
) -> None:
    child = children[name]
    child.until_says("ready")
    child.process.send_signal(signal.SIGINT)
    child.until_says("stopping ")
    child.process.send_signal(signal.SIGINT)
    assert child.result() == {
        "statuses": {"cancelled": 1, "queuing": 1},
        "interrupted": True,
        "left_behind": left_behind,
        "errors": [],
    }
    said = "\n".join(child.lines)
    assert re.search(
        r"^stopping_at_once .*\n  tree:\n    store .*\n(    .*\n)*    runner-0 .* agent for ", said, re.MULTILINE
    )
    assert any("agent_left_behind" in line for line in child.lines) is bool(left_behind)


def test_one_ctrl_c_ends_the_run_though_the_algorithm_swallows_it(children: dict[str, Child]) -> None:
    child = children["algorithm swallows"]
    child.until_says("ready")
    child.process.send_signal(signal.SIGINT)
    assert child.result() == {"statuses": {}, "interrupted": True, "left_behind": 1, "errors": []}
    assert any("algorithm_left_behind" in line for line in child.lines)


@pytest.mark.parametrize("name", ["agents block the loop from the start", "agents block the loop after a wait"])
def test_a_second_ctrl_c_ends_the_run_at_once_though_agents_block_the_loop(
    children: dict[str, Child], name: str
) -> None:
    child = children[name]
    child.until_says("ready")
    child.process.send_signal(signal.SIGINT)
    child.until_says("received")  # while the loop is blocked, so that the runners take no more
    child.process.send_signal(signal.SIGINT)
    result = child.result()
    assert result["interrupted"]
    assert set(result["statuses"]) <= {"cancelled", "queuing"}
    assert sum(result["statuses"].values()) == 2
    assert result["left_behind"] == 0
    assert child.lines.count("ready") == 1, "the other agent never gets to block the loop in its turn"


def test_a_second_ctrl_c_ends_the_run_at_once_though_a_hook_blocks_the_loop(children: dict[str, Child]) -> None:
    child = children["hook blocks"]
    child.until_says("ready")
    child.process.send_signal(signal.SIGINT)
    child.until_says("received")
    child.process.send_signal(signal.SIGINT)
    assert child.result()["interrupted"]
    assert any("the next signal interrupts it" in line for line in child.lines)


def test_what_blocks_the_loop_and_swallows_every_interrupt_is_left_to_the_system(children: dict[str, Child]) -> None:
    child = children["agent blocks and swallows"]
    child.until_says("ready")
    child.process.send_signal(signal.SIGINT)
    child.until_says("received")
    for count in range(1, 4):
        child.process.send_signal(signal.SIGINT)
        child.until_says("swallowed", count)
    child.until_says("the next signal ends this process")
    child.process.send_signal(signal.SIGINT)
    assert child.process.wait(timeout=40) == -signal.SIGINT


def test_a_second_ctrl_c_ends_the_run_at_once_though_the_algorithm_blocks_the_loop(children: dict[str, Child]) -> None:
    child = children["algorithm blocks"]
    child.until_says("ready")
    child.process.send_signal(signal.SIGINT)
    child.until_says("received")
    child.process.send_signal(signal.SIGINT)
    assert child.result() == {"statuses": {}, "interrupted": True, "left_behind": 0, "errors": []}
