# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""The in-memory store, with the same workload."""

from __future__ import annotations

import asyncio

import agentlightning as agl

from benchmarks.agent_lightning.agents import sizes, tell
from benchmarks.cases.store_workload import measure_store


def make_span(rollout_id: str, attempt_id: str) -> agl.Span:
    """A span with one attribute."""
    return agl.Span.from_attributes(
        attributes={"words": 3},
        rollout_id=rollout_id,
        attempt_id=attempt_id,
        sequence_id=1,
        start_time=1.0,
        end_time=2.0,
    )


tell(asyncio.run(measure_store(agl.InMemoryLightningStore(), make_span, sizes())))
