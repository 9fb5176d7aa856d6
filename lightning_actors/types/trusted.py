"""Records made without validation, from values that were checked where they came in."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

__all__ = ["evolved", "trusted"]

M = TypeVar("M", bound=BaseModel)

# A pydantic model is its __dict__ and three slots; what sets them past the guard of a frozen model, found once.
_set_dict = vars(BaseModel)["__dict__"].__set__
_set_given = vars(BaseModel)["__pydantic_fields_set__"].__set__
_set_extra = vars(BaseModel)["__pydantic_extra__"].__set__
_set_private = vars(BaseModel)["__pydantic_private__"].__set__


def evolved(model: M, /, **changes: Any) -> M:
    """This record with some fields changed; the changes are trusted, not checked.

    It does what ``model_copy(update=...)`` does and shares what need not be copied because nobody changes it, which
    takes a third of the time; a store does this several times for each operation.
    """
    copy = object.__new__(type(model))
    _set_dict(copy, {**model.__dict__, **changes})
    given = model.__pydantic_fields_set__
    _set_given(copy, given if given.issuperset(changes) else given.union(changes))
    _set_extra(copy, model.__pydantic_extra__)
    _set_private(copy, model.__pydantic_private__)
    return copy


def trusted(kind: type[M], given: set[str], fields: dict[str, Any], extra: dict[str, Any] | None = None) -> M:
    """A record with these fields; they are trusted, not checked.

    Args:
        kind: The record's class.
        given: The names of its fields; shared by all records that are made with it.
        fields: All its fields, which the record keeps as its own.
        extra: What it has beyond its fields; None where its class allows no more.
    """
    record = object.__new__(kind)
    _set_dict(record, fields)
    _set_given(record, given)
    _set_extra(record, extra)
    _set_private(record, None)
    return record
