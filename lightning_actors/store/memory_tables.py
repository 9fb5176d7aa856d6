"""`MemoryTables`: dicts and indexes; every read that an index can serve is one."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Any

from lightning_actors.store import rules
from lightning_actors.store.change import Change, Remembered
from lightning_actors.store.completion_log import CompletionLog
from lightning_actors.store.deadlines import Deadlines
from lightning_actors.store.lease_book import LeaseBook
from lightning_actors.store.messages import LightningStoreStatistics
from lightning_actors.store.reply_book import ReplyBook
from lightning_actors.store.rollout_index import RolloutIndex
from lightning_actors.store.span_shelf import SpanShelf
from lightning_actors.store.waiting_line import WaitingLine
from lightning_actors.types import Attempt, HeldLease, ResourcesUpdate, Rollout, RolloutStatus, RunRecord, Span, Worker

__all__ = ["MemoryTables", "memory_capacity_bytes"]


class _Folder:
    """What belongs to one rollout: found together, so that a read of one costs one look into a large dict.

    A rollout that has one attempt, as most have, keeps no tuple of them: that would be an object more for the garbage
    collector.
    """

    __slots__ = ("_earlier", "latest", "rollout", "sequence")

    def __init__(self, rollout: Rollout) -> None:
        self.rollout = rollout
        self.latest: Attempt | None = None
        self._earlier: tuple[Attempt, ...] = ()
        self.sequence = 0

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts at it, first one first."""
        return () if self.latest is None else (*self._earlier, self.latest)

    @attempts.setter
    def attempts(self, attempts: Sequence[Attempt]) -> None:
        self._earlier = tuple(attempts[:-1])
        self.latest = attempts[-1] if attempts else None


