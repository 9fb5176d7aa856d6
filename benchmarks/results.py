"""What a run of the harness found: figures with verdicts, as JSON, as a table, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.figure import Figure, Spread, Verdict, written
from benchmarks.harness import CaseRun

__all__ = ["Row", "as_json", "as_markdown", "as_table", "rows_of"]

_COLUMNS = ("figure", "reach", "aim", "measured", "verdict", "ours", "bare", "Agent Lightning")
_CONTENDERS = ("ours", "bare", "peer")


@dataclass(frozen=True, slots=True)
class Row:
    """A figure with what was measured of it.

    Attributes:
        case: The case's name.
        figure: What it is.
        spread: What was measured; None where a contender was missing.
        verdict: How that compares with what it should be.
        beside: What is shown of each contender.
    """

    case: str
    figure: Figure
    spread: Spread | None
    verdict: Verdict
    beside: Mapping[str, Spread]

    def cells(self) -> list[str]:
        """Its cells in a table."""
        figure, spread = self.figure, self.spread
        measured = "\N{EN DASH}" if spread is None else written(spread.median, figure.unit)
        if spread is not None and spread.low != spread.high:
            measured += f" ({written(spread.low, figure.unit)} to {written(spread.high, figure.unit)})"
        promised = ["" if one is None else written(one, figure.unit) for one in (figure.reach, figure.aim)]
        shown = [
            written(self.beside[one].median, figure.shows_unit) if one in self.beside else "" for one in _CONTENDERS
        ]
        return [figure.label, *promised, measured, self.verdict, *shown]


def rows_of(run: CaseRun) -> list[Row]:
    """The figures of a case."""
    rows: list[Row] = []
    for figure in run.case.figures:
        spread = figure.spread(run.rounds)
        shown = {one: figure.shown(one, run.rounds) for one in _CONTENDERS}
        beside = {one: value for one, value in shown.items() if value is not None}
        rows.append(Row(run.case.name, figure, spread, figure.verdict(spread), beside))
    return rows


def as_table(runs: Sequence[CaseRun]) -> str:
    """All figures, in columns."""
    blocks = [
        (f"{run.case.name}: {run.case.title} ({run.options.backend}, {len(run.rounds)} rounds)", rows_of(run))
        for run in runs
    ]
    lines = [list(_COLUMNS), *(row.cells() for _, rows in blocks for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]

    def line_of(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join(padded).rstrip()

    text = [line_of(_COLUMNS)]
    for title, rows in blocks:
        text += ["", title, *(line_of(row.cells()) for row in rows)]
    return "\n".join(text)


def as_markdown(runs: Sequence[CaseRun]) -> str:
    """The figures for which something is promised, as a Markdown table."""
    head = ["", "reach", "aim", "measured", "ours", "bare limit", "Agent Lightning 0.3"]
    lines = [head, ["---"] * len(head)]
    for row in (row for run in runs for row in rows_of(run) if row.figure.reach is not None):
        label, reach, aim, measured, verdict, *shown = row.cells()
        lines.append([label, reach, aim, f"**{measured}**" if verdict == "missed" else measured, *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_json(runs: Sequence[CaseRun], machine: Mapping[str, object]) -> dict[str, Any]:
    """Everything, as JSON values; times in seconds, sizes in bytes."""
    return {"machine": dict(machine), "cases": [_case_json(run) for run in runs]}


def _case_json(run: CaseRun) -> dict[str, Any]:
    return {
        "name": run.case.name,
        "title": run.case.title,
        "backend": run.options.backend,
        "sizes": dict(run.options.sizes),
        "rounds": [{contender: dict(sample) for contender, sample in one.items()} for one in run.rounds],
        "figures": [
            {
                "label": row.figure.label.strip(),
                "unit": row.figure.unit,
                "measured": None if row.spread is None else asdict(row.spread),
                "reach": row.figure.reach,
                "aim": row.figure.aim,
                "verdict": row.verdict,
                "beside": {contender: asdict(spread) for contender, spread in row.beside.items()},
            }
            for row in rows_of(run)
        ],
    }
