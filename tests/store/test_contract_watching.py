"""The contract of every store: who watches is told."""

from __future__ import annotations

import pytest
from store_homes import Told, claim, end, ended, running, span_in

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import AttemptNotFound
from lightning_actors.store import LightningStore
from lightning_actors.types import AttemptStatus, EnqueueRolloutRequest, RolloutConfig, RolloutStatus

pytestmark = pytest.mark.anyio


async def test_a_watcher_of_the_queue_is_told_of_work(store: LightningStore) -> None:
    told = Told()
    leave = store.watch_queue(told.ready)
    await store.enqueue_rollout(1)
    assert told.taken()
    await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=number) for number in range(5)])
    assert told.times >= 1
    told.taken()
    claimed = await claim(store)
    assert not told.taken()
    await store.release_attempt(claimed.rollout_id, claimed.attempt.attempt_id)
    assert told.taken()
    await store.update_rollout((await ended(store)).rollout_id, status="queuing")
    assert told.taken()
    retried = await running(store, RolloutConfig(max_attempts=2, retry_condition=["failed"]))
    assert not told.taken()
    await end(store, retried, "failed")
    assert told.taken()
    leave()
    await store.enqueue_rollout(2)
    assert not told.taken()


async def test_all_watchers_of_the_queue_are_told(store: LightningStore) -> None:
    first, second = Told(), Told()
    leave = store.watch_queue(first.ready), store.watch_queue(second.ready)
    await store.enqueue_rollout(1)
    assert first.taken()
    assert second.taken()
    leave[0]()
    leave[0]()
    await store.enqueue_rollout(1)
    assert not first.taken()
    assert second.taken()
    leave[1]()


@pytest.mark.parametrize(
    ("status", "reason"),
    [("cancelled", "cancelled"), ("failed", "failed"), ("queuing", "requeued"), ("requeuing", "requeued")],
)
async def test_an_attempt_that_the_store_ends_is_stopped_once(
    store: LightningStore, status: RolloutStatus, reason: str
) -> None:
    claimed, told = await running(store), Told()
    leave = store.watch_attempt(claimed.attempt.attempt_id, told.stop)
    await store.add_span(span_in(claimed))
    assert told.reasons == []
    await store.update_rollout(claimed.rollout_id, status=status)
    await store.update_rollout(claimed.rollout_id, status="queuing")
    assert told.reasons == [reason]
    leave()


@pytest.mark.parametrize("leaver", range(3))
async def test_all_watchers_of_an_attempt_are_told_but_one_that_has_left(store: LightningStore, leaver: int) -> None:
    claimed, told = await running(store), [Told() for _ in range(3)]
    leaves = [store.watch_attempt(claimed.attempt.attempt_id, one.stop) for one in told]
    leaves[leaver]()
    leaves[leaver]()
    await store.statistics()  # a store that is elsewhere has heard of the watches by now
    await store.update_rollout(claimed.rollout_id, status="cancelled")
    assert [one.reasons for one in told] == [[] if number == leaver else ["cancelled"] for number in range(3)]
    for leave in leaves:
        leave()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (RolloutConfig(timeout_seconds=5), "timeout"),
        (RolloutConfig(unresponsive_seconds=5), "unresponsive"),
        (RolloutConfig(timeout_seconds=5, max_attempts=2, retry_condition=["timeout"]), "timeout"),
    ],
)
async def test_an_attempt_is_stopped_at_its_deadline(
    store: LightningStore, clock: VirtualClock, config: RolloutConfig, reason: str
) -> None:
    claimed, told = await running(store, config), Told()
    leave = store.watch_attempt(claimed.attempt.attempt_id, told.stop)
    clock.advance(5)
    await store.statistics()
    assert told.reasons == [reason]
    leave()


async def test_an_attempt_is_stopped_once_whatever_follows(store: LightningStore, clock: VirtualClock) -> None:
    config = RolloutConfig(unresponsive_seconds=5, max_attempts=2, retry_condition=["unresponsive"])
    claimed, told = await running(store, config), Told()
    leave = store.watch_attempt(claimed.attempt.attempt_id, told.stop)
    await store.statistics()  # a store that is elsewhere has heard of the watch by now
    clock.advance(5)
    await store.update_rollout(claimed.rollout_id, status="cancelled")
    attempt = await store.get_latest_attempt(claimed.rollout_id)
    assert attempt is not None
    assert (attempt.status, attempt.metadata) == ("failed", {"reason": "cancelled"})
    assert told.reasons == ["unresponsive"]
    leave()


async def test_an_attempt_given_up_for_a_new_one_is_stopped(store: LightningStore) -> None:
    claimed, told = await running(store), Told()
    leave = store.watch_attempt(claimed.attempt.attempt_id, told.stop)
    await store.start_attempt(claimed.rollout_id)
    assert told.reasons == ["requeued"]
    leave()


async def test_a_released_attempt_is_stopped(store: LightningStore) -> None:
    claimed, told = await store.start_rollout("task"), Told()
    leave = store.watch_attempt(claimed.attempt.attempt_id, told.stop)
    await store.release_attempt(claimed.rollout_id, claimed.attempt.attempt_id)
    assert told.reasons == ["released"]
    leave()


@pytest.mark.parametrize("status", ["succeeded", "failed", "timeout", "unresponsive"])
async def test_what_its_worker_ends_is_not_stopped(store: LightningStore, status: AttemptStatus) -> None:
    claimed, told = await running(store), Told()
    leave = store.watch_attempt(claimed.attempt.attempt_id, told.stop)
    await end(store, claimed, status)
    assert told.reasons == []
    leave()


async def test_only_the_watchers_of_that_attempt_are_told(store: LightningStore) -> None:
    mine, other = await running(store), await running(store)
    told = [Told(), Told(), Told()]
    leaves = [
        store.watch_attempt(mine.attempt.attempt_id, told[0].stop),
        store.watch_attempt(mine.attempt.attempt_id, told[1].stop),
        store.watch_attempt(other.attempt.attempt_id, told[2].stop),
    ]
    await store.update_rollout(mine.rollout_id, status="cancelled")
    assert [t.reasons for t in told] == [["cancelled"], ["cancelled"], []]
    for leave in leaves:
        leave()


async def test_who_has_left_is_not_told(store: LightningStore) -> None:
    claimed = await running(store)
    left, stays = Told(), Told()
    leave_first = store.watch_attempt(claimed.attempt.attempt_id, left.stop)
    leave_second = store.watch_attempt(claimed.attempt.attempt_id, stays.stop)
    leave_first()
    await store.update_rollout(claimed.rollout_id, status="cancelled")
    assert (left.reasons, stays.reasons) == ([], ["cancelled"])
    leave_second()


async def test_whoever_comes_too_late_is_told(store: LightningStore, clock: VirtualClock) -> None:
    cancelled = await running(store)
    await store.update_rollout(cancelled.rollout_id, status="cancelled")
    overdue = await running(store, RolloutConfig(timeout_seconds=5))
    clock.advance(5)
    done = await running(store)
    await end(store, done)
    released = await store.start_rollout("task")
    await store.release_attempt(released.rollout_id, released.attempt.attempt_id)
    reasons = ["cancelled", "timeout", "succeeded", "released"]
    for claimed, reason in zip((cancelled, overdue, done, released), reasons, strict=True):
        told = Told()
        leave = store.watch_attempt(claimed.attempt.attempt_id, told.stop)
        assert await told.stopped() == reason
        leave()
        assert told.reasons == [reason]
    with pytest.raises(AttemptNotFound):
        await end(store, released)
