"""Rollouts: recorded, changed, found."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lightning_actors.errors import ResourcesNotFound
from lightning_actors.store import lease_rules, rules
from lightning_actors.store.change import Change
from lightning_actors.store.handlers.attempts import (
    claimed,
    copied_task,
    freed_worker,
    latest_attempt,
    new_attempt,
    wanted_rollout,
    worker_of,
)
from lightning_actors.store.handlers.registry import operation
from lightning_actors.store.ids import fresh_id
from lightning_actors.store.messages import (
    EnqueueManyRollouts,
    EnqueueRollout,
    GetRolloutById,
    LightningStoreStatistics,
    QueryRollouts,
    StartRollout,
    Statistics,
    UpdateRollout,
    WaitForRollouts,
)
from lightning_actors.store.paging import Conditions, sorted_and_paged
from lightning_actors.store.tables import Tables
from lightning_actors.store.unset import Unset
from lightning_actors.types import (
    AttemptedRollout,
    EnqueueRolloutRequest,
    PaginatedResult,
    Rollout,
    RolloutConfig,
    RolloutStatus,
    Worker,
)

__all__ = ["ended_of"]

_DEFAULT_CONFIG = RolloutConfig()
"""Shared by all rollouts that were given none."""
_NEW = Rollout(
    rollout_id="",
    input=None,
    start_time=0.0,
    end_time=None,
    mode=None,
    resources_id=None,
    status="queuing",
    config=_DEFAULT_CONFIG,
    metadata=None,
)


def _recorded(
    tables: Tables,
    request: EnqueueRolloutRequest | EnqueueRollout | StartRollout,
    now: float,
    *,
    status: RolloutStatus = "queuing",
    made: Mapping[str, Rollout] = {},
) -> Rollout:
    """The rollout that a request asks for; ``made`` are those recorded in the same go, by their ids."""
    if request.resources_id is not None:
        _check_resources(tables, request.resources_id)
    return _NEW.evolve(
        rollout_id=fresh_id("ro-", 6, lambda name: name in made or tables.is_taken(name)),
        input=copied_task(request.input),
        start_time=now,
        mode=request.mode,
        resources_id=request.resources_id or tables.latest_resources_id(),
        status=status,
        config=_DEFAULT_CONFIG if request.config is None else _copied_config(request.config),
        metadata=copied_task(request.metadata) if request.metadata else {},
    )


def _check_resources(tables: Tables, resources_id: str) -> None:
    if tables.resources(resources_id) is None:
        raise ResourcesNotFound(resources_id)


def _copied_config(config: RolloutConfig) -> RolloutConfig:
    return config.evolve(retry_condition=list(config.retry_condition))


@operation(EnqueueRollout)
def enqueue_rollout(tables: Tables, message: EnqueueRollout, now: float) -> Change[Rollout]:
    """Record a task at the end of the queue, unless its key is known."""
    key = message.key
    known = None if key is None else tables.rollout_of_key(key)
    if known is not None:
        return Change(with_attempt(tables, known))
    rollout = _recorded(tables, message, now)
    return Change(rollout, rollouts=(rollout,), keys=() if key is None else ((key, rollout.rollout_id),))


@operation(EnqueueManyRollouts)
def enqueue_many_rollouts(tables: Tables, message: EnqueueManyRollouts, now: float) -> Change[list[Rollout]]:
    """Record many tasks at the end of the queue, but for those whose key is known."""
    made: dict[str, Rollout] = {}
    keys: dict[str, str] = {}
    reply: list[Rollout] = []
    for request in message.requests:
        key = request.key
        rollout = None if key is None else _of_key(tables, key, made, keys)
        if rollout is None:
            rollout = _recorded(tables, request, now, made=made)
            made[rollout.rollout_id] = rollout
            if key is not None:
                keys[key] = rollout.rollout_id
        reply.append(rollout)
    return Change(reply, rollouts=list(made.values()), keys=tuple(keys.items()))


def _of_key(tables: Tables, key: str, made: Mapping[str, Rollout], keys: Mapping[str, str]) -> Rollout | None:
    """The rollout of a key, among those recorded in the same go or before."""
    if key in keys:
        return made[keys[key]]
    known = tables.rollout_of_key(key)
    return None if known is None else with_attempt(tables, known)


@operation(StartRollout)
def start_rollout(tables: Tables, message: StartRollout, now: float) -> Change[AttemptedRollout]:
    """Record a task and claim it at once."""
    rollout = _recorded(tables, message, now, status="running" if message.begun else "preparing")
    attempt = new_attempt(tables, rollout.rollout_id, 0, message.worker_id, now, begun=message.begun)
    workers: Sequence[Worker] = ()
    if message.worker_id is not None:
        workers = (rules.worker_busy(worker_of(tables, message.worker_id), attempt, now),)
    leases = () if message.lease is None else (lease_rules.taken(message.lease, attempt, now),)
    return Change(claimed(rollout, attempt), rollouts=(rollout,), attempts=(attempt,), leases=leases, workers=workers)


@operation(UpdateRollout)
def update_rollout(tables: Tables, message: UpdateRollout, now: float) -> Change[Rollout]:
    """Change a rollout; a new status closes its open attempt."""
    before = wanted_rollout(tables, message.rollout_id)
    changes = _changed_fields(tables, message)
    rollout = before.evolve(**changes) if changes else before
    status = message.status
    if isinstance(status, Unset) or status == rollout.status:
        return Change(rollout, rollouts=() if rollout is before else (rollout,))
    rules.check_rollout_status(rollout, status)
    rollout = rules.rollout_ended_as(rollout, status, now)
    attempt = latest_attempt(tables, message.rollout_id)
    if attempt is None or attempt.status in rules.ATTEMPT_FINAL:
        return Change(rollout, rollouts=(rollout,))
    closed, reason = rules.attempt_closed_by_rollout(attempt, status, now)
    return Change(
        rollout,
        rollouts=(rollout,),
        attempts=(closed,),
        workers=freed_worker(tables, closed, now),
        stopped=((closed.attempt_id, reason),),
    )


def _changed_fields(tables: Tables, message: UpdateRollout) -> dict[str, Any]:
    """What is given, copied where a new rollout's would be."""
    changes: dict[str, Any] = {}
    if not isinstance(message.input, Unset):
        changes["input"] = copied_task(message.input)
    if not isinstance(message.mode, Unset):
        changes["mode"] = message.mode
    if not isinstance(message.resources_id, Unset):
        if message.resources_id is not None:
            _check_resources(tables, message.resources_id)
        changes["resources_id"] = message.resources_id
    if not isinstance(message.config, Unset):
        changes["config"] = _copied_config(message.config)
    if not isinstance(message.metadata, Unset):
        changes["metadata"] = copied_task(message.metadata)
    return changes


