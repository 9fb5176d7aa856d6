"""The difference between "not given" and "given as None" in an update."""

from __future__ import annotations

from typing import final

__all__ = ["UNSET", "Unset"]


@final
class Unset:
    """The type of UNSET; there is one instance, also after pickling."""

    __slots__ = ()

    def __new__(cls) -> Unset:
        """The one instance."""
        instance: Unset | None = globals().get("UNSET")
        return object.__new__(cls) if instance is None else instance

    def __reduce__(self) -> str:
        """Pickle by name, so that identity survives."""
        return "UNSET"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset()
"""Leave this field as it is."""
