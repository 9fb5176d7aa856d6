"""The benchmark as a program of its own: its results, what a kill and Ctrl-C leave of them, and its arithmetic."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from benchmark_results import Result, ResultsFile, mean_interval, percentile

import lightning_actors

PROGRAM: Final = Path(__file__).parents[2] / "examples" / "benchmark_agent.py"

AGENTS: Final = """
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
        raise OutOfLuck(f"with {task['n']}\\nand more")
    if task["n"] % 4 == 1:
        await anyio.sleep_forever()
    return float(task["n"] % 4 == 2)


@agl.rollout
async def halting(task):
    '''Tasks after the fifth wait for a file.'''
    with LOG.open("a") as log:
        log.write(f"{task}\\n")
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
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with agents, where the program is run."""
    (tmp_path / "agents.py").write_text(AGENTS, encoding="utf-8")
    return tmp_path


def write_tasks(place: Path, *values: Any) -> None:
    (place / "tasks.jsonl").write_text("".join(f"{json.dumps(value)}\n" for value in values), encoding="utf-8")


def start(place: Path, agent: str, *options: str) -> subprocess.Popen[str]:
    """Start the program; its results go to results.jsonl."""
    return subprocess.Popen(  # noqa: S603 - our own example
        [sys.executable, str(PROGRAM), f"agents:{agent}", "tasks.jsonl", "--out", "results.jsonl", *options],
        cwd=place,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(lightning_actors.__file__).parents[1]),
            "PYTHONWARNINGS": "error",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(place: Path, agent: str, *options: str) -> tuple[int, str, str]:
    """Run the program to its end: exit code, standard output, standard error."""
    process = start(place, agent, *options)
    out, told = process.communicate(timeout=50)
    return process.returncode, out, told


def wait_for(process: subprocess.Popen[str], beginning: str) -> None:
    """Read what the program tells until a line begins so."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            return
    pytest.fail(f"the program ended and had not told of {beginning!r}")


