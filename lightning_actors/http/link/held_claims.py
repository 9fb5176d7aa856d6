"""`HeldClaims`: what one client has claimed over its link, attempts and runs: held under leases, which it renews."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from lightning_actors.actors.message import Message
from lightning_actors.store.messages import (
    BeginRun,
    DequeueManyRollouts,
    DequeueRollout,
    EndRun,
    LeaveRun,
    ReleaseAttempt,
    RenewLeases,
    StartRollout,
    UpdateAttempt,
)
from lightning_actors.store.rules import ATTEMPT_OPEN
from lightning_actors.store.unset import Unset
from lightning_actors.types import AttemptedRollout, Lease, RunRecord

__all__ = ["HeldClaims", "claims_in"]

_CLAIMS: Final = (DequeueRollout, DequeueManyRollouts, StartRollout)
_LEASED: Final = (*_CLAIMS, BeginRun)


class HeldClaims:
    """What a client holds, as far as it knows.

    Args:
        holder: The client.
        seconds: How long a lease holds without being renewed; None for claims without one.
    """

    def __init__(self, holder: str, seconds: float | None) -> None:
        self._holder = holder
        self._lease = None if seconds is None else Lease(holder=holder, seconds=seconds)
        self._held: dict[str, None] = {}
        self._runs: set[str] = set()
        self._ending: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._held or self._runs)

    def leased(self, message: Message[Any]) -> Message[Any]:
        """The message as it is to be sent: a claim is taken under a lease, and so is a run."""
        if self._lease is not None and isinstance(message, _LEASED) and message.lease is None:
            return cast("Message[Any]", dataclasses.replace(cast("Any", message), lease=self._lease))
        return message

    def asked(self, message: Message[Any]) -> None:
        """Something is asked for: an attempt whose end is being told cannot be lost any more."""
        if (attempt_id := _ended_by(message)) is not None:
            self._ending.add(attempt_id)

    def answered(self, message: Message[Any], reply: Any) -> None:
        """It was answered."""
        if self._lease is not None and getattr(message, "lease", None) is self._lease:
            for claim in claims_in(message, reply):
                self._held[claim.attempt.attempt_id] = None
            if isinstance(message, BeginRun):
                self._runs.add(cast("RunRecord", reply).run_id)
        elif isinstance(message, LeaveRun | EndRun):
            self._runs.discard(message.run_id)
        if (attempt_id := _ended_by(message)) is not None:
            self._ending.discard(attempt_id)
            self._held.pop(attempt_id, None)
        elif isinstance(message, ReleaseAttempt):
            self._held.pop(message.attempt_id, None)

    def failed(self, message: Message[Any]) -> None:
        """It was answered with an error, or not at all."""
        if (attempt_id := _ended_by(message)) is not None:
            self._ending.discard(attempt_id)

    def is_ending(self, attempt_id: str) -> bool:
        """Whether its holder is telling how it ended, and is answered whether it had ended already."""
        return attempt_id in self._ending

    def stopped(self, attempt_id: str) -> None:
        """The store has ended it."""
        self._held.pop(attempt_id, None)

    def renewal(self) -> RenewLeases:
        """What prolongs them all."""
        return RenewLeases(self._holder, list(self._held))

    def lost(self, attempt_ids: Iterable[str]) -> Sequence[str]:
        """Those of these that were held until now, and are not any more."""
        lost = [attempt_id for attempt_id in attempt_ids if attempt_id in self._held and attempt_id not in self._ending]
        for attempt_id in lost:
            del self._held[attempt_id]
        return lost


def claims_in(message: Message[Any], reply: Any) -> Sequence[AttemptedRollout]:
    """The claims in a reply, in order."""
    if not isinstance(message, _CLAIMS) or reply is None:
        return ()
    return cast("list[AttemptedRollout]", reply) if isinstance(message, DequeueManyRollouts) else [reply]


def _ended_by(message: Message[Any]) -> str | None:
    """The attempt that is over once this is carried out."""
    if isinstance(message, UpdateAttempt) and not isinstance(message.status, Unset):
        return None if message.status in ATTEMPT_OPEN else message.attempt_id
    return None
