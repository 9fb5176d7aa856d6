r"""The prompts that a search chooses from: instruction, layout and demonstrations. Pure: no I/O, no model.

```
Layout.text                     "system: {instruction}\n{demonstrations}user: Where is {country}?"
  {instruction}                   one of the instructions         ┐ filled here, once per candidate
  {demonstrations}                items of the training set       ┘
  {country}                       left as it is                   filled by the agent, once per task
```
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from string import Formatter
from typing import Any, cast

from lightning_actors.errors import ConfigError
from lightning_actors.options import refused, whole_number
from lightning_actors.types import PromptTemplate

__all__ = ["Candidate", "Demonstrations", "Layout", "PromptSpace", "check_parts", "fill_placeholders"]

_INSTRUCTION = "instruction"
_DEMONSTRATIONS = "demonstrations"
_TRIES = 32


@dataclass(frozen=True, slots=True)
class Layout:
    """A template with a demonstration form of its own, where the search's common form does not suit it.

    Attributes:
        text: An f-string template; ``{instruction}`` and ``{demonstrations}`` are filled by the search, all other
            placeholders by the agent.
        demonstration: How one item of the training set reads as a demonstration here, line break included; None for
            the form that the search was given.
    """

    text: str
    demonstration: Callable[[Any], str] | None = None


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """Solved tasks to show in a prompt, drawn from the training set.

    Attributes:
        render: How one item of the training set reads as a demonstration, answer and line break included. Layouts
            may have their own form.
        counts: How many demonstrations a prompt may show.
    """

    render: Callable[[Any], str]
    counts: Sequence[int] = (0, 4, 8)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One prompt of the search.

    Attributes:
        text: The f-string template that an agent is given.
        instruction: Position of its instruction; None for the prompt that the search began with.
        layout: Position of its layout; None for the prompt that the search began with.
        demonstrations: Positions in the training set of the items that it shows, in order.
    """

    text: str
    instruction: int | None = None
    layout: int | None = None
    demonstrations: tuple[int, ...] = ()


class PromptSpace:
    """Draws candidates at random, spread evenly, and makes small changes to good ones.

    Args:
        instructions: The texts that may stand for ``{instruction}``.
        templates: Layouts, or their texts alone.
        demonstrations: What may stand for ``{demonstrations}``; None for nothing.
        pool: The items that demonstrations are drawn from, by their position in the training set.
        seed: The same seed draws and changes the same, call for call.

    Raises:
        ConfigError: There is nothing to choose from, or the parts do not fit together.
    """

    def __init__(
        self,
        instructions: Sequence[str],
        templates: Sequence[str | Layout],
        demonstrations: Demonstrations | None = None,
        *,
        pool: Mapping[int, Any],
        seed: int,
    ) -> None:
        check_parts(instructions, templates, demonstrations)
        self._instructions = tuple(instructions)
        self._layouts = tuple(Layout(each) if isinstance(each, str) else each for each in templates)
        self._demonstrations = demonstrations
        self._pool = dict(pool)
        self._random = Random(seed)  # noqa: S311 - a search, not a secret

    def plain(self) -> Candidate:
        """The first instruction in the first layout, without demonstrations."""
        return self._candidate((0, 0, 0), ())

    def draw(self, count: int, *, known: Sequence[Candidate] = ()) -> list[Candidate]:
        """New candidates, in which instructions, layouts and numbers of demonstrations appear about equally often.

        Args:
            count: How many are wanted.
            known: Candidates that are not new.

        Returns:
            At most ``count`` candidates, all of different texts; fewer only if the space holds no more.
        """
        arms = [
            (instruction, layout, shown)
            for instruction, layout in product(range(len(self._instructions)), range(len(self._layouts)))
            for shown in self._counts(layout)
        ]
        self._random.shuffle(arms)
        used: Counter[tuple[str, int]] = Counter()
        texts, found = {each.text for each in known}, list[Candidate]()
        while arms and len(found) < count:
            arm = min(arms, key=lambda arm: sum(used[part] for part in _parts(arm)))
            used.update(_parts(arm))
            candidate = self._new(arm, texts)
            if candidate is None:
                arms.remove(arm)  # all that it can be is known
            else:
                texts.add(candidate.text)
                found.append(candidate)
        return found

    def change(self, candidate: Candidate, *, known: Sequence[Candidate] = ()) -> Candidate | None:
        """A candidate that differs in one part: another instruction, another layout, or other demonstrations.

        Returns:
            The new candidate; None if none was found that is not among ``known``.
        """
        texts = {each.text for each in known} | {candidate.text}
        for _ in range(_TRIES):
            arm = self._neighbour(candidate)
            if arm is None:
                drawn = self.draw(1, known=[*known, candidate])
                return drawn[0] if drawn else None
            kept = arm[:2] != (candidate.instruction, candidate.layout) and arm[2] == len(candidate.demonstrations)
            changed = self._candidate(arm, candidate.demonstrations if kept else self._sample(arm[2]))
            if changed.text not in texts:
                return changed
        return None

    def _neighbour(self, candidate: Candidate) -> tuple[int, int, int] | None:
        if candidate.instruction is None or candidate.layout is None:
            return None  # the prompt that the search began with has no parts
        instruction, layout, shown = candidate.instruction, candidate.layout, len(candidate.demonstrations)
        parts = [_INSTRUCTION] * (len(self._instructions) > 1) + ["layout"] * (len(self._layouts) > 1)
        parts += [_DEMONSTRATIONS] * (max(self._counts(layout)) > 0)
        part = self._random.choice(parts) if parts else None
        if part == _INSTRUCTION:
            instruction = self._random.choice([i for i in range(len(self._instructions)) if i != instruction])
        elif part == "layout":
            layout = self._random.choice([i for i in range(len(self._layouts)) if i != layout])
            shown = min(self._counts(layout), key=lambda count: abs(count - shown))
        elif part == _DEMONSTRATIONS:
            shown = self._random.choice(self._counts(layout))
        return (instruction, layout, shown)

    def _counts(self, layout: int) -> list[int]:
        """How many demonstrations this layout may show."""
        if self._demonstrations is None or _DEMONSTRATIONS not in _names(self._layouts[layout].text):
            return [0]
        return sorted({min(count, len(self._pool)) for count in self._demonstrations.counts})

    def _new(self, arm: tuple[int, int, int], texts: set[str]) -> Candidate | None:
        for _ in range(_TRIES if arm[2] else 1):
            candidate = self._candidate(arm, self._sample(arm[2]))
            if candidate.text not in texts:
                return candidate
        return None

    def _sample(self, count: int) -> tuple[int, ...]:
        return tuple(self._random.sample(sorted(self._pool), count))

    def _candidate(self, arm: tuple[int, int, int], shown: tuple[int, ...]) -> Candidate:
        instruction, layout, _ = arm
        values = {_INSTRUCTION: self._instructions[instruction], _DEMONSTRATIONS: self._shown(layout, shown)}
        text = fill_placeholders(self._layouts[layout].text, values)
        return Candidate(text, instruction, layout, shown)

    def _shown(self, layout: int, shown: tuple[int, ...]) -> str:
        if self._demonstrations is None:
            return ""
        render = self._layouts[layout].demonstration or self._demonstrations.render
        return "".join(render(self._pool[index]) for index in shown)


