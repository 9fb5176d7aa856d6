"""Why a rollout has not ended, as far as the tables know; who asks, listens and waits is the store's to add."""

from __future__ import annotations

import math
import reprlib
from typing import Literal, cast

from lightning_actors.store import rules
from lightning_actors.store.change import Change
from lightning_actors.store.handlers.attempts import wanted_rollout
from lightning_actors.store.handlers.registry import operation
from lightning_actors.store.messages import ExplainRollout
from lightning_actors.store.tables import Tables
from lightning_actors.types import Attempt, ExplainedAttempt, Explanation, Rollout

__all__: list[str] = []

_MOST_ATTEMPTS = 10
_LONGEST = 120

_short = reprlib.Repr()  # looks at no more of a task than it shows, and says so where a repr raises
_short.maxstring = _short.maxother = 80


@operation(ExplainRollout)
def explain_rollout(tables: Tables, message: ExplainRollout, now: float) -> Change[Explanation]:
    """What the tables know of a rollout's state."""
    rollout = wanted_rollout(tables, message.rollout_id)
    attempts = tables.attempts(rollout.rollout_id)
    deadline, deadline_status = _deadline(rollout, attempts[-1] if attempts else None)
    lease = tables.lease(attempts[-1].attempt_id) if attempts else None
    _, under_way = tables.rollouts_page(
        ("preparing", "running"), None, either=False, offset=0, limit=0, descending=False
    )
    return Change(
        Explanation(
            rollout_id=rollout.rollout_id,
            status=rollout.status,
            task=_cut(_short.repr(rollout.input)),
            time=now,
            start_time=rollout.start_time,
            end_time=rollout.end_time,
            max_attempts=rollout.config.max_attempts,
            n_attempts=len(attempts),
            n_uncounted=sum(not rules.is_counted(attempt) for attempt in attempts),
            attempts=[_explained(attempt) for attempt in attempts[-_MOST_ATTEMPTS:]],
            ahead=tables.ahead(rollout.rollout_id),
            under_way=under_way,
            deadline=deadline,
            deadline_status=deadline_status,
            held_by=None if lease is None else lease.holder,
            held_until=None if lease is None else lease.until,
        )
    )


def _deadline(
    rollout: Rollout, attempt: Attempt | None
) -> tuple[float | None, Literal["timeout", "unresponsive"] | None]:
    due = None if attempt is None else rules.attempt_due(attempt, rollout.config)
    if attempt is None or due is None or math.isinf(due):
        return None, None
    status = rules.attempt_overdue(attempt, rollout.config, due)
    return due, cast('Literal["timeout", "unresponsive"] | None', status)


def _explained(attempt: Attempt) -> ExplainedAttempt:
    notes = attempt.metadata or {}
    return ExplainedAttempt(
        attempt_id=attempt.attempt_id,
        sequence_id=attempt.sequence_id,
        status=attempt.status,
        worker_id=attempt.worker_id,
        start_time=attempt.start_time,
        end_time=attempt.end_time,
        last_heartbeat_time=attempt.last_heartbeat_time,
        error=_noted(notes.get("error")),
        reason=_noted(notes.get("reason")),
        is_counted=rules.is_counted(attempt),
    )


def _noted(note: object) -> str | None:
    """A note as text; metadata is the user's, who may have put anything there."""
    if note is None:
        return None
    return _cut(" ".join(note.split()) if isinstance(note, str) else _short.repr(note))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
