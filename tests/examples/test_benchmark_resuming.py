"""The benchmark that is run again: after a kill, after Ctrl-C, beside itself, and with something changed meanwhile."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import benchmark_results
import pytest
from benchmark_place import Place, wait_for
from benchmark_results import ResultsFile, ResultsInUse


def test_after_a_kill_the_same_command_goes_on_where_it_stopped(place: Place) -> None:
    place.write_tasks(*range(1, 11))
    process = place.start("halting", "--limit", "3")
    wait_for(process, "5/10")
    process.kill()
    process.communicate(timeout=50)
    assert sorted(place.ids(), key=int) == [1, 2, 3, 4, 5]
    cut_off = str(place.ids()[-1])

    whole = place.results.read_bytes()
    place.results.write_bytes(whole[:-20])  # as if the kill had come while the last line was written
    (place.path / "calls.txt").unlink()
    (place.path / "go").touch()
    code, out, told = place.run("halting", "--limit", "3")
    assert code == 0
    assert told.startswith("results.jsonl has 4 of 10 results already\n1/6, ")
    assert sorted((place.path / "calls.txt").read_text().split(), key=int) == [cut_off, "6", "7", "8", "9", "10"]
    assert sorted(place.ids(), key=int) == list(range(1, 11))
    assert "results     10 of 10, 10 succeeded" in out
    assert "(6 in " in out

    code, out, told = place.run("halting")
    assert (code, told) == (0, "results.jsonl has 10 of 10 results already\n")
    assert "throughput" not in out
    assert len(place.read_results()) == 10


def start_and_interrupt(place: Place, *options: str) -> subprocess.Popen[str]:
    """Press Ctrl-C after half of ten tasks; the others wait for a file."""
    place.write_tasks(*range(1, 11))
    process = place.start("halting", *options)
    wait_for(process, "5/10")
    process.send_signal(signal.SIGINT)
    wait_for(process, "interrupted")
    return process


def test_at_an_interrupt_no_more_begin_and_those_under_way_finish(place: Place) -> None:
    process = start_and_interrupt(place, "--limit", "2")
    (place.path / "go").touch()
    out, _ = process.communicate(timeout=50)
    assert process.returncode == 130
    begun = sorted((place.path / "calls.txt").read_text().split(), key=int)
    assert begun == ["1", "2", "3", "4", "5", "6", "7"]
    assert sorted(place.ids(), key=int) == [int(each) for each in begun]
    assert "results     7 of 10, 7 succeeded" in out


def test_a_second_interrupt_cancels_those_under_way_which_have_no_result_and_run_next_time(place: Place) -> None:
    process = start_and_interrupt(place, "--limit", "4")
    process.send_signal(signal.SIGTERM)
    out, told = process.communicate(timeout=50)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert sorted(place.ids(), key=int) == [1, 2, 3, 4, 5]
    assert "results     5 of 10, 5 succeeded" in out

    (place.path / "go").touch()
    assert place.run("halting")[0] == 0
    assert sorted(place.ids(), key=int) == list(range(1, 11))


def test_an_interrupt_before_anything_runs_ends_it_without_a_traceback(place: Place) -> None:
    os.mkfifo(place.tasks)
    process = place.start("silent")
    with place.tasks.open("wb"):  # opens once the program reads
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=50)
    assert process.returncode == 130
    assert "KeyboardInterrupt" not in told


def test_a_full_disk_ends_it_and_the_same_command_goes_on_once_there_is_room(place: Place) -> None:
    place.write_tasks(*range(1, 11))
    process = place.start("halting", "--limit", "1")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, 1000))  # in the middle of some line
    (place.path / "go").touch()
    out, told = process.communicate(timeout=50)
    assert (process.returncode, out) == (1, "")
    assert told.splitlines()[-1] == (
        "results.jsonl: File too large: the results before are kept, and the same command goes on from there"
    )
    assert "Traceback" not in told
    assert len(place.results.read_bytes()) == 1000
    code, out, told = place.run("halting")
    assert code == 0
    assert re.match(r"results.jsonl has [1-5] of 10 results already\n", told)
    assert sorted(place.ids(), key=int) == list(range(1, 11))


def test_a_device_that_is_full_is_named(place: Place) -> None:
    place.write_tasks(1)
    code, out, told = place.run("silent", out="/dev/full")
    assert (code, out) == (1, "")
    assert told.startswith("/dev/full: No space left on device")
    assert "Traceback" not in told


# ── two at once ──


def test_a_second_process_is_refused_and_told_who_writes_the_results(place: Place) -> None:
    place.write_tasks(*range(1, 11))
    first = place.start("halting")
    wait_for(first, "5/10")
    before = place.results.read_bytes()
    (place.path / "alias.jsonl").symlink_to(place.results)
    for out in ("results.jsonl", "alias.jsonl"):
        code, _, told = place.run("halting", out=out)
        assert code == 1
        holder = rf"process {first.pid} on {re.escape(socket.gethostname())}, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"
        assert re.fullmatch(
            rf"{out} is being written by {holder}: wait until that has ended, or name another --out\n", told
        )
    assert place.results.read_bytes() == before

    first.kill()
    first.communicate(timeout=50)
    (place.path / "go").touch()
    assert place.run("halting")[0] == 0
    assert sorted(place.ids(), key=int) == list(range(1, 11))
    assert not list(place.path.glob("*.lock"))


def test_a_child_that_outlives_a_killed_process_holds_up_nobody(place: Place) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from benchmark_results import ResultsFile\n"
        "file = ResultsFile(Path('results.jsonl'))\n"
        "child = os.fork()\n"
        "print(child, flush=True) if child else None\n"
        "time.sleep(600)"
    )
    examples = Path(benchmark_results.__file__).parent
    parent = subprocess.Popen(  # noqa: S603 - our own example
        [sys.executable, "-c", code],
        cwd=place.path,
        env={**os.environ, "PYTHONPATH": str(examples)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        with pytest.raises(ResultsInUse, match=f"process {parent.pid} on "):
            ResultsFile(place.results)
        parent.kill()
        parent.wait(timeout=50)
        ResultsFile(place.results).close()
    finally:
        parent.kill()
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


# ── something has changed ──


def test_results_of_other_tasks_are_refused(place: Place) -> None:
    place.write_tasks(1, 2, 3)
    assert place.run("silent")[0] == 0
    place.write_tasks(1, 2)
    code, _, told = place.run("silent")
    assert (code, told) == (1, "results.jsonl: there are results of other tasks, such as 3: name another --out\n")


def test_several_results_of_one_task_are_refused(place: Place) -> None:
    place.write_tasks(1)
    assert place.run("silent")[0] == 0
    results = place.results
    results.write_bytes(results.read_bytes() * 2)
    code, _, told = place.run("silent")
    assert (code, told[:54]) == (1, "results.jsonl: there are several results of one task, ")


def test_results_of_tasks_that_have_changed_since_are_refused_and_kept(place: Place) -> None:
    place.write_tasks({"id": "a", "n": 2}, {"id": "b", "n": 3}, {"id": "c", "n": 6})
    assert place.run("lucky")[0] == 0
    before = place.results.read_bytes()
    place.write_tasks({"n": 2, "id": "a"}, {"id": "b", "n": 7}, {"id": "c", "n": 10})
    code, _, told = place.run("lucky")
    assert code == 1
    assert told == (
        "results.jsonl: of the tasks with a result 2 changed since, such as 'b': take the lines of these results "
        "away to run them again, or name another --out\n"
    )
    assert place.results.read_bytes() == before

    lines = before.splitlines(keepends=True)
    place.results.write_bytes(b"".join(line for line in lines if b'"a"' in line))
    code, out, _ = place.run("lucky")
    assert code == 0
    assert sorted(place.ids(), key=str) == ["a", "b", "c"]
    assert "(2 in " in out


def test_tasks_may_be_added(place: Place) -> None:
    place.write_tasks(1, 2)
    assert place.run("generous")[0] == 0
    place.write_tasks(1, 2, 3)
    code, out, _ = place.run("generous")
    assert code == 0
    assert "(1 in " in out
    assert [result["reward"] for result in place.read_results()] == [1, 2, 3]


def test_results_of_another_agent_are_refused(place: Place) -> None:
    place.write_tasks(1)
    assert place.run("silent")[0] == 0
    code, _, told = place.run("generous")
    assert (code, told) == (
        1,
        "results.jsonl: there are results of the agent agents:silent, not agents:generous: name another --out\n",
    )


def test_results_with_other_resources_are_refused(place: Place) -> None:
    place.write_tasks(1)
    llm = {"resource_type": "llm", "endpoint": "http://127.0.0.1:9", "model": "small"}
    resources = place.path / "resources.json"
    resources.write_text(json.dumps({"llm": llm}), encoding="utf-8")
    assert place.run("asking", "--resources", "resources.json")[0] == 0
    resources.write_text(json.dumps({"llm": llm | {"model": "large"}}, indent=2), encoding="utf-8")
    code, _, told = place.run("asking", "--resources", "resources.json")
    assert (code, told) == (1, "results.jsonl: there are results with other resources: name another --out\n")
    resources.write_text(json.dumps({"llm": llm}, indent=2), encoding="utf-8")
    assert place.run("asking", "--resources", "resources.json")[0] == 0
