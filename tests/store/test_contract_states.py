"""The contract of every store: how attempts and rollouts pass from status to status."""

from __future__ import annotations

from typing import get_args

import pytest
from store_homes import claim, dump, end, ended, get, running, span_in

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import AttemptNotFound, InvalidTransition, ResourcesNotFound, RolloutNotFound
from lightning_actors.store import LightningStore
from lightning_actors.types import (
    AttemptedRollout,
    AttemptStatus,
    PromptTemplate,
    Rollout,
    RolloutConfig,
    RolloutStatus,
)

pytestmark = pytest.mark.anyio

FINAL: list[AttemptStatus] = ["succeeded", "failed", "timeout"]
ENDS: list[RolloutStatus] = ["succeeded", "failed", "cancelled"]


async def attempt_of(store: LightningStore, rollout: Rollout) -> AttemptedRollout:
    found = await get(store, rollout.rollout_id)
    assert isinstance(found, AttemptedRollout)
    return found


async def test_running_passes_from_the_attempt_to_its_rollout(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await store.start_rollout("task")
    clock.advance(2)
    attempt = await store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="running")
    assert (attempt.status, attempt.last_heartbeat_time, attempt.end_time) == ("running", clock.time(), None)
    assert (await get(store, claimed.rollout_id)).status == "running"


async def test_a_success_ends_attempt_and_rollout_with_their_time(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await running(store)
    clock.advance(3)
    attempt = await store.update_attempt(claimed.rollout_id, "latest", status="succeeded")
    assert (attempt.status, attempt.end_time) == ("succeeded", clock.time())
    rollout = await get(store, claimed.rollout_id)
    assert (rollout.status, rollout.end_time) == ("succeeded", clock.time())


@pytest.mark.parametrize("status", ["failed", "timeout", "unresponsive"])
async def test_any_other_end_without_a_retry_fails_the_rollout(
    store: LightningStore, clock: VirtualClock, status: AttemptStatus
) -> None:
    claimed = await running(store)
    clock.advance(3)
    await end(store, claimed, status)
    rollout = await attempt_of(store, claimed)
    assert (rollout.status, rollout.end_time) == ("failed", clock.time())
    assert (rollout.attempt.status, rollout.attempt.end_time) == (status, clock.time())
    assert await store.dequeue_rollout() is None


@pytest.mark.parametrize("status", ["failed", "timeout", "unresponsive"])
async def test_an_end_that_may_be_retried_requeues_the_rollout(store: LightningStore, status: AttemptStatus) -> None:
    other = await store.enqueue_rollout("other")
    config = RolloutConfig(max_attempts=3, retry_condition=[status])
    claimed = await running(store, config)
    for number in (1, 2):
        await end(store, claimed, status)
        requeued = await get(store, claimed.rollout_id)
        assert (requeued.status, requeued.end_time) == ("requeuing", None)
        if number == 1:
            assert (await claim(store)).rollout_id == other.rollout_id
        claimed = await claim(store)
        assert (claimed.rollout_id, claimed.attempt.sequence_id) == (requeued.rollout_id, number + 1)
    await end(store, claimed, status)
    assert (await get(store, claimed.rollout_id)).status == "failed"
    assert (await store.query_attempts(claimed.rollout_id)).total == 3


async def test_an_end_that_is_no_retry_condition_is_not_retried(store: LightningStore) -> None:
    claimed = await running(store, RolloutConfig(max_attempts=3, retry_condition=["timeout", "unresponsive"]))
    await end(store, claimed, "failed")
    assert (await get(store, claimed.rollout_id)).status == "failed"


async def test_a_success_is_not_retried_whatever_the_condition(store: LightningStore) -> None:
    claimed = await running(store, RolloutConfig(max_attempts=3, retry_condition=["succeeded", "failed"]))
    await end(store, claimed, "succeeded")
    assert (await get(store, claimed.rollout_id)).status == "succeeded"


@pytest.mark.parametrize("before", FINAL)
async def test_a_final_attempt_does_not_change_its_status(store: LightningStore, before: AttemptStatus) -> None:
    claimed = await running(store)
    await end(store, claimed, before)
    held = await dump(store)
    for after in get_args(AttemptStatus):
        if after != before:
            with pytest.raises(InvalidTransition) as caught:
                await end(store, claimed, after)
            assert (caught.value.before, caught.value.after) == (before, after)
            assert isinstance(caught.value, ValueError)
    await end(store, claimed, before)
    assert await dump(store) == held


async def test_a_running_attempt_does_not_go_back_to_preparing(store: LightningStore) -> None:
    claimed = await running(store)
    with pytest.raises(InvalidTransition, match="preparing"):
        await end(store, claimed, "preparing")


async def test_a_superseded_attempt_does_not_change_its_status(store: LightningStore) -> None:
    first = await running(store, RolloutConfig(max_attempts=2, retry_condition=["unresponsive"]))
    await end(store, first, "unresponsive")
    second = await claim(store)
    for status in ("running", "succeeded", "failed", "timeout"):
        with pytest.raises(InvalidTransition, match="newer"):
            await end(store, first, status)
    now = await attempt_of(store, first)
    assert (now.status, now.attempt) == ("preparing", second.attempt)


async def test_notes_on_an_attempt_that_is_over_are_kept(store: LightningStore) -> None:
    claimed = await running(store)
    await end(store, claimed)
    attempt = await store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, metadata={"score": 1})
    assert (attempt.status, attempt.metadata) == ("succeeded", {"score": 1})
    assert (await get(store, claimed.rollout_id)).status == "succeeded"


