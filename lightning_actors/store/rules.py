"""What follows from what: pure functions from records to records.

```
attempt   preparing ──▶ running ──▶ succeeded | failed | timeout        final
              └────────────┴──────▶ unresponsive ──▶ running | final    until a newer attempt exists; by a span only
                                                                        where silence was all that spoke against it
rollout   its latest attempt decides: preparing, running and succeeded are copied; failed, timeout and unresponsive
          become requeuing where the config allows another attempt, else failed. Ended, it changes only by an explicit
          queuing or requeuing.
```

Source: the state machine is Agent Lightning 0.3's, with its ends guarded and every end stamped with its time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from lightning_actors.errors import InvalidTransition
from lightning_actors.types import (
    Attempt,
    AttemptStatus,
    HeldLease,
    Rollout,
    RolloutConfig,
    RolloutStatus,
    Span,
    Worker,
)

__all__ = [
    "ABANDONED",
    "ATTEMPT_FINAL",
    "ATTEMPT_OPEN",
    "ROLLOUT_ENDED",
    "ROLLOUT_QUEUED",
    "attempt_abandoned",
    "attempt_after_status",
    "attempt_begins",
    "attempt_closed_by_rollout",
    "attempt_due",
    "attempt_given_up",
    "attempt_overdue",
    "check_attempt_may_start",
    "check_rollout_status",
    "is_counted",
    "rollout_claimed",
    "rollout_ended_as",
    "rollout_status_after",
    "span_revives",
    "span_size_bytes",
    "with_notes",
    "worker_after_attempt",
    "worker_busy",
    "worker_idle",
]

_NUMBERS = frozenset({float, int, bool})
ROLLOUT_ENDED: frozenset[RolloutStatus] = frozenset({"succeeded", "failed", "cancelled"})
ROLLOUT_QUEUED: frozenset[RolloutStatus] = frozenset({"queuing", "requeuing"})
ATTEMPT_FINAL: frozenset[AttemptStatus] = frozenset({"succeeded", "failed", "timeout"})
ATTEMPT_OPEN: frozenset[AttemptStatus] = frozenset({"preparing", "running"})
ABANDONED = "the process that ran it is gone"
"""Why an attempt was given up that was found open by a store that opened again."""
_COUNTED = "counted"
"""The note of an attempt that does not count against ``max_attempts``: it is False."""


def rollout_status_after(attempt: Attempt, config: RolloutConfig, uncounted: int = 0) -> RolloutStatus:
    """The status that a rollout takes from its latest attempt; so many of those before it do not count."""
    match attempt.status:
        case "preparing" | "running" | "succeeded":
            return attempt.status
        case status if status in config.retry_condition and attempt.sequence_id - uncounted < config.max_attempts:
            return "requeuing"
        case _:
            return "failed"


def rollout_ended_as(rollout: Rollout, status: RolloutStatus, now: float) -> Rollout:
    """The rollout with this status, its end time set where the status is an end and cleared where it is not."""
    return rollout.evolve(status=status, end_time=now if status in ROLLOUT_ENDED else None)


def rollout_claimed(rollout: Rollout) -> Rollout:
    """The rollout once someone takes it on."""
    return rollout.evolve(status="preparing", end_time=None)


def check_rollout_status(rollout: Rollout, status: RolloutStatus) -> None:
    """Refuse what nobody may ask for by hand.

    Raises:
        InvalidTransition: The rollout has ended otherwise, or the status can only follow from an attempt.
    """
    if status == rollout.status or status in ROLLOUT_QUEUED:
        return
    if rollout.status in ROLLOUT_ENDED:
        raise InvalidTransition(
            f"rollout {rollout.rollout_id} has ended as {rollout.status} and cannot become {status}: "
            f"to run it again, set its status to 'queuing'",
            before=rollout.status,
            after=status,
        )
    if status not in ROLLOUT_ENDED:
        raise InvalidTransition(
            f"rollout {rollout.rollout_id} cannot be set to {status!r}: that status follows from its attempts; "
            f"dequeue it or start_attempt, then update_attempt",
            before=rollout.status,
            after=status,
        )


def check_attempt_may_start(rollout: Rollout) -> None:
    """Refuse a new attempt at what has ended.

    Raises:
        InvalidTransition: The rollout has ended.
    """
    if rollout.status in ROLLOUT_ENDED:
        raise InvalidTransition(
            f"rollout {rollout.rollout_id} has ended as {rollout.status} and takes no further attempt: to run it "
            f"again, set its status to 'queuing' first",
            before=rollout.status,
            after="preparing",
        )


def attempt_begins(attempt: Attempt, now: float) -> Attempt:
    """The attempt after its first sign of life, or back from silence."""
    return attempt.evolve(status="running", last_heartbeat_time=now, end_time=None, metadata=_without_reason(attempt))


def _without_reason(attempt: Attempt) -> dict[str, Any] | None:
    """The notes of an attempt that goes on, without why it had been thought gone."""
    if attempt.status != "unresponsive" or attempt.metadata is None:
        return attempt.metadata
    return {name: value for name, value in attempt.metadata.items() if name not in {"reason", _COUNTED}}


def attempt_after_status(
    attempt: Attempt, status: AttemptStatus, now: float, *, rollout: Rollout, superseded: bool
) -> Attempt:
    """The attempt with the status that its worker, or a deadline, gives it.

    Raises:
        InvalidTransition: It or its rollout has ended otherwise, a newer attempt exists, or it would go backwards.
    """
    if status == attempt.status:
        return attempt
    why = _why_closed(attempt, rollout, superseded=superseded)
    if why is None and status == "preparing":
        why = f"is {attempt.status}"
    if why is not None:
        raise InvalidTransition(
            f"attempt {attempt.attempt_id} of {attempt.rollout_id} {why} and cannot become {status}: to try the "
            f"rollout again, update_rollout(status='queuing')",
            before=attempt.status,
            after=status,
        )
    if status == "running":
        return attempt_begins(attempt, now)
    return attempt.evolve(status=status, end_time=now, metadata=_without_reason(attempt))


def _why_closed(attempt: Attempt, rollout: Rollout, *, superseded: bool) -> str | None:
    if attempt.status in ATTEMPT_FINAL:
        return f"has ended as {attempt.status}"
    if superseded:
        return f"is {attempt.status}, was given up for a newer one"
    if rollout.status in ROLLOUT_ENDED:
        return f"is {attempt.status}, belongs to a rollout that has ended as {rollout.status}"
    return None


def attempt_closed_by_rollout(attempt: Attempt, status: RolloutStatus, now: float) -> tuple[Attempt, str]:
    """An open attempt whose rollout was ended or put back by hand, and why it was closed."""
    if status == "succeeded":
        return attempt.evolve(status="succeeded", end_time=now), status
    reason = "requeued" if status in ROLLOUT_QUEUED else status
    metadata: dict[str, Any] = {**(attempt.metadata or {}), "reason": reason}
    return attempt.evolve(status="failed", end_time=now, metadata=metadata), reason


def attempt_due(attempt: Attempt, config: RolloutConfig, lease: HeldLease | None = None) -> float | None:
    """When the attempt next reaches a deadline, or its lease lapses; None if it has none or has ended."""
    timeout, silence = config.timeout_seconds, config.unresponsive_seconds
    if (timeout is None and silence is None and lease is None) or attempt.status not in ATTEMPT_OPEN:
        return None
    return min(
        math.inf if timeout is None else attempt.start_time + timeout,
        math.inf if silence is None else _last_sign(attempt) + silence,
        math.inf if lease is None else lease.until,
    )


def _last_sign(attempt: Attempt) -> float:
    return attempt.start_time if attempt.last_heartbeat_time is None else attempt.last_heartbeat_time


def attempt_overdue(attempt: Attempt, config: RolloutConfig, now: float) -> AttemptStatus | None:
    """The status that a deadline gives the attempt at this time: the timeout goes before silence."""
    if attempt.status not in ATTEMPT_OPEN:
        return None
    if config.timeout_seconds is not None and now >= attempt.start_time + config.timeout_seconds:
        return "timeout"
    if config.unresponsive_seconds is not None and now >= _last_sign(attempt) + config.unresponsive_seconds:
        return "unresponsive"
    return None


def attempt_abandoned(attempt: Attempt, now: float) -> Attempt:
    """An attempt whose process is gone. That was not its fault: it does not count."""
    given_up = attempt_given_up(attempt, "unresponsive", ABANDONED, now)
    return given_up.evolve(metadata={**(given_up.metadata or {}), _COUNTED: False})


def is_counted(attempt: Attempt) -> bool:
    """Whether the attempt counts against ``max_attempts``."""
    return attempt.metadata is None or attempt.metadata.get(_COUNTED) is not False


def with_notes(attempt: Attempt, notes: dict[str, Any]) -> Attempt:
    """The attempt with these notes; that it does not count is not the caller's to change."""
    return attempt.evolve(metadata=notes if is_counted(attempt) else {**notes, _COUNTED: False})


