"""Tracing: whose span is it, and where is it written."""

from __future__ import annotations

from lightning_actors.tracer.base import Tracer
from lightning_actors.tracer.context import TraceContext
from lightning_actors.tracer.dummy import DummyTracer
from lightning_actors.tracer.otel import OtelTracer
from lightning_actors.tracer.trace import SpanSink, Trace, current_trace, remember_last
from lightning_actors.tracer.writer import not_written

__all__ = [
    "DummyTracer",
    "OtelTracer",
    "SpanSink",
    "Trace",
    "TraceContext",
    "Tracer",
    "current_trace",
    "not_written",
    "remember_last",
]
