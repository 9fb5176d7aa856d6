"""`dev`: a dry run that shows what happened."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import lightning_actors as agl
from lightning_actors.errors import ConfigError
from lightning_actors.runner import Execution
from lightning_actors.trainer.dry_run import DryRun

Logged = Callable[[str], list[dict[str, Any]]]


@agl.rollout
async def agent(task: Any) -> float | None:
    with agl.operation(name="think"):
        agl.emit_message(f"thinking of {task}")
        await anyio.lowlevel.checkpoint()
    if task == "bad":
        raise ValueError("no answer")
    return None if task == "unrewarded" else 0.5


def dev(tasks: Any, chosen: agl.LitAgent[Any] = agent, **options: Any) -> agl.RunResult:
    return agl.Trainer(tracer=agl.DummyTracer(), **options).dev(chosen, tasks)


def readable(printed: str) -> str:
    """What was printed, with ids and times made the same for every run."""
    printed = re.sub(r"ro-[0-9a-f]{12}", "ro-1", printed)
    return re.sub(r"\d+\.\d+ ?m?s\b", "T", printed)


def test_dev_prints_each_task_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    result = dev(["good", "unrewarded"])
    assert result.status_counts == {"succeeded": 2}
    assert readable(capsys.readouterr().out) == (
        "ro-1  succeeded  reward 0.5  T  attempt 1\n"
        "  task 'good'\n"
        "agentlightning.rollout  T\n"
        "├─ think  T\n"
        "│  └─ message: thinking of good\n"
        "└─ reward 0.5\n"
        "\n"
        "ro-1  succeeded  no reward  T  attempt 1\n"
        "  task 'unrewarded'\n"
        "agentlightning.rollout  T\n"
        "└─ think  T\n"
        "   └─ message: thinking of unrewarded\n"
        "\n"
        "2 succeeded, mean reward 0.500\n"
    )


def test_the_agents_own_traceback_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    result = dev(["bad"])
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{__file__}", line ')
    assert lines[1].endswith(", in agent")
    assert "lightning_actors/" not in printed.replace(__file__, "")
    assert printed.index("ValueError: no answer") < printed.index("failed  no reward")
    assert "ERROR ValueError: no answer" in printed
    (error,) = result.errors.values()
    assert error.__traceback__ is not None
    assert lines[-1] == "1 failed"


def test_an_error_that_is_not_the_agents_is_shown_without_the_runners_frames(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @agl.rollout
    async def prompted(task: str, prompt_template: agl.PromptTemplate) -> float:
        return 1.0

    dev(["x"], prompted)
    printed = capsys.readouterr().out
    assert printed.startswith("lightning_actors.errors.MissingResource: agent prompted wants prompt_template")
    assert "Traceback" not in printed


def test_sync_agents_show_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    @agl.rollout
    def sync_agent(task: str) -> float:
        agl.emit_message("from a thread")
        raise KeyError(task)

    dev(["x"], sync_agent)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f'  File "{__file__}", line ')
    assert lines[1].endswith(", in sync_agent")
    assert "KeyError: 'x'" in lines
    assert "└─ message: from a thread" in lines


@pytest.mark.parametrize(
    ("n_train", "n_val", "runs"),
    [(10, 0, (10, 0)), (12, 0, (10, 0)), (8, 8, (8, 2)), (0, 12, (0, 10)), (3, 3, (3, 3))],
)
def test_at_most_ten_tasks_run_and_dev_says_so_when_there_are_more(
    n_train: int, n_val: int, runs: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = agl.Trainer(tracer=agl.DummyTracer(), n_workers=2)
    result = trainer.dev(agent, range(n_train), val_dataset=range(n_val))
    modes = [rollout.mode for rollout in result.rollouts]
    assert (modes.count("train"), modes.count("val")) == runs
    said = f"dev runs the first 10 of {n_train + n_val} tasks; fit runs them all\n"
    printed = capsys.readouterr().out
    assert printed.startswith(said) is (n_train + n_val > 10)
    assert printed.count("dev runs the first") == (n_train + n_val > 10)


def test_dev_without_tasks_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev([]).status_counts == {}
    assert capsys.readouterr().out == "no tasks ran\n"


def test_a_dataset_that_raises_half_way_raises_when_what_was_begun_has_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Raising:
        def __len__(self) -> int:
            return 30

        def __getitem__(self, index: Any, /) -> str:
            if index == 2:
                raise OSError("the file ends here")
            return f"task {index}"

    with pytest.raises(OSError, match="the file ends here"):
        dev(Raising())
    assert capsys.readouterr().out.count("succeeded  reward") == 2


def test_a_fast_algorithm_may_be_run_and_no_other() -> None:
    ran: list[str] = []

    class Quick(agl.FastAlgorithm):
        async def run(self, train_dataset: Any = None, val_dataset: Any = None) -> None:
            ran.append("quick")
            assert list(train_dataset) == ["x"]
            with pytest.raises(IndexError, match="there are 1 tasks"):
                _ = train_dataset[1]

    @agl.algo
    async def slow(store: Any) -> None:
        raise AssertionError

    assert dev(["x"], algorithm=Quick).status_counts == {}
    assert ran == ["quick"]
    with pytest.raises(TypeError, match=r"is no FastAlgorithm: leave it out .* or call fit"):
        dev(["x"], algorithm=slow)


def test_each_attempt_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    class Retrying(agl.FastAlgorithm):
        async def run(self, train_dataset: Any = None, val_dataset: Any = None) -> None:
            config = agl.RolloutConfig(max_attempts=2, retry_condition=["failed"])
            rollout = await self.store.enqueue_rollout("x", config=config)
            await self.store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])

    @agl.rollout
    async def flaky(task: str, rollout: agl.AttemptedRollout) -> float:
        if rollout.attempt.sequence_id == 1:
            raise ValueError("not yet")
        return 1.0

    result = dev(None, flaky, algorithm=Retrying)
    printed = capsys.readouterr().out
    assert "failed  no reward" in printed
    assert "attempt 2" in printed
    assert result.status_counts == {"succeeded": 1}


def test_a_long_task_is_shortened_and_one_that_cannot_be_shown_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("not today")

        def __format__(self, spec: str) -> str:
            return "shy"

    dev(["x" * 500, Shy()])
    printed = capsys.readouterr().out
    (long,) = [line for line in printed.splitlines() if line.startswith("  task 'xxx")]
    assert len(long) <= 90
    assert long.endswith("…")
    assert "  task <Shy, whose repr raised RuntimeError>" in printed


class Leaves(agl.FastAlgorithm):
    """Enqueues two tasks, cancels a third in the queue, and leaves while the first runs."""

    async def run(self, train_dataset: Any = None, val_dataset: Any = None) -> None:
        first, _, third = [await self.store.enqueue_rollout(task) for task in ("waits", "left", "cancelled")]
        await self.store.update_rollout(third.rollout_id, status="cancelled")
        while (rollout := await self.store.get_rollout_by_id(first.rollout_id)) is not None:
            if rollout.status == "running":
                return
            await anyio.lowlevel.checkpoint()


def test_dev_prints_also_what_no_runner_ended(capsys: pytest.CaptureFixture[str]) -> None:
    @agl.rollout
    async def waits(task: str) -> None:
        await anyio.sleep_forever()

    dev([], waits, algorithm=Leaves, grace=0.0)
    printed = readable(capsys.readouterr().out)
    for told in (
        "ro-1  cancelled  attempt 1 did not come to its end: failed\n  task 'waits'\n",
        "ro-1  queuing  no runner took it\n  task 'left'\n",
        "ro-1  cancelled  no runner took it\n  task 'cancelled'\n",
    ):
        assert told in printed
    assert printed.endswith(("2 cancelled, 1 queuing\n", "1 queuing, 2 cancelled\n"))


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_same_is_printed_in_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    attempt = agl.Attempt(rollout_id="ro-1", attempt_id="at-1", sequence_id=1, start_time=0.0)
    rollout = agl.AttemptedRollout(rollout_id="ro-1", input="[x]", start_time=0.0, attempt=attempt)
    executions = [
        Execution(rollout, "succeeded", None, 0.5, None, 1.0),
        Execution(rollout, "failed", ValueError("no [answer]"), None, None, 1.0),
    ]
    texts: list[str] = []
    for out in (io.StringIO(), Terminal()):
        dry_run = DryRun(out)
        for execution in executions:
            dry_run.show(execution)
        dry_run.conclude(agl.RunResult([rollout], {"succeeded": 1, "failed": 1}, {}, None))
        texts.append(out.getvalue())
    plain, coloured = texts
    assert "\x1b[1;32m" in coloured
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert plain.endswith("1 succeeded, 1 failed\n")


@agl.rollout
async def unprintable(task: str) -> float:
    agl.emit_message("naïve \ud800")
    if task == "bad":
        raise ValueError("no \ud800 answer")
    return 0.5


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "cp1252"])
def test_what_the_output_cannot_encode_is_a_question_mark(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
    result = dev(["good", "bad"], unprintable)
    assert result.status_counts == {"succeeded": 1, "failed": 1}
    printed = written.getvalue().decode(encoding)
    assert "ValueError: no ? answer" in printed
    assert "1 succeeded, 1 failed" in printed


def test_an_output_that_breaks_off_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError("nobody reads on")

    monkeypatch.setattr("sys.stdout", Pipe())
    assert dev(["good"] * 3).status_counts == {"succeeded": 3}
    assert caplog.text.count("no_longer_shown") == 1


def test_dev_runs_where_there_is_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert dev(["good"]).status_counts == {"succeeded": 1}


@pytest.mark.anyio
async def test_dev_async_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    result = await agl.Trainer(tracer=agl.DummyTracer()).dev_async(agent, ["good"])
    assert result.status_counts == {"succeeded": 1}
    assert "└─ reward 0.5" in capsys.readouterr().out


def test_dev_in_a_loop_of_its_own_is_refused() -> None:
    async def inside() -> None:
        dev(["x"])

    with pytest.raises(ConfigError, match="dev_async"):
        anyio.run(inside)
