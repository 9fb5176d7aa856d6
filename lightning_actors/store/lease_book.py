"""`LeaseBook`: who holds which attempts, and until when."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_actors.types import HeldLease

__all__ = ["LeaseBook"]


class LeaseBook:
    """Leases by attempt and by holder.

    Attributes:
        by_attempt: The leases, to be read only; a look into a dict is all that those pay who have none.
    """

    __slots__ = ("_of_holder", "by_attempt")

    def __init__(self) -> None:
        self.by_attempt: dict[str, HeldLease] = {}
        self._of_holder: dict[str, dict[str, None]] = {}

    def of(self, holder: str) -> Sequence[HeldLease]:
        """The leases of a holder, in the order in which they were taken."""
        return [self.by_attempt[attempt_id] for attempt_id in self._of_holder.get(holder, ())]

    def put(self, lease: HeldLease) -> None:
        """Note a lease that is new or prolonged."""
        self.by_attempt[lease.attempt_id] = lease
        self._of_holder.setdefault(lease.holder, {})[lease.attempt_id] = None

    def drop(self, attempt_id: str) -> None:
        """Forget the lease on an attempt, if there is one."""
        lease = self.by_attempt.pop(attempt_id, None)
        if lease is None:
            return
        held = self._of_holder[lease.holder]
        del held[attempt_id]
        if not held:
            del self._of_holder[lease.holder]
