"""`SqlTables`: the tables of a store, in a file of SQLite. What they are made of is in `Parts`."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from lightning_actors.store.change import Change, Remembered
from lightning_actors.store.messages import LightningStoreStatistics
from lightning_actors.store.sqlite.changes import Changes, place_of
from lightning_actors.store.sqlite.folder import lease_of
from lightning_actors.store.sqlite.parts import Parts
from lightning_actors.types import (
    Attempt,
    HeldLease,
    ResourcesUpdate,
    Rollout,
    RolloutStatus,
    RunRecord,
    Span,
    Worker,
)

__all__ = ["SqlTables"]


class SqlTables:
    """The tables of a durable store, for one thread.

    Reads by id, by ids, by status, of the newest n and of a page anywhere cost about the same at any size, and what is
    at hand in memory is bounded.

    Args:
        connection: The file, of the latest version.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._parts = Parts(connection)
        self._changes = Changes(self._parts)
        self.write = self._parts.write
        self.commit = self._parts.commit

    def roll_back(self) -> None:
        """Undo all that was applied since the last commit."""
        self._parts.roll_back()
        self._changes.is_torn = False

    @property
    def is_torn(self) -> bool:
        """Whether part of a change was made and not the rest; until `roll_back`, nothing may be read or written."""
        return self._changes.is_torn

    def apply(self, change: Change[Any]) -> None:
        """Make all writes of a change.

        Raises:
            NotJson: It holds something that JSON cannot hold; nothing was changed.
            sqlite3.Error: The file could not be written or read; `is_torn` says whether part of the change was made.
        """
        self._changes.make(change)

    def rollout(self, rollout_id: str) -> Rollout | None:
        """One rollout."""
        folder = self._parts.folders.get(rollout_id)
        return None if folder is None else folder.rollout

    def rollout_of_key(self, key: str) -> Rollout | None:
        """The rollout that was recorded under this key."""
        rollout_id = self._parts.writes.keys.get(key)
        if rollout_id is None:
            row = self._parts.connection.execute("SELECT rollout_id FROM keys WHERE key = ?", (key,)).fetchone()
            rollout_id = None if row is None else row[0]
        return None if rollout_id is None else self.rollout(rollout_id)

    def rollouts_page(
        self,
        statuses: Collection[RolloutStatus] | None,
        rollout_ids: Collection[str] | None,
        *,
        either: bool,
        offset: int,
        limit: int,
        descending: bool,
    ) -> tuple[list[Rollout], int]:
        """A page of the rollouts with these statuses and ids, by start time."""
        if rollout_ids is not None and (statuses is None or not either):
            found, total = self._parts.pages.of_ids(rollout_ids, statuses, offset, limit, descending=descending)
        else:
            self._parts.write()
            found, total = self._parts.pages.of_statuses(
                statuses, rollout_ids or (), offset, limit, descending=descending
            )
        return [folder.rollout for folder in found], total

    def queued(self, limit: int) -> list[Rollout]:
        """The first rollouts of the queue."""
        return [folder.rollout for folder in self._parts.folders.in_order(self._parts.line.first(limit))]

    def ahead(self, rollout_id: str) -> int | None:
        """How many stand before a rollout in the queue."""
        folder = self._parts.folders.get(rollout_id)
        return None if folder is None else self._parts.line.before(folder)

    def completed_after(self, number: int) -> tuple[int, str] | None:
        """The first rollout that ended after the one of this number, with its own number."""
        return self._parts.completed.after(number)

    def last_completion(self) -> int:
        """The number of the newest completion."""
        return self._parts.completed.last

    def attempt(self, attempt_id: str) -> Attempt | None:
        """One attempt."""
        folder = self._parts.folders.of_attempt(attempt_id)
        place = None if folder is None else folder.find(attempt_id)
        return None if folder is None or place is None else folder.attempts[place]

    def attempts(self, rollout_id: str) -> Sequence[Attempt]:
        """The attempts at a rollout, first one first."""
        folder = self._parts.folders.get(rollout_id)
        return () if folder is None else folder.attempts

    def lease(self, attempt_id: str) -> HeldLease | None:
        """The lease on an open attempt."""
        folder = self._parts.folders.of_attempt(attempt_id)
        return None if folder is None else folder.leases.get(attempt_id)

    def leases_of(self, holder: str) -> Sequence[HeldLease]:
        """The leases of one holder."""
        self._parts.write()
        rows = self._parts.connection.execute(
            "SELECT attempt_id, lease_holder, lease_seconds, lease_until FROM attempts WHERE lease_holder = ?"
            " ORDER BY number",
            (holder,),
        )
        return [lease_of(*row) for row in rows]

    def remembered(self, client: str, number: int) -> Remembered | None:
        """What was answered to this number of a client."""
        return self._parts.replies.get(client, number)

    def settled_below(self, client: str) -> int:
        """Below this number, replies to this client were forgotten or settled."""
        return self._parts.replies.settled_below(client)

    def open_runs(self) -> Sequence[RunRecord]:
        """The runs of algorithms that have not come to their end."""
        return self._parts.runs.all()

    def is_taken(self, name: str) -> bool:
        """Whether a rollout or an attempt has this id."""
        return self._parts.folders.is_taken(name)

    def resources(self, resources_id: str) -> ResourcesUpdate | None:
        """One set of resources."""
        return self._parts.resources.get(resources_id)

    def all_resources(self) -> Collection[ResourcesUpdate]:
        """All sets of resources in the order in which they were made."""
        return self._parts.resources.all()

    def latest_resources_id(self) -> str | None:
        """The id of the latest resources."""
        return self._parts.state.text("latest_resources")

    def worker(self, worker_id: str) -> Worker | None:
        """One worker."""
        return self._parts.workers.get(worker_id)

    def workers(self) -> Collection[Worker]:
        """All workers in the order in which they were first seen."""
        return self._parts.workers.all()

    def spans(self, rollout_id: str, attempt_id: str | None = None) -> Sequence[Span]:
        """The spans of a rollout, or of one attempt at it, in the order of storing; none is ever dropped."""
        folder = self._parts.folders.get(rollout_id)
        if folder is None:
            return ()
        place = None if attempt_id is None else folder.find(attempt_id)
        if place is None and attempt_id is not None:
            return ()
        self._parts.write()
        return self._parts.spans.of(folder.number, None if place is None else folder.numbers[place])

    def has_span(self, rollout_id: str, attempt_id: str, span_id: str) -> bool:
        """Whether this attempt has a span with this id."""
        folder = self._parts.folders.existing(rollout_id)
        return self._parts.spans.has(folder.number, folder.numbers[place_of(folder, attempt_id)], span_id)

    def sequence(self, rollout_id: str) -> int:
        """The last sequence id that was taken for the rollout."""
        folder = self._parts.folders.get(rollout_id)
        return 0 if folder is None else folder.sequence

    def due_attempts(self, now: float) -> list[Attempt]:
        """The open attempts that have reached a deadline, the earliest first."""
        self._parts.write()
        rows = self._parts.connection.execute(
            "SELECT attempt_id FROM attempts WHERE due <= ? ORDER BY due, number", (now,)
        )
        due = [self.attempt(attempt_id) for (attempt_id,) in rows.fetchall()]
        self._parts.load_due(now)
        return [attempt for attempt in due if attempt is not None]

    def next_due(self) -> float | None:
        """When an attempt may next reach a deadline."""
        return None if self._parts.next_due == math.inf else self._parts.next_due

    def statistics(self) -> LightningStoreStatistics:
        """Counts, and the size of all spans as they are written: bytes of JSON."""
        return LightningStoreStatistics(
            total_rollouts=self._parts.state.number("rollouts"),
            total_attempts=self._parts.state.number("attempts"),
            total_spans=self._parts.state.number("spans"),
            total_resources=self._parts.resources.count,
            total_workers=self._parts.workers.count,
            total_span_bytes=self._parts.state.number("span_bytes"),
        )
