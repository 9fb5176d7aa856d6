"""How resources and workers lie in rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from lightning_actors.store.sqlite.folder import notes_text, read_notes
from lightning_actors.store.sqlite.json_text import json_text, read_json
from lightning_actors.store.sqlite.kept_records import KeptRecords
from lightning_actors.store.sqlite.state import State
from lightning_actors.types import NamedResources, ResourcesUpdate, Worker
from lightning_actors.types.trusted import trusted

__all__ = ["Resources", "Workers", "resources_table", "workers_table"]

Resources = KeptRecords[ResourcesUpdate]
Workers = KeptRecords[Worker]

_RESOURCES: Final = ("resources_id", "create_time", "update_time", "version", "resources")
_WORKERS: Final = (
    "worker_id",
    "status",
    "heartbeat_stats",
    "last_heartbeat_time",
    "last_dequeue_time",
    "last_busy_time",
    "last_idle_time",
    "current_rollout_id",
    "current_attempt_id",
)


def resources_table(connection: sqlite3.Connection, state: State, flush: Callable[[], None]) -> Resources:
    """The sets of resources."""
    return KeptRecords(connection, state, flush, "resources", _RESOURCES, _resources_row, _resources_of)


def workers_table(connection: sqlite3.Connection, state: State, flush: Callable[[], None]) -> Workers:
    """The workers."""
    return KeptRecords(connection, state, flush, "workers", _WORKERS, _worker_row, _worker_of)


def _resources_row(update: ResourcesUpdate) -> tuple[Any, ...]:
    text = json_text(NamedResources, update.resources, "resources")
    return update.resources_id, update.create_time, update.update_time, update.version, text


def _resources_of(row: tuple[Any, ...]) -> ResourcesUpdate:
    fields: dict[str, Any] = dict(zip(_RESOURCES, row, strict=False))
    fields["resources"] = read_json(NamedResources, fields["resources"])
    return trusted(ResourcesUpdate, set(_RESOURCES), fields)


def _worker_row(worker: Worker) -> tuple[Any, ...]:
    fields = worker.__dict__
    return (
        fields["worker_id"],
        fields["status"],
        notes_text(worker.heartbeat_stats, "heartbeat_stats"),
        *(fields[n] for n in _WORKERS[3:]),
    )


def _worker_of(row: tuple[Any, ...]) -> Worker:
    fields: dict[str, Any] = dict(zip(_WORKERS, row, strict=False))
    fields["heartbeat_stats"] = read_notes(fields["heartbeat_stats"])
    return trusted(Worker, set(_WORKERS), fields)
