"""Attempts: claimed, begun, ended, released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_actors.errors import AttemptNotFound, RolloutNotFound
from lightning_actors.store import lease_rules, rules
from lightning_actors.store.change import Change
from lightning_actors.store.handlers.registry import operation
from lightning_actors.store.ids import fresh_id
from lightning_actors.store.messages import (
    DequeueManyRollouts,
    DequeueRollout,
    GetLatestAttempt,
    QueryAttempts,
    ReleaseAttempt,
    StartAttempt,
    UpdateAttempt,
)
from lightning_actors.store.paging import sorted_and_paged
from lightning_actors.store.tables import Tables
from lightning_actors.store.unset import Unset
from lightning_actors.types import Attempt, AttemptedRollout, Lease, PaginatedResult, Rollout, Worker

__all__ = [
    "attempt_at",
    "claimed",
    "copied_task",
    "follow",
    "freed_worker",
    "latest_attempt",
    "new_attempt",
    "undone",
    "wanted_rollout",
    "worker_of",
]

_COPIED: frozenset[type[Any]] = frozenset({dict, list})
_NEW = Attempt(
    rollout_id="",
    attempt_id="",
    sequence_id=1,
    start_time=0.0,
    end_time=None,
    status="preparing",
    worker_id=None,
    last_heartbeat_time=None,
    metadata=None,
)
_NEW_BEGUN = _NEW.evolve(status="running")


def wanted_rollout(tables: Tables, rollout_id: str) -> Rollout:
    """The rollout, or RolloutNotFound."""
    rollout = tables.rollout(rollout_id)
    if rollout is None:
        raise RolloutNotFound(rollout_id)
    return rollout


def latest_attempt(tables: Tables, rollout_id: str) -> Attempt | None:
    """The newest attempt at a rollout."""
    attempts = tables.attempts(rollout_id)
    return attempts[-1] if attempts else None


def worker_of(tables: Tables, worker_id: str) -> Worker:
    """The worker, made if it was never seen."""
    return tables.worker(worker_id) or Worker(worker_id=worker_id)


def freed_worker(tables: Tables, attempt: Attempt, now: float) -> list[Worker]:
    """The worker of an attempt that has ended, where that changes it."""
    worker = None if attempt.worker_id is None else tables.worker(attempt.worker_id)
    if worker is None:
        return []
    after = rules.worker_after_attempt(worker, attempt, now)
    return [] if after is worker else [after]


def new_attempt(
    tables: Tables,
    rollout_id: str,
    earlier: int,
    worker_id: str | None,
    now: float,
    made: Mapping[str, Attempt] = {},
    *,
    begun: bool = False,
) -> Attempt:
    """An attempt at a rollout that has had so many before; ``made`` are those made in the same go, by their ids."""
    new = _NEW_BEGUN if begun else _NEW
    return new.evolve(
        rollout_id=rollout_id,
        attempt_id=fresh_id("at-", 4, lambda name: name in made or tables.is_taken(name)),
        sequence_id=earlier + 1,
        start_time=now,
        worker_id=worker_id,
        last_heartbeat_time=now if begun else None,
    )


def claimed(rollout: Rollout, attempt: Attempt) -> AttemptedRollout:
    """What whoever claimed an attempt is given: the rollout with a task of the attempt's own."""
    return AttemptedRollout.of(rollout, attempt, input=copied_task(rollout.input))


def copied_task(task: Any) -> Any:
    """A task, or notes, of one's own: dicts and lists are copied, whatever else it holds goes by reference.

    What is nested too deeply to be copied goes by reference altogether.
    """
    if type(task) not in _COPIED:
        return task
    try:
        return _copied(task, {})
    except RecursionError:
        return task


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    """What is found twice is copied once, so that a task that holds itself keeps its shape; ``copies`` are by id."""
    if id(value) in copies:
        return copies[id(value)]
    copy: Any = value.copy()
    copies[id(value)] = copy
    for place in copy if type(value) is dict else range(len(copy)):
        if type(copy[place]) in _COPIED:
            copy[place] = _copied(copy[place], copies)
    return copy


