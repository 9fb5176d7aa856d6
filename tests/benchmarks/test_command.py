"""The command, and what it prints and writes; the numbers here are made up."""

# ruff: noqa: RUF001 - the sign is the one that is printed

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.case import Case, Contender, Options
from benchmarks.figure import Sample
from benchmarks.harness import Measure
from benchmarks.registry import CASES


def asks(cost: float) -> Measure:
    """A measure of asks by which ours cost so many times as much as a bare one."""

    def measure(case: Case, contender: Contender, options: Options) -> Sample:
        microseconds = 10 * cost if contender == "ours" else 10
        return {"alone": microseconds * 1e-6, "together": microseconds * 1e-6}

    return measure


def run(*arguments: str, cost: float) -> int:
    return main(arguments, asks(cost))


@pytest.mark.parametrize(("cost", "verdict", "code"), [(1.1, "aim", 0), (1.4, "reach", 0), (1.6, "missed", 1)])
def test_check_fails_when_a_figure_is_out_of_reach(
    cost: float, verdict: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("ask", "--check", cost=cost) == code
    printed = capsys.readouterr()
    assert re.search(rf"one caller.* {cost:.2f} × +{verdict} ", printed.out)
    assert ("out of reach: ask, one caller" in printed.err) == bool(code)
    assert run("ask", cost=cost) == 0


def test_the_table_has_a_line_for_each_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", "--rounds", "2", cost=1.25) == 0
    head, _, title, first, second = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", head) == [
        "figure",
        "reach",
        "aim",
        "measured",
        "verdict",
        "ours",
        "bare",
        "Agent Lightning",
    ]
    assert title == "ask: ask, relative to a bare send_nowait + reply slot (asyncio, 2 rounds)"
    assert re.split(r"  +", first)[1:] == ["1.50 ×", "1.20 ×", "1.25 ×", "reach", "12.5 µs", "10.0 µs"]
    assert re.split(r"  +", second) == ["the same, 64 callers at once", "1.25 ×", "12.5 µs", "10.0 µs"]


def test_the_markdown_has_what_is_promised(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", "--markdown", cost=1.6) == 0
    *_, line = capsys.readouterr().out.splitlines()
    label = CASES["ask"].figures[0].label
    assert line == f"| {label} | 1.50 × | 1.20 × | **1.60 ×** | 16.0 µs | 10.0 µs |  |"


def test_the_json_holds_the_machine_the_samples_and_the_figures(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert run("ask", "--json", str(file), "--rounds", "2", "--backend", "uvloop", cost=1.5) == 0
    found = json.loads(file.read_text())
    assert set(found["machine"]) >= {"python", "cores", "versions"}
    (case,) = found["cases"]
    assert (case["name"], case["backend"], case["sizes"]) == ("ask", "uvloop", dict(CASES["ask"].sizes))
    assert [list(one) for one in case["rounds"]] == [["ours", "bare"]] * 2
    assert case["figures"][0]["verdict"] == "reach"
    assert case["figures"][0]["measured"] == pytest.approx({"median": 1.5, "low": 1.5, "high": 1.5})


def test_an_unknown_case_is_an_error_that_names_the_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ask", "asks", cost=1) == 2
    assert capsys.readouterr().err == f"there is no case 'asks': the cases are {', '.join(CASES)}\n"


def test_list_says_what_the_cases_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list", cost=1) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CASES)


def test_no_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("ask", "--rounds", "0", cost=1)
    assert "0 is less than 1" in capsys.readouterr().err


def test_the_whole_of_it_measures_in_processes(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert main(["import", "dev", "--tiny", "--rounds", "1", "--json", str(file)]) == 0
    names = [case["name"] for case in json.loads(file.read_text())["cases"]]
    assert names == ["import", "dev"]
