"""Random ids that are not taken yet."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["fresh_id"]


def fresh_id(prefix: str, size: int, is_taken: Callable[[str], bool]) -> str:
    """A new id: the prefix and two hex digits for each byte of ``size``.

    Eight digits repeat themselves among 100,000 ids more often than not, so each is looked up before it is used.

    Args:
        prefix: What it begins with, e.g. ``"at-"``.
        size: Random bytes.
        is_taken: Whether an id is taken already.
    """
    while True:
        name = prefix + os.urandom(size).hex()
        if not is_taken(name):
            return name
