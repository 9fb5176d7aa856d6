"""The contract of every store: tasks recorded, queued, claimed and given back."""

from __future__ import annotations

import re

import pytest
from store_homes import claim, end, get, span_in

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import ConfigError, InvalidTransition, ResourcesNotFound, RolloutNotFound
from lightning_actors.store import LightningStore
from lightning_actors.types import (
    AttemptedRollout,
    EnqueueRolloutRequest,
    PromptTemplate,
    RolloutConfig,
)

pytestmark = pytest.mark.anyio


async def test_an_enqueued_task_waits_in_the_queue(store: LightningStore, clock: VirtualClock) -> None:
    rollout = await store.enqueue_rollout({"question": 1}, mode="train", metadata={"split": 2})
    assert re.fullmatch(r"ro-[0-9a-f]{12}", rollout.rollout_id)
    assert rollout.status == "queuing"
    assert rollout.input == {"question": 1}
    assert rollout.mode == "train"
    assert rollout.metadata == {"split": 2}
    assert rollout.start_time == clock.time()
    assert rollout.end_time is None
    assert rollout.config == RolloutConfig()
    assert not isinstance(rollout, AttemptedRollout)
    assert await store.get_rollout_by_id(rollout.rollout_id) == rollout


async def test_metadata_that_is_not_given_is_an_empty_dict(store: LightningStore) -> None:
    assert (await store.enqueue_rollout(1)).metadata == {}
    assert (await store.start_rollout(1)).metadata == {}


async def test_the_queue_is_first_in_first_out(store: LightningStore) -> None:
    ids = [(await store.enqueue_rollout(number)).rollout_id for number in range(5)]
    claimed = [(await claim(store)).rollout_id for _ in ids]
    assert claimed == ids
    assert await store.dequeue_rollout() is None


async def test_a_batch_is_recorded_in_order(store: LightningStore) -> None:
    requests = [EnqueueRolloutRequest(input=number, mode="val") for number in range(4)]
    rollouts = await store.enqueue_many_rollouts(requests)
    assert [rollout.input for rollout in rollouts] == [0, 1, 2, 3]
    assert {rollout.mode for rollout in rollouts} == {"val"}
    assert [(await claim(store)).input for _ in rollouts] == [0, 1, 2, 3]


async def test_an_empty_batch_records_nothing(store: LightningStore) -> None:
    assert await store.enqueue_many_rollouts([]) == []
    assert (await store.query_rollouts()).total == 0


async def test_a_batch_with_one_bad_request_records_none(store: LightningStore) -> None:
    requests = [EnqueueRolloutRequest(input=1), EnqueueRolloutRequest(input=2, resources_id="rs-none")]
    with pytest.raises(ResourcesNotFound):
        await store.enqueue_many_rollouts(requests)
    assert (await store.query_rollouts()).total == 0
    assert await store.dequeue_rollout() is None


async def test_a_claim_makes_an_attempt(store: LightningStore, clock: VirtualClock) -> None:
    queued = await store.enqueue_rollout("task")
    clock.advance(5)
    claimed = await claim(store, "Worker-1")
    attempt = claimed.attempt
    assert (claimed.rollout_id, claimed.status, claimed.start_time) == (queued.rollout_id, "preparing", 1e9)
    assert re.fullmatch(r"at-[0-9a-f]{8}", attempt.attempt_id)
    assert (attempt.sequence_id, attempt.status, attempt.worker_id) == (1, "preparing", "Worker-1")
    assert (attempt.start_time, attempt.end_time, attempt.last_heartbeat_time) == (clock.time(), None, None)
    assert await store.get_rollout_by_id(queued.rollout_id) == claimed
    assert await store.get_latest_attempt(queued.rollout_id) == attempt


async def test_a_started_rollout_never_enters_the_queue(store: LightningStore) -> None:
    started = await store.start_rollout("task", worker_id="Worker-1")
    assert (started.status, started.attempt.sequence_id, started.attempt.status) == ("preparing", 1, "preparing")
    assert started.attempt.worker_id == "Worker-1"
    assert await store.dequeue_rollout() is None
    assert await store.get_rollout_by_id(started.rollout_id) == started


async def test_many_are_claimed_at_once_up_to_the_limit(store: LightningStore) -> None:
    for number in range(5):
        await store.enqueue_rollout(number)
    assert [claimed.input for claimed in await store.dequeue_many_rollouts()] == [0]
    assert [claimed.input for claimed in await store.dequeue_many_rollouts(limit=2)] == [1, 2]
    assert await store.dequeue_many_rollouts(limit=0) == []
    assert await store.dequeue_many_rollouts(limit=-3) == []
    assert [claimed.input for claimed in await store.dequeue_many_rollouts(limit=9)] == [3, 4]
    assert await store.dequeue_many_rollouts(limit=9) == []


