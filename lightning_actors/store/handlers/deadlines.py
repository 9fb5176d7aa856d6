"""Deadlines: what becomes of an attempt whose time is up, and of a claim whose lease has lapsed."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_actors.log import get_logger
from lightning_actors.store import lease_rules, rules
from lightning_actors.store.change import Change
from lightning_actors.store.handlers.attempts import attempt_at, follow, freed_worker, undone
from lightning_actors.store.tables import Tables
from lightning_actors.types import Attempt

__all__ = ["settled", "why_over"]

log = get_logger("lightning_actors.store")


def settled(tables: Tables, now: float) -> Iterator[Change[None]]:
    """What has fallen due, one change after another; each is to be applied before the next is asked for.

    Deadlines come in their order. Claims that are undone come before, the last one first, so that they stand in the
    queue as they did.
    """
    never_begun: list[Attempt] = []
    given_up: list[Attempt] = []
    for attempt in tables.due_attempts(now):
        is_undone = attempt.status == "preparing" and _lapses(tables, attempt)
        (never_begun if is_undone else given_up).append(attempt)
    for attempt in (*reversed(never_begun), *given_up):
        yield _overdue(tables, attempt, now)


def _lapses(tables: Tables, attempt: Attempt) -> bool:
    """Whether the lease of an attempt that is due is what ends it."""
    lease, rollout = tables.lease(attempt.attempt_id), tables.rollout(attempt.rollout_id)
    return lease is not None and rollout is not None and lease_rules.is_first(attempt, rollout.config, lease)


def _overdue(tables: Tables, attempt: Attempt, now: float) -> Change[None]:
    """End an attempt whose deadline has come, or undo the claim."""
    rollout, attempt, superseded = attempt_at(tables, attempt.rollout_id, attempt.attempt_id)
    status = rules.attempt_overdue(attempt, rollout.config, now)
    reason: str | None = status
    if _lapses(tables, attempt):
        if attempt.status == "preparing":
            log.info("lease_lapsed", rollout_id=rollout.rollout_id, attempt_id=attempt.attempt_id, begun=False)
            return undone(tables, rollout, attempt, now).replying(None)
        status, reason = "unresponsive", lease_rules.LAPSED
    if status is None or reason is None:
        return Change(None)
    log.info("attempt_overdue", rollout_id=rollout.rollout_id, attempt_id=attempt.attempt_id, reason=reason)
    ended = rules.attempt_given_up(attempt, status, reason, now)
    return Change(
        None,
        rollouts=() if superseded else follow(tables, rollout, ended, now),
        attempts=[ended],
        workers=freed_worker(tables, ended, now),
        stopped=[(ended.attempt_id, reason)],
    )


def why_over(tables: Tables, attempt_id: str) -> str | None:
    """Why an attempt is over; None while it is not. One that is gone was released."""
    attempt = tables.attempt(attempt_id)
    if attempt is None:
        return "released"
    if attempt.status in rules.ATTEMPT_OPEN:
        return None
    return str((attempt.metadata or {}).get("reason", attempt.status))
