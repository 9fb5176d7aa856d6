"""Random ids that are not taken yet."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["fresh_id"]


def fresh_id(prefix: str, size: int, taken: Callable[[str], object | None]) -> str:
    """A new id: the prefix and two hex digits for each byte of ``size``.

    Eight digits repeat themselves among 100,000 ids more often than not, so each is looked up before it is used.

    Args:
        prefix: What it begins with, e.g. ``"at-"``.
        size: Random bytes.
        taken: What has an id already; None if nothing has.
    """
    while True:
        name = prefix + os.urandom(size).hex()
        if taken(name) is None:
            return name
