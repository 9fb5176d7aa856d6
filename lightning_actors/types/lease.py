"""`Lease`: how long a claim holds without a word from whoever took it.

A holder that is gone is noticed by its leases alone, whatever the attempts' own deadlines are. That is for holders
whose death nobody sees: a runner in another process. In the store's own process a claim needs none.
"""

from __future__ import annotations

from pydantic import Field

from lightning_actors.types.core import Record

__all__ = ["HeldLease", "Lease"]


class Lease(Record):
    """What a claim is taken under.

    Attributes:
        holder: Who takes it: one id for all claims of a process.
        seconds: How long it holds unless it is renewed.
    """

    holder: str = Field(min_length=1)
    seconds: float = Field(gt=0, allow_inf_nan=False)

    def _summary(self) -> str:
        return f"{self.holder} {self.seconds:g} s"


class HeldLease(Lease):
    """A lease on an open attempt.

    Attributes:
        attempt_id: The attempt.
        until: When it lapses unless it is renewed, in seconds since the epoch.
    """

    attempt_id: str
    until: float

    def _summary(self) -> str:
        return f"{self.attempt_id} {super()._summary()} until {self.until:.3f}"
