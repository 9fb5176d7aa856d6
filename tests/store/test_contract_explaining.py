"""The contract of every store: why a rollout has not ended."""

from __future__ import annotations

from typing import Any

import pytest
from store_homes import claim, end, ended, running, span_in

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import RolloutNotFound
from lightning_actors.store import LightningStore
from lightning_actors.types import Explanation, RolloutConfig

pytestmark = pytest.mark.anyio

RETRIED = RolloutConfig(max_attempts=3, retry_condition=["failed", "timeout"], timeout_seconds=30)


async def test_an_unknown_id_is_refused(store: LightningStore) -> None:
    with pytest.raises(RolloutNotFound) as caught:
        await store.explain_rollout("ro-none")
    assert caught.value.rollout_id == "ro-none"


async def test_a_queued_rollout_knows_how_many_stand_before_it(store: LightningStore) -> None:
    rollouts = [await store.enqueue_rollout(number) for number in range(5)]
    ids = [rollout.rollout_id for rollout in rollouts]
    assert [(await store.explain_rollout(rollout_id)).ahead for rollout_id in ids] == [0, 1, 2, 3, 4]
    await store.update_rollout(ids[2], status="cancelled")
    first = await claim(store)
    assert [(await store.explain_rollout(rollout_id)).ahead for rollout_id in ids] == [None, 0, None, 1, 2]
    await store.release_attempt(first.rollout_id, first.attempt.attempt_id)
    await store.update_rollout(ids[2], status="queuing")
    assert [(await store.explain_rollout(rollout_id)).ahead for rollout_id in ids] == [0, 1, 4, 2, 3]


async def test_an_explanation_knows_when_work_was_last_asked_for(store: LightningStore, clock: VirtualClock) -> None:
    rollout = await store.enqueue_rollout("task")
    before = await store.explain_rollout(rollout.rollout_id)
    assert (before.last_asked_time, before.last_asked_by, before.listeners) == (None, None, 0)
    clock.advance(1)
    await claim(store, "Worker-1")
    claimed_at = clock.time()
    clock.advance(1)
    after = await store.explain_rollout(rollout.rollout_id)
    assert (after.last_asked_time, after.last_asked_by, after.time) == (claimed_at, "Worker-1", claimed_at + 1)
    assert await store.dequeue_many_rollouts(limit=2, worker_id="Worker-2") == []
    fruitless = await store.explain_rollout(rollout.rollout_id)
    assert (fruitless.last_asked_time, fruitless.last_asked_by) == (claimed_at + 1, "Worker-2")


async def test_an_explanation_counts_those_who_are_told_of_new_work(store: LightningStore) -> None:
    rollout = await store.enqueue_rollout("task")
    leave = store.watch_queue(lambda: None)
    assert (await store.explain_rollout(rollout.rollout_id)).listeners == 1
    leave()
    assert (await store.explain_rollout(rollout.rollout_id)).listeners == 0


async def test_an_open_attempt_shows_worker_sign_of_life_and_deadline(
    store: LightningStore, clock: VirtualClock
) -> None:
    config = RolloutConfig(timeout_seconds=30, unresponsive_seconds=10)
    claimed = await store.start_rollout("task", config=config, worker_id="Worker-4")
    started = clock.time()
    fresh = await store.explain_rollout(claimed.rollout_id)
    assert (fresh.status, fresh.deadline, fresh.deadline_status) == ("preparing", started + 10, "unresponsive")
    assert fresh.attempts[0].last_heartbeat_time is None
    clock.advance(8)
    await store.add_span(span_in(claimed))
    clock.advance(8)
    await store.add_span(span_in(claimed))
    clock.advance(5)
    late = await store.explain_rollout(claimed.rollout_id)
    assert (late.status, late.deadline, late.deadline_status) == ("running", started + 26, "unresponsive")
    await store.add_span(span_in(claimed))
    late = await store.explain_rollout(claimed.rollout_id)
    assert (late.deadline, late.deadline_status, late.under_way) == (started + 30, "timeout", 1)
    (attempt,) = late.attempts
    assert (attempt.worker_id, attempt.start_time, attempt.last_heartbeat_time) == ("Worker-4", started, started + 21)


