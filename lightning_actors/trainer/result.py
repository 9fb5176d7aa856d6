"""`RunResult`: what a run leaves in the caller's hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lightning_actors.types import ResourcesUpdate, Rollout, RolloutStatus

__all__ = ["RunResult"]


@dataclass(frozen=True)
class RunResult:
    """The outcome of ``fit`` or ``dev``.

    Attributes:
        rollouts: The rollouts that the run's algorithm recorded, oldest first, those left in the queue included; before
            them, those that had been in the queue and that its runners ran. What others record meanwhile is there if
            this run's runners were the first to run it, or nobody did; a ``step`` that an agent or anybody else takes
            is not. Where several runs share a store, each rollout is in the result of one of them: that of the run
            whose algorithm recorded it, whoever ran it. But one that this run left over, which had not ended when the
            run had, is also in the result of the run that goes on with it, there with what came of it.
        status_counts: How many of them there are in each status. What was left over is ``queuing`` or ``requeuing``, or
            ``preparing`` or ``running`` where another run had it in hand. This is no outcome, so only the other counts
            may be added up over the runs on a store.
        rewards: The final reward by rollout id, where there was one.
        resources: The latest resources in the store at the end; None if there are none.
        errors: The last error by rollout id, for those that had one and did not succeed afterwards.
        interrupted: Whether the run was stopped by a signal before its algorithm was done.
        done_before: How many of the rollouts had ended before this run, which went on where an earlier one on the same
            durable store was interrupted.
        left_behind: Agent calls that did not end when they were asked to, and may still be running.
    """

    rollouts: Sequence[Rollout]
    status_counts: Mapping[RolloutStatus, int]
    rewards: Mapping[str, float]
    resources: ResourcesUpdate | None
    errors: Mapping[str, BaseException] = field(default_factory=dict[str, BaseException])
    interrupted: bool = False
    left_behind: Sequence[str] = ()
    done_before: int = 0

    @property
    def mean_reward(self) -> float | None:
        """The mean reward of the rollouts that succeeded, as far as they had one; None if none did."""
        succeeded = (rollout.rollout_id for rollout in self.rollouts if rollout.status == "succeeded")
        rewards = [self.rewards[id_] for id_ in succeeded if id_ in self.rewards]
        return sum(rewards) / len(rewards) if rewards else None

    @property
    def summary(self) -> str:
        """The counts and the mean reward on one line."""
        counts = ", ".join(f"{count} {status}" for status, count in self.status_counts.items()) or "no rollouts"
        counts += f" ({self.done_before} done before)" if self.done_before else ""
        return counts if self.mean_reward is None else f"{counts}, mean reward {self.mean_reward:.3f}"

    def __repr__(self) -> str:
        return f"<RunResult {self.summary}{', interrupted' if self.interrupted else ''}>"
