"""Asking for records: filters, order and pages.

Source: operators, defaults and paging are those of Agent Lightning 0.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, SupportsIndex, TypedDict, TypeVar, overload

__all__ = ["FilterField", "FilterLogic", "FilterOptions", "PaginatedResult", "SortOptions", "SortOrder"]

T_co = TypeVar("T_co", covariant=True)

FilterLogic = Literal["and", "or"]
"""How the conditions of one query are joined."""

SortOrder = Literal["asc", "desc"]
"""Smallest or greatest first."""


class FilterField(TypedDict, total=False):
    """Conditions on one field; those that are None or absent do not count."""

    exact: Any
    within: Sequence[Any]
    contains: str


FilterOptions = Mapping[str, Any]
"""A FilterField by field name; ``_aggregate`` joins them ("and" by default), ``_must`` always holds."""


class SortOptions(TypedDict):
    """The field to sort by and its order."""

    name: str
    order: SortOrder


@dataclass(frozen=True, slots=True, repr=False)
class PaginatedResult(Sequence[T_co], Generic[T_co]):
    """One page of records; it is itself a sequence of them.

    Attributes:
        items: The records of this page.
        limit: How many were asked for; -1 for all.
        offset: How many were passed over.
        total: How many there are on all pages.
    """

    items: Sequence[T_co]
    limit: int
    offset: int
    total: int

    @overload
    def __getitem__(self, index: SupportsIndex) -> T_co: ...
    @overload
    def __getitem__(self, index: slice[Any, Any, Any]) -> Sequence[T_co]: ...
    def __getitem__(self, index: SupportsIndex | slice[Any, Any, Any]) -> T_co | Sequence[T_co]:
        return self.items[index] if isinstance(index, slice) else self.items[index.__index__()]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T_co]:
        return iter(self.items)

    def __repr__(self) -> str:
        end = "" if self.limit == -1 else self.offset + len(self.items)
        shown = ", ".join(repr(item) for item in self.items[:3]) + (", …" if len(self.items) > 3 else "")  # noqa: PLR2004 - three make a short repr
        return f"<PaginatedResult ({self.offset}:{end} of {self.total}) [{shown}]>"
