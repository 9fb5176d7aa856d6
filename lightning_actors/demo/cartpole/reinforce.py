"""`Reinforce`: the algorithm, which knows the store and nothing of runners.

```
add_resources(policy) ─▶ enqueue_many_rollouts ─▶ completions(after=cursor) ─▶ query_spans ─▶ Learner.learn ─┐
       ▲ until the mean return reaches the target, or a budget is spent                                      │
       └─────────────────────────────────────────────────────────────────────────────────────────────────────┘
```
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Literal

from lightning_actors.algorithm import Algorithm
from lightning_actors.demo.cartpole.episode import EpisodeTask, PlayedEpisode, read_episode
from lightning_actors.demo.cartpole.learner import Learner
from lightning_actors.demo.cartpole.policy import CartPolePolicy
from lightning_actors.errors import ConfigError, RunnerError
from lightning_actors.log import get_logger
from lightning_actors.store.completions import Completions
from lightning_actors.types import Dataset, EnqueueRolloutRequest, Rollout, Span

__all__ = ["MOST_EPISODES", "Evaluation", "LearningProgress", "Reinforce", "ReinforceResult", "StopReason"]

log = get_logger("lightning_actors.demo")

StopReason = Literal["target", "episodes", "seconds"]
"""Why learning ended: the target was reached, or a budget was spent."""

MOST_EPISODES: Final = 500_000
"""Training episodes have seeds below those of the held-out ones, which begin here."""

_SEEDS: Final = 2 * MOST_EPISODES
_BATCH: Final = 16
_RESOURCE: Final = "policy"


@dataclass(frozen=True, slots=True)
class LearningProgress:
    """Where learning stands after an update.

    Attributes:
        update: The update, from 1.
        episodes: Training episodes so far.
        mean: Mean return of the batch that the update was made from.
        recent: Mean return of the last episodes, the window at most.
    """

    update: int
    episodes: int
    mean: float
    recent: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a policy does on held-out episodes, where it takes the likelier action.

    Attributes:
        returns: The return of each, in the order of their seeds.
        rollout_ids: Their rollouts, in the same order.
    """

    returns: Sequence[float]
    rollout_ids: Sequence[str]

    @property
    def mean(self) -> float:
        """The mean return."""
        return fmean(self.returns)


@dataclass(frozen=True, slots=True)
class ReinforceResult:
    """What came of a run.

    Attributes:
        before: The first policy on the held-out episodes.
        after: The last policy on the same episodes.
        returns: The returns of the training episodes, in order; those that failed are left out.
        updates: How often the policy was changed.
        failed: How many training episodes failed.
        stopped_by: Why learning ended.
        resources_id: Under which id the store keeps the last policy.
    """

    before: Evaluation
    after: Evaluation
    returns: Sequence[float]
    updates: int
    failed: int
    stopped_by: StopReason
    resources_id: str


