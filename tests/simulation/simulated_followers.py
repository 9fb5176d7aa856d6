"""Who follows a simulated run: readers of its completions, and learners that are told afterwards what users thought.

```
reads      the run's store, or the store itself ─▶ cut off ─▶ goes on from its cursor ─▶ … ─▶ the run ends
learns     the same, with a learn that is slow, fails, or publishes; feedback that is sometimes given up
```

None of them may miss an end of a rollout, see one that was none, or see it twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from anyio.lowlevel import checkpoint
from simulated_plan import PlannedFollower

import lightning_actors as agl
from lightning_actors.algorithm import Experience, OnlineAlgorithm
from lightning_actors.errors import ActorStopped, NotLearning, RolloutNotEnded, StoreError

if TYPE_CHECKING:
    from simulated_world import World

__all__ = ["Follower", "judge_followers", "make_follower"]

TEMPLATE = agl.PromptTemplate(template="learned", engine="f-string")


class LearnError(Exception):
    """Raised in ``learn``, where the plan says so."""


class End(NamedTuple):
    """That a rollout ended, and how."""

    rollout_id: str
    status: str


class Follower(ABC):
    """Follows what ends, from the beginning; cut off now and then, it goes on where it was.

    Attributes:
        seen: What it has seen end, in order.
        rest: What its cursor says that it has not seen, once the run is over.
    """

    def __init__(self, world: World, plan: PlannedFollower) -> None:
        self.world = world
        self.plan = plan
        self.seen: list[End] = []
        self.rest: list[End] = []

    @property
    @abstractmethod
    def cursor(self) -> str | None:
        """Where it stands."""

    @abstractmethod
    async def follow(self, store: agl.LightningStore) -> None:
        """Follow until it fails or is cancelled."""

    async def live(self, store: agl.LightningStore) -> None:
        """Follow a store; where that is a run's view of it and the run ends, the store itself."""
        cuts = [*self.plan.cuts, float("inf")]
        while cuts:
            try:
                with self.world.clock.move_on_after(cuts[0]):
                    await self.follow(store)
                cuts.pop(0)
            except ActorStopped:
                store = self.world.store
            except LearnError:
                pass
            except StoreError:
                assert any(blow.what == "fail operation" for blow in self.world.struck)

    async def read_rest(self) -> None:
        """Read what it has not seen."""
        with self.world.clock.move_on_after(1.0):
            async for rollout in self.world.store.completions(self.cursor):
                self.rest.append(End(rollout.rollout_id, rollout.status))


class Reader(Follower):
    """Iterates over the completions."""

    _cursor: str | None = None

    @property
    def cursor(self) -> str | None:
        return self._cursor

    async def follow(self, store: agl.LightningStore) -> None:
        completions = store.completions(self._cursor)
        async for rollout in completions:
            self.seen.append(End(rollout.rollout_id, rollout.status))
            self._cursor = completions.cursor
            if self.plan.seconds:
                await self.world.clock.sleep(self.plan.seconds)


@dataclass
class Feedback:
    """What somebody said of a rollout afterwards, and what became of it."""

    rollout_id: str
    reward: float
    outcome: str = ""