def attempt_given_up(attempt: Attempt, status: AttemptStatus, reason: str, now: float) -> Attempt:
    """The attempt once the store has ended it, and why."""
    return attempt.evolve(status=status, end_time=now, metadata={**(attempt.metadata or {}), "reason": reason})


def span_revives(attempt: Attempt, rollout: Rollout, *, superseded: bool) -> bool:
    """Whether a span makes this attempt running: it has not begun, or it was thought gone and nobody took its place.

    Silence is what made one think so. Where its worker gave another reason (it crashed, it was stopped), nobody works
    at it any more, and spans that were on their way change nothing.
    """
    if superseded or rollout.status in ROLLOUT_ENDED:
        return False
    if attempt.status == "unresponsive":
        return (attempt.metadata or {}).get("reason", "unresponsive") == "unresponsive"
    return attempt.status == "preparing"


def worker_busy(worker: Worker, attempt: Attempt, now: float, *, dequeued: bool = False) -> Worker:
    """The worker once it holds this attempt."""
    if worker.status == "busy" and worker.current_attempt_id == attempt.attempt_id and not dequeued:
        return worker
    changes: dict[str, Any] = {"last_dequeue_time": now} if dequeued else {}
    if worker.status != "busy":
        changes["last_busy_time"] = now
    return worker.evolve(
        status="busy", current_rollout_id=attempt.rollout_id, current_attempt_id=attempt.attempt_id, **changes
    )


