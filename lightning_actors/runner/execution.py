"""`Execution`: how an attempt ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_actors.tracer import Trace
from lightning_actors.types import AttemptedRollout, AttemptStatus, Rollout, Span

__all__ = ["Execution", "agent_call"]


@dataclass(frozen=True, slots=True)
class Execution:
    """How an attempt ended.

    Attributes:
        rollout: The rollout and its attempt as they were claimed.
        status: The status of the attempt.
        error: What the agent raised, or what ended the attempt; None if it succeeded.
        reward: The final reward, if there was one.
        trace: Its spans; None if it never began.
        seconds: How long it took.
        ended: The rollout as the store had it at its end, where that was asked together with the end.
    """

    rollout: AttemptedRollout
    status: AttemptStatus
    error: BaseException | None
    reward: float | None
    trace: Trace | None
    seconds: float
    ended: Rollout | None = None

    @property
    def spans(self) -> Sequence[Span]:
        """The spans, as stored."""
        return () if self.trace is None else self.trace.spans


def agent_call(rollout_id: str) -> str:
    """The name of the task or thread in which the agent runs for a rollout."""
    return f"agent of {rollout_id}"