@operation(DequeueRollout)
def dequeue_rollout(tables: Tables, message: DequeueRollout, now: float) -> Change[AttemptedRollout | None]:
    """Claim the head of the queue."""
    many = _dequeue(tables, 1, message.worker_id, message.lease, now)
    return many.replying(many.reply[0] if many.reply else None)


@operation(DequeueManyRollouts)
def dequeue_many_rollouts(tables: Tables, message: DequeueManyRollouts, now: float) -> Change[list[AttemptedRollout]]:
    """Claim the first of the queue."""
    return _dequeue(tables, max(message.limit, 0), message.worker_id, message.lease, now)


def _dequeue(
    tables: Tables, limit: int, worker_id: str | None, lease: Lease | None, now: float
) -> Change[list[AttemptedRollout]]:
    claims: dict[str, Attempt] = {}
    rollouts: list[Rollout] = []
    for queued in tables.queued(limit):
        rollout = rules.rollout_claimed(queued)
        earlier = len(tables.attempts(rollout.rollout_id))
        attempt = new_attempt(tables, rollout.rollout_id, earlier, worker_id, now, claims)
        claims[attempt.attempt_id] = attempt
        rollouts.append(rollout)
    attempts = list(claims.values())
    workers: Sequence[Worker] = ()
    if worker_id is not None and limit > 0:
        worker = worker_of(tables, worker_id)
        if claims:
            workers = (rules.worker_busy(worker, attempts[-1], now, dequeued=True),)
        elif worker.status != "idle":
            workers = (rules.worker_idle(worker, now),)
    reply = [claimed(rollout, attempt) for rollout, attempt in zip(rollouts, attempts, strict=True)]
    leases = () if lease is None else [lease_rules.taken(lease, attempt, now) for attempt in attempts]
    return Change(reply, rollouts=rollouts, attempts=attempts, leases=leases, workers=workers)


@operation(StartAttempt)
def start_attempt(tables: Tables, message: StartAttempt, now: float) -> Change[AttemptedRollout]:
    """Begin a new attempt by hand; an open one is given up for it."""
    before = wanted_rollout(tables, message.rollout_id)
    rules.check_attempt_may_start(before)
    earlier = tables.attempts(message.rollout_id)
    rollout = rules.rollout_claimed(before)
    attempt = new_attempt(tables, message.rollout_id, len(earlier), message.worker_id, now)
    closed: list[Attempt] = []
    workers: dict[str, Worker] = {}
    if earlier and earlier[-1].status in rules.ATTEMPT_OPEN:
        closed.append(rules.attempt_closed_by_rollout(earlier[-1], "requeuing", now)[0])
        workers = {worker.worker_id: worker for worker in freed_worker(tables, closed[0], now)}
    if attempt.worker_id is not None:
        worker = workers.get(attempt.worker_id) or worker_of(tables, attempt.worker_id)
        workers[attempt.worker_id] = rules.worker_busy(worker, attempt, now)
    return Change(
        claimed(rollout, attempt),
        rollouts=[rollout],
        attempts=[*closed, attempt],
        workers=list(workers.values()),
        stopped=[(a.attempt_id, "requeued") for a in closed],
    )


@operation(ReleaseAttempt)
def release_attempt(tables: Tables, message: ReleaseAttempt, now: float) -> Change[bool]:
    """Undo a claim that never began."""
    rollout = tables.rollout(message.rollout_id)
    attempt = latest_attempt(tables, message.rollout_id)
    if rollout is None or attempt is None or attempt.attempt_id != message.attempt_id or attempt.status != "preparing":
        return Change(reply=False)
    return undone(tables, rollout, attempt, now)


