"""What one operation does to the tables, as data: worked out first, applied in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from lightning_actors.store.messages import StoreMessage
from lightning_actors.types import Attempt, HeldLease, ResourcesUpdate, Rollout, RunRecord, Span, Worker

__all__ = ["Change", "Remembered"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Remembered(NamedTuple):
    """A reply that is kept for a client that may ask again; see `store.once`.

    Attributes:
        client: Who asked.
        number: The client's number of what it asked.
        settled_below: The client's replies to the numbers below this one are needed no more.
        operation: What it asked for, whose ``reply_type()`` is the type of the reply.
        reply: What it was answered.
    """

    client: str
    number: int
    settled_below: int
    operation: type[StoreMessage[Any]]
    reply: Any


class Change(NamedTuple, Generic[R_co]):
    """The writes and the reply of one operation.

    Attributes:
        reply: What the asker is told.
        rollouts: New states of rollouts. One whose status is queuing or requeuing stands in the queue, and no other.
        to_front: The queued ones among them go to the head of the queue instead of its end.
        attempts: New states of attempts.
        leases: Leases on open attempts, new or prolonged. A lease goes when its attempt ends or is removed.
        removed: An attempt that is to be forgotten.
        workers: New states of workers.
        resources: New states of resources.
        latest_resources_id: The resources that are the latest from now on.
        spans: Spans that are new, with their sequence ids.
        sequences: The rollouts' sequence counters, by rollout id, where they move.
        keys: Keys under which rollouts were recorded: (key, rollout id). A key stays for good.
        remembered: The reply, where its asker may ask for it again.
        runs: New states of runs of algorithms.
        ended_runs: Ids of runs that are to be forgotten.
        stopped: Attempts that were ended over their worker's head: (attempt id, reason).
    """

    reply: R_co
    rollouts: Sequence[Rollout] = ()
    to_front: bool = False
    attempts: Sequence[Attempt] = ()
    leases: Sequence[HeldLease] = ()
    removed: Attempt | None = None
    workers: Sequence[Worker] = ()
    resources: Sequence[ResourcesUpdate] = ()
    latest_resources_id: str | None = None
    spans: Sequence[Span] = ()
    sequences: Sequence[tuple[str, int]] = ()
    keys: Sequence[tuple[str, str]] = ()
    remembered: Remembered | None = None
    runs: Sequence[RunRecord] = ()
    ended_runs: Sequence[str] = ()
    stopped: Sequence[tuple[str, str]] = ()

    @property
    def writes(self) -> bool:
        """Whether there is anything to apply and to tell."""
        return self[1:] != _NO_WRITES

    def replying(self, reply: R) -> Change[R]:
        """The same writes with another reply."""
        return Change(reply, *self[1:])


_NO_WRITES = Change(None)[1:]
