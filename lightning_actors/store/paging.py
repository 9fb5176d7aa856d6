"""Filters, order and pages over records that are already at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from operator import attrgetter
from typing import Any, TypeVar

from pydantic import BaseModel

from lightning_actors.types import FilterLogic, PaginatedResult, SortOrder

__all__ = ["Conditions", "paged", "sorted_and_paged"]

M = TypeVar("M", bound=BaseModel)


class Conditions:
    """The conditions of one query, joined by and or or. Operands that are None do not count."""

    def __init__(self, logic: FilterLogic) -> None:
        self._all = logic == "and"
        self._tests: list[Callable[[Any], bool]] = []

    def __bool__(self) -> bool:
        return bool(self._tests)

    def exact(self, field: str, wanted: object) -> Conditions:
        """The field equals this."""
        if wanted is not None:
            self._tests.append(lambda record: getattr(record, field) == wanted)
        return self

    def within(self, field: str, wanted: Iterable[Any] | None) -> Conditions:
        """The field is one of these."""
        if wanted is not None:
            members = frozenset(wanted)
            self._tests.append(lambda record: getattr(record, field) in members)
        return self

    def contains(self, field: str, wanted: str | None) -> Conditions:
        """The field has this text in it."""
        if wanted is not None:
            self._tests.append(lambda record: wanted in (getattr(record, field) or ""))
        return self

    def hold(self, record: object) -> bool:
        """Whether the record is wanted; without conditions all are."""
        tests = self._tests
        if not tests:
            return True
        return all(test(record) for test in tests) if self._all else any(test(record) for test in tests)


def paged(items: Collection[M], *, limit: int, offset: int) -> PaginatedResult[M]:
    """One page of records that are in order already."""
    page = islice(items, offset, None if limit < 0 else offset + limit)
    return PaginatedResult(list(page), limit, offset, len(items))


def sorted_and_paged(
    items: Collection[M], kind: type[M], *, sort_by: str | None, sort_order: SortOrder, limit: int, offset: int
) -> PaginatedResult[M]:
    """One page of records by a field; a time that is None counts as the latest, any other None as empty or zero.

    Raises:
        ValueError: There is no such field.
    """
    if sort_by is not None:
        if sort_by not in kind.model_fields:
            raise ValueError(f"cannot sort by {sort_by!r}: the fields are {', '.join(kind.model_fields)}")
        items = sorted(items, key=_key(sort_by, items), reverse=sort_order == "desc")
    return paged(items, limit=limit, offset=offset)


def _key(field: str, items: Iterable[Any]) -> Callable[[Any], Any]:
    get = attrgetter(field)
    kinds: set[type[Any]] = {type(value) for value in map(get, items)}
    if kinds <= {str} or kinds <= {int, float, bool}:
        return get
    absent = type(None) in kinds
    kinds.discard(type(None))
    if kinds <= {str}:
        empty: Any = math.inf if field.endswith("_time") and not kinds else ""
    elif kinds <= {int, float, bool}:
        empty = math.inf if field.endswith("_time") else 0
    else:
        return lambda item: "" if absent and get(item) is None else repr(get(item))
    return lambda item: empty if get(item) is None else get(item)
