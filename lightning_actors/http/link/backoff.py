"""`Backoff`: how long to wait before trying again."""

from __future__ import annotations

from random import Random

__all__ = ["Backoff"]


class Backoff:
    """Pauses that double from one to the next, each drawn from the upper half of what it may be.

    Args:
        first: About how long the first pause is, in seconds.
        longest: The longest, in seconds.
        random: Where the draws come from.
    """

    def __init__(self, first: float = 0.1, longest: float = 5.0, random: Random | None = None) -> None:
        self._first = first
        self._longest = longest
        self._random = random or Random()  # noqa: S311 - spreads clients in time, keeps no secret
        self._count = 0

    def next(self) -> float:
        """The next pause, in seconds."""
        pause = min(self._first * 2**self._count, self._longest)
        self._count += pause < self._longest
        return pause * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again with a short one."""
        self._count = 0
