"""Leases: renewed by their holders; they are taken with a claim, and go with its attempt's end."""

from __future__ import annotations

from lightning_actors.store import lease_rules
from lightning_actors.store.change import Change
from lightning_actors.store.handlers.registry import operation
from lightning_actors.store.handlers.runs import runs_prolonged
from lightning_actors.store.messages import RenewLeases
from lightning_actors.store.tables import Tables

__all__: list[str] = []


@operation(RenewLeases)
def renew_leases(tables: Tables, message: RenewLeases, now: float) -> Change[list[str]]:
    """Prolong a holder's leases."""
    held = {lease.attempt_id: lease for lease in tables.leases_of(message.holder)}
    wanted = held if message.attempt_ids is None else dict.fromkeys(message.attempt_ids)
    renewed = [lease_rules.renewed(held[attempt_id], now) for attempt_id in wanted if attempt_id in held]
    runs = runs_prolonged(tables, message.holder, now)
    return Change([attempt_id for attempt_id in wanted if attempt_id not in held], leases=renewed, runs=runs)
