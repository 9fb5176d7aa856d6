"""Workers: heartbeats and look-ups."""

from __future__ import annotations

from typing import Any

from lightning_actors.store.change import Change
from lightning_actors.store.handlers.attempts import worker_of
from lightning_actors.store.handlers.registry import operation
from lightning_actors.store.messages import GetWorkerById, QueryWorkers, UpdateManyWorkers, UpdateWorker
from lightning_actors.store.paging import Conditions, sorted_and_paged
from lightning_actors.store.tables import Tables
from lightning_actors.store.unset import Unset
from lightning_actors.types import Attempt, PaginatedResult, Worker

__all__: list[str] = []


def _alive(tables: Tables, worker_id: str, stats: dict[str, Any] | Unset, now: float) -> Worker:
    changes: dict[str, Any] = {} if isinstance(stats, Unset) else {"heartbeat_stats": dict(stats)}
    return worker_of(tables, worker_id).evolve(last_heartbeat_time=now, **changes)


@operation(UpdateWorker)
def update_worker(tables: Tables, message: UpdateWorker, now: float) -> Change[Worker]:
    """One worker's heartbeat."""
    worker = _alive(tables, message.worker_id, message.heartbeat_stats, now)
    return Change(worker, workers=[worker])


@operation(UpdateManyWorkers)
def update_many_workers(tables: Tables, message: UpdateManyWorkers, now: float) -> Change[None]:
    """A pool's heartbeat, and that of the attempts it is running."""
    alive: list[Attempt] = []
    for rollout_id, attempt_id in message.attempts:
        attempts = tables.attempts(rollout_id)
        if attempts and attempts[-1].attempt_id == attempt_id and attempts[-1].status == "running":
            alive.append(attempts[-1].evolve(last_heartbeat_time=now))
    workers = [_alive(tables, worker_id, message.heartbeat_stats, now) for worker_id in message.worker_ids]
    return Change(None, workers=workers, attempts=alive)


@operation(GetWorkerById)
def get_worker_by_id(tables: Tables, message: GetWorkerById, _now: float) -> Change[Worker | None]:
    """One worker."""
    return Change(tables.worker(message.worker_id))


@operation(QueryWorkers)
def query_workers(tables: Tables, message: QueryWorkers, _now: float) -> Change[PaginatedResult[Worker]]:
    """Workers by status and id."""
    conditions = Conditions(message.filter_logic).within("status", message.status_in)
    conditions.contains("worker_id", message.worker_id_contains)
    workers = tables.workers()
    return Change(
        sorted_and_paged(
            [worker for worker in workers if conditions.hold(worker)] if conditions else workers,
            Worker,
            sort_by=message.sort_by,
            sort_order=message.sort_order,
            limit=message.limit,
            offset=message.offset,
        )
    )