class Reinforce(Algorithm):
    """REINFORCE with a baseline, on batches of episodes that the present policy has played.

    Each update publishes the policy as the store's latest resource ``policy``, beside the trainer's other resources; an
    episode keeps the id of the one that it was played with. A batch is sorted by its seeds before the policy learns
    from it, so that the course depends on the seed alone, whoever plays the episodes in which order; only the budget of
    seconds may cut it off elsewhere.

    Args:
        seed: Decides the first policy and the seeds of the episodes, 0 or more.
        target: Learning ends when the last ``window`` episodes have this mean return.
        window: Over how many episodes that mean is taken, at least 1.
        episodes: How many training episodes there may be.
        seconds: How long learning may take; looked at between batches.
        held_out: How many episodes the first and the last policy are compared by, at least 1.
        progress: Called after each update.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        target: float = 450.0,
        window: int = 64,
        episodes: int = 2000,
        seconds: float = 60.0,
        held_out: int = 20,
        progress: Callable[[LearningProgress], None] | None = None,
    ) -> None:
        for name, value, least in (("seed", seed, 0), ("window", window, 1), ("held_out", held_out, 1)):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, not {value!r}")
        if not 1 <= episodes <= MOST_EPISODES:
            raise ConfigError(f"episodes must lie between 1 and {MOST_EPISODES}, not {episodes!r}")
        self._first_seed = seed * _SEEDS
        self._learner = Learner(seed)
        self._target = target
        self._window = window
        self._episodes = episodes
        self._seconds = seconds
        self._held_out = held_out
        self._progress = progress
        self._returns: list[float] = []
        self._asked = self._updates = self._failed = 0
        self._result: ReinforceResult | None = None

    @property
    def returns(self) -> Sequence[float]:
        """The returns of the training episodes so far, also of a run that did not come to its end."""
        return tuple(self._returns)

    @property
    def result(self) -> ReinforceResult:
        """What came of the run.

        Raises:
            ConfigError: It has not come to its end.
        """
        if self._result is None:
            raise ConfigError("Reinforce has no result yet: Trainer(algorithm=...).fit(play_episode) comes first")
        return self._result

    async def run(self, train_dataset: Dataset[Any] | None = None, val_dataset: Dataset[Any] | None = None) -> None:
        """Learn until the target is reached or a budget is spent. Datasets are not looked at: tasks are seeds.

        Raises:
            ConfigError: It has run already.
            RunnerError: Every episode of a batch, or any held-out one, failed.
        """
        if self._asked:
            raise ConfigError("this Reinforce has run already and would go on from there: make another one")
        store = self.get_store()
        feed = store.completions(after=await store.get_completion_cursor())
        resources_id = await self._publish()
        before = await self._evaluate(feed, resources_id)
        began = time.monotonic()
        while (stopped_by := self._reason_to_stop(time.monotonic() - began)) is None:
            await self._update(feed, resources_id)
            resources_id = await self._publish()
        after = await self._evaluate(feed, resources_id)
        self._result = ReinforceResult(
            before=before,
            after=after,
            returns=self.returns,
            updates=self._updates,
            failed=self._failed,
            stopped_by=stopped_by,
            resources_id=resources_id,
        )

    def _reason_to_stop(self, seconds: float) -> StopReason | None:
        recent = self._returns[-self._window :]
        if len(recent) == self._window and fmean(recent) >= self._target:
            return "target"
        if self._asked >= self._episodes:
            return "episodes"
        return "seconds" if seconds >= self._seconds else None

    async def _publish(self) -> str:
        policy = CartPolePolicy.of(self._learner.network)
        update = await self.get_store().add_resources({**(self.get_initial_resources() or {}), _RESOURCE: policy})
        return update.resources_id

    async def _update(self, feed: Completions, resources_id: str) -> None:
        """Have a batch played and learn from it."""
        first = self._first_seed + self._asked
        seeds = range(first, first + min(_BATCH, self._episodes - self._asked))
        self._asked += len(seeds)
        rollouts = await self._play(feed, resources_id, "train", seeds)
        episodes = [await self._read(each) for each in rollouts if each.status == "succeeded"]
        self._failed += len(rollouts) - len(episodes)
        if not episodes:
            raise await self._failure(rollouts[0], f"all {len(rollouts)} episodes of a batch failed, the first one")
        self._learner.learn(episodes)
        self._updates += 1
        returns = [float(episode.steps) for episode in episodes]
        self._returns += returns
        self._report(
            LearningProgress(self._updates, self._asked, fmean(returns), fmean(self._returns[-self._window :]))
        )

    def _report(self, progress: LearningProgress) -> None:
        log.debug("policy_updated", update=progress.update, episodes=progress.episodes, mean=round(progress.mean, 1))
        if self._progress is not None:
            self._progress(progress)

    async def _evaluate(self, feed: Completions, resources_id: str) -> Evaluation:
        first = self._first_seed + MOST_EPISODES
        rollouts = await self._play(feed, resources_id, "val", range(first, first + self._held_out))
        for rollout in rollouts:
            if rollout.status != "succeeded":
                raise await self._failure(rollout, "a held-out episode failed")
        returns = [float((await self._read(rollout)).steps) for rollout in rollouts]
        return Evaluation(returns, [rollout.rollout_id for rollout in rollouts])

    async def _play(
        self, feed: Completions, resources_id: str, mode: Literal["train", "val"], seeds: Sequence[int]
    ) -> list[Rollout]:
        """Have episodes played, all at once; their rollouts, in the order of the seeds."""
        requests = [
            EnqueueRolloutRequest(input=EpisodeTask(seed=seed), mode=mode, resources_id=resources_id) for seed in seeds
        ]
        enqueued = [rollout.rollout_id for rollout in await self.get_store().enqueue_many_rollouts(requests)]
        ended: dict[str, Rollout] = {}
        while len(ended) < len(enqueued):
            rollout = await anext(feed)
            if rollout.rollout_id in enqueued:  # the store may be shared with others
                ended[rollout.rollout_id] = rollout
        return [ended[rollout_id] for rollout_id in enqueued]

    async def _read(self, rollout: Rollout) -> PlayedEpisode:
        return read_episode(await self._spans(rollout))

    async def _spans(self, rollout: Rollout) -> list[Span]:
        return list(await self.get_store().query_spans(rollout.rollout_id, "latest"))

    async def _failure(self, rollout: Rollout, what: str) -> RunnerError:
        told = [span.status.description for span in await self._spans(rollout) if span.status.status_code == "ERROR"]
        reason = next((each for each in told if each), "no reason was recorded")
        return RunnerError(f"{what} with: {reason}", rollout_id=rollout.rollout_id)
