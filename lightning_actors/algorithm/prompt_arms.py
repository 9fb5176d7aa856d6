"""What a bandit knows of its prompts: `PromptTallies` counts, `PromptArm` is what others see. Pure: no I/O."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from lightning_actors.types import PromptTemplate, Rollout

__all__ = ["PromptArm", "PromptTallies", "Tally"]


@dataclass(frozen=True, slots=True)
class PromptArm:
    """One prompt of a bandit, and what is known of it.

    Attributes:
        prompt: The prompt.
        rollouts: How many rollouts that ran with it have ended.
        rewarded: How many of those have a reward, or failed and count as the worst.
        mean: The mean of these rewards; None without any.
        share: Its part of all the bandit's rollouts, from 0 to 1.
        alpha: Of the Beta distribution of its mean reward: the prior's, and one for each full reward.
        beta: Of the same: the prior's, and one for each full reward that was missed.
    """

    prompt: PromptTemplate
    rollouts: int
    rewarded: int
    mean: float | None
    share: float
    alpha: float
    beta: float


@dataclass(slots=True)
class Tally:
    """What came of one prompt so far; rewards are counted from 0 (the worst) to 1."""

    prompt: PromptTemplate
    rollouts: int = 0
    rewarded: int = 0
    success: float = 0.0

    def add(self, success: float | None, times: int) -> None:
        """Count a rollout once, or with -1 undo that."""
        self.rollouts += times
        if success is not None:
            self.rewarded += times
            self.success += times * success


class _Counted(NamedTuple):
    """What was counted of a rollout."""

    ended: tuple[float, str]
    tally: Tally
    success: float | None


class PromptTallies:
    """Counts rollouts by prompt, each once, with what was learned of it last.

    To count a rollout again in place of what was counted before, it remembers the ``window`` rollouts that ended last;
    the others stay counted.

    Args:
        prompts: The prompts.
        prior: Alpha and beta before anything is known.
        window: How many rollouts to remember.
    """

    def __init__(self, prompts: Sequence[PromptTemplate], prior: tuple[float, float], window: int) -> None:
        self.tallies = [Tally(prompt) for prompt in prompts]
        self._prior = prior
        self.window = window
        self._counted: dict[str, _Counted] = {}
        self._by_end: list[tuple[float, str]] = []
        self._forgotten = (-math.inf, "")

    def of(self, prompt: object) -> Tally | None:
        """The tally of a prompt, or of anything else, which has none."""
        return next((tally for tally in self.tallies if tally.prompt == prompt), None)

    def count(self, rollout: Rollout, tally: Tally, success: float | None) -> None:
        """Count a rollout, in place of what was counted of it before.

        Args:
            rollout: It has ended.
            tally: What it ran with.
            success: Its reward, from 0 to 1; None for none.
        """
        before = self._counted.pop(rollout.rollout_id, None)
        if before is not None:
            before.tally.add(before.success, -1)
            del self._by_end[bisect_left(self._by_end, before.ended)]
        tally.add(success, 1)
        counted = self._counted[rollout.rollout_id] = _Counted(_ended(rollout), tally, success)
        insort(self._by_end, counted.ended)
        if len(self._by_end) > self.window:
            first = self._by_end.pop(0)
            self._forgotten = max(self._forgotten, first)
            del self._counted[first[1]]

    def is_forgotten(self, rollout: Rollout) -> bool:
        """Whether a rollout ended so long ago that nobody knows whether it was counted."""
        return rollout.rollout_id not in self._counted and _ended(rollout) <= self._forgotten

    def posterior(self, tally: Tally) -> tuple[float, float]:
        """Alpha and beta of the Beta distribution of a prompt's mean reward."""
        alpha, beta = self._prior
        return alpha + max(0.0, tally.success), beta + max(0.0, tally.rewarded - tally.success)

    def drawn(self, random: Random) -> Tally:
        """The prompt with the greatest of one draw from each distribution."""
        return max(self.tallies, key=lambda tally: random.betavariate(*self.posterior(tally)))

    def best(self) -> Tally:
        """The prompt whose expected reward is greatest, of equals the first."""
        return max(self.tallies, key=self._expected)

    def arms(self, reward_range: tuple[float, float]) -> tuple[PromptArm, ...]:
        """Every prompt as others see it, with rewards between the worst and the best."""
        total = sum(tally.rollouts for tally in self.tallies)
        return tuple(self._arm(tally, total, *reward_range) for tally in self.tallies)

    def _expected(self, tally: Tally) -> float:
        alpha, beta = self.posterior(tally)
        return alpha / (alpha + beta)

    def _arm(self, tally: Tally, total: int, low: float, high: float) -> PromptArm:
        alpha, beta = self.posterior(tally)
        return PromptArm(
            prompt=tally.prompt,
            rollouts=tally.rollouts,
            rewarded=tally.rewarded,
            mean=low + (high - low) * tally.success / tally.rewarded if tally.rewarded else None,
            share=tally.rollouts / total if total else 0.0,
            alpha=alpha,
            beta=beta,
        )


def _ended(rollout: Rollout) -> tuple[float, str]:
    """When a rollout ended, and its id, so that no two are alike."""
    return rollout.start_time if rollout.end_time is None else rollout.end_time, rollout.rollout_id
