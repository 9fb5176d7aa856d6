"""The benchmark as a program of its own: a result for each task, and a summary."""

from __future__ import annotations

import json
import re

import pytest
from benchmark_place import Place


def test_each_task_has_a_result_and_the_summary_counts_them(place: Place) -> None:
    place.write_tasks(*({"n": n, "id": f"task-{n}"} for n in range(2, 10)))
    code, out, told = place.run("lucky", "--timeout", "0.2", "--limit", "3")
    assert code == 0
    found = {result["task_id"]: result for result in place.read_results()}
    assert set(found) == {f"task-{n}" for n in range(2, 10)}
    assert list(found["task-2"]) == [
        *("task_id", "task_digest", "agent", "resources_digest"),
        *("rollout_id", "status", "reward", "seconds", "error", "message"),
    ]
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


@pytest.mark.parametrize("limit", [1, 3])
def test_time_spent_waiting_for_a_place_is_not_the_rollouts(place: Place, limit: int) -> None:
    place.write_tasks(*range(9))
    code, out, _ = place.run("busy", "--limit", str(limit))
    assert code == 0
    found = re.search(r"\(9 in (\d+\.\d) s\)", out)
    assert found is not None
    # never more than so many at once: with the wait in it, the sum would be several times that
    assert sum(result["seconds"] for result in place.read_results()) <= limit * (float(found[1]) + 0.05)


def test_any_json_value_is_a_task_and_a_line_without_an_id_goes_by_its_number(place: Place) -> None:
    lines = ["1", "", '{"id": "x", "n": 1}', "[2]", "1", '"\u2028"', "null"]
    place.tasks.write_text("\n".join(lines), encoding="utf-8")
    code, out, _ = place.run("silent")
    assert code == 0
    assert sorted(place.ids(), key=str) == [1, 4, 5, 6, 7, "x"]
    assert "results     6 of 6, 6 succeeded" in out
    assert "reward" not in out


def test_what_an_error_says_is_kept_also_where_it_cannot_be_encoded(place: Place) -> None:
    place.write_tasks(1, "\ud800")
    code, out, _ = place.run("unspeakable")
    assert code == 0
    assert [result["message"] for result in place.read_results()] == ["no file caf\\udce9"] * 2
    assert "failure     2 x agents.OutOfLuck" in out


def test_an_error_of_which_nothing_is_said_is_a_failure_like_any_other(place: Place) -> None:
    place.write_tasks(1)
    code, out, _ = place.run("tight_lipped")
    assert code == 0
    assert "results     1 of 1, 0 succeeded, 1 did not" in out


def test_rewards_that_are_no_numbers_to_calculate_with_fail_their_tasks_alone(place: Place) -> None:
    place.write_tasks("nan", "-inf", 0.5, 1e308, 1e308, 1e308)
    code, out, told = place.run("generous")
    assert code == 0
    assert "Traceback" not in told
    assert sorted(result["status"] for result in place.read_results()) == ["failed"] * 2 + ["succeeded"] * 4
    assert "results     6 of 6, 4 succeeded, 2 did not" in out
    assert "failure     2 x ValueError" in out


def test_where_all_have_failed_there_is_a_summary_of_that(place: Place) -> None:
    place.write_tasks(*({"n": 4} for _ in range(3)))
    code, out, told = place.run("lucky")
    assert code == 0
    assert out.splitlines()[0] == "results     3 of 3, 0 succeeded, 3 did not"
    assert out.splitlines()[-1] == "failure     3 x agents.OutOfLuck"
    assert "reward" not in out + told
    assert "latency" not in out


def test_results_may_go_to_what_is_no_file(place: Place) -> None:
    place.write_tasks(1, 2)
    assert place.run("silent", out="/dev/null")[0] == 0
    code, out, _ = place.run("silent", out="/dev/stdout")
    assert code == 0
    assert [json.loads(line)["task_id"] for line in out.splitlines()[:2]] == [1, 2]


def test_resources_are_given_to_the_agent(place: Place) -> None:
    place.write_tasks(1)
    llm = {"resource_type": "llm", "endpoint": "http://127.0.0.1:9", "model": "small"}
    (place.path / "resources.json").write_text(json.dumps({"llm": llm}), encoding="utf-8")
    assert place.run("asking", "--resources", "resources.json")[0] == 0
    assert [result["reward"] for result in place.read_results()] == [1.0]
