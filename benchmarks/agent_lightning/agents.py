# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""The agents, as those of `benchmarks.cases.agent`, and what every program here does with its options and sample."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import agentlightning as agl
from opentelemetry import trace

__all__ = ["resources", "sizes", "sleeper", "spanner", "tell"]

tracer = trace.get_tracer("benchmarks")


@agl.rollout
async def spanner(task: int, prompt_template: agl.PromptTemplate) -> float:
    """Open one span, and be content. An agent has to want a resource here."""
    with tracer.start_as_current_span("work"):
        return 1.0


@agl.rollout
async def sleeper(task: int, prompt_template: agl.PromptTemplate) -> float:
    """Sleep within one span, and be content."""
    with tracer.start_as_current_span("work"):
        await asyncio.sleep(0.1)
    return 1.0


def resources() -> dict[str, Any]:
    """What the agents want."""
    return {"prompt": agl.PromptTemplate(template="none", engine="f-string")}


def sizes() -> dict[str, int]:
    """The case's numbers, as the harness gives them."""
    return json.loads(sys.argv[1])


def tell(sample: dict[str, float]) -> None:
    """Print the sample, for the harness to read."""
    sys.stdout.flush()
    print(json.dumps(sample), flush=True)
