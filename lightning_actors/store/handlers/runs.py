"""Runs of algorithms: begun, gone on with, left, ended."""

from __future__ import annotations

from typing import Any

from lightning_actors.errors import RunHeld
from lightning_actors.store.change import Change
from lightning_actors.store.handlers.registry import operation
from lightning_actors.store.ids import fresh_id
from lightning_actors.store.messages import BeginRun, EndRun, LeaveRun
from lightning_actors.store.tables import Tables
from lightning_actors.types import RunRecord

__all__ = ["runs_prolonged", "runs_taken_over"]


@operation(BeginRun)
def begin_run(tables: Tables, message: BeginRun, now: float) -> Change[RunRecord]:
    """Go on with the oldest run that nobody is at, or begin one."""
    alike = [run for run in tables.open_runs() if (run.name, run.fingerprint) == (message.name, message.fingerprint)]
    free = [run for run in alike if run.is_free_at(now)]
    holder = None if message.lease is None else message.lease.holder
    held: dict[str, Any] = {
        "is_held": True,
        "holder": holder,
        "lease_seconds": None if message.lease is None else message.lease.seconds,
        "held_until": None if message.lease is None else now + message.lease.seconds,
    }
    if free and not message.anew:
        run = free[0].evolve(turn=free[0].turn + 1, **held)
        return Change(run, runs=(run,))
    lapses = [run.held_until - now for run in alike if run.held_until is not None and run.holder != holder]
    if lapses and not message.anew:
        raise RunHeld(message.name, min(lapses))
    known = {run.run_id for run in tables.open_runs()}
    run = RunRecord(
        run_id=fresh_id("rn-", 6, known.__contains__),
        name=message.name,
        fingerprint=message.fingerprint,
        start_time=now,
        **held,
    )
    return Change(run, runs=(run,), ended_runs=[run.run_id for run in free])


@operation(LeaveRun)
def leave_run(tables: Tables, message: LeaveRun, _now: float) -> Change[bool]:
    """Let go of a run."""
    run = _held(tables, message)
    if run is None:
        return Change(reply=False)
    return Change(reply=True, runs=(run.evolve(is_held=False, holder=None, lease_seconds=None, held_until=None),))


@operation(EndRun)
def end_run(tables: Tables, message: EndRun, _now: float) -> Change[bool]:
    """Forget a run."""
    run = _held(tables, message)
    return Change(reply=False) if run is None else Change(reply=True, ended_runs=(run.run_id,))


def _held(tables: Tables, message: LeaveRun | EndRun) -> RunRecord | None:
    """The run, if it is still this turn's."""
    return next((r for r in tables.open_runs() if (r.run_id, r.turn) == (message.run_id, message.turn)), None)


def runs_prolonged(tables: Tables, holder: str, now: float) -> list[RunRecord]:
    """The runs that a holder is at, once it has given word."""
    return [
        run.evolve(held_until=now + run.lease_seconds)
        for run in tables.open_runs()
        if run.holder == holder and run.lease_seconds is not None
    ]


def runs_taken_over(tables: Tables, now: float) -> list[RunRecord]:
    """The runs once the store opens again: those of the process that is gone are let go, others have a whole lease."""
    return [
        run.evolve(is_held=False)
        if run.lease_seconds is None
        else run.evolve(held_until=max(run.held_until or now, now + run.lease_seconds))
        for run in tables.open_runs()
        if run.is_held
    ]
