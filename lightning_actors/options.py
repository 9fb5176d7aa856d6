"""Checking options of callers without a type checker: the error names the option, what was given and what is wanted."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeGuard, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lightning_actors.errors import ConfigError

__all__ = [
    "finite_pair",
    "flag",
    "is_finite",
    "refused",
    "refused_arguments",
    "seconds",
    "shown",
    "text_or_none",
    "whole_number",
]

_LONGEST = 80
_MOST = 5


def shown(given: object) -> str:
    """What was given as an error shows it: short, and whatever it is."""
    try:
        text = repr(given)
    except Exception:  # noqa: BLE001 - boundary: a user's __repr__ may raise anything
        text = f"a {type(given).__name__} that cannot be shown"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def refused(name: str, given: object, wanted: str) -> ConfigError:
    """The error that says what is wrong with an option.

    Args:
        name: The option, e.g. ``n_epochs`` or ``prompts[1]``.
        given: What was given.
        wanted: What to give, to be read after "give", e.g. "a whole number, 1 or more".
    """
    return ConfigError(f"{name} is {shown(given)}: give {wanted}")


def refused_arguments(name: str, error: ValidationError) -> ConfigError:
    """The error that says what is wrong with the arguments of a call that pydantic has refused.

    Args:
        name: What was called.
        error: What pydantic found.
    """
    found = [_problem(detail) for detail in error.errors(include_url=False, include_context=False)]
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return ConfigError(f"{name}: {'; '.join(found[:_MOST])}{more}")


def _problem(detail: ErrorDetails) -> str:
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in detail["loc"]).removeprefix(".")
    match detail["type"]:
        case "missing" | "missing_argument":
            return f"{place} is missing"
        case "unexpected_keyword_argument":
            return f"it takes no argument {place}"
        case _:
            wanted = detail["msg"].removeprefix("Value error, ")
            wanted = (
                f"it{wanted.removeprefix('Input')}" if wanted.startswith("Input ") else wanted[:1].lower() + wanted[1:]
            )
            return f"{place} is {shown(detail['input'])}: {wanted}"


def whole_number(name: str, given: object, *, least: int | None = 1) -> int:
    """An option that is a whole number, of any type of whole numbers but bool.

    Args:
        name: The option.
        given: What was given.
        least: The smallest that will do; None for any.

    Raises:
        ConfigError: It is none, or too small.
    """
    wanted = "a whole number" if least is None else f"a whole number, {least} or more"
    if isinstance(given, bool):
        raise refused(name, given, wanted)
    try:
        number = operator.index(cast("Any", given))
    except TypeError:
        raise refused(name, given, wanted) from None
    if least is not None and number < least:
        raise refused(name, given, wanted)
    return number


def seconds(name: str, given: object) -> float:
    """An option that is a length of time, endless at most.

    Args:
        name: The option.
        given: What was given.

    Raises:
        ConfigError: It is no number, or less than 0.
    """
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
        raise refused(name, given, "seconds, 0 or more")
    try:
        return float(given)
    except OverflowError:
        raise refused(name, given, "seconds that a float holds, or math.inf") from None


def is_finite(given: object) -> TypeGuard[float]:
    """Whether something is a finite number that a float holds, and no bool."""
    try:
        return not isinstance(given, bool) and isinstance(given, Real) and math.isfinite(given)
    except OverflowError:
        return False


def finite_pair(name: str, given: object, wanted: str) -> tuple[float, float]:
    """An option that is two finite numbers, a pair or a list.

    Args:
        name: The option.
        given: What was given.
        wanted: What to give, for the error.

    Raises:
        ConfigError: It is something else.
    """
    is_list = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    match tuple(cast("Sequence[object]", given)) if is_list else ():
        case (first, second) if is_finite(first) and is_finite(second):
            return float(first), float(second)
        case _:
            raise refused(name, cast("object", given), wanted)


def flag(name: str, given: object) -> bool:
    """An option that is True or False.

    Raises:
        ConfigError: It is neither.
    """
    if not isinstance(given, bool):
        raise refused(name, given, "True or False")
    return given


def text_or_none(name: str, given: object, wanted: str) -> str | None:
    """An option that is a text, not an empty one, or None.

    Raises:
        ConfigError: It is neither.
    """
    if given is not None and (not isinstance(given, str) or not given):
        raise refused(name, given, wanted)
    return given
