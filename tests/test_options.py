"""Options of callers without a type checker: what will do, and what the error says of the rest."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from lightning_actors.errors import ConfigError
from lightning_actors.options import finite_pair, flag, refused_arguments, shown, text_or_none, whole_number


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_what_was_given_is_shown_whatever_it_is() -> None:
    assert shown({"a": 1}) == "{'a': 1}"
    assert len(shown("x" * 10_000)) == 80
    assert shown(Unspeakable()) == "a Unspeakable that cannot be shown"


@pytest.mark.parametrize(("given", "number"), [(1, 1), (7, 7), (np.int32(3), 3)])
def test_whole_numbers_of_any_type_are_taken(given: Any, number: int) -> None:
    assert whole_number("n", given) == number
    assert type(whole_number("n", given)) is int


@pytest.mark.parametrize("given", [0, -1, True, 1.0, "1", None, [1], np.float64(1), math.nan, Unspeakable()])
def test_what_is_no_whole_number_or_too_small_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^n is .*: give a whole number, 1 or more$") as raised:
        whole_number("n", given)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_whole_number_may_have_another_least_or_none() -> None:
    assert whole_number("n", 0, least=0) == 0
    assert whole_number("n", -5, least=None) == -5
    with pytest.raises(ConfigError, match="n is -1: give a whole number, 0 or more"):
        whole_number("n", -1, least=0)
    with pytest.raises(ConfigError, match=r"n is 1\.5: give a whole number$"):
        whole_number("n", 1.5, least=None)


@pytest.mark.parametrize("given", [(0, 1), [0.0, 1.0], (np.float32(0), Fraction(1))])
def test_a_pair_of_numbers_is_taken(given: Any) -> None:
    assert finite_pair("p", given, "two") == (0.0, 1.0)


@pytest.mark.parametrize(
    "given",
    [
        (0,),
        (0, 1, 2),
        (),
        "ab",
        b"ab",
        1,
        None,
        {0: 1},
        (0, "1"),
        (0, True),
        (0, math.inf),
        (0, 10**400),
    ],
)
def test_what_is_no_pair_of_finite_numbers_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^p is .*: give two$"):
        finite_pair("p", given, "two")


def test_a_flag_is_true_or_false() -> None:
    assert flag("f", True) is True
    for given in (1, "no", None):
        with pytest.raises(ConfigError, match=r"f is .*: give True or False"):
            flag("f", given)


def test_a_text_is_not_empty_and_may_be_none() -> None:
    assert text_or_none("t", "x", "a text") == "x"
    assert text_or_none("t", None, "a text") is None
    for given in ("", 5, b"x"):
        with pytest.raises(ConfigError, match=r"t is .*: give a text"):
            text_or_none("t", given, "a text")


def test_of_many_wrong_arguments_the_first_few_are_told() -> None:
    class Wide(BaseModel):
        a: int
        b: int
        c: int
        d: int
        e: int
        f: int
        g: int

    with pytest.raises(ValidationError) as raised:
        Wide.model_validate(dict.fromkeys("abcdefg", "x"))
    told = str(refused_arguments("call", raised.value))
    assert told.startswith(
        "call: a is 'x': it should be a valid integer, unable to parse string as an integer; b is 'x'"
    )
    assert told.endswith("; and 2 more")
