"""`Many`: the type of a message's field that takes many things of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, cast, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

__all__ = ["Many"]

T = TypeVar("T")


class _AsList:
    """Has pydantic keep a list of its own, whatever sequence was given: its own way fails for a PaginatedResult."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        (item,) = get_args(source)
        items = core_schema.list_schema(handler.generate_schema(item))
        return core_schema.no_info_before_validator_function(_as_list, items)


def _as_list(value: Any) -> Any:
    if type(value) is list or isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return cast("object", value)
    return list(cast("Sequence[object]", value))


Many = Annotated[Sequence[T], _AsList]
"""Any sequence but a text; the message has a list of its own."""
