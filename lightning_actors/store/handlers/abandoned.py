"""What a process that is gone has left open, settled by a home whose tables outlive a process when it opens."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_actors.log import get_logger
from lightning_actors.store import lease_rules, rules
from lightning_actors.store.change import Change
from lightning_actors.store.handlers.attempts import freed_worker, undone
from lightning_actors.store.handlers.runs import runs_taken_over
from lightning_actors.store.tables import Tables
from lightning_actors.types import Attempt, Rollout

__all__ = ["abandoned"]

log = get_logger("lightning_actors.store")


def abandoned(tables: Tables, now: float) -> Iterator[Change[None]]:
    """What becomes of what is open, one change after another; each is to be applied before the next is asked for.

    Attempts without a lease were at work in the process that is gone: a claim is undone, and an attempt under way is
    given up, not counted, whatever the retry rule says. Their rollouts are the head of the queue again, in the order in
    which they were claimed. Those with a lease may go on elsewhere: they are given a lease, and a silence, from now on.
    Runs of algorithms are let go, or given a lease, likewise.

    It is to be done before deadlines are settled, and looks at what is open alone.
    """
    rollouts, _ = tables.rollouts_page(
        ("preparing", "running"), None, either=False, offset=0, limit=-1, descending=False
    )
    left_open = [(rollout, tables.attempts(rollout.rollout_id)[-1]) for rollout in rollouts]
    left_open.sort(key=lambda one: one[1].start_time)
    runs = runs_taken_over(tables, now)
    if runs:
        yield Change(None, runs=runs)
    undone_claims = given_up = held = 0
    for rollout, attempt in reversed(left_open):
        if tables.lease(attempt.attempt_id) is not None:
            held += 1
            yield _prolonged(tables, attempt, now)
        elif attempt.status == "preparing":
            undone_claims += 1
            yield undone(tables, rollout, attempt, now).replying(None)
        else:
            given_up += 1
            yield _given_up(tables, rollout, attempt, now)
    if left_open:
        log.info("abandoned_attempts_settled", claims_undone=undone_claims, given_up=given_up, held_elsewhere=held)


def _prolonged(tables: Tables, attempt: Attempt, now: float) -> Change[None]:
    """A store that was not there could hear neither a renewal nor a sign of life."""
    lease = tables.lease(attempt.attempt_id)
    leases = () if lease is None else (lease_rules.prolonged(lease, now),)
    return Change(None, attempts=(attempt.evolve(last_heartbeat_time=now),), leases=leases)


def _given_up(tables: Tables, rollout: Rollout, attempt: Attempt, now: float) -> Change[None]:
    ended = rules.attempt_abandoned(attempt, now)
    return Change(
        None,
        rollouts=(rules.rollout_ended_as(rollout, "requeuing", now),),
        to_front=True,
        attempts=(ended,),
        workers=freed_worker(tables, ended, now),
        stopped=((ended.attempt_id, rules.ABANDONED),),
    )