async def test_the_worker_is_linked_to_the_last_of_many_claims(store: LightningStore) -> None:
    await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=number) for number in range(3)])
    claims = await store.dequeue_many_rollouts(limit=3, worker_id="Worker-1")
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert worker.current_rollout_id == claims[-1].rollout_id
    assert {claimed.attempt.worker_id for claimed in claims} == {"Worker-1"}


async def test_what_left_the_queue_otherwise_is_not_claimed(store: LightningStore) -> None:
    cancelled = await store.enqueue_rollout("cancelled")
    started = await store.enqueue_rollout("started")
    kept = await store.enqueue_rollout("kept")
    await store.update_rollout(cancelled.rollout_id, status="cancelled")
    await store.start_attempt(started.rollout_id)
    assert (await claim(store)).rollout_id == kept.rollout_id
    assert await store.dequeue_rollout() is None


async def test_the_latest_resources_are_those_at_the_time_of_enqueueing(store: LightningStore) -> None:
    none = await store.enqueue_rollout(0)
    old = await store.add_resources({"prompt": PromptTemplate(template="old", engine="f-string")})
    first = await store.enqueue_rollout(1)
    new = await store.add_resources({"prompt": PromptTemplate(template="new", engine="f-string")})
    second = await store.start_rollout(2)
    named = await store.enqueue_rollout(3, resources_id=old.resources_id)
    batch = await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=4)])
    assert none.resources_id is None
    assert first.resources_id == named.resources_id == old.resources_id
    assert second.resources_id == batch[0].resources_id == new.resources_id


@pytest.mark.parametrize("operation", ["start_rollout", "enqueue_rollout"])
async def test_unknown_resources_are_refused(store: LightningStore, operation: str) -> None:
    with pytest.raises(ResourcesNotFound) as caught:
        await getattr(store, operation)(1, resources_id="rs-none")
    assert caught.value.resources_id == "rs-none"
    assert isinstance(caught.value, ValueError)
    assert (await store.query_rollouts()).total == 0


async def test_a_wrong_argument_is_refused_before_anything_happens(store: LightningStore) -> None:
    with pytest.raises(ConfigError):
        await store.enqueue_rollout(1, mode="holiday")  # pyright: ignore[reportArgumentType]  # the point of the test
    with pytest.raises(ConfigError):
        await store.query_rollouts(limit=-2)
    with pytest.raises(ConfigError):
        await store.query_rollouts(offset=-1)
    assert (await store.query_rollouts()).total == 0


async def test_a_manual_attempt_gives_up_the_open_one(store: LightningStore, clock: VirtualClock) -> None:
    first = await store.start_rollout("task", worker_id="Worker-1")
    clock.advance(1)
    second = await store.start_attempt(first.rollout_id, worker_id="Worker-2")
    assert (second.attempt.sequence_id, second.attempt.status, second.status) == (2, "preparing", "preparing")
    closed = (await store.query_attempts(first.rollout_id))[0]
    assert (closed.status, closed.end_time, closed.metadata) == ("failed", clock.time(), {"reason": "requeued"})
    workers = {worker.worker_id: worker for worker in await store.query_workers()}
    assert (workers["Worker-1"].status, workers["Worker-1"].current_attempt_id) == ("idle", None)
    assert workers["Worker-2"].current_attempt_id == second.attempt.attempt_id


async def test_a_manual_attempt_by_the_same_worker_leaves_it_busy(store: LightningStore) -> None:
    first = await store.start_rollout("task", worker_id="Worker-1")
    second = await store.start_attempt(first.rollout_id, worker_id="Worker-1")
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert (worker.status, worker.current_attempt_id) == ("busy", second.attempt.attempt_id)


async def test_manual_attempts_do_not_count_against_max_attempts(store: LightningStore) -> None:
    rollout = await store.enqueue_rollout("task", config=RolloutConfig(max_attempts=1))
    for number in range(1, 4):
        assert (await store.start_attempt(rollout.rollout_id)).attempt.sequence_id == number


async def test_a_manual_attempt_at_what_has_ended_is_refused(store: LightningStore) -> None:
    started = await store.start_rollout("task")
    await end(store, started, "failed")
    with pytest.raises(InvalidTransition, match="queuing") as caught:
        await store.start_attempt(started.rollout_id)
    assert (caught.value.before, caught.value.after) == ("failed", "preparing")
    await store.update_rollout(started.rollout_id, status="queuing")
    assert (await store.start_attempt(started.rollout_id)).attempt.sequence_id == 2


async def test_a_manual_attempt_at_an_unknown_rollout_is_refused(store: LightningStore) -> None:
    with pytest.raises(RolloutNotFound) as caught:
        await store.start_attempt("ro-none")
    assert caught.value.rollout_id == "ro-none"


