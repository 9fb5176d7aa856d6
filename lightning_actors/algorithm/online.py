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
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self, cast

import anyio

from lightning_actors.actors import ActorRef, ChildSpec, Clock, DeadLetter, Supervisor
from lightning_actors.actors.dead_letter import log_dead_letter
from lightning_actors.algorithm.assignment import Assignment
from lightning_actors.algorithm.base import Algorithm
from lightning_actors.algorithm.learner import Conclude, Experience, LearnerActor, TakeFeedback, TakeLeave
from lightning_actors.emitter import emit_reward
from lightning_actors.error_text import describe, note
from lightning_actors.errors import ActorStopped, AskCircle, ConfigError, NotLearning
from lightning_actors.log import get_logger
from lightning_actors.options import refused, whole_number
from lightning_actors.runner.known_resources import checked_resources
from lightning_actors.store import UNSET, LightningStore, Unset
from lightning_actors.store.completions import Completions
from lightning_actors.types import Dataset, Resource, ResourcesUpdate, Rollout

__all__ = ["OnlineAlgorithm"]

log = get_logger("lightning_actors.algorithm")

_MAX_QUEUE_LENGTH: Final = 1
_PARTING_SECONDS: Final = 5.0


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
        ConfigError: An option is no whole number, or out of range.
    """

    _n_epochs: int = 1
    _max_queue_length: int = _MAX_QUEUE_LENGTH
    _is_learning: bool = False
    _actor: ActorRef[LearnerActor] | None = None
    _assignment: Assignment | None = None
    _cursor: str | None = None

    def __init__(self, *, n_epochs: int = 1, max_queue_length: int = _MAX_QUEUE_LENGTH) -> None:
        self._n_epochs = whole_number("n_epochs", n_epochs)
        self._max_queue_length = whole_number("max_queue_length", max_queue_length)

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

    def check_feedback(self, rollout: Rollout, reward: float) -> None:
        """Refuse, by raising, a late reward that ``learn`` could not use; takes any unless overridden."""

    # ── what it works with ──

    async def publish(self, resources: Mapping[str, Resource]) -> ResourcesUpdate:
        """Make these resources the latest, beside those of other names, which stay.

        Several learners may publish on one store: none undoes what another has published under other names. What a
        rollout ran with is never changed, so ``experience.resources_id`` goes on telling; a set of resources that was
        published before has its old id, and is not stored again.

        Args:
            resources: Resources by name.

        Returns:
            The latest resources.

        Raises:
            ConfigError: There is no store: it is not learning.
            TypeError: One of them is no Resource.
        """
        given = checked_resources(resources, "resources")
        return await self.get_store().publish_resources(given, initial=self.get_initial_resources())

    @property
    def cursor(self) -> str | None:
        """Stands after the rollout that was learned from last: ``learning(store, after=...)`` goes on there."""
        return self._cursor

    # ── in an application ──

    @asynccontextmanager
    async def learning(self, store: LightningStore, *, after: str | Unset | None = UNSET) -> AsyncGenerator[Self]:
        """Learn in the background of this event loop for the length of the block.

        Leaving the block takes no more feedback; what was given before, and a ``learn`` under way, have five seconds
        to come to their end. What has ended and was not learned from is still in the store: see ``cursor``. A block
        that is cancelled learns no more at once.

        Args:
            store: Whose rollouts to learn from, and where to publish.
            after: Learn from what ended after this cursor; None for all that the store remembers. From now on, if it
                is left out.

        Yields:
            This algorithm.

        Raises:
            ConfigError: It is learning already, or what was given is no store or no cursor.
            ValueError: The cursor is none of this store.
            Exception: What ``begin`` or ``learn`` raised; the block is cancelled for it. An error of the block's own
                goes first, and has that one in a note.
        """
        if not isinstance(store, LightningStore):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise refused("store", store, "the LightningStore whose rollouts to learn from")
        if self._is_learning:
            raise ConfigError(f"{type(self).__name__} is learning already: leave that block, or make another one")
        self._is_learning, store_before = True, self._store
        self.set_store(store)
        left_by: Exception | None = None
        failures: list[Exception] = []
        try:
            self._cursor = await store.get_completion_cursor() if isinstance(after, Unset) else after
            rollouts = store.completions(self._cursor)
            await store.next_completion(self._cursor, timeout=0.0)  # a cursor of another store is an error here
            async with Supervisor(name="online", clock=store.clock, dead_letters=_log_unless_learned) as supervisor:
                learner = await supervisor.start(self._learner(store, rollouts, failures.append))
                try:
                    yield self
                except Exception as error:  # noqa: BLE001 - boundary: the user's block; raised below
                    left_by = error
                self._actor = None
                await _take_leave(learner, store.clock)
        except Exception as failure:  # noqa: BLE001 - raised below
            failures.insert(0, failure)
        finally:
            self._is_learning, self._store, self._actor = False, store_before, None
        if left_by is None and failures:
            raise failures[0]
        if left_by is not None:
            for failure in failures[:1]:
                note(left_by, f"{type(self).__name__} had failed to learn: {describe(failure)}")
            raise left_by

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
        that end; if its caller is cancelled before that, nothing happens. Other learners on the store are not told.

        Args:
            rollout_id: The rollout.
            reward: A finite number, or finite numbers by the names of their dimensions.
            primary_key: With several dimensions, the one that counts as *the* reward.
            attributes: More to say about it; kept in the store.

        Returns:
            What was learned from.

        Raises:
            NotLearning: It is not learning, or stopped before this had its turn. `attach_reward` keeps a reward without
                learning from it; ``error.kept`` says whether the store has it already.
            ConfigError: It cannot use this reward, or this was called by ``begin``, ``learn`` or ``conclude``.
            RolloutNotFound: There is no such rollout.
            RolloutNotEnded: It has not ended; its own rewards are yet to come.
            AttemptNotFound: It ended before anybody ran it.
            SpansEvicted: The store has dropped its spans.
            TypeError: As `emit_reward`.
            ValueError: As `emit_reward`.
            Exception: What ``learn`` raised; the learning goes on.
        """
        described = emit_reward(reward, primary_key=primary_key, attributes=attributes, propagate=False)
        message, learner = TakeFeedback(rollout_id, described), self._actor
        if learner is None:
            raise self._not_learning(message, "is leaving its block" if self._is_learning else "is not learning")
        try:
            return await learner.ask(message)
        except AskCircle:
            raise ConfigError(
                f"{type(self).__name__} was given feedback by its own begin, learn or conclude, which it would have to "
                f"end first: learn from the reward there and then, and `await attach_reward(self.store, rollout_id, "
                f"reward)` to keep it; or have another task give the feedback, and do not wait for that"
            ) from None
        except ActorStopped as stopped:
            if stopped.actor != learner.name:
                raise
            why = "" if stopped.__cause__ is None else f" ({describe(stopped.__cause__)})"
            raise self._not_learning(message, f"has stopped learning{why}") from stopped.__cause__

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
                await cast("ActorRef[LearnerActor]", self._actor).ask(Conclude())  # there is one within the block
                await assignment.carry_out(val_dataset, "val")
            finally:
                self._assignment = None

    # ── within ──

    def _learner(
        self, store: LightningStore, rollouts: Completions, failed: Callable[[Exception], None]
    ) -> ChildSpec[LearnerActor]:
        def began(learner: ActorRef[LearnerActor]) -> None:
            self._actor = learner

        def learned(rollout: Rollout) -> None:
            self._cursor = rollouts.cursor
            if self._assignment is not None:
                self._assignment.note_learned(rollout)

        return ChildSpec(
            f"learner {type(self).__name__}",
            lambda: LearnerActor(self, store, rollouts, began=began, learned=learned, failed=failed),
            "temporary",
            significant=True,
        )

    def _not_learning(self, feedback: TakeFeedback, why: str) -> NotLearning:
        name, rollout_id, kept = type(self).__name__, feedback.rollout_id, bool(feedback.kept)
        if kept:
            told = f"{name} {why} before it had learned from this reward of {rollout_id!r}, which the store has kept"
        else:
            told = (
                f"{name} {why}, and takes no feedback on {rollout_id!r}: give it inside `async with "
                f"learner.learning(store)` or while Trainer.fit runs it; `await attach_reward(store, rollout_id, "
                f"reward)` keeps a reward without learning from it"
            )
        return NotLearning(told, rollout_id=rollout_id, kept=kept)

    def _n_workers(self) -> int:
        return 0 if self._trainer_ref is None else getattr(self._trainer_ref(), "n_workers", 0)


def _log_unless_learned(letter: DeadLetter) -> None:
    """What was learned is learned, though nobody waits for it any more; an error is told."""
    if letter.reason != "undelivered" or letter.error is not None:
        log_dead_letter(letter)


async def _take_leave(learner: ActorRef[LearnerActor], clock: Clock) -> None:
    """Wait until a learner has taken in what came before, or for five seconds."""
    with clock.move_on_after(_PARTING_SECONDS) as scope, suppress(ActorStopped):  # it may have ended by itself
        await learner.ask(TakeLeave())
    if scope.cancelled_caught:
        log.warning("learning_cut_short", learner=learner.name, seconds=_PARTING_SECONDS)
        await learner.stop(0.0)
