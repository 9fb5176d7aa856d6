"""`LearnerActor`: does one thing at a time for an online algorithm.

```
store.completions() ────────▶ Learn ────────┐
what users think ───────────▶ TakeFeedback ─┼─▶ mailbox ─▶ one after another
all tasks were learned from ▶ Conclude ─────┤
the block is being left ────▶ TakeLeave ────┘   what came before it is still taken in
```
An error goes to whoever asked. The actor reads the completions by itself, so an error in learning from one of them
ends it, and the learning with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lightning_actors.actors import Actor, ActorRef, Message, handles
from lightning_actors.emitter import find_final_reward, get_reward_value
from lightning_actors.emitter.late_reward import ended_rollout, late_span
from lightning_actors.errors import ActorStopped, SpansEvicted
from lightning_actors.log import get_logger
from lightning_actors.store.api import LightningStore
from lightning_actors.store.completions import Completions
from lightning_actors.types import AttemptedRollout, Rollout, Span, SpanCoreFields

__all__ = ["Conclude", "Experience", "Learn", "LearnerActor", "Learns", "TakeFeedback", "TakeLeave"]

log = get_logger("lightning_actors.algorithm")


@dataclass(frozen=True, slots=True)
class Experience:
    """A rollout that has ended, as an algorithm learns from it.

    Attributes:
        rollout: The rollout, with its latest attempt where it has one.
        spans: The spans of that attempt, in order; empty where the store has dropped them.
        reward: The final reward, a late one included; None if there is none.
    """

    rollout: Rollout
    spans: Sequence[Span]
    reward: float | None

    @property
    def rollout_id(self) -> str:
        """The rollout's id: the same one comes again with each feedback on it, and when it was run again."""
        return self.rollout.rollout_id

    @property
    def task(self) -> Any:
        """What the agent was given."""
        return self.rollout.input

    @property
    def resources_id(self) -> str | None:
        """The resources that it ran with; None if there were none."""
        return self.rollout.resources_id

    @property
    def is_for_measuring(self) -> bool:
        """Whether its mode is "val" or "test": it shows what was learned, and is nothing to learn from."""
        return self.rollout.mode in {"val", "test"}


@dataclass(frozen=True, slots=True)
class Learn(Message[Experience]):
    """Learn from this ended rollout."""

    rollout: Rollout


@dataclass(frozen=True, slots=True)
class TakeFeedback(Message[Experience]):
    """Keep this reward of an ended rollout, and learn from it; ``kept`` has the span once the store has it."""

    rollout_id: str
    reward: SpanCoreFields
    kept: list[Span] = field(default_factory=list[Span])


@dataclass(frozen=True, slots=True)
class Conclude(Message[None]):
    """The tasks of the run have been learned from."""


@dataclass(frozen=True, slots=True)
class TakeLeave(Message[None]):
    """Learn from nothing that comes after this."""


class Learns(Protocol):
    """What an online algorithm does; see `OnlineAlgorithm`."""

    async def begin(self) -> None:
        """Called before the first experience."""

    async def learn(self, experience: Experience) -> None:
        """Called with each experience."""

    async def conclude(self) -> None:
        """Called after the last task of a run."""

    def check_feedback(self, rollout: Rollout, reward: float) -> None:
        """Called before a late reward is kept."""


class LearnerActor(Actor, handles_all=(Learn, TakeFeedback, Conclude, TakeLeave)):
    """Has an algorithm learn from every rollout that ends, and from what is told of it later.

    Args:
        algorithm: What learns.
        store: Where the rollouts are.
        rollouts: Those that end, in order.
        began: Called at first, with the reference to this actor.
        learned: Called when one of these has been learned from.
        failed: Called with the error where it could not be, which ends this actor.
    """

    def __init__(
        self,
        algorithm: Learns,
        store: LightningStore,
        rollouts: Completions,
        *,
        began: Callable[[ActorRef[LearnerActor]], None],
        learned: Callable[[Rollout], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._algorithm = algorithm
        self._store = store
        self._rollouts = rollouts
        self._began = began
        self._learned = learned
        self._failed = failed
        self._has_left = False
        self._failure: Exception | None = None

    async def started(self) -> None:
        """Begin, and follow the rollouts from then on."""
        self._began(self.ref)
        await self._algorithm.begin()
        self.start_soon(self._follow, name=f"{self.name}: completions")

    @handles(Learn)
    async def learn(self, message: Learn) -> Experience:
        """Learn from an ended rollout.

        How it went is noted before anything else can happen: the task that asked may be cancelled before it hears.
        """
        try:
            experience = await self._learn_from(message.rollout, None)
        except Exception as error:
            self._failure = error
            self._failed(error)
            raise
        self._learned(message.rollout)
        return experience

    @handles(TakeFeedback)
    async def take_feedback(self, message: TakeFeedback) -> Experience:
        """Keep a late reward and learn from it: both or, where the asker went away before, neither."""
        self._must_not_have_failed()
        rollout = await ended_rollout(self._store, message.rollout_id)
        span = await late_span(self._store, rollout, message.reward)
        reward = get_reward_value(span)
        if reward is not None:
            self._algorithm.check_feedback(rollout, reward)
        message.kept.append(await self._store.add_span(span) or span)
        return await self._learn_from(rollout, reward)

    @handles(Conclude)
    async def conclude(self, _message: Conclude) -> None:
        """End the training part of a run."""
        self._must_not_have_failed()
        await self._algorithm.conclude()

    @handles(TakeLeave)
    def take_leave(self, _message: TakeLeave) -> None:
        """End, now that what came before has been taken in."""
        self._has_left = True
        self.stop_soon()

    async def _follow(self) -> None:
        async for rollout in self._rollouts:
            try:
                await self.ref.ask(Learn(rollout))
            except ActorStopped as stopped:
                if stopped.actor != self.name:
                    raise
                return  # this actor is stopping: what it has not learned from is still in the store
            except Exception:
                if self._has_left:
                    return  # whoever leaves the block is told
                raise

    def _must_not_have_failed(self) -> None:
        """Between a failure and the end that it leads to there may be messages."""
        if self._failure is not None:
            raise ActorStopped(f"{self.name} has failed to learn", actor=self.name) from self._failure

    async def _learn_from(self, rollout: Rollout, told: float | None) -> Experience:
        """Learn from a rollout; ``told`` is its reward where the store has just dropped its spans."""
        spans = await self._spans(rollout)
        reward = find_final_reward(spans)
        experience = Experience(rollout, spans, told if reward is None else reward)
        await self._algorithm.learn(experience)
        return experience

    async def _spans(self, rollout: Rollout) -> Sequence[Span]:
        if not isinstance(rollout, AttemptedRollout):
            return ()
        try:
            return tuple(await self._store.query_spans(rollout.rollout_id, rollout.attempt.attempt_id))
        except SpansEvicted:
            log.warning("spans_evicted", rollout_id=rollout.rollout_id)
            return ()
