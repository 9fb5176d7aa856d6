"""`Folder`: all that the tables know of one rollout but its spans, and how it lies in rows.

```
rollouts  number · id · times · status · …  place in the queue · completion · last sequence id     one row, short
tasks     number · input · config · metadata                                                        JSON, rarely written
attempts  number · id · rollout · … · due                                                           a row each
```
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from lightning_actors.store import rules
from lightning_actors.store.sqlite.json_text import json_text, read_json
from lightning_actors.store.sqlite.many_rows import ManyRows
from lightning_actors.types import Attempt, AttemptStatus, HeldLease, Rollout, RolloutConfig
from lightning_actors.types.trusted import trusted

__all__ = [
    "ATTEMPTS",
    "ATTEMPT_COLUMNS",
    "FOLDER_COLUMNS",
    "ROLLOUTS",
    "TASKS",
    "Folder",
    "Task",
    "attempt_row",
    "folder_of",
    "lease_of",
    "notes_text",
    "put_in",
    "read_notes",
    "rollout_row",
    "task_of",
]

Row = tuple[Any, ...]

Task = tuple[str, str, str | None]
"""Input, config and metadata of a rollout as JSON."""

_STATE: Final = ("end_time", "status", "mode", "resources_id", "place", "completion", "sequence")
_TASK: Final = ("input", "config", "metadata")
ATTEMPT_COLUMNS: Final = (
    "number",
    "attempt_id",
    "rollout",
    "sequence_id",
    "start_time",
    "end_time",
    "status",
    "worker_id",
    "last_heartbeat_time",
    "metadata",
    "due",
    "lease_holder",
    "lease_seconds",
    "lease_until",
)
FOLDER_COLUMNS: Final = ("number", "rollout_id", "start_time", *_STATE, *_TASK)

ROLLOUTS: Final = ManyRows("rollouts", ("number", "rollout_id", "start_time", *_STATE), key="number", updated=_STATE)
TASKS: Final = ManyRows("tasks", ("number", *_TASK), key="number", updated=_TASK)
ATTEMPTS: Final = ManyRows("attempts", ATTEMPT_COLUMNS, key="number", updated=ATTEMPT_COLUMNS[4:])

_NO_LEASE: Final = (None, None, None)
_ROLLOUT_FIELDS: Final = set(Rollout.model_fields)
_ATTEMPT_FIELDS: Final = set(Attempt.model_fields)
_CONFIGS_KEPT: Final = 256


class Folder:
    """One rollout with its attempts, and where they stand.

    Attributes:
        rollout: The rollout.
        number: Its place in the order in which rollouts were recorded, from 1.
        place: Its ticket in the queue; None if it is not there.
        completion: The number of its completion; None if it has not ended.
        sequence: The last sequence id that was taken.
        attempts: The attempts, first one first.
        numbers: Their numbers in the table.
        leases: The leases on those that are open, by attempt id.
        weight: About how many bytes of JSON its task has.
    """

    __slots__ = ("attempts", "completion", "leases", "number", "numbers", "place", "rollout", "sequence", "weight")

    def __init__(self, rollout: Rollout, number: int, weight: int) -> None:
        self.rollout = rollout
        self.number = number
        self.weight = weight
        self.place: int | None = None
        self.completion: int | None = None
        self.sequence = 0
        self.attempts: list[Attempt] = []
        self.numbers: list[int] = []
        self.leases: dict[str, HeldLease] = {}

    def find(self, attempt_id: str) -> int | None:
        """Where an attempt stands among its attempts; None if it is none of them. The last one is looked at first."""
        for index in range(len(self.attempts) - 1, -1, -1):
            if self.attempts[index].attempt_id == attempt_id:
                return index
        return None


def task_of(rollout: Rollout) -> Task:
    """A rollout's task as JSON.

    Raises:
        NotJson: JSON cannot hold it.
    """
    config = rollout.config
    return (
        json_text(Any, rollout.input, "input"),
        _config_text(
            config.timeout_seconds, config.unresponsive_seconds, config.max_attempts, tuple(config.retry_condition)
        ),
        notes_text(rollout.metadata),
    )


def notes_text(notes: dict[str, Any] | None, name: str = "metadata") -> str | None:
    """Metadata, or what else is called so, as JSON; NotJson where that cannot hold it."""
    if not notes:
        return None if notes is None else "{}"
    return json_text(Any, notes, name)


def read_notes(text: str | None) -> dict[str, Any] | None:
    """The metadata that `notes_text` wrote."""
    if text is None:
        return None
    return {} if text == "{}" else read_json(Any, text)


@lru_cache(_CONFIGS_KEPT)
def _config_text(timeout: float | None, silence: float | None, most: int, retried: tuple[AttemptStatus, ...]) -> str:
    config = RolloutConfig(
        timeout_seconds=timeout, unresponsive_seconds=silence, max_attempts=most, retry_condition=list(retried)
    )
    return json_text(RolloutConfig, config, "config")


@lru_cache(_CONFIGS_KEPT)
def _config(text: str) -> RolloutConfig:
    """Rollouts with the same config share it: records are not changed."""
    config: RolloutConfig = read_json(RolloutConfig, text)
    return config


def rollout_row(folder: Folder) -> Row:
    """The row of a rollout."""
    rollout = folder.rollout
    return (
        folder.number,
        rollout.rollout_id,
        rollout.start_time,
        rollout.end_time,
        rollout.status,
        rollout.mode,
        rollout.resources_id,
        folder.place,
        folder.completion,
        folder.sequence,
    )


def attempt_row(number: int, folder: Folder, attempt: Attempt, notes: str | None) -> Row:
    """The row of an attempt with when it next reaches a deadline; ``notes`` are its metadata as JSON."""
    lease = folder.leases.get(attempt.attempt_id)
    return (
        number,
        attempt.attempt_id,
        folder.number,
        attempt.sequence_id,
        attempt.start_time,
        attempt.end_time,
        attempt.status,
        attempt.worker_id,
        attempt.last_heartbeat_time,
        notes,
        rules.attempt_due(attempt, folder.rollout.config, lease),
        *(_NO_LEASE if lease is None else (lease.holder, lease.seconds, lease.until)),
    )


def folder_of(row: Row) -> Folder:
    """The folder that a row of `FOLDER_COLUMNS` tells of; its attempts are still to be put in."""
    (number, rollout_id, start_time, end_time, status, mode, resources_id, *places, task, config, metadata) = row
    fields = {
        "rollout_id": rollout_id,
        "input": read_json(Any, task),
        "start_time": start_time,
        "end_time": end_time,
        "mode": mode,
        "resources_id": resources_id,
        "status": status,
        "config": _config(config),
        "metadata": read_notes(metadata),
    }
    folder = Folder(trusted(Rollout, _ROLLOUT_FIELDS, fields), number, len(task) + len(metadata or ""))
    folder.place, folder.completion, folder.sequence = places
    return folder


def put_in(folder: Folder, row: Row) -> None:
    """Put the attempt that a row of `ATTEMPT_COLUMNS` tells of into its folder, after the others."""
    (number, attempt_id, _, sequence_id, start_time, end_time, status, worker_id, heartbeat, metadata, _, *lease) = row
    fields = {
        "rollout_id": folder.rollout.rollout_id,
        "attempt_id": attempt_id,
        "sequence_id": sequence_id,
        "start_time": start_time,
        "end_time": end_time,
        "status": status,
        "worker_id": worker_id,
        "last_heartbeat_time": heartbeat,
        "metadata": read_notes(metadata),
    }
    folder.attempts.append(trusted(Attempt, _ATTEMPT_FIELDS, fields))
    folder.numbers.append(number)
    if lease[0] is not None:
        folder.leases[attempt_id] = lease_of(attempt_id, *lease)


def lease_of(attempt_id: str, holder: str, seconds: float, until: float) -> HeldLease:
    """The lease that the last columns of an attempt's row tell of."""
    return HeldLease(holder=holder, seconds=seconds, attempt_id=attempt_id, until=until)
