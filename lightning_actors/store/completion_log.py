"""`CompletionLog`: the order in which rollouts ended."""

from __future__ import annotations

__all__ = ["CompletionLog"]


class CompletionLog:
    """Ended rollouts by number, from 1, in the order in which they ended; each stands where it ended last."""

    def __init__(self) -> None:
        self._ids: list[str | None] = []
        """By number - 1; None where a rollout went back into the queue."""
        self._numbers: dict[str, int] = {}

    @property
    def last(self) -> int:
        """The number of the newest completion; 0 if there was none."""
        return len(self._ids)

    def mark(self, rollout_id: str, *, ended: bool) -> None:
        """The rollout has ended, or goes on after all."""
        number = self._numbers.pop(rollout_id, None)
        if number is not None:
            self._ids[number - 1] = None
        if ended:
            self._ids.append(rollout_id)
            self._numbers[rollout_id] = len(self._ids)

    def after(self, number: int) -> tuple[int, str] | None:
        """The first completion after this one: its number and its rollout."""
        for following in range(number, len(self._ids)):
            rollout_id = self._ids[following]
            if rollout_id is not None:
                return following + 1, rollout_id
        return None