async def test_an_explanation_settles_what_is_due_first(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await running(store, RETRIED)
    clock.advance(30)
    explained = await store.explain_rollout(claimed.rollout_id)
    assert (explained.status, explained.ahead, explained.deadline) == ("requeuing", 0, None)
    assert [(one.status, one.reason) for one in explained.attempts] == [("timeout", "timeout")]


async def test_attempts_are_listed_with_their_errors(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await running(store, RETRIED)
    await store.update_attempt(
        claimed.rollout_id, "latest", status="failed", metadata={"error": "ValueError: no\nsuch city", "reason": 7}
    )
    await end(store, await claim(store), "failed")
    third = await claim(store, "Worker-3")
    explained = await store.explain_rollout(third.rollout_id)
    assert (explained.n_attempts, explained.max_attempts) == (3, 3)
    assert [(one.sequence_id, one.status, one.error, one.reason) for one in explained.attempts] == [
        (1, "failed", "ValueError: no such city", "7"),
        (2, "failed", None, None),
        (3, "preparing", None, None),
    ]


async def test_only_the_last_ten_attempts_are_listed(store: LightningStore) -> None:
    rollout = await store.enqueue_rollout("task")
    for _ in range(12):
        await store.start_attempt(rollout.rollout_id)
    explained = await store.explain_rollout(rollout.rollout_id)
    assert explained.n_attempts == 12
    assert [one.sequence_id for one in explained.attempts] == list(range(3, 13))


async def test_a_watched_attempt_has_a_runner(store: LightningStore) -> None:
    claimed = await running(store)
    assert not (await store.explain_rollout(claimed.rollout_id)).is_watched
    leave = store.watch_attempt(claimed.attempt.attempt_id, lambda _: None)
    assert (await store.explain_rollout(claimed.rollout_id)).is_watched
    leave()
    assert not (await store.explain_rollout(claimed.rollout_id)).is_watched


async def test_an_ended_rollout_is_explained_too(store: LightningStore) -> None:
    rollout = await ended(store)
    explained = await store.explain_rollout(rollout.rollout_id)
    assert (explained.status, explained.end_time, explained.ahead) == ("succeeded", rollout.end_time, None)
    assert "is over: succeeded" in str(explained)


class Odd:
    """Something that cannot even be shown."""

    def __repr__(self) -> str:
        raise ValueError("no repr")


async def can_cross_any_wire(store: LightningStore, task: Any) -> None:
    rollout = await store.enqueue_rollout(task)
    explained = await store.explain_rollout(rollout.rollout_id)
    assert len(explained.task) <= 120
    assert Explanation.model_validate_json(explained.model_dump_json()) == explained


@pytest.mark.parametrize("task", ["x" * 1_000, float("nan"), {"n": [[["a"]] * 100]}], ids=["long", "nan", "nested"])
async def test_an_explanation_can_cross_any_wire(store: LightningStore, task: Any) -> None:
    await can_cross_any_wire(store, task)


@pytest.mark.usefixtures("any_object")
async def test_an_explanation_of_a_task_that_is_any_object_can_cross_any_wire(store: LightningStore) -> None:
    for task in ({"nested": [Odd()]}, b"\xff"):
        await can_cross_any_wire(store, task)


async def test_explaining_changes_nothing(store: LightningStore) -> None:
    claimed = await running(store, RETRIED)
    before = await store.get_rollout_by_id(claimed.rollout_id)
    first = await store.explain_rollout(claimed.rollout_id)
    assert await store.explain_rollout(claimed.rollout_id) == first
    assert await store.get_rollout_by_id(claimed.rollout_id) == before
