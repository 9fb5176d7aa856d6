"""Figures: what is made of samples, and how that compares with what it should be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.figure import Figure, Round, Spread, Verdict, highest, of_ours, ratio, written

ROUNDS: Sequence[Round] = [
    {"ours": {"cpu": 3.0, "get": 1.0, "put": 2.0}, "bare": {"cpu": 2.0}},
    {"ours": {"cpu": 40.0, "get": 1.0, "put": 3.0}, "bare": {"cpu": 20.0}},
    {"ours": {"cpu": 4.0, "get": 9.0, "put": 2.5}, "bare": {"cpu": 1.0}},
]


def figure(reach: float | None, aim: float | None) -> Figure:
    return Figure("it", of_ours("cpu"), "s", frozenset({"ours"}), reach, aim)


def flat(value: float) -> Spread:
    return Spread(value, value, value)


def test_a_ratio_is_taken_within_each_round_so_that_a_slow_round_does_not_count() -> None:
    assert ratio(("ours", "cpu"), ("bare", "cpu"))(ROUNDS) == Spread(2.0, 1.5, 4.0)


def test_the_highest_is_the_one_with_the_highest_median() -> None:
    assert highest(("get", "put"))(ROUNDS) == Spread(2.5, 2.0, 3.0)


@pytest.mark.parametrize(
    ("value", "reach", "aim", "verdict"),
    [
        (1.2, 1.5, 1.2, "aim"),
        (1.3, 1.5, 1.2, "reach"),
        (1.5, 1.5, 1.2, "reach"),
        (1.6, 1.5, 1.2, "missed"),
        (20.0, 10, 20, "aim"),
        (19.0, 10, 20, "reach"),
        (10.0, 10, 20, "reach"),
        (9.9, 10, 20, "missed"),
        (9.9, None, None, ""),
    ],
)
def test_the_verdict_knows_whether_less_or_more_is_better(
    value: float, reach: float | None, aim: float | None, verdict: Verdict
) -> None:
    assert figure(reach, aim).verdict(flat(value)) == verdict


def test_the_median_is_judged_and_not_the_best_round() -> None:
    assert figure(1.5, 1.2).verdict(Spread(1.6, 1.0, 2.0)) == "missed"


def test_a_figure_whose_contender_is_missing_is_not_measured() -> None:
    compared = Figure("it", ratio(("peer", "cpu"), ("ours", "cpu")), "times", frozenset({"ours", "peer"}), 10, 20)
    assert compared.spread(ROUNDS) is None
    assert compared.verdict(None) == "not measured"


def test_what_is_shown_beside_it_may_have_another_name_for_the_others() -> None:
    shown = Figure("it", of_ours("get"), "s", frozenset({"ours"}), shows=("get", "cpu"))
    assert shown.shown("ours", ROUNDS) == Spread(1.0, 1.0, 9.0)
    assert shown.shown("bare", ROUNDS) == Spread(2.0, 1.0, 20.0)
    assert shown.shown("peer", ROUNDS) is None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.234, "times", "1.23 \N{MULTIPLICATION SIGN}"),
        (0.9349, "%", "93.5 %"),
        (0.0199, "s", "0.020 s"),
        (15230.0, "KiB", "14.9 KiB"),
        (0.0025, "µs", "2,500 µs"),
    ],
)
def test_numbers_are_written_with_three_digits(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text  # pyright: ignore[reportArgumentType] - one of the units
