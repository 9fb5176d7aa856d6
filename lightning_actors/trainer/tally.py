"""`Tally`: how the rollouts of a run ended, as its runners tell."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_actors.runner import Execution
from lightning_actors.types import AttemptedRollout, Rollout

__all__ = ["Ending", "Tally"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended."""

    attempt: int
    reward: float | None
    error: BaseException | None


class Tally:
    """Keeps the last attempt at each rollout: one that was given up for a newer one may tell of its end after it."""

    def __init__(self) -> None:
        self._endings: dict[str, Ending] = {}

    def note(self, execution: Execution) -> None:
        """Note how an attempt ended."""
        rollout_id, attempt = execution.rollout.rollout_id, execution.rollout.attempt.sequence_id
        known = self._endings.get(rollout_id)
        if known is None or known.attempt <= attempt:
            self._endings[rollout_id] = Ending(attempt, execution.reward, execution.error)

    def of(self, rollout: Rollout) -> Ending | None:
        """How the rollout's last attempt ended; None if nobody told, as when the runner of another run had it."""
        ending = self._endings.get(rollout.rollout_id)
        if ending is None or not isinstance(rollout, AttemptedRollout):
            return ending
        return ending if ending.attempt >= rollout.attempt.sequence_id else None