def undone(tables: Tables, rollout: Rollout, attempt: Attempt, now: float) -> Change[bool]:
    """Take a claim back as if it had not been: its rollout is the head of the queue again."""
    workers: list[Worker] = []
    if attempt.worker_id is not None:
        worker = worker_of(tables, attempt.worker_id)
        if worker.current_attempt_id == attempt.attempt_id:
            workers.append(rules.worker_idle(worker, now))
    return Change(
        reply=True,
        rollouts=[rollout.evolve(status="queuing" if attempt.sequence_id == 1 else "requeuing")],
        to_front=True,
        removed=attempt,
        workers=workers,
        stopped=[(attempt.attempt_id, "released")],
    )


def attempt_at(tables: Tables, rollout_id: str, attempt_id: str) -> tuple[Rollout, Attempt, bool]:
    """A rollout, an attempt at it ("latest" for the newest), and whether a newer attempt exists.

    Raises:
        RolloutNotFound: There is no such rollout.
        AttemptNotFound: It has no such attempt.
    """
    rollout = wanted_rollout(tables, rollout_id)
    attempts = tables.attempts(rollout_id)
    if attempts and attempt_id in {"latest", attempts[-1].attempt_id}:
        return rollout, attempts[-1], False
    attempt = tables.attempt(attempt_id)
    if attempt is None or attempt.rollout_id != rollout_id:
        raise AttemptNotFound(rollout_id, attempt_id)
    return rollout, attempt, True


@operation(UpdateAttempt)
def update_attempt(tables: Tables, message: UpdateAttempt, now: float) -> Change[Attempt]:
    """Change an attempt, and its rollout with it where it is the latest."""
    rollout, before, superseded = attempt_at(tables, message.rollout_id, message.attempt_id)
    attempt = before
    if not isinstance(message.status, Unset):
        attempt = rules.attempt_after_status(before, message.status, now, rollout=rollout, superseded=superseded)
    attempt = _with_fields(attempt, message)
    rollouts = follow(tables, rollout, attempt, now) if attempt.status != before.status else ()
    workers: Sequence[Worker] = ()
    if attempt.worker_id is not None and not (
        isinstance(message.status, Unset) and isinstance(message.worker_id, Unset)
    ):
        worker = worker_of(tables, attempt.worker_id)
        after = rules.worker_after_attempt(worker, attempt, now)
        workers = () if after is worker else (after,)
    return Change(attempt, rollouts=rollouts, attempts=() if attempt is before else (attempt,), workers=workers)


def _with_fields(attempt: Attempt, message: UpdateAttempt) -> Attempt:
    changes: dict[str, Any] = {}
    if not isinstance(message.worker_id, Unset):
        changes["worker_id"] = message.worker_id
    if not isinstance(message.last_heartbeat_time, Unset):
        changes["last_heartbeat_time"] = message.last_heartbeat_time
    changed = attempt.evolve(**changes) if changes else attempt
    return changed if isinstance(message.metadata, Unset) else rules.with_notes(changed, copied_task(message.metadata))


def follow(tables: Tables, rollout: Rollout, attempt: Attempt, now: float) -> Sequence[Rollout]:
    """The rollout once its latest attempt has changed."""
    uncounted = 0
    if attempt.sequence_id > 1:
        uncounted = sum(not rules.is_counted(one) for one in tables.attempts(rollout.rollout_id)[:-1])
    status = rules.rollout_status_after(attempt, rollout.config, uncounted)
    return () if status == rollout.status else (rules.rollout_ended_as(rollout, status, now),)


@operation(QueryAttempts)
def query_attempts(tables: Tables, message: QueryAttempts, _now: float) -> Change[PaginatedResult[Attempt]]:
    """The attempts at a rollout."""
    attempts = list(tables.attempts(message.rollout_id))
    return Change(
        sorted_and_paged(
            attempts,
            Attempt,
            sort_by=message.sort_by,
            sort_order=message.sort_order,
            limit=message.limit,
            offset=message.offset,
        )
    )


@operation(GetLatestAttempt)
def get_latest_attempt(tables: Tables, message: GetLatestAttempt, _now: float) -> Change[Attempt | None]:
    """The newest attempt at a rollout."""
    return Change(latest_attempt(tables, message.rollout_id))