class Learner(Follower):
    """Has an algorithm learn from them."""

    def __init__(self, world: World, plan: PlannedFollower) -> None:
        super().__init__(world, plan)
        self.algorithm = Student(self)
        self.feedbacks: list[Feedback] = []
        self.rewards: set[float | None] = set()
        self.began = 0
        self.is_learning = self.has_overlapped = False

    @property
    def cursor(self) -> str | None:
        return self.algorithm.cursor

    async def follow(self, store: agl.LightningStore) -> None:
        async with self.algorithm.learning(store, after=self.cursor):
            for number in range(self.plan.feedbacks):
                await self.world.clock.sleep(0.5 * number)
                if not await self._give_feedback(len(self.feedbacks)):
                    return  # it learns no more; why is raised where the block is left
            await anyio.sleep_forever()

    async def learn_from(self, experience: Experience) -> None:
        """What the algorithm does with one."""
        self.has_overlapped |= self.is_learning
        self.is_learning = True
        try:
            await self._learn_from(experience)
        finally:
            self.is_learning = False

    async def _learn_from(self, experience: Experience) -> None:
        self.began += 1
        if self.began % 3 == 0:
            await self.algorithm.publish({"prompt": TEMPLATE})
        await checkpoint()
        if self.plan.seconds:
            await self.world.clock.sleep(self.plan.seconds)
        if self.began == self.plan.fails_at:
            raise LearnError
        self.rewards.update(agl.get_reward_value(span) for span in experience.spans)
        self.seen.append(End(experience.rollout.rollout_id, experience.rollout.status))

    async def _give_feedback(self, number: int) -> bool:
        """Give some, where there is anything to give it to; tells whether the algorithm goes on learning."""
        if not self.world.enqueued:
            return True
        given = Feedback(self.world.enqueued[number % len(self.world.enqueued)], self.world.next_reward())
        self.feedbacks.append(given)
        given.outcome = "given up"
        with self.world.clock.move_on_after(0.25 if number % 3 else None):
            try:
                await self.algorithm.feedback(given.rollout_id, given.reward)
                given.outcome = "taken"
            except (RolloutNotEnded, agl.AttemptNotFound):
                given.outcome = "refused"
            except LearnError:
                given.outcome = "kept, and not learned from"
            except NotLearning as error:
                given.outcome = "kept, and not learned from" if error.kept else "refused"
                return False
        return True


class Student(OnlineAlgorithm):
    """Learns as its plan says."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self._told = learner

    async def learn(self, experience: Experience) -> None:
        await self._told.learn_from(experience)


def make_follower(world: World, plan: PlannedFollower) -> Follower:
    """A follower as it was planned."""
    return (Reader if plan.what == "reads" else Learner)(world, plan)


# ── what must be true of them afterwards ──


def judge_followers(world: World) -> None:
    """Look at what each of them has seen.

    Raises:
        AssertionError: Something was missed, doubled, out of order or made up.
    """
    ends = [End(*end) for end in world.store.ends]
    for follower in world.followers:
        seen = [*follower.seen, *follower.rest]
        if isinstance(follower, Learner):
            assert not follower.has_overlapped, "it learned from two things at once"
            _check_feedback(world, follower)
            # Cut off right after a learn, it may learn from the same end again; feedback comes in any order.
            seen = [*_without_repetitions(seen)] if not follower.feedbacks else ends
        assert _is_in_order(seen, ends), f"{follower.plan} saw {seen} of {ends}"
        last = {end.rollout_id: end.status for end in (*follower.seen, *follower.rest)}
        for rollout_id, history in world.store.history.items():
            if history[-1] in {"succeeded", "failed", "cancelled"}:
                assert last.get(rollout_id) == history[-1], f"{follower.plan} missed the end of {rollout_id}"


def _without_repetitions(ends: Sequence[End]) -> Iterator[End]:
    before: End | None = None
    for end in ends:
        if end != before:
            yield end
        before = end


def _is_in_order(seen: Sequence[End], ends: Sequence[End]) -> bool:
    """Whether one follows from the other by leaving some out."""
    remaining: Iterator[Any] = iter(ends)
    return all(end in remaining for end in seen)


def _check_feedback(world: World, learner: Learner) -> None:
    """A reward that was taken is in the store once and was learned from; one that was refused left nothing."""
    kept = Counter[tuple[str, float | None]]()
    for rollout_id in world.enqueued:
        kept.update((rollout_id, agl.get_reward_value(span)) for span in world.store._tables.spans(rollout_id))
    for given in learner.feedbacks:
        times = kept[given.rollout_id, given.reward]
        match given.outcome:
            case "taken":
                assert (times, given.reward in learner.rewards) == (1, True), given
            case "refused":
                assert times == 0, given
            case "given up":
                assert times <= 1, given
            case _:
                assert times == 1, given
