"""SIGUSR1 during plain `fit`: what it tells, to whom the signal belongs, and a real process whose loop is blocked."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest
from anyio import to_thread

import lightning_actors as agl

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this platform has no SIGUSR1")


@agl.rollout
async def sleeper(task: str) -> None:
    await anyio.sleep_forever()


@pytest.fixture(autouse=True)
def default_signal() -> Generator[None]:
    """Nobody has taken the signal, before and after."""
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    yield
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def fit(look: Callable[[agl.LightningStore], Any], **options: Any) -> agl.RunResult:
    """A run whose algorithm does no more than this."""

    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        await look(store)

    trainer = agl.Trainer(algorithm=algorithm, tracer=agl.DummyTracer(), grace=0.0, **options)
    return trainer.fit(sleeper)


def test_the_signal_is_taken_for_the_run_and_given_back() -> None:
    seen: list[Any] = []

    async def look(_store: agl.LightningStore) -> None:
        seen.append(signal.getsignal(signal.SIGUSR1))

    fit(look)
    assert callable(seen[0])


@pytest.mark.parametrize("before", ["handler", "ignored"])
def test_a_signal_that_somebody_has_taken_is_theirs(before: str, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[int] = []

    def theirs(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    async def look(_store: agl.LightningStore) -> None:
        signal.raise_signal(signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, theirs if before == "handler" else signal.SIG_IGN)
    try:
        fit(look)
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert heard == ([signal.SIGUSR1] if before == "handler" else [])
    assert "SIGUSR1" not in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of handlers that Python does not know")
def test_a_signal_that_faulthandler_has_taken_is_still_its_own_after_the_run(tmp_path: Path) -> None:
    async def look(_store: agl.LightningStore) -> None:
        signal.raise_signal(signal.SIGUSR1)

    with (tmp_path / "stacks").open("w+") as stacks:
        faulthandler.register(signal.SIGUSR1, stacks)
        try:
            fit(look)
            signal.raise_signal(signal.SIGUSR1)
        finally:
            faulthandler.unregister(signal.SIGUSR1)
        stacks.seek(0)
        assert stacks.read().count("most recent call first") >= 2


def test_an_application_with_a_loop_of_its_own_keeps_its_signals() -> None:
    seen: list[Any] = []

    @agl.algo
    async def algorithm() -> None:
        seen.append(signal.getsignal(signal.SIGUSR1))

    trainer = agl.Trainer(algorithm=algorithm, tracer=agl.DummyTracer())
    anyio.run(trainer.fit_async, sleeper)
    thread = threading.Thread(target=trainer.fit, args=(sleeper,))
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL, signal.SIG_DFL]


def test_a_run_that_is_asked_tells_its_tree_and_why_rollouts_are_not_finished(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[str] = []

    async def look(store: agl.LightningStore) -> None:
        ids = [(await store.enqueue_rollout(number)).rollout_id for number in range(6)]
        while (await store.explain_rollout(ids[0])).status != "running":
            await anyio.lowlevel.checkpoint()
        signal.raise_signal(signal.SIGUSR1)
        while "more queued" not in "".join(told):
            await anyio.lowlevel.checkpoint()
            told.append(capsys.readouterr().err)

    result = fit(look)
    ids = [rollout.rollout_id for rollout in result.rollouts]
    lines = "".join(told).splitlines()
    assert lines[0] == "── SIGUSR1: what every actor is doing ──"
    assert [line.split()[0] for line in lines[1:6]] == ["store", "keeper", "queue", "runner-0", "algorithm"]
    assert "main thread: in task 'algorithm'" in lines
    assert any("signal.raise_signal" in line for line in lines)
    why = lines[lines.index("── why rollouts are not finished ──") + 1 :]
    assert [line.split()[0] for line in why] == [ids[0], "runner-0", *ids[1:4], "…"]
    assert why[-1] == "… and 2 more queued"


def test_a_run_that_waits_says_that_its_loop_has_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []

    async def look(_store: agl.LightningStore) -> None:
        while "main thread: the event loop has nothing to do" not in "".join(told):
            await to_thread.run_sync(os.kill, os.getpid(), signal.SIGUSR1)
            told.append(capsys.readouterr().err)

    fit(look)


def test_asking_many_times_while_the_loop_is_blocked_is_explained_once(capsys: pytest.CaptureFixture[str]) -> None:
    async def look(store: agl.LightningStore) -> None:
        for _ in range(200):
            signal.raise_signal(signal.SIGUSR1)
        told = capsys.readouterr().err
        assert told.count("what every actor is doing") == 200
        assert "Exception ignored" not in told
        await store.enqueue_rollout("task")
        while "\nro-" not in told:  # it is queued, or has begun by now
            await anyio.lowlevel.checkpoint()
            told += capsys.readouterr().err
        assert told.count("why rollouts are not finished") == 1

    fit(look)


class Speechless(agl.InMemoryLightningStore):
    """Cannot explain."""

    async def explain_rollout(self, rollout_id: str) -> agl.Explanation:
        raise LookupError(rollout_id)


def test_a_store_that_cannot_explain_does_not_disturb_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []

    async def look(store: agl.LightningStore) -> None:
        await store.enqueue_rollout("task")
        signal.raise_signal(signal.SIGUSR1)
        while "gives no explanation: LookupError" not in "".join(told):
            await anyio.lowlevel.checkpoint()
            told.append(capsys.readouterr().err)

    assert len(fit(look, store=Speechless()).rollouts) == 1


SCRIPT = """
import select, sys
import anyio
import lightning_actors as agl


@agl.rollout
async def agent(task):
    print("blocking", flush=True)
    while not select.select([sys.stdin], [], [], 0.01)[0]:  # a signal just before one long wait would not interrupt it
        pass
    await anyio.sleep(3600)


@agl.algo
async def algorithm(store):
    await store.enqueue_rollout("task")
    await anyio.sleep(3600)


print(agl.Trainer(algorithm=algorithm, tracer=agl.DummyTracer(), grace=0.0).fit(agent), flush=True)
"""


def test_a_process_whose_loop_is_blocked_tells_where(tmp_path: Path) -> None:
    script = tmp_path / "fit.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(agl.__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            said: list[str] = []

            def until(words: str) -> None:
                for line in process.stdout or ():
                    said.append(line.rstrip())
                    if words in line:
                        return
                pytest.fail(f"it did not say {words!r} but {said}")

            until("blocking")
            process.send_signal(signal.SIGUSR1)
            until(", in agent")
            assert any(line.startswith("runner-0") and ": agent for " in line for line in said)
            assert any(line.startswith("main thread: in task 'agent of ro-") for line in said)
            assert str(script) in said[-1]
            assert not any("why rollouts are not finished" in line for line in said)
            process.stdin.write("\n")
            process.stdin.flush()
            until("has it in hand")
            assert said[-2].split(maxsplit=1)[1].startswith("is running: attempt 1 of 1 by Worker-0 for ")
            process.send_signal(signal.SIGINT)
            until("<RunResult 1 cancelled, interrupted>")
            assert process.wait(30) == 0
        finally:
            process.kill()
