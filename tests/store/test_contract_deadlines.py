"""The contract of every store: deadlines end attempts whether or not anyone is there to see it."""

from __future__ import annotations

import pytest
from store_homes import claim, end, get, running, span_in

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import InvalidTransition
from lightning_actors.store import LightningStore
from lightning_actors.types import Attempt, RolloutConfig

pytestmark = pytest.mark.anyio


async def latest(store: LightningStore, rollout_id: str) -> Attempt:
    attempt = await store.get_latest_attempt(rollout_id)
    assert attempt is not None
    return attempt


async def test_an_attempt_times_out_at_its_deadline_and_not_before(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await store.start_rollout("task", config=RolloutConfig(timeout_seconds=10), worker_id="Worker-1")
    clock.advance(9.5)
    assert (await latest(store, claimed.rollout_id)).status == "preparing"
    clock.advance(0.5)
    attempt = await latest(store, claimed.rollout_id)
    assert (attempt.status, attempt.end_time) == ("timeout", clock.time())
    assert attempt.metadata == {"reason": "timeout"}
    rollout = await get(store, claimed.rollout_id)
    assert (rollout.status, rollout.end_time) == ("failed", clock.time())
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert (worker.status, worker.current_attempt_id) == ("unknown", None)


async def test_the_timeout_counts_from_the_start_whatever_the_attempt_does(
    store: LightningStore, clock: VirtualClock
) -> None:
    claimed = await running(store, RolloutConfig(timeout_seconds=10, unresponsive_seconds=4))
    for _ in range(3):
        clock.advance(3)
        await store.add_span(span_in(claimed))
    assert (await latest(store, claimed.rollout_id)).status == "running"
    clock.advance(1)
    assert (await latest(store, claimed.rollout_id)).status == "timeout"


async def test_silence_makes_an_attempt_unresponsive(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await store.start_rollout("task", config=RolloutConfig(unresponsive_seconds=5))
    clock.advance(4)
    await store.add_span(span_in(claimed))
    clock.advance(4)
    assert (await latest(store, claimed.rollout_id)).status == "running"
    clock.advance(1)
    attempt = await latest(store, claimed.rollout_id)
    assert (attempt.status, attempt.metadata) == ("unresponsive", {"reason": "unresponsive"})
    assert attempt.end_time == clock.time()


async def test_a_claim_that_never_begins_is_unresponsive_too(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await store.start_rollout("task", config=RolloutConfig(unresponsive_seconds=5))
    clock.advance(5)
    assert (await latest(store, claimed.rollout_id)).status == "unresponsive"


async def test_a_timeout_goes_before_silence(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await store.start_rollout("task", config=RolloutConfig(timeout_seconds=5, unresponsive_seconds=5))
    clock.advance(20)
    assert (await latest(store, claimed.rollout_id)).status == "timeout"


async def test_the_pool_heartbeat_keeps_running_attempts_alive(store: LightningStore, clock: VirtualClock) -> None:
    config = RolloutConfig(unresponsive_seconds=5)
    beating, silent = await running(store, config), await running(store, config)
    for _ in range(3):
        clock.advance(3)
        await store.update_many_workers(
            ["Worker-1"], attempts=[(beating.rollout_id, beating.attempt.attempt_id), ("ro-none", "at-none")]
        )
    assert (await latest(store, beating.rollout_id)).status == "running"
    assert (await latest(store, beating.rollout_id)).last_heartbeat_time == clock.time()
    assert (await latest(store, silent.rollout_id)).status == "unresponsive"


async def test_a_worker_heartbeat_alone_is_not_the_attempts(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await store.start_rollout("task", config=RolloutConfig(unresponsive_seconds=5), worker_id="Worker-1")
    clock.advance(3)
    await store.update_worker("Worker-1", {"cpu": 1})
    clock.advance(2)
    assert (await latest(store, claimed.rollout_id)).status == "unresponsive"


async def test_a_heartbeat_given_by_hand_counts(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await running(store, RolloutConfig(unresponsive_seconds=5))
    clock.advance(4)
    await store.update_attempt(claimed.rollout_id, "latest", last_heartbeat_time=clock.time())
    clock.advance(4)
    assert (await latest(store, claimed.rollout_id)).status == "running"
    await store.update_attempt(claimed.rollout_id, "latest", last_heartbeat_time=clock.time() - 6)
    assert (await latest(store, claimed.rollout_id)).status == "unresponsive"


async def test_a_deadline_is_retried_where_the_config_says_so(store: LightningStore, clock: VirtualClock) -> None:
    config = RolloutConfig(timeout_seconds=5, max_attempts=2, retry_condition=["timeout"])
    rollout = await store.enqueue_rollout("task", config=config)
    await claim(store)
    clock.advance(5)
    second = await claim(store)
    assert (second.rollout_id, second.attempt.sequence_id) == (rollout.rollout_id, 2)
    assert second.attempt.start_time == clock.time()
    clock.advance(4)
    assert (await latest(store, rollout.rollout_id)).status == "preparing"
    clock.advance(1)
    assert (await get(store, rollout.rollout_id)).status == "failed"


async def test_many_deadlines_fall_due_in_one_go(store: LightningStore, clock: VirtualClock) -> None:
    for seconds in (7, 3, 5, 9):
        await store.start_rollout(seconds, config=RolloutConfig(timeout_seconds=seconds))
    clock.advance(7)
    failed = await store.query_rollouts(status_in=["failed"])
    assert [rollout.input for rollout in failed] == [7, 3, 5]


async def test_what_falls_due_in_one_go_is_queued_again_in_the_order_of_its_deadlines(
    store: LightningStore, clock: VirtualClock
) -> None:
    def config(seconds: float) -> RolloutConfig:
        return RolloutConfig(unresponsive_seconds=seconds, max_attempts=2, retry_condition=["unresponsive"])

    alive = await running(store, config(4))
    silent = await running(store, config(5))
    clock.advance(3)
    await store.add_span(span_in(alive))  # due at 7 from now on, and no more the first
    clock.advance(10)
    claims = await store.dequeue_many_rollouts(limit=2)
    assert [claim.rollout_id for claim in claims] == [silent.rollout_id, alive.rollout_id]


async def test_a_result_that_comes_after_the_deadline_is_refused(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await running(store, RolloutConfig(timeout_seconds=5))
    clock.advance(5)
    with pytest.raises(InvalidTransition, match="timeout"):
        await end(store, claimed)


async def test_an_ended_attempt_has_no_deadline(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await running(store, RolloutConfig(timeout_seconds=5, unresponsive_seconds=2))
    await end(store, claimed)
    held = await latest(store, claimed.rollout_id)
    clock.advance(100)
    assert await latest(store, claimed.rollout_id) == held


async def test_a_new_config_moves_the_deadline_of_the_attempt_under_way(
    store: LightningStore, clock: VirtualClock
) -> None:
    later = await running(store, RolloutConfig(timeout_seconds=5))
    sooner = await running(store)
    await store.update_rollout(later.rollout_id, config=RolloutConfig(timeout_seconds=20))
    await store.update_rollout(sooner.rollout_id, config=RolloutConfig(timeout_seconds=3))
    clock.advance(3)
    assert (await latest(store, sooner.rollout_id)).status == "timeout"
    clock.advance(16)
    assert (await latest(store, later.rollout_id)).status == "running"
    clock.advance(1)
    assert (await latest(store, later.rollout_id)).status == "timeout"


async def test_a_released_claim_has_no_deadline(store: LightningStore, clock: VirtualClock) -> None:
    await store.enqueue_rollout("task", config=RolloutConfig(timeout_seconds=5))
    claimed = await claim(store)
    await store.release_attempt(claimed.rollout_id, claimed.attempt.attempt_id)
    clock.advance(10)
    assert (await get(store, claimed.rollout_id)).status == "queuing"


async def test_an_unresponsive_attempt_that_comes_back_is_under_its_deadlines_again(
    store: LightningStore, clock: VirtualClock
) -> None:
    config = RolloutConfig(unresponsive_seconds=5, max_attempts=2, retry_condition=["unresponsive"])
    claimed = await running(store, config)
    clock.advance(5)
    assert (await get(store, claimed.rollout_id)).status == "requeuing"
    await store.add_span(span_in(claimed))
    assert (await latest(store, claimed.rollout_id)).status == "running"
    clock.advance(5)
    assert (await latest(store, claimed.rollout_id)).status == "unresponsive"