def results_in(place: Path) -> list[dict[str, Any]]:
    text = (place / "results.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def ids_in(place: Path) -> list[int | str]:
    return [result["task_id"] for result in results_in(place)]


def test_each_task_has_a_result_and_the_summary_counts_them(place: Path) -> None:
    write_tasks(place, *({"n": n, "id": f"task-{n}"} for n in range(2, 10)))
    code, out, told = run(place, "lucky", "--timeout", "0.2", "--limit", "3")
    assert code == 0
    found = {result["task_id"]: result for result in results_in(place)}
    assert set(found) == {f"task-{n}" for n in range(2, 10)}
    assert list(found["task-2"]) == ["task_id", "rollout_id", "status", "reward", "seconds", "error", "message"]
    told_of = {key: [result[key] for _, result in sorted(found.items())] for key in found["task-2"]}
    assert told_of["status"] == ["succeeded", "succeeded", "failed", "failed"] * 2
    assert told_of["reward"] == [1.0, 0.0, None, None] * 2
    timeout = "lightning_actors.errors.RolloutTimeout"
    assert told_of["error"] == [None, None, "agents.OutOfLuck", timeout] * 2
    assert found["task-8"]["message"] == "with 8\nand more"
    assert "took longer than 0.2 s" in found["task-5"]["message"]
    assert all(seconds > 0 for seconds in told_of["seconds"])
    assert [line.split(",")[0] for line in told.splitlines()] == [f"{n}/8" for n in range(1, 9)]
    assert out.splitlines()[:3] == [
        "results     8 of 8, 4 succeeded, 4 did not",
        "reward      mean 0.500, 95 % interval 0.150 to 0.850 (Wilson) of 4",
        "            mean 0.250 where no reward counts as 0",
    ]
    assert re.search(
        r"^latency     p50 0\.\d+ s  p90 0\.\d+ s  p99 0\.\d+ s, of those that succeeded$", out, re.MULTILINE
    )
    assert re.search(r"^throughput  \d+\.\d a second \(8 in \d+\.\d s\)$", out, re.MULTILINE)
    assert sorted(out.splitlines()[-2:]) == ["failure     2 x agents.OutOfLuck", f"failure     2 x {timeout}"]


def test_after_a_kill_the_same_command_goes_on_where_it_stopped(place: Path) -> None:
    write_tasks(place, *range(1, 11))
    process = start(place, "halting", "--limit", "3")
    wait_for(process, "5/10")
    process.kill()
    process.communicate(timeout=50)
    assert sorted(ids_in(place), key=int) == [1, 2, 3, 4, 5]
    cut_off = str(ids_in(place)[-1])

    whole = (place / "results.jsonl").read_bytes()
    (place / "results.jsonl").write_bytes(whole[:-20])  # as if the kill had come while the last line was written
    (place / "calls.txt").unlink()
    (place / "go").touch()
    code, out, told = run(place, "halting", "--limit", "3")
    assert code == 0
    assert told.startswith("results.jsonl has 4 of 10 results already\n1/6, ")
    assert sorted((place / "calls.txt").read_text().split(), key=int) == [cut_off, "6", "7", "8", "9", "10"]
    assert sorted(ids_in(place), key=int) == list(range(1, 11))
    assert "results     10 of 10, 10 succeeded" in out
    assert "(6 in " in out

    code, out, told = run(place, "halting")
    assert (code, told) == (0, "results.jsonl has 10 of 10 results already\n")
    assert "throughput" not in out
    assert len(results_in(place)) == 10


def start_and_interrupt(place: Path, *options: str) -> subprocess.Popen[str]:
    """Press Ctrl-C after half of ten tasks; the others wait for a file."""
    write_tasks(place, *range(1, 11))
    process = start(place, "halting", *options)
    wait_for(process, "5/10")
    process.send_signal(signal.SIGINT)
    wait_for(process, "interrupted")
    return process


def test_at_an_interrupt_no_more_begin_and_those_under_way_finish(place: Path) -> None:
    process = start_and_interrupt(place, "--limit", "2")
    (place / "go").touch()
    out, _ = process.communicate(timeout=50)
    assert process.returncode == 130
    begun = sorted((place / "calls.txt").read_text().split(), key=int)
    assert begun == ["1", "2", "3", "4", "5", "6", "7"]
    assert sorted(ids_in(place), key=int) == [int(each) for each in begun]
    assert "results     7 of 10, 7 succeeded" in out


def test_a_second_interrupt_cancels_those_under_way_which_have_no_result_and_run_next_time(place: Path) -> None:
    process = start_and_interrupt(place, "--limit", "4")
    process.send_signal(signal.SIGTERM)
    out, told = process.communicate(timeout=50)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert sorted(ids_in(place), key=int) == [1, 2, 3, 4, 5]
    assert "results     5 of 10, 5 succeeded" in out

    (place / "go").touch()
    assert run(place, "halting")[0] == 0
    assert sorted(ids_in(place), key=int) == list(range(1, 11))


@pytest.mark.parametrize("limit", [1, 3])
def test_time_spent_waiting_for_a_place_is_not_the_rollouts(place: Path, limit: int) -> None:
    write_tasks(place, *range(9))
    code, out, _ = run(place, "busy", "--limit", str(limit))
    assert code == 0
    found = re.search(r"\(9 in (\d+\.\d) s\)", out)
    assert found is not None
    # never more than so many at once: with the wait in it, the sum would be several times that
    assert sum(result["seconds"] for result in results_in(place)) <= limit * (float(found[1]) + 0.05)


def test_any_json_value_is_a_task_and_a_line_without_an_id_goes_by_its_number(place: Path) -> None:
    lines = ["1", "", '{"id": "x", "n": 1}', "[2]", "1", '"\u2028"', "null"]
    (place / "tasks.jsonl").write_text("\n".join(lines), encoding="utf-8")
    code, out, _ = run(place, "silent")
    assert code == 0
    assert sorted(ids_in(place), key=str) == [1, 4, 5, 6, 7, "x"]
    assert "results     6 of 6, 6 succeeded" in out
    assert "reward" not in out


def test_resources_are_given_to_the_agent(place: Path) -> None:
    write_tasks(place, 1)
    llm = {"resource_type": "llm", "endpoint": "http://127.0.0.1:9", "model": "small"}
    (place / "resources.json").write_text(json.dumps({"llm": llm}), encoding="utf-8")
    assert run(place, "asking", "--resources", "resources.json")[0] == 0
    assert [result["reward"] for result in results_in(place)] == [1.0]


def test_bad_lines_are_named_with_their_numbers_before_anything_runs(place: Path) -> None:
    (place / "tasks.jsonl").write_text('{"id": true}\n1\n[2,\n{"id": 2}\n', encoding="utf-8")
    code, out, told = run(place, "silent")
    assert (code, out) == (1, "")
    assert told.splitlines() == [
        "tasks.jsonl:1: its id is true: give a string or a whole number, or none",
        "tasks.jsonl:3: not a JSON value (Expecting value at column 4): write one value to a line",
        "tasks.jsonl:4: its id 2 is that of line 2 too",
    ]
    assert not (place / "results.jsonl").exists()


def test_only_the_first_of_many_bad_lines_are_shown(place: Path) -> None:
    (place / "tasks.jsonl").write_text("{\n" * 30, encoding="utf-8")
    _, _, told = run(place, "silent")
    assert told.count("tasks.jsonl:") == 5
    assert told.endswith("\nand 25 more\n")


@pytest.mark.parametrize(
    ("agent", "options", "said"),
    [
        ("nobody", (), "agents has no 'nobody'"),
        ("LOG", (), "agent cannot be made from 'agents:LOG'"),
        ("silent", ("--resources", "tasks.jsonl"), "tasks.jsonl: no resources by name: "),
        ("silent", ("--resources", "nowhere.json"), "No such file or directory: 'nowhere.json'"),
        ("silent", ("--limit", "0"), "argument --limit: invalid"),
        ("silent", ("--timeout", "inf"), "argument --timeout: invalid"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_traceback(
    place: Path, agent: str, options: Sequence[str], said: str
) -> None:
    write_tasks(place, 1)
    code, out, told = run(place, agent, *options)
    assert code != 0
    assert out == ""
    assert said in told
    assert "Traceback" not in told


@pytest.mark.parametrize("there", ["notes of mine", "notes of mine\n", '{"task_id": 1, "rollout_id": "ro-1"}\n{}\n'])
def test_a_file_that_holds_something_else_is_refused_and_left_as_it_is(place: Path, there: str) -> None:
    write_tasks(place, 1)
    (place / "results.jsonl").write_text(there, encoding="utf-8")
    code, _, told = run(place, "silent")
    assert code == 1
    assert re.match(r"results.jsonl:1: no result of this program \(.*\): name another --out\n", told)
    assert (place / "results.jsonl").read_text(encoding="utf-8") == there


def test_results_of_other_tasks_are_refused(place: Path) -> None:
    write_tasks(place, 1, 2, 3)
    assert run(place, "silent")[0] == 0
    write_tasks(place, 1, 2)
    code, _, told = run(place, "silent")
    assert (code, told) == (1, "there are results of other tasks, such as 3: name another --out\n")


def test_several_results_of_one_task_are_refused(place: Path) -> None:
    write_tasks(place, 1)
    assert run(place, "silent")[0] == 0
    results = place / "results.jsonl"
    results.write_bytes(results.read_bytes() * 2)
    code, _, told = run(place, "silent")
    assert (code, told[:39]) == (1, "there are several results of one task, ")


# ── the file and the arithmetic by themselves ──

SOME: Final = [
    Result(task_id="ü", rollout_id="ro-1", status="failed", reward=None, seconds=0.5, error="E", message="{ö}"),
    Result(task_id=2, rollout_id="ro-2", status="failed", reward=0.25, seconds=1.5, error="E", message="é}\n{}"),
]


def test_wherever_the_last_line_is_cut_off_the_file_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path) as file:
        for result in SOME:
            file.add(result)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole) + 1):
        path.write_bytes(whole[:end])
        kept = SOME if end >= len(whole) - 1 else SOME[:1]
        with ResultsFile(path) as file:
            assert file.before == kept
            file.add(SOME[0])
        with ResultsFile(path) as file:
            assert file.before == [*kept, SOME[0]]


def test_a_percentile_is_one_of_the_values() -> None:
    hundred = list(range(1, 101))
    assert [percentile(hundred, share) for share in (50, 90, 99, 100)] == [50, 90, 99, 100]
    assert [percentile([1.0, 2.0, 3.0], share) for share in (1, 33, 34, 50, 99)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("ones", "n", "low", "high"), [(20, 20, 0.8389, 1), (0, 20, 0, 0.1611), (10, 40, 0.1419, 0.4019)]
)
def test_shares_have_wilsons_interval(ones: int, n: int, low: float, high: float) -> None:
    found = mean_interval([1.0] * ones + [0.0] * (n - ones))
    assert found == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4), "Wilson")


@pytest.mark.parametrize(
    ("n", "quantile"),
    [(2, 12.7062), (3, 4.3027), (4, 3.1824), (5, 2.7764), (11, 2.2281), (31, 2.0423), (1001, 1.9623)],
)
def test_other_rewards_have_students_interval_with_the_quantile_of_the_tables(n: int, quantile: float) -> None:
    values = [5.0 + (-1) ** at * (at + 1) for at in range(n)]
    mean = sum(values) / n
    error = (sum((value - mean) ** 2 for value in values) / (n - 1) / n) ** 0.5
    low, high, method = mean_interval(values)
    assert method == "Student"
    assert (high - mean) / error == pytest.approx((mean - low) / error) == pytest.approx(quantile, rel=2e-3)


def test_one_reward_says_nothing_of_the_mean() -> None:
    assert mean_interval([0.5]) == (float("-inf"), float("inf"), "Student")
