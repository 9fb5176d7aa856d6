"""The figures in README.md are those of the cases."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.figure import Figure, written
from benchmarks.registry import CASES

README: Final = Path(__file__).parents[2] / "README.md"


def promised(figure: Figure) -> tuple[str, str, str]:
    assert figure.reach is not None
    assert figure.aim is not None
    return figure.label, written(figure.reach, figure.unit), written(figure.aim, figure.unit)


def test_the_readme_shows_every_figure_for_which_something_is_promised() -> None:
    table = README.read_text(encoding="utf-8").split("## Figures")[1].split("\n## ")[0]
    rows = [tuple(line.split(" | ")[:3]) for line in table.splitlines() if line.startswith("| ")]
    shown = [(label.removeprefix("| "), reach, aim) for label, reach, aim in rows[1:]]
    assert shown[1:] == [
        promised(figure) for case in CASES.values() for figure in case.figures if figure.reach is not None
    ]