async def test_a_released_claim_leaves_no_trace(store: LightningStore) -> None:
    queued = await store.enqueue_rollout("task")
    claimed = await claim(store, "Worker-1")
    assert await store.release_attempt(claimed.rollout_id, claimed.attempt.attempt_id) is True
    assert await store.get_rollout_by_id(queued.rollout_id) == queued
    assert (await store.query_attempts(queued.rollout_id)).total == 0
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert (worker.status, worker.current_rollout_id, worker.current_attempt_id) == ("idle", None, None)
    again = await claim(store)
    assert again.attempt.sequence_id == 1
    assert again.attempt.attempt_id != claimed.attempt.attempt_id


async def test_a_released_claim_goes_to_the_head_of_the_queue(store: LightningStore) -> None:
    first = await store.enqueue_rollout("first")
    await store.enqueue_rollout("second")
    claimed = await claim(store)
    await store.release_attempt(claimed.rollout_id, claimed.attempt.attempt_id)
    assert (await claim(store)).rollout_id == first.rollout_id


async def test_a_released_retry_is_requeued_and_its_first_attempt_stays(store: LightningStore) -> None:
    await store.enqueue_rollout("task", config=RolloutConfig(max_attempts=2, retry_condition=["failed"]))
    first = await claim(store)
    await end(store, first, "failed")
    second = await claim(store)
    assert await store.release_attempt(second.rollout_id, second.attempt.attempt_id)
    assert (await get(store, first.rollout_id)).status == "requeuing"
    assert [attempt.attempt_id for attempt in await store.query_attempts(first.rollout_id)] == [
        first.attempt.attempt_id
    ]


async def test_a_claim_that_has_begun_is_not_released(store: LightningStore) -> None:
    claimed = await store.start_rollout("task")
    await store.add_span(span_in(claimed))
    assert await store.release_attempt(claimed.rollout_id, claimed.attempt.attempt_id) is False
    assert (await get(store, claimed.rollout_id)).status == "running"


async def test_what_has_ended_or_is_unknown_or_is_not_the_latest_is_not_released(store: LightningStore) -> None:
    over = await store.start_rollout("task")
    await end(store, over)
    assert await store.release_attempt(over.rollout_id, over.attempt.attempt_id) is False
    assert await store.release_attempt("ro-none", "at-none") is False
    first = await store.start_rollout("task")
    await store.start_attempt(first.rollout_id)
    assert await store.release_attempt(first.rollout_id, first.attempt.attempt_id) is False
    assert (await store.query_attempts(first.rollout_id)).total == 2


async def test_each_attempt_gets_its_own_copy_of_a_task(store: LightningStore) -> None:
    task = {"messages": [{"role": "user"}]}
    rollout = await store.enqueue_rollout(task, config=RolloutConfig(max_attempts=2, retry_condition=["failed"]))
    task["messages"].clear()
    first = await claim(store)
    assert first.input == {"messages": [{"role": "user"}]}
    first.input["messages"][0]["role"] = "agent"
    await end(store, first, "failed")
    second = await claim(store)
    assert second.input == {"messages": [{"role": "user"}]}
    assert (await get(store, rollout.rollout_id)).input == {"messages": [{"role": "user"}]}


async def test_a_started_task_and_a_manual_attempt_get_copies_too(store: LightningStore) -> None:
    started = await store.start_rollout({"list": []})
    started.input["list"].append("mine")
    again = await store.start_attempt(started.rollout_id)
    assert again.input == {"list": []}
    task = {"list": ["new"]}
    await store.update_rollout(started.rollout_id, input=task)
    task["list"].clear()
    assert (await store.start_attempt(started.rollout_id)).input == {"list": ["new"]}


async def test_metadata_and_config_are_copied_on_the_way_in(store: LightningStore) -> None:
    metadata = {"note": ["kept"]}
    config = RolloutConfig(max_attempts=3, retry_condition=["failed"])
    rollout = await store.enqueue_rollout(1, metadata=metadata, config=config)
    metadata["note"].append("changed")
    config.retry_condition.append("timeout")
    kept = await get(store, rollout.rollout_id)
    assert kept.metadata == {"note": ["kept"]}
    assert kept.config == RolloutConfig(max_attempts=3, retry_condition=["failed"])
    await store.update_rollout(rollout.rollout_id, metadata=metadata, config=config)
    metadata["note"].append("again")
    config.retry_condition.clear()
    kept = await get(store, rollout.rollout_id)
    assert kept.metadata == {"note": ["kept", "changed"]}
    assert kept.config.retry_condition == ["failed", "timeout"]
    attempt = (await store.start_attempt(rollout.rollout_id)).attempt
    await store.update_attempt(rollout.rollout_id, attempt.attempt_id, metadata=metadata)
    metadata["note"].clear()
    (noted,) = await store.query_attempts(rollout.rollout_id)
    assert noted.metadata == {"note": ["kept", "changed", "again"]}
