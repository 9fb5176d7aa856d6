"""The agents that the cases run: one OpenTelemetry span, and a returned reward."""

from __future__ import annotations

import anyio
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from lightning_actors import rollout

__all__ = ["SLEEP", "KeptSpans", "one_span", "sdk_provider", "sleep_in_span", "sleeper", "spanner"]

SLEEP = 0.1
"""Seconds that the sleeping agents sleep."""


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


async def one_span(tracer: otel.Tracer) -> float:
    """What the trivial agent does."""
    with tracer.start_as_current_span("work"):
        return 1.0


async def sleep_in_span(tracer: otel.Tracer) -> float:
    """What the sleeping agent does."""
    with tracer.start_as_current_span("work"):
        await anyio.sleep(SLEEP)
    return 1.0


@rollout
async def spanner(task: int) -> float:
    """Open one span, and be content."""
    return await one_span(otel.get_tracer("benchmarks"))


@rollout
async def sleeper(task: int) -> float:
    """Sleep within one span, and be content."""
    return await sleep_in_span(otel.get_tracer("benchmarks"))
