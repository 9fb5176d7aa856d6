"""`OnlineAlgorithm`: learns from every rollout that ends, while others run.

```
you write                                 it is called
async def learn(self, experience)         with each ended rollout, wherever it came from, one at a time
async def begin(self)                     before the first: publish what to start with
async def conclude(self)                  when all tasks of a run have been learned from: publish what was best

Trainer(algorithm=learner).fit(agent, tasks)        a run of tasks, or without tasks until it is stopped
async with learner.learning(store): ...             beside an application that runs rollouts of its own
await learner.feedback(rollout_id, reward)          what is known only later
```
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import anyio

from lightning_actors.actors import ActorRef, ChildSpec, Supervisor
from lightning_actors.algorithm.assignment import Assignment
from lightning_actors.algorithm.base import Algorithm
from lightning_actors.algorithm.learner import Conclude, Experience, LearnerActor, TakeFeedback
from lightning_actors.emitter import emit_reward
from lightning_actors.errors import ConfigError
from lightning_actors.runner.known_resources import checked_resources
from lightning_actors.store import UNSET, LightningStore, Unset
from lightning_actors.store.completions import Completions
from lightning_actors.types import Dataset, Resource, ResourcesUpdate, Rollout

__all__ = ["OnlineAlgorithm"]

_MAX_QUEUE_LENGTH: Final = 1


class OnlineAlgorithm(Algorithm):
    """Base of the algorithms that learn from rollouts as they end: write ``learn``.

    It learns from every rollout of its store, those of ``runner.step`` included, in the order in which they ended, and
    from one at a time. What it publishes is what rollouts that are recorded from then on run with. An error in
    ``learn`` ends the learning and is raised where that was begun.

    Args:
        n_epochs: How often a run goes through its training tasks, at least 1.
        max_queue_length: How many tasks of a run may be on their way beside those that the trainer's workers have in
            hand, at least 1. The fewer, the sooner a task runs with what was learned from those before.

    Raises:
        ConfigError: An option is out of range.
    """

    _n_epochs: int = 1
    _max_queue_length: int = _MAX_QUEUE_LENGTH
    _is_learning: bool = False
    _actor: ActorRef[LearnerActor] | None = None
    _assignment: Assignment | None = None
    _cursor: str | None = None

    def __init__(self, *, n_epochs: int = 1, max_queue_length: int = _MAX_QUEUE_LENGTH) -> None:
        if n_epochs < 1 or max_queue_length < 1:
            raise ConfigError(
                f"n_epochs and max_queue_length must be at least 1, not n_epochs={n_epochs!r}, "
                f"max_queue_length={max_queue_length!r}"
            )
        self._n_epochs = n_epochs
        self._max_queue_length = max_queue_length

    # ── what a subclass writes ──

    @abstractmethod
    async def learn(self, experience: Experience) -> None:
        """Learn from a rollout that has ended, and ``publish`` what should be used from now on.

        The same rollout comes again with each feedback on it, which may be before its end has had its turn, and when
        it was run again.
        """

    async def begin(self) -> None:
        """Called before the first experience of a run or block; publishes nothing unless overridden."""

    async def conclude(self) -> None:
        """Called when a run has learned from all its training tasks; publishes nothing unless overridden."""

    def check_feedback(self, reward: float) -> None:
        """Refuse, by raising, a late reward that ``learn`` could not use; takes any unless overridden."""

    # ── what it works with ──

    async def publish(self, resources: Mapping[str, Resource], *, resources_id: str | None = None) -> ResourcesUpdate:
        """Make these resources the latest, beside those of other names, which stay.

        Args:
            resources: Resources by name.
            resources_id: Keep them under this id, in place of what it held; None for a new id. An id for each version
                tells which version a rollout ran with (``experience.resources_id``), and takes no more room when a
                version is published again.

        Returns:
            The latest resources. What is the latest already is not stored again.

        Raises:
            ConfigError: There is no store: it is not learning.
            TypeError: One of them is no Resource.
        """
        store, given = self.get_store(), checked_resources(resources, "resources")
        latest = await store.get_latest_resources()
        before = (self.get_initial_resources() or {}) if latest is None else latest.resources
        merged = {**before, **given}
        if latest is not None and latest.resources == merged and resources_id in {None, latest.resources_id}:
            return latest
        if resources_id is None:
            return await store.add_resources(merged)
        return await store.update_resources(resources_id, merged)

    @property
    def cursor(self) -> str | None:
        """Stands after the rollout that was learned from last: ``learning(store, after=...)`` goes on there."""
        return self._cursor

    # ── in an application ──

    @asynccontextmanager
    async def learning(self, store: LightningStore, *, after: str | Unset | None = UNSET) -> AsyncGenerator[Self]:
        """Learn in the background of this event loop for the length of the block.

        Leaving the block lets a ``learn`` under way come to its end, for five seconds. What has ended and was not
        learned from is still in the store: see ``cursor``.

        Args:
            store: Whose rollouts to learn from, and where to publish.
            after: Learn from what ended after this cursor; None for all that the store remembers. From now on, if it
                is left out.

        Yields:
            This algorithm.

        Raises:
            ConfigError: It is learning already.
            Exception: What ``begin`` or ``learn`` raised; the block is cancelled for it.
        """
        if self._is_learning:
            raise ConfigError(f"{type(self).__name__} is learning already: leave that block, or make another one")
        self._is_learning, store_before = True, self._store
        self.set_store(store)
        try:
            self._cursor = await store.get_completion_cursor() if isinstance(after, Unset) else after
            async with Supervisor(name="online") as supervisor:
                self._actor = await supervisor.start(self._learner(store, store.completions(self._cursor)))
                yield self
        finally:
            self._is_learning, self._store, self._actor = False, store_before, None

    async def feedback(
        self,
        rollout_id: str,
        reward: float | Mapping[str, float],
        *,
        primary_key: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Experience:
        """Give an ended rollout a reward that is known only now, and learn from it once more.

        The reward takes the place of any earlier one, in the store too. Feedback waits for its turn among the rollouts
        that end; if its caller is cancelled before that, nothing happens.

        Args:
            rollout_id: The rollout.
            reward: A finite number, or finite numbers by the names of their dimensions.
            primary_key: With several dimensions, the one that counts as *the* reward.
            attributes: More to say about it; kept in the store.

        Returns:
            What was learned from.

        Raises:
            ConfigError: It is not learning, or cannot use this reward. (`attach_reward` keeps one without learning.)
            RolloutNotFound: There is no such rollout.
            RolloutNotEnded: It has not ended; its own rewards are yet to come.
            AttemptNotFound: It ended before anybody ran it.
            SpansEvicted: The store has dropped its spans.
            TypeError: As `emit_reward`.
            ValueError: As `emit_reward`.
            Exception: What ``learn`` raised; the learning goes on.
        """
        described = emit_reward(reward, primary_key=primary_key, attributes=attributes, propagate=False)
        return await self._learning_actor().ask(TakeFeedback(rollout_id, described))

    # ── under a trainer ──

    async def run(self, train_dataset: Dataset[Any] | None = None, val_dataset: Dataset[Any] | None = None) -> None:
        """Run all tasks and learn from what ends meanwhile, these or others; without any dataset, until stopped.

        The training tasks come first; ``conclude`` is called when all of them have been learned from. The validation
        tasks run after that, once, in mode "val".

        Raises:
            Exception: What a dataset raised, or ``learn``.
        """
        store = self.get_store()
        async with self.learning(store):
            if train_dataset is None and val_dataset is None:
                await anyio.sleep_forever()
            self._assignment = assignment = Assignment(store, self._max_queue_length + self._n_workers())
            try:
                await assignment.carry_out(train_dataset, "train", self._n_epochs)
                await self._learning_actor().ask(Conclude())
                await assignment.carry_out(val_dataset, "val")
            finally:
                self._assignment = None

    # ── within ──

    def _learner(self, store: LightningStore, rollouts: Completions) -> ChildSpec[LearnerActor]:
        def learned(rollout: Rollout) -> None:
            self._cursor = rollouts.cursor
            if self._assignment is not None:
                self._assignment.note_learned(rollout)

        return ChildSpec(
            f"learner {type(self).__name__}",
            lambda: LearnerActor(self, store, rollouts, learned),
            "temporary",
            significant=True,
        )

    def _learning_actor(self) -> ActorRef[LearnerActor]:
        if self._actor is None:
            raise ConfigError(
                f"{type(self).__name__} is not learning: do this inside `async with learner.learning(store)` or while "
                f"Trainer.fit runs it. attach_reward(store, rollout_id, reward) keeps a reward without learning from it"
            )
        return self._actor

    def _n_workers(self) -> int:
        return 0 if self._trainer_ref is None else getattr(self._trainer_ref(), "n_workers", 0)