@pytest.mark.parametrize("status", ["succeeded", "failed", "running"])
async def test_an_unresponsive_attempt_may_come_back_until_a_newer_exists(
    store: LightningStore, status: AttemptStatus
) -> None:
    claimed = await running(store, RolloutConfig(max_attempts=2, retry_condition=["unresponsive"]))
    await end(store, claimed, "unresponsive")
    assert (await get(store, claimed.rollout_id)).status == "requeuing"
    await end(store, claimed, status)
    assert (await get(store, claimed.rollout_id)).status == status
    assert await store.dequeue_rollout() is None


async def test_an_unresponsive_attempt_of_an_ended_rollout_stays_as_it_is(store: LightningStore) -> None:
    claimed = await running(store)
    await end(store, claimed, "unresponsive")
    with pytest.raises(InvalidTransition, match="rollout that has ended as failed"):
        await end(store, claimed, "succeeded")
    assert (await get(store, claimed.rollout_id)).status == "failed"


async def test_an_unresponsive_attempt_that_comes_back_loses_its_end(store: LightningStore) -> None:
    claimed = await running(store, RolloutConfig(max_attempts=2, retry_condition=["unresponsive"]))
    await store.update_attempt(
        claimed.rollout_id, "latest", status="unresponsive", metadata={"reason": "unresponsive", "note": 1}
    )
    await store.add_span(span_in(claimed))
    back = await attempt_of(store, claimed)
    assert (back.status, back.end_time) == ("running", None)
    assert (back.attempt.status, back.attempt.end_time, back.attempt.metadata) == ("running", None, {"note": 1})


@pytest.mark.parametrize("reason", ["crashed", "stopped"])
async def test_a_late_span_of_an_attempt_that_its_worker_gave_up_changes_nothing_else(
    store: LightningStore, reason: str
) -> None:
    claimed = await running(store, RolloutConfig(max_attempts=2, retry_condition=["unresponsive"]))
    told = {"reason": reason}
    await store.update_attempt(claimed.rollout_id, "latest", status="unresponsive", metadata=told)
    assert await store.add_span(span_in(claimed)) is not None
    given_up = await attempt_of(store, claimed)
    assert (given_up.status, given_up.attempt.status, given_up.attempt.metadata) == ("requeuing", "unresponsive", told)
    again = await claim(store)
    assert (again.rollout_id, again.attempt.sequence_id) == (claimed.rollout_id, 2)


