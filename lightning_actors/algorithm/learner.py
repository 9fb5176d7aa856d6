"""`LearnerActor`: does one thing at a time for an online algorithm.

```
store.completions() ────────▶ Learn ────────┐
what users think ───────────▶ TakeFeedback ─┼─▶ mailbox ─▶ one after another
all tasks were learned from ▶ Conclude ─────┘
```
An error goes to whoever asked. The actor reads the completions by itself, so an error in learning from one of them
ends it, and the learning with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lightning_actors.actors import Actor, Message, handles
from lightning_actors.emitter import find_final_reward, get_reward_value
from lightning_actors.emitter.late_reward import ended_rollout, late_span
from lightning_actors.errors import ActorStopped, SpansEvicted
from lightning_actors.log import get_logger
from lightning_actors.store.api import LightningStore
from lightning_actors.store.completions import Completions
from lightning_actors.types import AttemptedRollout, Rollout, Span, SpanCoreFields

__all__ = ["Conclude", "Experience", "Learn", "LearnerActor", "Learns", "TakeFeedback"]

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
    """Keep this reward of an ended rollout, and learn from it."""

    rollout_id: str
    reward: SpanCoreFields


@dataclass(frozen=True, slots=True)
class Conclude(Message[None]):
    """The tasks of the run have been learned from."""


class Learns(Protocol):
    """What an online algorithm does; see `OnlineAlgorithm`."""

    async def begin(self) -> None:
        """Called before the first experience."""

    async def learn(self, experience: Experience) -> None:
        """Called with each experience."""

    async def conclude(self) -> None:
        """Called after the last task of a run."""

    def check_feedback(self, reward: float) -> None:
        """Called before a late reward is kept."""


class LearnerActor(Actor, handles_all=(Learn, TakeFeedback, Conclude)):
    """Has an algorithm learn from every rollout that ends, and from what is told of it later.

    Args:
        algorithm: What learns.
        store: Where the rollouts are.
        rollouts: Those that end, in order.
        learned: Called when one of these has been learned from.
    """

    def __init__(
        self, algorithm: Learns, store: LightningStore, rollouts: Completions, learned: Callable[[Rollout], None]
    ) -> None:
        self._algorithm = algorithm
        self._store = store
        self._rollouts = rollouts
        self._learned = learned

    async def started(self) -> None:
        """Begin, and follow the rollouts from then on."""
        await self._algorithm.begin()
        self.start_soon(self._follow, name=f"{self.name}: completions")

    @handles(Learn)
    async def learn(self, message: Learn) -> Experience:
        """Learn from an ended rollout."""
        return await self._learn_from(message.rollout, None)

    @handles(TakeFeedback)
    async def take_feedback(self, message: TakeFeedback) -> Experience:
        """Keep a late reward and learn from it: both or, where the asker went away before, neither."""
        rollout = await ended_rollout(self._store, message.rollout_id)
        span = await late_span(self._store, rollout, message.reward)
        reward = get_reward_value(span)
        if reward is not None:
            self._algorithm.check_feedback(reward)
        await self._store.add_span(span)
        return await self._learn_from(rollout, reward)

    @handles(Conclude)
    async def conclude(self, _message: Conclude) -> None:
        """End the training part of a run."""
        await self._algorithm.conclude()

    async def _follow(self) -> None:
        async for rollout in self._rollouts:
            try:
                await self.ref.ask(Learn(rollout))
            except ActorStopped as stopped:
                if stopped.actor != self.name:
                    raise
                return  # this actor is stopping: what it has not learned from is still in the store
            self._learned(rollout)

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
