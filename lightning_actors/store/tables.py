"""`Tables`: the few things a home must be able to keep and find; the handlers need no more than this."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from lightning_actors.store.change import Change, Remembered
from lightning_actors.store.messages import LightningStoreStatistics
from lightning_actors.types import Attempt, HeldLease, ResourcesUpdate, Rollout, RolloutStatus, RunRecord, Span, Worker

__all__ = ["Tables"]


class Tables(Protocol):
    """Where records are kept. Reads never change anything; all writes go through ``apply``."""

    def apply(self, change: Change[Any]) -> None:
        """Make all writes of a change. It is worked out in full; if it raises all the same, nothing was written."""
        ...

    def statistics(self) -> LightningStoreStatistics:
        """Counts and sizes, without name and uptime."""
        ...

    def rollout(self, rollout_id: str) -> Rollout | None:
        """One rollout."""
        ...

    def rollout_of_key(self, key: str) -> Rollout | None:
        """The rollout that was recorded under this key."""
        ...

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
        """A page of the rollouts with one of these statuses and one of these ids, by start time.

        Args:
            statuses: The statuses wanted; None for any.
            rollout_ids: The ids wanted; None for any. Those that do not exist and those named twice do not count.
            either: Where both are given, one of the two conditions is enough.
            offset: How many to pass over.
            limit: How many to answer at most; -1 for all.
            descending: The latest first.

        Returns:
            The page, and how many rollouts there are on all pages.
        """
        ...

    def queued(self, limit: int) -> list[Rollout]:
        """The first rollouts of the queue."""
        ...

    def completed_after(self, number: int) -> tuple[int, str] | None:
        """The first rollout that ended after the one of this number (0: the very first), with its own number.

        Each rollout stands where it ended last; one that goes on has no place.
        """
        ...

    def last_completion(self) -> int:
        """The number of the newest completion; 0 if there was none."""
        ...

    def ahead(self, rollout_id: str) -> int | None:
        """How many stand before a rollout in the queue, without a look at each; None if it is not queued."""
        ...

    def attempt(self, attempt_id: str) -> Attempt | None:
        """One attempt; its id is no other attempt's, whatever the rollout."""
        ...

    def attempts(self, rollout_id: str) -> Sequence[Attempt]:
        """The attempts at a rollout, first one first."""
        ...

    def lease(self, attempt_id: str) -> HeldLease | None:
        """The lease on an open attempt; None if it was claimed under none, or has ended."""
        ...

    def leases_of(self, holder: str) -> Sequence[HeldLease]:
        """The leases of one holder, without a look at those of others."""
        ...

    def resources(self, resources_id: str) -> ResourcesUpdate | None:
        """One set of resources."""
        ...

    def all_resources(self) -> Collection[ResourcesUpdate]:
        """All sets of resources in the order in which they were made."""
        ...

    def latest_resources_id(self) -> str | None:
        """The id of the latest resources."""
        ...

    def worker(self, worker_id: str) -> Worker | None:
        """One worker."""
        ...

    def workers(self) -> Collection[Worker]:
        """All workers in the order in which they were first seen."""
        ...

    def spans(self, rollout_id: str, attempt_id: str | None = None) -> Sequence[Span]:
        """The spans of a rollout, or of one attempt at it, in the order in which they were stored.

        Raises:
            SpansEvicted: Some of them were dropped.
        """
        ...

    def has_span(self, rollout_id: str, attempt_id: str, span_id: str) -> bool:
        """Whether this attempt has a span with this id."""
        ...

    def sequence(self, rollout_id: str) -> int:
        """The last sequence id that was taken for the rollout; 0 if none was."""
        ...

    def remembered(self, client: str, number: int) -> Remembered | None:
        """What was answered to this number of a client; see `Change.remembered`.

        1,024 replies of a client are kept, those of the highest numbers, and none below what the client has settled;
        and 4,096 clients, those to whom something was answered last (`store.reply_book`).
        """
        ...

    def settled_below(self, client: str) -> int:
        """Below this number, replies to this client were forgotten or settled; 0 for a client that is not known."""
        ...

    def open_runs(self) -> Sequence[RunRecord]:
        """The runs of algorithms that have not come to their end, in the order in which they were begun; a few."""
        ...

    def is_taken(self, name: str) -> bool:
        """Whether a rollout or an attempt has this id."""
        ...

    def due_attempts(self, now: float) -> list[Attempt]:
        """The open attempts that have reached a deadline, or whose lease has lapsed, the earliest first.

        Each is named once until it changes.
        """
        ...

    def next_due(self) -> float | None:
        """When ``due_attempts`` may next have something to say, in seconds since the epoch."""
        ...
