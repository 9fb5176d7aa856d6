"""A figure: one number made of a case's samples, and what it should be."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Figure",
    "Round",
    "Sample",
    "Spread",
    "Unit",
    "Verdict",
    "highest",
    "of_ours",
    "ratio",
    "written",
]

Sample = Mapping[str, float]
"""What one measurement of one contender gave: values by name. Names end in their unit, seconds where they do not."""

Round = Mapping[str, Sample]
"""The samples of one round by contender, taken right after one another."""

Unit = Literal["times", "%", "s", "ms", "µs", "KiB", "MiB", "/s"]

Verdict = Literal["aim", "reach", "missed", "not measured", ""]
"""At the aim, within reach, neither; not measured where a contender is missing; nothing where nothing was promised."""

_PER_UNIT: Mapping[Unit, float] = {
    "times": 1,
    "%": 0.01,
    "s": 1,
    "ms": 1e-3,
    "µs": 1e-6,
    "KiB": 1024,
    "MiB": 1024**2,
    "/s": 1,
}


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one value for each round."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Figure:
    """One number and what it should be.

    Attributes:
        label: What it says, in a table.
        compute: Makes it of all rounds.
        unit: How it is written.
        needs: The contenders without which it cannot be told.
        reach: The least that will do; None if nothing is promised.
        aim: What it should be.
        shows: The value in the samples that is shown for each contender beside it: ours, and that of the others where
            its name differs.
        shows_unit: How those are written.
    """

    label: str
    compute: Callable[[Sequence[Round]], Spread]
    unit: Unit
    needs: frozenset[str]
    reach: float | None = None
    aim: float | None = None
    shows: tuple[str, str] | None = None
    shows_unit: Unit = "µs"

    def spread(self, rounds: Sequence[Round]) -> Spread | None:
        """The number; None if a contender that it needs was not measured."""
        if not rounds or not all(self.needs <= set(one) for one in rounds):
            return None
        return self.compute(rounds)

    def verdict(self, spread: Spread | None) -> Verdict:
        """How the median compares with what it should be."""
        if self.reach is None or self.aim is None:
            return ""
        if spread is None:
            return "not measured"
        sign = 1 if self.aim < self.reach else -1  # whether less is better
        if sign * spread.median <= sign * self.aim:
            return "aim"
        return "reach" if sign * spread.median <= sign * self.reach else "missed"

    def shown(self, contender: str, rounds: Sequence[Round]) -> Spread | None:
        """The value beside it for one contender; None where there is none."""
        if self.shows is None:
            return None
        key = self.shows[0 if contender == "ours" else 1]
        values = [one[contender][key] for one in rounds if contender in one and key in one[contender]]
        return Spread.of(values) if values else None


def written(value: float, unit: Unit) -> str:
    """A number with its unit, to three digits where it has them."""
    number = value / _PER_UNIT[unit]
    symbol = "\N{MULTIPLICATION SIGN}" if unit == "times" else unit
    digits = next((digits for digits, least in enumerate((100, 10, 1)) if abs(number) >= least), 3)
    return f"{number:,.{digits}f} {symbol}"


def ratio(over: tuple[str, str], under: tuple[str, str]) -> Callable[[Sequence[Round]], Spread]:
    """One value divided by another of the same round, each given as contender and name."""

    def compute(rounds: Sequence[Round]) -> Spread:
        return Spread.of([one[over[0]][over[1]] / one[under[0]][under[1]] for one in rounds])

    return compute


def of_ours(key: str) -> Callable[[Sequence[Round]], Spread]:
    """One of our values as it is."""
    return lambda rounds: Spread.of([one["ours"][key] for one in rounds])


def highest(keys: Sequence[str]) -> Callable[[Sequence[Round]], Spread]:
    """That of our values whose median is the highest."""
    return lambda rounds: max((of_ours(key)(rounds) for key in keys), key=lambda spread: spread.median)
