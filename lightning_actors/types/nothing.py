"""`NO_ITEMS` and `NO_ENTRIES`: the one empty list, and the one empty dict, that all records without such share.

Most spans have no events, no links and no attributes. A list and a dict of its own for each would be objects more for
the garbage collector to go through, for as long as a store remembers the span.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

__all__ = ["NO_ENTRIES", "NO_ITEMS"]


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("records are frozen, and so is what they hold: make a new one with model_copy(update=...)")


class _NoItems(list[Any]):
    """An empty list that stays empty. Its copies are lists like any other."""

    __slots__ = ()

    append = extend = insert = __setitem__ = __iadd__ = __imul__ = _refuse  # pyright: ignore[reportAssignmentType] - it refuses whatever it is given

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ()


class _NoEntries(dict[str, Any]):
    """An empty dict that stays empty. Its copies are dicts like any other."""

    __slots__ = ()

    __setitem__ = setdefault = update = __ior__ = _refuse  # pyright: ignore[reportAssignmentType] - it refuses whatever it is given

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ()


NO_ITEMS: Final[list[Any]] = _NoItems()
NO_ENTRIES: Final[dict[str, Any]] = _NoEntries()