def with_attempt(tables: Tables, rollout: Rollout) -> Rollout:
    """The rollout with its latest attempt, where it has one."""
    attempt = latest_attempt(tables, rollout.rollout_id)
    return rollout if attempt is None else AttemptedRollout.of(rollout, attempt)


@operation(GetRolloutById)
def get_rollout_by_id(tables: Tables, message: GetRolloutById, _now: float) -> Change[Rollout | None]:
    """One rollout."""
    rollout = tables.rollout(message.rollout_id)
    return Change(None if rollout is None else with_attempt(tables, rollout))


@operation(QueryRollouts)
def query_rollouts(tables: Tables, message: QueryRollouts, _now: float) -> Change[PaginatedResult[Rollout]]:
    """Rollouts by status and id. An index serves all but a text in the id and an order other than that of time."""
    statuses, ids = _newer_names(message)
    either = message.filter_logic == "or"
    limit, offset = message.limit, message.offset
    if message.rollout_id_contains is None and message.sort_by in {None, "start_time"}:
        descending = message.sort_by is not None and message.sort_order == "desc"
        found, total = tables.rollouts_page(
            statuses, ids, either=either, offset=offset, limit=limit, descending=descending
        )
        return Change(PaginatedResult([with_attempt(tables, rollout) for rollout in found], limit, offset, total))
    page = sorted_and_paged(
        _matching(tables, message, statuses, ids, either=either),
        Rollout,
        sort_by=message.sort_by,
        sort_order=message.sort_order,
        limit=limit,
        offset=offset,
    )
    return Change(PaginatedResult([with_attempt(tables, r) for r in page], limit, offset, page.total))


def _matching(
    tables: Tables,
    message: QueryRollouts,
    statuses: Collection[RolloutStatus] | None,
    ids: Collection[str] | None,
    *,
    either: bool,
) -> list[Rollout]:
    """All that a query wants, oldest first, narrowed by an index as far as one goes."""
    text = message.rollout_id_contains
    if text is None or not either:
        found, _ = tables.rollouts_page(statuses, ids, either=either, offset=0, limit=-1, descending=False)
        return found if text is None else [rollout for rollout in found if text in rollout.rollout_id]
    everything, _ = tables.rollouts_page(None, None, either=False, offset=0, limit=-1, descending=False)
    conditions = Conditions("or").within("status", statuses).within("rollout_id", ids).contains("rollout_id", text)
    return [rollout for rollout in everything if conditions.hold(rollout)]


def _newer_names(message: QueryRollouts) -> tuple[Collection[RolloutStatus] | None, Collection[str] | None]:
    for old, new in (("status", "status_in"), ("rollout_ids", "rollout_id_in")):
        if getattr(message, old) is not None:
            warnings.warn(f"query_rollouts({old}=...) is called {new} now", DeprecationWarning, stacklevel=2)
    statuses = message.status if message.status_in is None else message.status_in
    ids = message.rollout_ids if message.rollout_id_in is None else message.rollout_id_in
    return statuses, ids


def ended_of(tables: Tables, rollout_ids: Sequence[str]) -> tuple[list[Rollout], set[str]]:
    """Those of these rollouts that have ended, in the order given and each once, and the ids of the others.

    Raises RolloutNotFound.
    """
    rollouts = [wanted_rollout(tables, rollout_id) for rollout_id in dict.fromkeys(rollout_ids)]
    ended = [rollout for rollout in rollouts if rollout.status in rules.ROLLOUT_ENDED]
    return ended, {rollout.rollout_id for rollout in rollouts if rollout.status not in rules.ROLLOUT_ENDED}


@operation(WaitForRollouts)
def wait_for_rollouts(tables: Tables, message: WaitForRollouts, _now: float) -> Change[list[Rollout]]:
    """Those that have ended; the waiting is the store's."""
    return Change(ended_of(tables, message.rollout_ids)[0])


@operation(Statistics)
def statistics(tables: Tables, _message: Statistics, _now: float) -> Change[LightningStoreStatistics]:
    """Counts and sizes."""
    return Change(tables.statistics())
