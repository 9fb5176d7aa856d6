"""`PromptBandit`: which of several prompts is best, learned while they are in use.

```
rewards ─▶ a Beta distribution for each prompt: what its mean reward may be
           draw once from each ─▶ the prompt with the greatest draw is published ─▶ rollouts ─▶ rewards
```
What looks good is used often, what is little known now and then, what is surely worse hardly ever.

Source: Thompson, "On the likelihood that one unknown probability exceeds another in view of the evidence of two
samples", Biometrika 1933; Chapelle and Li, "An Empirical Evaluation of Thompson Sampling", NIPS 2011.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from lightning_actors.algorithm.learner import Experience
from lightning_actors.algorithm.online import OnlineAlgorithm
from lightning_actors.errors import ConfigError
from lightning_actors.log import get_logger
from lightning_actors.types import PromptTemplate

__all__ = ["PromptArm", "PromptBandit"]

log = get_logger("lightning_actors.algorithm")

_DEFAULT_NAME: Final = "main_prompt"


@dataclass(frozen=True, slots=True)
class PromptArm:
    """One prompt of a bandit, and what is known of it.

    Attributes:
        prompt: The prompt.
        resources_id: Under which id the bandit publishes it; the same for the same prompt, in any process.
        rollouts: How many rollouts that ran with it have ended.
        rewarded: How many of those have a reward, or failed and count as the worst.
        mean: The mean of these rewards; None without any.
        share: Its part of all the bandit's rollouts, from 0 to 1.
        alpha: Of the Beta distribution of its mean reward: the prior's, and one for each full reward.
        beta: Of the same: the prior's, and one for each full reward that was missed.
    """

    prompt: PromptTemplate
    resources_id: str
    rollouts: int
    rewarded: int
    mean: float | None
    share: float
    alpha: float
    beta: float


@dataclass(slots=True)
class _Tally:
    """What came of one prompt so far; rewards are counted from 0 (the worst) to 1."""

    prompt: PromptTemplate
    resources_id: str
    rollouts: int = 0
    rewarded: int = 0
    success: float = 0.0

    def posterior(self, prior: tuple[float, float]) -> tuple[float, float]:
        return prior[0] + self.success, prior[1] + self.rewarded - self.success


class PromptBandit(OnlineAlgorithm):
    """Use several prompts, and the better ones ever more: Thompson sampling.

    After each rollout that ran with one of its prompts it draws anew which to use and publishes that. A rollout counts
    once, with its final reward: feedback takes the place of an earlier reward. One without a reward counts when
    feedback comes. One that failed without a reward counts as the worst, one that was cancelled without one does not
    count. What ran in mode "val" or "test", or with none of the prompts, is left alone.

    A run of tasks ends with the best prompt as the latest resources. What was learned stays from one run or block to
    the next. In another process, ``learning(store, after=None)`` learns it again from the rollouts that the store
    remembers.

    One bandit learns on a store at a time: two would publish over each other's resources, and one of them would find
    few rollouts to be its own.

    For a seed and the same rollouts in the same order the draws are the same.

    Args:
        prompts: The prompts to choose from, at least two. Text is an f-string template.
        resource_name: Under which name they are published. None: the name of the first PromptTemplate among the
            latest resources, else ``main_prompt``.
        prior: Alpha and beta of the Beta distribution that each prompt begins with; (1, 1) is any mean alike.
        reward_range: The worst and the best reward. A reward between them counts as that part of a full one; any other
            is an error.
        count_failures: Whether a rollout that failed without a reward counts as the worst.
        seed: The same seed draws the same.
        n_epochs: As in `OnlineAlgorithm`.
        max_queue_length: As in `OnlineAlgorithm`.

    Raises:
        ConfigError: An option makes no sense.

    Attributes:
        ignored: How many rollouts ended that ran with none of the prompts.
    """

    def __init__(
        self,
        prompts: Sequence[str | PromptTemplate],
        *,
        resource_name: str | None = None,
        prior: tuple[float, float] = (1.0, 1.0),
        reward_range: tuple[float, float] = (0.0, 1.0),
        count_failures: bool = True,
        seed: int = 0,
        n_epochs: int = 1,
        max_queue_length: int = 1,
    ) -> None:
        super().__init__(n_epochs=n_epochs, max_queue_length=max_queue_length)
        _check_options(prior, reward_range)
        self._tallies = [_Tally(prompt, _id_of(prompt)) for prompt in _templates(prompts)]
        self._resource_name = resource_name
        self._name = resource_name or _DEFAULT_NAME
        self._prior = prior
        self._reward_range = reward_range
        self._count_failures = count_failures
        self._random = Random(seed)  # noqa: S311 - draws, not secrets
        self._seen: dict[str, tuple[_Tally, float | None]] = {}
        self._current: _Tally | None = None
        self.ignored = 0

    # ── what is known ──

    @property
    def arms(self) -> tuple[PromptArm, ...]:
        """The prompts in the order in which they were given, and what is known of each."""
        return tuple(self._arm(tally) for tally in self._tallies)

    @property
    def best_prompt(self) -> PromptTemplate:
        """The prompt whose expected reward is greatest, of equals the first."""
        return self._best().prompt

    @property
    def current_prompt(self) -> PromptTemplate | None:
        """The prompt that was published last; None before the first time."""
        return None if self._current is None else self._current.prompt

    # ── learning ──

    async def begin(self) -> None:
        """Publish the first prompt to use."""
        self._name = self._resource_name or await self._found_name()
        await self._publish(self._drawn())

    async def learn(self, experience: Experience) -> None:
        """Count a rollout, and draw which prompt to use next.

        Raises:
            ConfigError: The reward lies outside ``reward_range``.
        """
        if experience.is_for_measuring:
            return
        tally = await self._tally_of(experience.resources_id)
        if tally is None:
            self.ignored += 1
            log.info("rollout_with_another_prompt", rollout_id=experience.rollout_id)
            return
        self._count(experience.rollout_id, tally, self._success(experience))
        await self._publish(self._drawn())

    async def conclude(self) -> None:
        """Publish the best prompt."""
        await self._publish(self._best())

    def check_feedback(self, reward: float) -> None:
        """Refuse a reward outside ``reward_range``.

        Raises:
            ConfigError: It is.
        """
        low, high = self._reward_range
        if not low <= reward <= high:
            raise ConfigError(
                f"the reward {reward!r} lies outside the range from {low} to {high}: say "
                f"PromptBandit(..., reward_range=(worst, best)), or have the agent give rewards within it"
            )

    # ── within ──

    async def _found_name(self) -> str:
        latest = await self.get_store().get_latest_resources()
        resources = (self.get_initial_resources() or {}) if latest is None else latest.resources
        return next((name for name, each in resources.items() if isinstance(each, PromptTemplate)), _DEFAULT_NAME)

    async def _publish(self, tally: _Tally) -> None:
        await self.publish({self._name: tally.prompt}, resources_id=tally.resources_id)
        self._current = tally

    def _drawn(self) -> _Tally:
        draws = [self._random.betavariate(*tally.posterior(self._prior)) for tally in self._tallies]
        return self._tallies[draws.index(max(draws))]

    def _best(self) -> _Tally:
        return max(self._tallies, key=self._expected)

    def _expected(self, tally: _Tally) -> float:
        alpha, beta = tally.posterior(self._prior)
        return alpha / (alpha + beta)

    async def _tally_of(self, resources_id: str | None) -> _Tally | None:
        """The prompt that a rollout ran with, told by its resources."""
        if resources_id is None:
            return None
        for tally in self._tallies:
            if tally.resources_id == resources_id:
                return tally
        update = await self.get_store().get_resources_by_id(resources_id)
        if update is None or update.version > 1:  # they were changed: who knows which of them the rollout had
            return None
        prompt = update.resources.get(self._name)
        return next((tally for tally in self._tallies if tally.prompt == prompt), None)

    def _success(self, experience: Experience) -> float | None:
        """The reward from 0, the worst, to 1; None where there is none."""
        if experience.reward is None:
            return 0.0 if self._count_failures and experience.rollout.status == "failed" else None
        self.check_feedback(experience.reward)
        low, high = self._reward_range
        return (experience.reward - low) / (high - low)

    def _count(self, rollout_id: str, tally: _Tally, success: float | None) -> None:
        """Count a rollout in place of what was known of it."""
        if rollout_id in self._seen:
            before, earlier = self._seen[rollout_id]
            before.rollouts -= 1
            if earlier is not None:
                before.rewarded -= 1
                before.success -= earlier
        self._seen[rollout_id] = tally, success
        tally.rollouts += 1
        if success is not None:
            tally.rewarded += 1
            tally.success += success

    def _arm(self, tally: _Tally) -> PromptArm:
        low, high = self._reward_range
        alpha, beta = tally.posterior(self._prior)
        return PromptArm(
            prompt=tally.prompt,
            resources_id=tally.resources_id,
            rollouts=tally.rollouts,
            rewarded=tally.rewarded,
            mean=low + (high - low) * tally.success / tally.rewarded if tally.rewarded else None,
            share=tally.rollouts / len(self._seen) if self._seen else 0.0,
            alpha=alpha,
            beta=beta,
        )


def _check_options(prior: tuple[float, float], reward_range: tuple[float, float]) -> None:
    if not (len(prior) == 2 and all(0 < each < math.inf for each in prior)):  # noqa: PLR2004 - alpha and beta
        raise ConfigError(f"prior is {prior!r}: give alpha and beta, two numbers above 0")
    low, high = reward_range
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"reward_range is {reward_range!r}: give the worst reward and the best one, which is greater")


def _templates(prompts: Sequence[str | PromptTemplate]) -> list[PromptTemplate]:
    if isinstance(prompts, str):
        raise ConfigError(f"prompts is one text, {prompts!r}: give a list of prompts")
    templates = [
        PromptTemplate(template=each, engine="f-string") if isinstance(each, str) else each for each in prompts
    ]
    for place, template in enumerate(templates):
        if template in templates[:place]:
            raise ConfigError(f"prompts holds {template.template!r} twice: give each prompt once")
    if len(templates) < 2:  # noqa: PLR2004 - fewer leave no choice
        raise ConfigError(f"PromptBandit chooses between prompts and was given {len(templates)}: give at least two")
    return templates


def _id_of(prompt: PromptTemplate) -> str:
    """An id for a prompt that another process finds too."""
    text = f"{prompt.engine}\n{prompt.template}"
    return f"rs-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
