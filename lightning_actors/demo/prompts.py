"""What the demonstration searches over: the plain prompt it begins with, instructions, layouts, demonstrations.

Prompts are chats written as text: see `lightning_actors.demo.agent`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lightning_actors.algorithm.prompt_search import PromptSearch, SearchProgress
from lightning_actors.algorithm.prompt_space import Candidate, Demonstrations, Layout
from lightning_actors.demo.countries import Country
from lightning_actors.types import PromptTemplate

__all__ = ["PLAIN_PROMPT", "continent_search", "describe_candidate"]

PLAIN_PROMPT: Final = PromptTemplate(template="user: Which continent is {country} in?", engine="f-string")
"""What one would write first."""

_INSTRUCTIONS: Final = (
    "Which continent is this country in?",
    "Answer with the name of the continent only.",
    "You are an expert in geography. Reply with one continent and nothing else.",
    "Reply with exactly one of: Africa, Asia, Europe, North America, South America, Oceania.",
    "Sort countries by continent.",
)
_COUNTS: Final = (0, 4, 8, 12)
_INSTRUCTION_WIDTH: Final = 36


@dataclass(frozen=True, slots=True)
class _Form:
    """A layout by a name to show it under."""

    name: str
    layout: Layout


def _one_message(country: Country) -> str:
    return f"Country: {country['name']}\nContinent: {country['continent']}\n"


def _question(country: Country) -> str:
    return f"user: Which continent is {country['name']} in?\nassistant: {country['continent']}\n"


def _name_alone(country: Country) -> str:
    return f"user: {country['name']}\nassistant: {country['continent']}\n"


_FORMS: Final = (
    _Form(
        "all in one message",
        Layout("user: {instruction}\n{demonstrations}Country: {country}\nContinent:", _one_message),
    ),
    _Form(
        "a chat of questions",
        Layout("system: {instruction}\n{demonstrations}user: Which continent is {country} in?", _question),
    ),
    _Form("a chat of names", Layout("system: {instruction}\n{demonstrations}user: {country}", _name_alone)),
)


def continent_search(
    *, rounds: int, budget: int, seed: int, progress: Callable[[SearchProgress], None] | None = None
) -> PromptSearch:
    """The search of the demonstration; the arguments are those of `PromptSearch`."""
    return PromptSearch(
        instructions=_INSTRUCTIONS,
        templates=[form.layout for form in _FORMS],
        demonstrations=Demonstrations(_question, counts=_COUNTS),
        rounds=rounds,
        budget=budget,
        seed=seed,
        progress=progress,
    )


def describe_candidate(candidate: Candidate) -> str:
    """A candidate in one line: its form, how many demonstrations it shows, and the beginning of its instruction."""
    if candidate.instruction is None or candidate.layout is None:
        return "the plain question"
    instruction = textwrap.shorten(_INSTRUCTIONS[candidate.instruction], _INSTRUCTION_WIDTH, placeholder=" …")
    return f'{_FORMS[candidate.layout].name}, {len(candidate.demonstrations)} shown, "{instruction}"'
