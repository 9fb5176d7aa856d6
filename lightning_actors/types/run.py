"""`RunRecord`: a run of an algorithm that has not come to its end, so that it can go on where it was interrupted."""

from __future__ import annotations

from lightning_actors.types.core import Record

__all__ = ["RunRecord"]


class RunRecord(Record):
    """One run of an algorithm in a store; it is there until the run has come to its end.

    Attributes:
        run_id: ``rn-`` and 12 hex digits.
        name: The algorithm.
        fingerprint: What it is run with; two runs of one name and fingerprint do the same.
        start_time: When it was begun.
        turn: How often it was begun or gone on with; 1 at first. Who had an earlier turn has no say any more.
        is_held: Whether somebody was at it when this was so.
        holder: Who holds it under a lease; None if it is held without, by the process that the store lives in.
        lease_seconds: How long the lease holds from each renewal on.
        held_until: When the lease lapses.
    """

    run_id: str
    name: str
    fingerprint: str
    start_time: float
    turn: int = 1
    is_held: bool = True
    holder: str | None = None
    lease_seconds: float | None = None
    held_until: float | None = None

    def is_free_at(self, now: float) -> bool:
        """Whether somebody may go on with it."""
        return not self.is_held or (self.held_until is not None and self.held_until <= now)

    def _summary(self) -> str:
        return f"{self.run_id} {self.name} turn {self.turn}{'' if self.is_held else ', interrupted'}"
