"""The command: ``python -m benchmarks [case...]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.case import Case
from benchmarks.harness import PROJECT, CaseRun, Measure, MeasurementFailed, Processes, run_case
from benchmarks.machine import machine_facts
from benchmarks.meter import BACKENDS, Backend
from benchmarks.peer import PEER, PeerUnavailable, ensure_peer
from benchmarks.registry import CASES, UnknownCase, named
from benchmarks.results import as_json, as_markdown, as_table, rows_of

__all__ = ["main"]


class Arguments(argparse.Namespace):
    """What the command was told."""

    cases: list[str]
    peer: bool
    peer_python: Path | None
    rounds: int | None
    backend: Backend
    tiny: bool
    json: Path | None
    markdown: bool
    check: bool
    list: bool


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure lightning-actors beside the least that its work can cost, and beside Agent Lightning.",
    )
    made.add_argument("cases", nargs="*", metavar="case", help=f"all by default: {', '.join(CASES)}")
    made.add_argument("--peer", action="store_true", help=f"measure {PEER} too, in an environment made for it once")
    made.add_argument("--peer-python", type=Path, metavar="PATH", help="the same, with an interpreter that has it")
    made.add_argument("--rounds", type=_positive, metavar="N", help="turns of each contender; each case has a default")
    made.add_argument("--backend", choices=BACKENDS, default="asyncio", help="the loop, for cases that have a choice")
    made.add_argument("--tiny", action="store_true", help="see that all runs; the figures mean nothing")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument("--markdown", action="store_true", help="print the table for README.md instead")
    made.add_argument("--check", action="store_true", help="exit with 1 if a figure misses its reach")
    made.add_argument("--list", action="store_true", help="say what the cases are")
    return made


def main(arguments: Sequence[str] | None = None, measure: Measure | None = None) -> int:
    """Run the command.

    Args:
        arguments: What it is told; those of the process by default.
        measure: Takes the samples; each in a process of its own by default.

    Returns:
        0, or with ``--check`` 1 if a figure is out of reach; 2 if something could not be measured.
    """
    told = parser().parse_args(arguments, namespace=Arguments())
    try:
        cases = named(told.cases)
        if told.list:
            _list(cases)
            return 0
        runs = _measured(cases, told, measure)
    except (UnknownCase, PeerUnavailable, MeasurementFailed) as error:
        print(error, file=sys.stderr)
        return 2
    if told.json is not None:
        told.json.write_text(json.dumps(as_json(runs, machine_facts()), indent=2) + "\n", encoding="utf-8")
    print(as_markdown(runs) if told.markdown else as_table(runs))
    missed = [row.figure.label.strip() for run in runs for row in rows_of(run) if row.verdict == "missed"]
    if told.check and missed:
        print("out of reach: " + "; ".join(missed), file=sys.stderr)
        return 1
    return 0


def _list(cases: Sequence[Case]) -> None:
    width = max(len(case.name) for case in cases)
    for case in cases:
        print(f"{case.name:{width}}  {case.title}")


def _measured(cases: Sequence[Case], told: Arguments, measure: Measure | None) -> list[CaseRun]:
    with_peer = told.peer or told.peer_python is not None
    peer_python = ensure_peer(PROJECT / ".benchmarks" / "peer-venv", told.peer_python) if with_peer else None
    return [
        run_case(
            case,
            measure or Processes(peer_python),
            rounds=told.rounds or case.rounds,
            with_peer=with_peer,
            tiny=told.tiny,
            backend=told.backend,
            began=lambda words: print(words, file=sys.stderr, flush=True),
        )
        for case in cases
    ]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