@pytest.mark.parametrize("status", FINAL)
async def test_a_late_span_of_a_final_attempt_is_kept_and_changes_nothing_else(
    store: LightningStore, clock: VirtualClock, status: AttemptStatus
) -> None:
    claimed = await running(store, RolloutConfig(max_attempts=2, retry_condition=["failed", "timeout"]))
    await end(store, claimed, status)
    before = await attempt_of(store, claimed)
    clock.advance(1)
    assert await store.add_span(span_in(claimed, name="late")) is not None
    assert await attempt_of(store, claimed) == before
    assert [span.name for span in await store.query_spans(claimed.rollout_id)] == ["late"]


async def test_a_late_span_of_a_superseded_attempt_is_kept_and_changes_nothing_else(store: LightningStore) -> None:
    first = await running(store, RolloutConfig(max_attempts=2, retry_condition=["unresponsive"]))
    await end(store, first, "unresponsive")
    await claim(store)
    before = await attempt_of(store, first)
    attempts = (await store.query_attempts(first.rollout_id)).items
    assert await store.add_span(span_in(first)) is not None
    assert await attempt_of(store, first) == before
    assert (await store.query_attempts(first.rollout_id)).items == attempts
    assert (await store.query_spans(first.rollout_id, first.attempt.attempt_id)).total == 1


async def test_a_late_span_does_not_bring_back_an_ended_rollout(store: LightningStore) -> None:
    claimed = await running(store)
    await end(store, claimed, "unresponsive")
    before = await attempt_of(store, claimed)
    await store.add_span(span_in(claimed))
    assert await attempt_of(store, claimed) == before


@pytest.mark.parametrize("before", ENDS)
async def test_an_ended_rollout_takes_no_other_end_and_no_running(store: LightningStore, before: RolloutStatus) -> None:
    rollout = await store.enqueue_rollout("task")
    await store.update_rollout(rollout.rollout_id, status=before)
    held = await dump(store)
    for after in get_args(RolloutStatus):
        if after != before and after not in {"queuing", "requeuing"}:
            with pytest.raises(InvalidTransition) as caught:
                await store.update_rollout(rollout.rollout_id, status=after)
            assert (caught.value.before, caught.value.after) == (before, after)
    await store.update_rollout(rollout.rollout_id, status=before)
    assert await dump(store) == held


@pytest.mark.parametrize("before", ["queuing", "preparing", "running"])
async def test_running_and_preparing_follow_from_attempts_alone(store: LightningStore, before: RolloutStatus) -> None:
    rollout: Rollout = await store.enqueue_rollout("task")
    if before != "queuing":
        rollout = await claim(store)
    if before == "running":
        await store.update_attempt(rollout.rollout_id, "latest", status="running")
    for after in ("preparing", "running"):
        if after != before:
            with pytest.raises(InvalidTransition):
                await store.update_rollout(rollout.rollout_id, status=after)
    assert (await get(store, rollout.rollout_id)).status == before


async def test_cancelling_ends_the_attempt_as_failed_with_its_reason(
    store: LightningStore, clock: VirtualClock
) -> None:
    claimed = await store.start_rollout("task", worker_id="Worker-1")
    await store.update_attempt(claimed.rollout_id, "latest", status="running", metadata={"note": 1})
    clock.advance(4)
    rollout = await store.update_rollout(claimed.rollout_id, status="cancelled")
    assert (rollout.status, rollout.end_time) == ("cancelled", clock.time())
    attempt = await store.get_latest_attempt(claimed.rollout_id)
    assert attempt is not None
    assert (attempt.status, attempt.end_time) == ("failed", clock.time())
    assert attempt.metadata == {"note": 1, "reason": "cancelled"}
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert (worker.status, worker.current_attempt_id) == ("idle", None)