class MemoryTables:
    """The tables of a store that lives in memory.

    Reads by id, by ids, by status, of the newest n and of a page cost the same at any size of the store.
    """

    def __init__(self, shelf: SpanShelf) -> None:
        self._shelf = shelf
        self._folders: dict[str, _Folder] = {}
        self._ids_by_key: dict[str, str] = {}
        self._index = RolloutIndex()
        self._queue = WaitingLine()
        self._completions = CompletionLog()
        self._attempts: dict[str, Attempt] = {}
        self._deadlines = Deadlines()
        self._leases = LeaseBook()
        self._resources: dict[str, ResourcesUpdate] = {}
        self._latest_resources_id: str | None = None
        self._workers: dict[str, Worker] = {}
        self._replies = ReplyBook()
        self._runs: dict[str, RunRecord] = {}

    def apply(self, change: Change[Any]) -> None:
        """Make all writes of a change."""
        sizes = [
            self._shelf.size_of(span) for span in change.spans
        ]  # the user's estimator may raise: nothing is written
        if change.removed is not None:
            self._remove_attempt(change.removed)
        for rollout in change.rollouts:
            self._put_rollout(rollout, to_front=change.to_front)
        for attempt in change.attempts:
            self._put_attempt(attempt)
        for lease in change.leases:
            self._leases.put(lease)
            self._deadlines.set(lease.attempt_id, lease.until)
        for worker in change.workers:
            self._workers[worker.worker_id] = worker
        for rollout_id, sequence in change.sequences:
            self._folders[rollout_id].sequence = sequence
        if change.keys or change.resources or change.latest_resources_id or change.remembered:
            self._put_what_is_rare(change)
        if change.runs or change.ended_runs:
            self._put_runs(change)
        if change.spans:
            self._put_spans(change.spans, sizes)

    def _put_rollout(self, rollout: Rollout, *, to_front: bool) -> None:
        rollout_id, status = rollout.rollout_id, rollout.status
        folder = self._folders.get(rollout_id)
        if folder is None:
            self._folders[rollout_id] = _Folder(rollout)
            self._index.add(rollout)
        else:
            before, folder.rollout = folder.rollout, rollout
            if before.status != status:
                self._move(rollout_id, before.status, status)
            if before.config is not rollout.config and folder.latest is not None:
                self._note_deadline(folder.latest, rollout)
        if status in rules.ROLLOUT_QUEUED and rollout_id not in self._queue:
            self._queue.join(rollout_id, at_head=to_front)

    def _move(self, rollout_id: str, before: RolloutStatus, status: RolloutStatus) -> None:
        self._index.move(rollout_id, status)
        if before in rules.ROLLOUT_ENDED or status in rules.ROLLOUT_ENDED:
            self._shelf.mark(rollout_id, ended=status in rules.ROLLOUT_ENDED)
            self._completions.mark(rollout_id, ended=status in rules.ROLLOUT_ENDED)
        if before in rules.ROLLOUT_QUEUED and status not in rules.ROLLOUT_QUEUED:
            self._queue.leave(rollout_id)

    def _put_what_is_rare(self, change: Change[Any]) -> None:
        self._ids_by_key.update(change.keys)
        for update in change.resources:
            self._resources[update.resources_id] = update
        if change.latest_resources_id is not None:
            self._latest_resources_id = change.latest_resources_id
        if change.remembered is not None:
            self._replies.put(change.remembered)

    def _put_runs(self, change: Change[Any]) -> None:
        for run in change.runs:
            self._runs[run.run_id] = run
        for run_id in change.ended_runs:
            del self._runs[run_id]

    def _put_spans(self, spans: Sequence[Span], sizes: Sequence[int]) -> None:
        for span, size_bytes in zip(spans, sizes, strict=True):
            ended = self._folders[span.rollout_id].rollout.status in rules.ROLLOUT_ENDED
            self._shelf.add(span, size_bytes, ended=ended)
        self._shelf.evict()

    def _put_attempt(self, attempt: Attempt) -> None:
        folder = self._folders[attempt.rollout_id]
        latest = folder.latest
        if latest is None or latest.attempt_id == attempt.attempt_id:
            folder.latest = attempt
        elif attempt.attempt_id not in self._attempts:
            folder.attempts = (*folder.attempts, attempt)
        else:
            folder.attempts = [attempt if one.attempt_id == attempt.attempt_id else one for one in folder.attempts]
        self._attempts[attempt.attempt_id] = attempt
        if attempt.attempt_id in self._leases.by_attempt and attempt.status not in rules.ATTEMPT_OPEN:
            self._leases.drop(attempt.attempt_id)
        self._note_deadline(attempt, folder.rollout)

    def _remove_attempt(self, attempt: Attempt) -> None:
        del self._attempts[attempt.attempt_id]
        folder = self._folders[attempt.rollout_id]
        folder.attempts = [known for known in folder.attempts if known.attempt_id != attempt.attempt_id]
        self._deadlines.discard(attempt.attempt_id)
        self._leases.drop(attempt.attempt_id)

    def _note_deadline(self, attempt: Attempt, rollout: Rollout) -> None:
        due = rules.attempt_due(attempt, rollout.config, self._leases.by_attempt.get(attempt.attempt_id))
        if due is None:
            self._deadlines.discard(attempt.attempt_id)
        else:
            self._deadlines.set(attempt.attempt_id, due)

    def due_attempts(self, now: float) -> list[Attempt]:
        """The open attempts that have reached a deadline, the earliest first; the others move on to their next."""
        reached: list[tuple[float, Attempt]] = []
        for attempt_id in self._deadlines.pop(now):
            attempt = self._attempts[attempt_id]
            config = self._folders[attempt.rollout_id].rollout.config
            due = rules.attempt_due(attempt, config, self._leases.by_attempt.get(attempt_id))
            if due is not None and due <= now:
                reached.append((due, attempt))
            elif due is not None:
                self._deadlines.set(attempt_id, due)
        reached.sort(key=itemgetter(0))  # a sign of life, or another config, has moved a deadline but not its place
        return [attempt for _, attempt in reached]

    def next_due(self) -> float | None:
        """When an attempt may next reach a deadline."""
        return self._deadlines.next()

    def statistics(self) -> LightningStoreStatistics:
        """Counts and sizes."""
        return LightningStoreStatistics(
            total_rollouts=len(self._folders),
            total_attempts=len(self._attempts),
            total_spans=self._shelf.count,
            total_resources=len(self._resources),
            total_workers=len(self._workers),
            total_span_bytes=self._shelf.size_bytes,
            eviction_threshold_bytes=self._shelf.evict_at,
            safe_threshold_bytes=self._shelf.safe,
            memory_capacity_bytes=memory_capacity_bytes(),
        )

    def rollout(self, rollout_id: str) -> Rollout | None:
        """One rollout."""
        folder = self._folders.get(rollout_id)
        return None if folder is None else folder.rollout

    def rollout_of_key(self, key: str) -> Rollout | None:
        """The rollout that was recorded under this key."""
        rollout_id = self._ids_by_key.get(key)
        return None if rollout_id is None else self._folders[rollout_id].rollout

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
        ids, total = self._index.page(
            statuses, rollout_ids, either=either, offset=offset, limit=limit, descending=descending
        )
        return [self._folders[rollout_id].rollout for rollout_id in ids], total

    def queued(self, limit: int) -> list[Rollout]:
        """The first rollouts of the queue."""
        return [self._folders[rollout_id].rollout for rollout_id in self._queue.first(limit)]

    def ahead(self, rollout_id: str) -> int | None:
        """How many stand before a rollout in the queue."""
        return self._queue.before(rollout_id)

    def completed_after(self, number: int) -> tuple[int, str] | None:
        """The first rollout that ended after the one of this number, with its own number."""
        return self._completions.after(number)

    def last_completion(self) -> int:
        """The number of the newest completion."""
        return self._completions.last

    def attempt(self, attempt_id: str) -> Attempt | None:
        """One attempt."""
        return self._attempts.get(attempt_id)

    def attempts(self, rollout_id: str) -> Sequence[Attempt]:
        """The attempts at a rollout, first one first."""
        folder = self._folders.get(rollout_id)
        return () if folder is None else folder.attempts

    def lease(self, attempt_id: str) -> HeldLease | None:
        """The lease on an open attempt."""
        return self._leases.by_attempt.get(attempt_id)

    def leases_of(self, holder: str) -> Sequence[HeldLease]:
        """The leases of one holder."""
        return self._leases.of(holder)

    def resources(self, resources_id: str) -> ResourcesUpdate | None:
        """One set of resources."""
        return self._resources.get(resources_id)

    def all_resources(self) -> Collection[ResourcesUpdate]:
        """All sets of resources in the order in which they were made."""
        return self._resources.values()

    def latest_resources_id(self) -> str | None:
        """The id of the latest resources."""
        return self._latest_resources_id

    def remembered(self, client: str, number: int) -> Remembered | None:
        """What was answered to this number of a client."""
        return self._replies.get(client, number)

    def settled_below(self, client: str) -> int:
        """Below this number, replies to this client were forgotten or settled."""
        return self._replies.settled_below(client)

    def open_runs(self) -> Sequence[RunRecord]:
        """The runs of algorithms that have not come to their end."""
        return tuple(self._runs.values())

    def is_taken(self, name: str) -> bool:
        """Whether a rollout or an attempt has this id."""
        return name in self._folders or name in self._attempts

    def worker(self, worker_id: str) -> Worker | None:
        """One worker."""
        return self._workers.get(worker_id)

    def workers(self) -> Collection[Worker]:
        """All workers in the order in which they were first seen."""
        return self._workers.values()

    def spans(self, rollout_id: str, attempt_id: str | None = None) -> Sequence[Span]:
        """The spans of a rollout, or of one attempt at it, in the order in which they were stored."""
        return self._shelf.of(rollout_id, attempt_id)

    def has_span(self, rollout_id: str, attempt_id: str, span_id: str) -> bool:
        """Whether this attempt has a span with this id."""
        return self._shelf.has(rollout_id, attempt_id, span_id)

    def sequence(self, rollout_id: str) -> int:
        """The last sequence id that was taken for the rollout."""
        folder = self._folders.get(rollout_id)
        return 0 if folder is None else folder.sequence


def memory_capacity_bytes() -> int:
    """The machine's memory; 8 GiB is assumed where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 1024**3
