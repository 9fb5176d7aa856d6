"""The operations carried out: each a plain function from tables, message and time to a `Change`."""

from __future__ import annotations

from lightning_actors.store.handlers import (
    attempts,
    completions,
    explanations,
    leases,
    once,
    resources,
    rollouts,
    runs,
    spans,
    workers,
)
from lightning_actors.store.handlers.registry import HANDLERS, handle

__all__ = [
    "HANDLERS",
    "attempts",
    "completions",
    "explanations",
    "handle",
    "leases",
    "once",
    "resources",
    "rollouts",
    "runs",
    "spans",
    "workers",
]
