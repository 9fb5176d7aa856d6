"""The rules by themselves: whatever comes, the state machine's promises hold."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lightning_actors.errors import InvalidTransition
from lightning_actors.store import lease_rules, rules
from lightning_actors.types import (
    Attempt,
    AttemptStatus,
    Lease,
    Rollout,
    RolloutConfig,
    RolloutStatus,
    Worker,
    WorkerStatus,
)

attempt_statuses = some.sampled_from(get_args(AttemptStatus))
rollout_statuses = some.sampled_from(get_args(RolloutStatus))
times = some.floats(min_value=0, max_value=1e6)
seconds = some.none() | some.floats(min_value=0.001, max_value=1e6)
configs = some.builds(
    RolloutConfig,
    timeout_seconds=seconds,
    unresponsive_seconds=seconds,
    max_attempts=some.integers(1, 4),
    retry_condition=some.lists(attempt_statuses),
)
attempts = some.builds(
    Attempt,
    rollout_id=some.just("ro-1"),
    attempt_id=some.just("at-1"),
    sequence_id=some.integers(1, 5),
    start_time=times,
    end_time=some.none() | times,
    status=attempt_statuses,
    worker_id=some.none() | some.just("Worker-1"),
    last_heartbeat_time=some.none() | times,
    metadata=some.none()
    | some.dictionaries(some.sampled_from(["reason", "note"]), some.sampled_from(["unresponsive", "crashed", 1])),
)
rollouts = some.builds(
    Rollout,
    rollout_id=some.just("ro-1"),
    input=some.none(),
    start_time=times,
    end_time=some.none() | times,
    status=rollout_statuses,
    config=configs,
)
HOLDING = {"current_rollout_id": some.just("ro-1"), "current_attempt_id": some.just("at-1")}
HOLDING_ANOTHER = {"current_rollout_id": some.just("ro-2"), "current_attempt_id": some.just("at-2")}
free = some.builds(Worker, worker_id=some.just("Worker-1"), status=some.sampled_from(get_args(WorkerStatus)))
workers = free | some.builds(Worker.evolve, free, **HOLDING) | some.builds(Worker.evolve, free, **HOLDING_ANOTHER)


@given(attempts, configs)
def test_a_rollout_takes_its_status_from_its_latest_attempt(attempt: Attempt, config: RolloutConfig) -> None:
    status = rules.rollout_status_after(attempt, config)
    if attempt.status in {"preparing", "running", "succeeded"}:
        assert status == attempt.status
    elif attempt.status in config.retry_condition and attempt.sequence_id < config.max_attempts:
        assert status == "requeuing"
    else:
        assert status == "failed"


@given(attempt=attempts, status=attempt_statuses, now=times, rollout=rollouts, superseded=some.booleans())
def test_a_change_of_an_attempt_is_refused_or_lawful(
    attempt: Attempt, status: AttemptStatus, now: float, rollout: Rollout, *, superseded: bool
) -> None:
    closed = attempt.status in rules.ATTEMPT_FINAL or superseded or rollout.status in rules.ROLLOUT_ENDED
    try:
        after = rules.attempt_after_status(attempt, status, now, rollout=rollout, superseded=superseded)
    except InvalidTransition as error:
        assert status != attempt.status
        assert closed or status == "preparing"
        assert (error.before, error.after) == (attempt.status, status)  # noqa: PT017 - most examples raise nothing
        return
    assert after.status == status
    if status == attempt.status:
        assert after == attempt
    else:
        assert not closed
        assert after.end_time == (None if status == "running" else now)
        kept = {k: v for k, v in (attempt.metadata or {}).items() if k != "reason" or attempt.status != "unresponsive"}
        assert (after.metadata or {}) == kept


@given(rollouts, rollout_statuses)
def test_by_hand_a_rollout_is_ended_once_or_put_back(rollout: Rollout, status: RolloutStatus) -> None:
    lawful = (
        status == rollout.status
        or status in rules.ROLLOUT_QUEUED
        or (status in rules.ROLLOUT_ENDED and rollout.status not in rules.ROLLOUT_ENDED)
    )
    if lawful:
        rules.check_rollout_status(rollout, status)
    else:
        with pytest.raises(InvalidTransition):
            rules.check_rollout_status(rollout, status)


@given(rollouts, rollout_statuses, times)
def test_an_end_has_a_time_and_nothing_else_has(rollout: Rollout, status: RolloutStatus, now: float) -> None:
    after = rules.rollout_ended_as(rollout, status, now)
    assert after.end_time == (now if status in {"failed", "succeeded", "cancelled"} else None)
    assert rules.rollout_claimed(rollout).end_time is None


@given(attempts, configs, times)
def test_what_is_due_is_overdue_from_then_on_and_not_before(
    attempt: Attempt, config: RolloutConfig, now: float
) -> None:
    due = rules.attempt_due(attempt, config)
    status = rules.attempt_overdue(attempt, config, now)
    assert (status is not None) == (due is not None and due <= now)
    if due is not None:
        assert attempt.status in {"preparing", "running"}
        assert rules.attempt_overdue(attempt, config, due) is not None


@given(attempts, configs, times, some.floats(0.5, 60))
def test_a_lease_is_due_when_it_lapses_and_decides_where_it_is_the_first(
    attempt: Attempt, config: RolloutConfig, taken: float, seconds: float
) -> None:
    lease = lease_rules.taken(Lease(holder="client-1", seconds=seconds), attempt, taken)
    assert (lease.holder, lease.attempt_id, lease.until) == ("client-1", attempt.attempt_id, taken + seconds)
    assert lease_rules.renewed(lease, taken + 1).until == taken + 1 + seconds
    deadline = rules.attempt_due(attempt, config)
    due = rules.attempt_due(attempt, config, lease)
    if attempt.status not in {"preparing", "running"}:
        assert due is None
    else:
        assert due == (lease.until if deadline is None else min(deadline, lease.until))
        assert lease_rules.is_first(attempt, config, lease) == (deadline is None or lease.until < deadline)


@given(attempts, configs, times)
def test_the_timeout_goes_before_silence(attempt: Attempt, config: RolloutConfig, now: float) -> None:
    status = rules.attempt_overdue(attempt, config, now)
    timed_out = config.timeout_seconds is not None and now >= attempt.start_time + config.timeout_seconds
    if status is not None:
        assert status == ("timeout" if timed_out else "unresponsive")


@given(attempt=attempts, rollout=rollouts, superseded=some.booleans())
def test_a_span_revives_only_what_is_still_wanted(attempt: Attempt, rollout: Rollout, *, superseded: bool) -> None:
    revives = rules.span_revives(attempt, rollout, superseded=superseded)
    wanted = not superseded and rollout.status not in rules.ROLLOUT_ENDED
    is_silent = attempt.status == "unresponsive" and (attempt.metadata or {}).get("reason") in {None, "unresponsive"}
    assert revives == (wanted and (attempt.status == "preparing" or is_silent))


@given(attempts, some.sampled_from(["cancelled", "failed", "succeeded", "queuing", "requeuing"]), times)
def test_an_attempt_closed_by_its_rollout_is_final_and_says_why(
    attempt: Attempt, status: RolloutStatus, now: float
) -> None:
    closed, reason = rules.attempt_closed_by_rollout(attempt, status, now)
    assert closed.end_time == now
    if status == "succeeded":
        assert (closed.status, reason) == ("succeeded", "succeeded")
    else:
        assert closed.status == "failed"
        assert closed.metadata == {**(attempt.metadata or {}), "reason": reason}
        assert reason == ("requeued" if status in rules.ROLLOUT_QUEUED else status)


@given(workers, attempts, times)
def test_a_worker_follows_the_attempt_it_holds(worker: Worker, attempt: Attempt, now: float) -> None:
    after = rules.worker_after_attempt(worker, attempt, now)
    if attempt.status in {"preparing", "running"}:
        assert (after.status, after.current_attempt_id) == ("busy", attempt.attempt_id)
    elif worker.current_attempt_id != attempt.attempt_id:
        assert after is worker
    elif worker.status != "idle":
        lost = attempt.status in {"timeout", "unresponsive"}
        assert (after.status, after.current_attempt_id) == ("unknown" if lost else "idle", None)
        assert after.last_idle_time == now


@given(workers, attempts, times)
def test_a_worker_becomes_busy_and_idle_once(worker: Worker, attempt: Attempt, now: float) -> None:
    busy = rules.worker_busy(worker, attempt, now)
    assert (busy.status, busy.current_rollout_id, busy.current_attempt_id) == ("busy", "ro-1", "at-1")
    assert busy.last_busy_time == (worker.last_busy_time if worker.status == "busy" else now)
    assert rules.worker_busy(busy, attempt, now + 1) is busy
    claimed = rules.worker_busy(busy, attempt, now + 1, dequeued=True)
    assert (claimed.last_dequeue_time, claimed.last_busy_time) == (now + 1, busy.last_busy_time)
    idle = rules.worker_idle(busy, now)
    assert (idle.status, idle.current_rollout_id, idle.current_attempt_id) == ("idle", None, None)
    assert rules.worker_idle(idle, now + 1) is idle


@given(attempts, attempt_statuses, times, rollouts)
def test_rules_leave_what_they_are_given_as_it_is(
    attempt: Attempt, status: AttemptStatus, now: float, rollout: Rollout
) -> None:
    attempt_before, rollout_before = attempt.model_dump(), rollout.model_dump()
    rules.attempt_closed_by_rollout(attempt, rollout.status, now)
    rules.rollout_ended_as(rollout, rollout.status, now)
    rules.attempt_begins(attempt, now)
    if status not in rules.ATTEMPT_FINAL:
        open_rollout = rollout.evolve(status="running")
        begun = attempt.evolve(status="running")
        rules.attempt_after_status(begun, "unresponsive", now, rollout=open_rollout, superseded=False)
    assert (attempt.model_dump(), rollout.model_dump()) == (attempt_before, rollout_before)
