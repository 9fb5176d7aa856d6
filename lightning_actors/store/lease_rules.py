"""What follows from a lease: pure functions, like those of `store.rules`.

```
taken ──▶ renewed … ──▶ lapsed    the attempt has not begun: its claim is undone
   └────────┴──▶ its attempt ends           it has: it becomes unresponsive, and the retry rule decides
```
"""

from __future__ import annotations

from lightning_actors.store.rules import attempt_due
from lightning_actors.types import Attempt, HeldLease, Lease, RolloutConfig

__all__ = ["LAPSED", "is_first", "prolonged", "renewed", "taken"]

LAPSED = "lease lapsed"
"""Why an attempt that had begun was given up, where its holder did not renew its lease."""


def is_first(attempt: Attempt, config: RolloutConfig, lease: HeldLease) -> bool:
    """Whether the lease lapses before the attempt reaches a deadline: the earlier decides, whenever one looks."""
    deadline = attempt_due(attempt, config)
    return deadline is None or lease.until < deadline


def taken(lease: Lease, attempt: Attempt, now: float) -> HeldLease:
    """The lease on an attempt that is claimed under it."""
    return HeldLease(
        holder=lease.holder, seconds=lease.seconds, attempt_id=attempt.attempt_id, until=now + lease.seconds
    )


def renewed(lease: HeldLease, now: float) -> HeldLease:
    """The lease after its holder has given word."""
    return lease.evolve(until=now + lease.seconds)


def prolonged(lease: HeldLease, now: float) -> HeldLease:
    """The lease once the store is back: it holds for its seconds at least, for nobody could renew it meanwhile."""
    return lease.evolve(until=max(lease.until, now + lease.seconds))
