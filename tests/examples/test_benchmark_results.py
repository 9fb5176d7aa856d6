"""The benchmark's file of results, and its arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from benchmark_results import Result, ResultsFile
from benchmark_summary import mean_interval, percentile, summary

HUGE: Final = [1.7e308, -1.7e308] * 3
OF: Final[dict[str, Any]] = {"task_digest": "ab", "agent": "a:b", "status": "failed", "error": "E"}
SOME: Final = [
    Result(task_id="ü", rollout_id="ro-1", reward=None, seconds=0.5, message="{ö}", **OF),
    Result(task_id=2, rollout_id="ro-2", reward=0.25, seconds=1.5, message="é}\n{}", **OF),
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
    interval = mean_interval(values)
    assert interval is not None
    low, high, method = interval
    assert method == "Student"
    assert (high - mean) / error == pytest.approx((mean - low) / error) == pytest.approx(quantile, rel=2e-3)


@pytest.mark.parametrize(
    ("values", "why"),
    [([0.5], "there is only one"), ([0.5] * 9, "they are all the same"), (HUGE, "too large")],
)
def test_where_nothing_is_known_of_the_spread_there_is_no_interval(values: list[float], why: str) -> None:
    assert mean_interval(values) is None
    results = [SOME[1].model_copy(update={"reward": value}) for value in values]
    line = summary(results, len(values), 0, 0.0)[1]
    assert "inf" not in line
    assert f"of {len(values)}" in line
    assert why in line


def test_one_success_has_an_interval() -> None:
    assert mean_interval([1.0]) == (pytest.approx(0.2065, abs=1e-4), pytest.approx(1), "Wilson")


def test_the_largest_numbers_have_a_mean() -> None:
    results = [SOME[1].model_copy(update={"reward": 1.7e308}) for _ in range(3)]
    assert summary([*results, SOME[0]], 4, 0, 0.0)[1].startswith("reward      mean 1.7e+308 of 3")


def test_a_summary_of_nothing_says_so() -> None:
    assert summary([], 3, 0, 0.0) == ["results     0 of 3, 0 succeeded, 0 did not"]


@pytest.mark.parametrize("reward", ["NaN", "Infinity", '"NaN"', "1e999"])
def test_a_reward_that_is_no_finite_number_is_no_result(tmp_path: Path, reward: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(SOME[1].model_dump_json().replace("0.25", reward) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^{path}:1: no result of this program \(.*finite"):
        ResultsFile(path)
