"""The harness: who is measured when, with what, and what happens when that fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.case import Case, Contender, Options
from benchmarks.figure import Sample
from benchmarks.harness import MeasurementFailed, Processes, run_case
from benchmarks.peer import PeerUnavailable, ensure_peer, installed_versions
from benchmarks.registry import CASES


class Recorded:
    """Notes what it is asked for; the sample is the number of the call."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Contender]] = []
        self.options: list[Options] = []

    def __call__(self, case: Case, contender: Contender, options: Options) -> Sample:
        self.asked.append((case.name, contender))
        self.options.append(options)
        return {"number": len(self.asked)}


def test_contenders_take_turns_within_each_round() -> None:
    measure, said = Recorded(), list[str]()
    run = run_case(CASES["step"], measure, rounds=2, with_peer=True, began=said.append)
    assert [contender for _, contender in measure.asked] == ["ours", "bare", "peer", "ours", "bare", "peer"]
    assert [sample["number"] for one in run.rounds for sample in one.values()] == [1, 2, 3, 4, 5, 6]
    assert said[0] == "step: round 1 of 2, ours"
    assert said[-1] == "step: round 2 of 2, peer"


def test_the_peer_takes_part_only_when_asked_for_and_where_it_has_something_to_compare() -> None:
    assert CASES["step"].contenders(with_peer=False) == ("ours", "bare")
    assert CASES["ask"].contenders(with_peer=True) == ("ours", "bare")
    assert CASES["step"].contenders(with_peer=True) == ("ours", "bare", "peer")


def test_a_case_is_told_its_sizes_and_the_loop_if_it_has_a_choice() -> None:
    measure = Recorded()
    run_case(CASES["ask"], measure, rounds=1, backend="trio", tiny=True)
    run_case(CASES["dev"], measure, rounds=1, backend="trio")
    assert measure.options[0] == Options(dict(CASES["ask"].tiny), "trio")
    assert measure.options[-1] == Options(dict(CASES["dev"].sizes), "asyncio")


def test_a_sample_comes_from_a_process_of_its_own() -> None:
    case = CASES["ask"]
    sample = Processes()(case, "bare", Options(case.tiny, "trio"))
    assert set(sample) == {"alone", "together"}


def test_a_process_without_a_sample_is_an_error_that_shows_what_it_said() -> None:
    with pytest.raises(MeasurementFailed, match=r"step, peer: it ended with 1\n(.|\n)*agentlightning"):
        Processes(Path(sys.executable))(CASES["step"], "peer", Options(CASES["step"].tiny))


def test_every_case_that_has_a_peer_has_a_program_for_it() -> None:
    folder = Path(__file__).parents[2] / "benchmarks" / "agent_lightning"
    of_others = {"__init__", "agents", "serve", "wake_up_runner"}
    programs = {path.stem for path in folder.glob("*.py")} - of_others
    assert {case.peer for case in CASES.values() if case.peer is not None} == programs


def test_an_interpreter_without_the_peer_is_refused_and_nothing_is_installed_there(tmp_path: Path) -> None:
    assert not installed_versions(tmp_path / "nothing")
    with pytest.raises(PeerUnavailable, match=r"agentlightning==0\.3\.0 is to be measured.*does not have it"):
        ensure_peer(tmp_path, Path(sys.executable))
    assert not list(tmp_path.iterdir())