def worker_idle(worker: Worker, now: float) -> Worker:
    """The worker once it asked for work and there was none, or its attempt is over."""
    if worker.status == "idle":
        return worker
    return worker.evolve(status="idle", last_idle_time=now, current_rollout_id=None, current_attempt_id=None)


def worker_after_attempt(worker: Worker, attempt: Attempt, now: float) -> Worker:
    """The worker once the status of its attempt has changed."""
    if attempt.status in ATTEMPT_OPEN:
        return worker_busy(worker, attempt, now)
    if worker.current_attempt_id != attempt.attempt_id:
        return worker  # it has moved on to another attempt
    if attempt.status in {"succeeded", "failed"}:
        return worker_idle(worker, now)
    return worker.evolve(status="unknown", last_idle_time=now, current_rollout_id=None, current_attempt_id=None)


def span_size_bytes(span: Span) -> int:
    """About how much memory a span takes: a fixed part, and its texts."""
    size = 1500 + _size(span.attributes)
    for event in span.events:
        size += 300 + _size(event.attributes)
    return size


def _size(attributes: dict[str, Any]) -> int:
    size = 150 * len(attributes)
    for value in attributes.values():
        if type(value) is str:
            size += len(value)
        elif type(value) not in _NUMBERS and isinstance(value, Sequence):
            size += sum(60 + len(item) if isinstance(item, str) else 8 for item in cast("Sequence[Any]", value))
    return size
