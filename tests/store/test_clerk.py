"""The clerk of a home whose tables go back to an earlier state: those who wait, wait again."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.change import Change
from lightning_actors.store.clerk import Clerk
from lightning_actors.store.messages import (
    EnqueueRollout,
    GetRolloutById,
    NextCompletion,
    StartRollout,
    StoreWait,
    UpdateRollout,
    WaitForRollouts,
)
from lightning_actors.store.waiters import Waiter
from lightning_actors.types import Rollout, RolloutConfig


class Desk:
    """A clerk, what it says is to be told, and whom it answered."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.told: list[Change[Any]] = []
        self.answers: dict[Waiter, Any] = {}
        self.tables: Any = InMemoryLightningStore()._tables
        self.clerk = Clerk(self.tables, self.clock, self.told.append)

    def wait(self, message: StoreWait[Any]) -> Waiter:
        """Wait, and note the answer."""

        def answer(reply: Any) -> None:
            assert waiter is not None
            self.answers[waiter] = reply

        waiter = self.clerk.wait(message, answer)
        assert waiter is not None
        return waiter

    def mark(self) -> dict[str, Any]:
        """What the tables hold, to go back to."""
        return copy.deepcopy(self.tables.__dict__)

    def go_back(self, marked: dict[str, Any]) -> None:
        """Undo all since then, as a transaction that failed does."""
        answered, self.answers = list(self.answers), {}
        self.tables.__dict__.update(marked)
        self.clerk.roll_back(answered)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def cancel(desk: Desk, rollout: Rollout) -> None:
    desk.clerk.perform(UpdateRollout(rollout.rollout_id, status="cancelled"))


def test_changes_are_told_in_order_and_reads_are_not(desk: Desk) -> None:
    rollout = desk.clerk.perform(EnqueueRollout("task"))
    desk.clerk.perform(GetRolloutById(rollout.rollout_id))
    cancel(desk, rollout)
    assert [[one.status for one in change.rollouts] for change in desk.told] == [["queuing"], ["cancelled"]]


def test_a_waiter_is_given_what_was_so_at_that_moment(desk: Desk) -> None:
    rollout = desk.clerk.perform(EnqueueRollout("task"))
    waiter, reader = desk.wait(WaitForRollouts(rollout_ids=[rollout.rollout_id])), desk.wait(NextCompletion())
    cancel(desk, rollout)
    desk.clerk.perform(UpdateRollout(rollout.rollout_id, status="queuing"))
    assert [one.status for one in desk.answers[waiter]] == ["cancelled"]
    assert desk.answers[reader].rollout.status == "cancelled"


def test_after_a_roll_back_those_who_were_answered_wait_again(desk: Desk) -> None:
    first, second = (desk.clerk.perform(EnqueueRollout(task)) for task in ("first", "second"))
    ids = [first.rollout_id, second.rollout_id]
    both, one = desk.wait(WaitForRollouts(rollout_ids=ids)), desk.wait(WaitForRollouts(rollout_ids=ids[:1]))
    reader = desk.wait(NextCompletion())
    marked = desk.mark()
    cancel(desk, first)
    assert set(desk.answers) == {one, reader}
    desk.go_back(marked)
    cancel(desk, second)
    assert set(desk.answers) == {reader}, "the first has not ended after all"
    cancel(desk, first)
    assert set(desk.answers) == {both, one, reader}
    assert desk.answers[reader].rollout.rollout_id == second.rollout_id
    assert not desk.clerk.waiters


def test_after_a_roll_back_a_waiter_can_be_forgotten(desk: Desk) -> None:
    rollout = desk.clerk.perform(EnqueueRollout("task"))
    waiters = [desk.wait(WaitForRollouts(rollout_ids=[rollout.rollout_id])), desk.wait(NextCompletion())]
    marked = desk.mark()
    cancel(desk, rollout)
    desk.go_back(marked)
    for waiter in waiters:
        desk.clerk.waiters.forget(waiter)
    assert not desk.clerk.waiters
    cancel(desk, rollout)
    assert not desk.answers


def test_a_wait_settles_what_is_due_first(desk: Desk) -> None:
    started = desk.clerk.perform(StartRollout("task", config=RolloutConfig(timeout_seconds=5)))
    desk.clock.advance(5)
    assert desk.clerk.wait(WaitForRollouts(rollout_ids=[started.rollout_id]), print) is None
    assert desk.clerk.why_over(started.attempt.attempt_id) == "timeout"