def check_parts(
    instructions: Sequence[str], templates: Sequence[str | Layout], demonstrations: Demonstrations | None
) -> None:
    """Refuse parts that cannot make a prompt.

    Raises:
        ConfigError: There is no instruction or template, a number of demonstrations is negative, a template is not
            well formed, or none of them has a place for the demonstrations.
    """
    for place, text in enumerate(_listed("instructions", instructions)):
        if not isinstance(text, str):
            raise refused(f"instructions[{place}]", text, "a text")
    texts = [_layout_text(place, each) for place, each in enumerate(_listed("templates", templates))]
    names = [_names(text) for text in texts]
    if demonstrations is None:
        if any(_DEMONSTRATIONS in each for each in names):
            raise ConfigError(
                "a template has the placeholder {demonstrations}, but there are none: pass demonstrations="
                "Demonstrations(render), where render(item) is the text that shows one solved item"
            )
        return
    _check_demonstrations(demonstrations)
    if not any(_DEMONSTRATIONS in each for each in names):
        raise ConfigError("demonstrations are given, but no template has the placeholder {demonstrations}")


def _listed(name: str, given: object) -> Sequence[object]:
    if isinstance(given, str | bytes) or not isinstance(given, Sequence) or not given:
        raise refused(name, cast("object", given), "a list with at least one text")
    return cast("Sequence[object]", given)


def _layout_text(place: int, given: object) -> str:
    text = given.text if isinstance(given, Layout) else given
    if not isinstance(text, str):
        raise refused(f"templates[{place}]", given, "an f-string template as text, or a Layout of one")
    return text


def _check_demonstrations(given: object) -> None:
    if not isinstance(given, Demonstrations):
        raise refused("demonstrations", given, "a function from an item to text, or Demonstrations(function)")
    if not callable(given.render):
        raise refused("Demonstrations.render", given.render, "a function from an item to text")
    wanted, counts = "a list of whole numbers from 0, at least one", cast("object", given.counts)
    if isinstance(counts, str | bytes) or not isinstance(counts, Sequence) or not counts:
        raise refused("Demonstrations.counts", cast("object", counts), wanted)
    for place, count in enumerate(cast("Sequence[object]", counts)):
        whole_number(f"Demonstrations.counts[{place}]", count, least=0)


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Fill some placeholders of an f-string template and leave it a template.

    Args:
        text: The template.
        values: Texts by placeholder; they go in as they are, so that braces in them are literal braces later.

    Returns:
        The template with all other placeholders untouched.
    """
    filled = list[str]()
    for literal, name, spec, conversion in Formatter().parse(text):
        filled.append(_escaped(literal))
        if name is None:
            continue
        if name in values:
            filled.append(_escaped(values[name]))
        else:
            filled.append(f"{{{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}")
    return "".join(filled)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _names(text: str) -> tuple[str, ...]:
    return PromptTemplate(template=text, engine="f-string").placeholders()


def _parts(arm: tuple[int, int, int]) -> tuple[tuple[str, int], ...]:
    return (("instruction", arm[0]), ("layout", arm[1]), ("shown", arm[2]))
