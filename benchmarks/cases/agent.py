"""The agents that the cases run: one OpenTelemetry span, and a returned reward."""

from __future__ import annotations

from typing import Final

import anyio
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from lightning_actors import rollout

__all__ = ["SLEEP", "KeptSpans", "one_span", "sdk_provider", "sleep_in_span", "sleeper", "spanner", "tracer"]

SLEEP = 0.1
"""Seconds that the sleeping agents sleep."""

tracer: Final = otel.get_tracer("benchmarks")
"""What an agent's module has at its top, as OpenTelemetry advises."""


class KeptSpans(SpanProcessor):
    """Keeps ended spans in a list, the least that can be done with them."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep one."""
        self.spans.append(span)


def sdk_provider() -> tuple[TracerProvider, KeptSpans]:
    """An SDK provider that records everything, and what it has recorded."""
    kept = KeptSpans()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(kept)
    return provider, kept


async def one_span(spans: otel.Tracer) -> float:
    """What the trivial agent does."""
    with spans.start_as_current_span("work"):
        return 1.0


async def sleep_in_span(spans: otel.Tracer) -> float:
    """What the sleeping agent does."""
    with spans.start_as_current_span("work"):
        await anyio.sleep(SLEEP)
    return 1.0


@rollout
async def spanner(task: int) -> float:
    """Open one span, and be content."""
    return await one_span(tracer)


@rollout
async def sleeper(task: int) -> float:
    """Sleep within one span, and be content."""
    return await sleep_in_span(tracer)
