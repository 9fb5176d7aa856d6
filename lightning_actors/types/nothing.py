"""`NOTHING`: the one empty list that all records without such items share."""

from __future__ import annotations

from typing import Any, Final, NoReturn

__all__ = ["NOTHING"]


class _Nothing(list[Any]):
    """An empty list that stays empty.

    Most spans have no events and no links. A list of its own for each would be an object more for the garbage collector
    to look at, for as long as the store remembers the span.
    """

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("records are frozen, and so are their lists: make a new record with model_copy(update=...)")

    append = extend = insert = __setitem__ = __iadd__ = __imul__ = _refuse  # pyright: ignore[reportAssignmentType] - it refuses whatever it is given

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ()


NOTHING: Final[list[Any]] = _Nothing()
