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

import math
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Final, cast

from lightning_actors.algorithm.learner import Experience
from lightning_actors.algorithm.online import OnlineAlgorithm
from lightning_actors.algorithm.prompt_arms import PromptArm, PromptTallies, Tally
from lightning_actors.errors import ConfigError
from lightning_actors.log import get_logger
from lightning_actors.options import finite_pair, flag, refused, text_or_none, whole_number
from lightning_actors.types import AttemptedRollout, PromptTemplate, ResourcesUpdate, Rollout

__all__ = ["PromptArm", "PromptBandit"]

log = get_logger("lightning_actors.algorithm")

_DEFAULT_NAME: Final = "main_prompt"
_FEEDBACK_WINDOW: Final = 10_000
_SURE: Final = 1e9
_WANTED_PROMPTS: Final = "a list of at least two prompts, each a text or a PromptTemplate"
_WANTED_PROMPT: Final = "a prompt, a text or a PromptTemplate"
_WANTED_NAME: Final = "the name of a resource, or None for the name of the prompt that is there"
_WANTED_PRIOR: Final = "alpha and beta, two numbers above 0 and at most 1e9"
_WANTED_RANGE: Final = "the worst reward and the best one, two finite numbers of which the second is greater"


class PromptBandit(OnlineAlgorithm):
    """Use several prompts, and the better ones ever more: Thompson sampling.

    After each rollout that ran with one of its prompts it draws anew which to use and publishes that. A rollout counts
    once, with its final reward: feedback takes the place of an earlier reward. One without a reward counts when
    feedback comes. One that failed without a reward counts as the worst, one that was cancelled without one does not
    count. What ran in mode "val" or "test", or with none of the prompts, is left alone.

    A run of tasks ends with the best prompt as the latest resources. What was learned stays from one run or block to
    the next. In another process, ``learning(store, after=None)`` learns it again from the rollouts that the store
    remembers.

    Any number of bandits, and other algorithms, learn on one store, each from every rollout. Where others publish under
    the bandit's own name too, nobody has it alone: from the first time it finds something else there, it publishes
    after every other rollout, at random, and learns from those that ran with its own prompts. Each combination of
    prompts that was used is stored once.

    It remembers what it counted of the last ten thousand rollouts, and feedback on earlier ones is refused
    (``feedback_window``). One that is run again after so long counts as another.

    For a seed and the same rollouts in the same order the draws are the same.

    Args:
        prompts: The prompts to choose from, at least two. Text is an f-string template.
        resource_name: Under which name they are published. None: the name of the first PromptTemplate among the
            initial resources, or else the latest, or else ``main_prompt``.
        prior: Alpha and beta of the Beta distribution that each prompt begins with; (1, 1) is any mean alike.
        reward_range: The worst and the best reward. A reward between them counts as that part of a full one; any other
            is an error.
        count_failures: Whether a rollout that failed without a reward counts as the worst.
        seed: The same seed draws the same.
        feedback_window: For how many rollouts feedback counts, those that ended last.
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
        feedback_window: int = _FEEDBACK_WINDOW,
        n_epochs: int = 1,
        max_queue_length: int = 1,
    ) -> None:
        super().__init__(n_epochs=n_epochs, max_queue_length=max_queue_length)
        window = whole_number("feedback_window", feedback_window)
        self._tallies = PromptTallies(_templates(prompts), _prior(prior), window)
        self._resource_name = text_or_none("resource_name", resource_name, _WANTED_NAME)
        self._name = self._resource_name or _DEFAULT_NAME
        self._reward_range = _reward_range(reward_range)
        self._count_failures = flag("count_failures", count_failures)
        self._random = Random(whole_number("seed", seed, least=None))  # noqa: S311 - draws, not secrets
        self._current: Tally | None = None
        self._shares_name = False
        self.ignored = 0

    # ── what is known ──

    @property
    def arms(self) -> tuple[PromptArm, ...]:
        """The prompts in the order in which they were given, and what is known of each."""
        return self._tallies.arms(self._reward_range)

    @property
    def best_prompt(self) -> PromptTemplate:
        """The prompt whose expected reward is greatest, of equals the first."""
        return self._tallies.best().prompt

    @property
    def current_prompt(self) -> PromptTemplate | None:
        """The prompt that was published last; None before the first time."""
        return None if self._current is None else self._current.prompt

    async def prompt_of(self, rollout: Rollout) -> PromptTemplate | None:
        """Which of its prompts a rollout ran with; None for none of them, or if its resources were changed since.

        Raises:
            ConfigError: There is no store: it is not learning.
        """
        tally = await self._tally_of(rollout)
        return None if tally is None else tally.prompt

    # ── learning ──

    async def begin(self) -> None:
        """Publish the first prompt to use."""
        self._name = self._resource_name or await self._found_name()
        self._shares_name = False
        await self._publish(self._tallies.drawn(self._random))

    async def learn(self, experience: Experience) -> None:
        """Count a rollout, and draw which prompt to use next.

        Raises:
            ConfigError: The reward lies outside ``reward_range``.
        """
        if experience.is_for_measuring:
            return
        tally = await self._tally_of(experience.rollout)
        if tally is not None:
            self._tallies.count(experience.rollout, tally, self._success(experience))
        else:
            self.ignored += 1
            log.info("rollout_with_another_prompt", rollout_id=experience.rollout_id, resource_name=self._name)
        await self._publish_next(is_due=tally is not None)

    async def conclude(self) -> None:
        """Publish the best prompt."""
        await self._publish(self._tallies.best())

    def check_feedback(self, rollout: Rollout, reward: float) -> None:
        """Refuse a reward outside ``reward_range``, and one that comes too late.

        Raises:
            ConfigError: It is.
        """
        self._check_reward(reward)
        if self._tallies.is_forgotten(rollout):
            raise ConfigError(
                f"rollout {rollout.rollout_id!r} ended too long ago for feedback to count, which it does for the "
                f"{self._tallies.window:,} that ended last: PromptBandit(..., feedback_window=...) makes it count for "
                f"more, `await attach_reward(store, rollout_id, reward)` keeps the reward without learning from it"
            )

    # ── publishing ──

    async def _found_name(self) -> str:
        latest = await self.get_store().get_latest_resources()
        resources = [*(self.get_initial_resources() or {}).items(), *(latest.resources if latest else {}).items()]
        return next((name for name, each in resources if isinstance(each, PromptTemplate)), _DEFAULT_NAME)

    async def _publish(self, tally: Tally) -> None:
        await self.publish({self._name: tally.prompt})
        self._current = tally

    async def _publish_next(self, *, is_due: bool) -> None:
        """Publish a prompt drawn anew, if that is due or the one in use is somebody else's.

        Of two that share a name, one would always have the last word if both published after every rollout.
        """
        store = self.get_store()
        latest = await store.get_latest_resources()
        while True:
            is_others = latest is None or self._tallies.of(latest.resources.get(self._name)) is None
            if is_others and not self._shares_name:
                self._shares_name = True
                log.warning("prompt_of_others_published", resource_name=self._name, hint="give each a name of its own")
            if not (is_due or is_others) or (self._shares_name and self._random.random() < 0.5):  # noqa: PLR2004 - a coin
                return
            tally = self._tallies.drawn(self._random)
            over = None if latest is None else latest.resources_id
            latest = await store.publish_resources({self._name: tally.prompt}, over=over)
            if latest.resources.get(self._name) == tally.prompt:
                self._current = tally
                return

    # ── counting ──

    async def _tally_of(self, rollout: Rollout) -> Tally | None:
        """The prompt that a rollout ran with, told by its resources."""
        if rollout.resources_id is None:
            return None
        update = await self.get_store().get_resources_by_id(rollout.resources_id)
        if update is None or not _is_as_it_was(update, rollout):
            return None
        return self._tallies.of(update.resources.get(self._name))

    def _success(self, experience: Experience) -> float | None:
        """The reward from 0, the worst, to 1; None where there is none."""
        if experience.reward is None:
            return 0.0 if self._count_failures and experience.rollout.status == "failed" else None
        self._check_reward(experience.reward)
        low, high = self._reward_range
        return (experience.reward - low) / (high - low)

    def _check_reward(self, reward: float) -> None:
        low, high = self._reward_range
        if not low <= reward <= high:
            raise ConfigError(
                f"the reward {reward!r} lies outside the range from {low} to {high}: say "
                f"PromptBandit(..., reward_range=(worst, best)), or have the agent give rewards within it"
            )


def _is_as_it_was(update: ResourcesUpdate, rollout: Rollout) -> bool:
    """Whether these resources are what a rollout ran with: they were not changed since, as update_resources may."""
    if update.version == 1:
        return True
    return isinstance(rollout, AttemptedRollout) and update.update_time < rollout.attempt.start_time


def _prior(given: object) -> tuple[float, float]:
    alpha, beta = finite_pair("prior", given, _WANTED_PRIOR)
    if not (0 < alpha <= _SURE and 0 < beta <= _SURE):
        raise refused("prior", given, _WANTED_PRIOR)
    return alpha, beta


def _reward_range(given: object) -> tuple[float, float]:
    low, high = finite_pair("reward_range", given, _WANTED_RANGE)
    if not (low < high and math.isfinite(high - low)):
        raise refused("reward_range", given, _WANTED_RANGE)
    return low, high


def _templates(given: object) -> list[PromptTemplate]:
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping | PromptTemplate):
        raise refused("prompts", cast("object", given), _WANTED_PROMPTS)
    templates = [_template(f"prompts[{place}]", each) for place, each in enumerate(cast("Iterable[object]", given))]
    for place, template in enumerate(templates):
        if template in templates[:place]:
            raise ConfigError(f"prompts holds {template.template!r} twice: give each prompt once")
    if len(templates) < 2:  # noqa: PLR2004 - fewer leave no choice
        raise ConfigError(f"PromptBandit chooses between prompts and was given {len(templates)}: give at least two")
    return templates


def _template(name: str, given: object) -> PromptTemplate:
    if isinstance(given, PromptTemplate):
        return given
    if not isinstance(given, str):
        raise refused(name, given, _WANTED_PROMPT)
    return PromptTemplate(template=given, engine="f-string")
