"""Completions beside a model of a dict: rollouts end, at deadlines too, are run again, and readers go on anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import InvalidTransition
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store import messages as say
from lightning_actors.types import Completion, RolloutConfig, RolloutStatus

ENDED = {"succeeded", "failed", "cancelled"}


class CompletionsMachine(RuleBasedStateMachine):
    """The model: who has ended, by a number that counts all ends there ever were."""

    rollouts = Bundle[str]("rollouts")
    cursors = Bundle[tuple[str | None, int]]("cursors")

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock(start=0)
        store = InMemoryLightningStore(clock=self.clock)
        self.perform: Callable[[Any], Any] = store.perform
        self.status: dict[str, RolloutStatus] = {}
        self.due: dict[str, float] = {}
        self.ends: dict[str, int] = {}
        self.count = 0
        self.reader: tuple[str | None, int] = (None, 0)

    def end(self, rollout_id: str, status: RolloutStatus) -> None:
        self.due.pop(rollout_id, None)
        self.status[rollout_id] = status
        self.count += 1
        self.ends[rollout_id] = self.count

    def settle(self) -> None:
        """What is overdue fails, in the order of the deadlines."""
        overdue = sorted((due, rollout_id) for rollout_id, due in self.due.items() if due <= self.clock.time())
        assert len({due for due, _ in overdue}) == len(overdue), "which of two comes first is nobody's promise"
        for _, rollout_id in overdue:
            self.end(rollout_id, "failed")

    def after(self, number: int) -> list[tuple[str, RolloutStatus]]:
        """What has ended after so many ends, and stays so, in order."""
        following = sorted((end, rollout_id) for rollout_id, end in self.ends.items() if end > number)
        return [(rollout_id, self.status[rollout_id]) for _, rollout_id in following]

    def read(self, cursor: str | None) -> Completion | None:
        return self.perform(say.NextCompletion(cursor, timeout=0))

    def follow(self, cursor: str | None, number: int, most: int) -> tuple[str | None, int]:
        """Read on, at most so many, and see that they are those of the model; returns where that is."""
        for rollout_id, status in self.after(number)[:most]:
            completion = self.read(cursor)
            assert completion is not None
            assert (completion.rollout.rollout_id, completion.rollout.status) == (rollout_id, status)
            cursor, number = completion.cursor, self.ends[rollout_id]
        return cursor, number

    # ── rollouts come, end, and are run again ──

    @rule(target=rollouts)
    def enqueue(self) -> str:
        rollout_id: str = self.perform(say.EnqueueRollout("task")).rollout_id
        self.status[rollout_id] = "queuing"
        return rollout_id

    @rule(target=rollouts, seconds=some.none() | some.integers(1, 8))
    def start(self, seconds: int | None) -> str:
        self.clock.advance(0.001)  # so that no two are due at one moment
        self.settle()
        config = RolloutConfig(timeout_seconds=None if seconds is None else float(seconds))
        rollout_id: str = self.perform(say.StartRollout("task", config=config, begun=True)).rollout_id
        self.status[rollout_id] = "running"
        self.due[rollout_id] = self.clock.time() + (seconds or math.inf)
        return rollout_id

    @rule(rollout_id=rollouts, status=some.sampled_from(sorted(ENDED)))
    def end_by_hand(self, rollout_id: str, status: Any) -> None:
        before = self.status[rollout_id]
        try:
            self.perform(say.UpdateRollout(rollout_id, status=status))
        except InvalidTransition:
            assert before in ENDED
            assert before != status
        else:
            if before != status:  # saying it once more moves nothing
                assert before not in ENDED
                self.end(rollout_id, status)

    @rule(rollout_id=rollouts, status=some.sampled_from(["queuing", "requeuing"]))
    def run_again(self, rollout_id: str, status: Any) -> None:
        self.perform(say.UpdateRollout(rollout_id, status=status))
        self.status[rollout_id] = status
        self.due.pop(rollout_id, None)
        self.ends.pop(rollout_id, None)

    @rule(seconds=some.sampled_from([0.5, 1.0, 3.0, 10.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.settle()

    # ── and are read ──

    @rule(target=cursors)
    def take_cursor(self) -> tuple[str | None, int]:
        return self.perform(say.GetCompletionCursor()), self.count

    @rule(target=cursors, start=cursors | some.just((None, 0)), most=some.integers(1, 5))
    def read_from(self, start: tuple[str | None, int], most: int) -> tuple[str | None, int]:
        return self.follow(*start, most)

    @rule()
    def the_reader_goes_on_to_the_end(self) -> None:
        cursor, number = self.follow(*self.reader, len(self.ends))
        assert self.read(cursor) is None
        self.reader = cursor, number

    @rule(cursor=some.sampled_from(["", "x", "-1", "999999"]))
    def a_cursor_of_another_store_is_refused(self, cursor: str) -> None:
        with pytest.raises(ValueError, match="cursor"):
            self.read(cursor)

    @invariant()
    def from_the_beginning_all_that_have_ended_come_in_order(self) -> None:
        cursor, _ = self.follow(None, 0, len(self.ends))
        assert self.read(cursor) is None


TestCompletionsModel = pytest.mark.timeout(300)(CompletionsMachine.TestCase)
TestCompletionsModel.settings = settings(max_examples=100, stateful_step_count=40)