async def test_cancelled_is_not_derived_from_the_attempt_and_not_retried(store: LightningStore) -> None:
    claimed = await running(store, RolloutConfig(max_attempts=5, retry_condition=["failed"]))
    await store.update_rollout(claimed.rollout_id, status="cancelled")
    await end(store, claimed, "failed")
    assert (await get(store, claimed.rollout_id)).status == "cancelled"
    with pytest.raises(InvalidTransition):
        await end(store, claimed, "succeeded")
    assert (await get(store, claimed.rollout_id)).status == "cancelled"
    assert await store.dequeue_rollout() is None


async def test_a_rollout_that_is_set_to_succeeded_takes_its_attempt_along(store: LightningStore) -> None:
    claimed = await running(store)
    await store.update_rollout(claimed.rollout_id, status="succeeded")
    rollout = await attempt_of(store, claimed)
    assert (rollout.status, rollout.attempt.status) == ("succeeded", "succeeded")
    assert rollout.attempt.end_time is not None


async def test_a_queued_rollout_that_is_cancelled_leaves_the_queue(store: LightningStore) -> None:
    rollout = await store.enqueue_rollout("task")
    await store.update_rollout(rollout.rollout_id, status="cancelled")
    assert await store.dequeue_rollout() is None
    assert await store.get_latest_attempt(rollout.rollout_id) is None


@pytest.mark.parametrize("before", ENDS)
@pytest.mark.parametrize("after", ["queuing", "requeuing"])
async def test_a_reopened_rollout_gets_a_new_attempt(
    store: LightningStore, before: RolloutStatus, after: RolloutStatus
) -> None:
    first = await running(store)
    await store.update_rollout(first.rollout_id, status=before)
    reopened = await store.update_rollout(first.rollout_id, status=after)
    assert (reopened.status, reopened.end_time) == (after, None)
    second = await claim(store)
    assert (second.rollout_id, second.attempt.sequence_id) == (first.rollout_id, 2)
    with pytest.raises(InvalidTransition):
        await end(store, first, "timeout")
    await end(store, second)
    assert (await get(store, first.rollout_id)).status == "succeeded"


async def test_putting_a_running_rollout_back_closes_its_attempt(store: LightningStore) -> None:
    first = await running(store)
    await store.update_rollout(first.rollout_id, status="queuing")
    attempt = await store.get_latest_attempt(first.rollout_id)
    assert attempt is not None
    assert (attempt.status, attempt.metadata) == ("failed", {"reason": "requeued"})
    assert (await claim(store)).attempt.sequence_id == 2


async def test_a_queued_rollout_put_back_keeps_its_place(store: LightningStore) -> None:
    first = await store.enqueue_rollout(1)
    await store.enqueue_rollout(2)
    await store.update_rollout(first.rollout_id, status="requeuing")
    await store.update_rollout(first.rollout_id, status="queuing")
    assert [(await claim(store)).input, (await claim(store)).input] == [1, 2]
    assert await store.dequeue_rollout() is None


async def test_what_is_not_given_stays_and_none_is_a_value(store: LightningStore) -> None:
    update = await store.add_resources({"prompt": PromptTemplate(template="t", engine="f-string")})
    rollout = await store.enqueue_rollout("task", mode="train", metadata={"note": 1})
    same = await store.update_rollout(rollout.rollout_id)
    assert same == rollout
    cleared = await store.update_rollout(rollout.rollout_id, mode=None, resources_id=None, metadata=None, input=None)
    assert (cleared.mode, cleared.resources_id, cleared.metadata, cleared.input) == (None, None, None, None)
    assert (cleared.status, cleared.config) == (rollout.status, rollout.config)
    changed = await store.update_rollout(
        rollout.rollout_id,
        input="new",
        mode="val",
        resources_id=update.resources_id,
        config=RolloutConfig(max_attempts=2),
        metadata={"note": 2},
    )
    assert (changed.input, changed.mode, changed.resources_id) == ("new", "val", update.resources_id)
    assert (changed.config.max_attempts, changed.metadata) == (2, {"note": 2})
    assert await store.get_rollout_by_id(rollout.rollout_id) == changed
    assert (await claim(store)).input == "new"


