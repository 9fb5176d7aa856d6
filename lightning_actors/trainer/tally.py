"""`Tally`: how the rollouts of a run ended, as its runners tell."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_actors.runner import Execution

__all__ = ["Tally"]


@dataclass(frozen=True, slots=True)
class _Ending:
    attempt: int
    reward: float | None
    error: BaseException | None


class Tally:
    """Keeps the last attempt at each rollout: one that was given up for a newer one may tell of its end after it."""

    def __init__(self) -> None:
        self._endings: dict[str, _Ending] = {}

    def note(self, execution: Execution) -> None:
        """Note how an attempt ended."""
        rollout_id, attempt = execution.rollout.rollout_id, execution.rollout.attempt.sequence_id
        known = self._endings.get(rollout_id)
        if known is None or known.attempt <= attempt:
            self._endings[rollout_id] = _Ending(attempt, execution.reward, execution.error)

    @property
    def rollout_ids(self) -> set[str]:
        """Whose end was told."""
        return set(self._endings)

    @property
    def rewards(self) -> dict[str, float]:
        """The final rewards by rollout id, where there was one."""
        return {id_: ending.reward for id_, ending in self._endings.items() if ending.reward is not None}

    @property
    def errors(self) -> dict[str, BaseException]:
        """The errors by rollout id, where the last attempt had one."""
        return {id_: ending.error for id_, ending in self._endings.items() if ending.error is not None}