async def test_an_update_of_an_attempt_leaves_what_is_not_given(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await store.start_rollout("task")
    attempt = await store.update_attempt(
        claimed.rollout_id, "latest", worker_id="Worker-3", last_heartbeat_time=clock.time() + 1, metadata={"note": 1}
    )
    assert (attempt.worker_id, attempt.last_heartbeat_time) == ("Worker-3", clock.time() + 1)
    assert (attempt.status, attempt.metadata) == ("preparing", {"note": 1})
    assert await store.update_attempt(claimed.rollout_id, attempt.attempt_id) == attempt
    worker = await store.get_worker_by_id("Worker-3")
    assert worker is not None
    assert (worker.status, worker.current_attempt_id) == ("busy", attempt.attempt_id)


async def test_updates_of_what_is_unknown_are_refused(store: LightningStore) -> None:
    with pytest.raises(RolloutNotFound):
        await store.update_rollout("ro-none", mode="train")
    with pytest.raises(RolloutNotFound):
        await store.update_attempt("ro-none", "latest", status="running")
    rollout = await store.enqueue_rollout(1)
    with pytest.raises(AttemptNotFound) as caught:
        await store.update_attempt(rollout.rollout_id, "latest", status="running")
    assert (caught.value.rollout_id, caught.value.attempt_id) == (rollout.rollout_id, "latest")
    other = await store.start_rollout(2)
    with pytest.raises(AttemptNotFound):
        await store.update_attempt(rollout.rollout_id, other.attempt.attempt_id, status="running")
    with pytest.raises(ResourcesNotFound):
        await store.update_rollout(rollout.rollout_id, resources_id="rs-none")


async def test_the_worker_follows_its_attempt(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await store.start_rollout("task", worker_id="Worker-1")
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert (worker.status, worker.current_rollout_id, worker.last_busy_time) == (
        "busy",
        claimed.rollout_id,
        clock.time(),
    )
    clock.advance(1)
    await end(store, claimed)
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert (worker.status, worker.current_rollout_id, worker.last_idle_time) == ("idle", None, clock.time())


@pytest.mark.parametrize("status", ["timeout", "unresponsive"])
async def test_the_worker_of_an_attempt_that_ended_without_it_is_unknown(
    store: LightningStore, status: AttemptStatus
) -> None:
    claimed = await store.start_rollout("task", worker_id="Worker-1")
    await end(store, claimed, status)
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert (worker.status, worker.current_attempt_id) == ("unknown", None)


async def test_a_worker_that_has_moved_on_is_left_alone(store: LightningStore) -> None:
    first = await store.start_rollout("first", worker_id="Worker-1")
    second = await store.start_rollout("second", worker_id="Worker-1")
    await end(store, first)
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert (worker.status, worker.current_attempt_id) == ("busy", second.attempt.attempt_id)


async def test_a_worker_that_finds_no_work_is_idle(store: LightningStore, clock: VirtualClock) -> None:
    assert await store.dequeue_rollout("Worker-1") is None
    first = await store.get_worker_by_id("Worker-1")
    assert first is not None
    assert (first.status, first.last_idle_time, first.last_dequeue_time) == ("idle", clock.time(), None)
    clock.advance(1)
    assert await store.dequeue_rollout("Worker-1") is None
    assert await store.get_worker_by_id("Worker-1") == first
    await store.enqueue_rollout(1)
    await claim(store, "Worker-1")
    busy = await store.get_worker_by_id("Worker-1")
    assert busy is not None
    assert (busy.status, busy.last_dequeue_time, busy.last_busy_time) == ("busy", clock.time(), clock.time())


async def test_an_ended_rollout_keeps_its_notes_editable(store: LightningStore) -> None:
    rollout = await ended(store)
    noted = await store.update_rollout(rollout.rollout_id, metadata={"grade": "A"})
    assert (noted.status, noted.end_time, noted.metadata) == ("succeeded", rollout.end_time, {"grade": "A"})
