"""A tracer without OpenTelemetry's SDK: it keeps what emitters, ``create_span`` and operations make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry import context as otel_context
from opentelemetry import trace as otel

from lightning_actors.tracer.base import Tracer
from lightning_actors.tracer.plain_span import PlainSpan
from lightning_actors.tracer.trace import Trace, context_below
from lightning_actors.types import AttributeValue

__all__ = ["DummyTracer"]


class DummyTracer(Tracer):
    """Drives a runner like any tracer, but takes in no spans of libraries and leaves OpenTelemetry's set-up alone."""

    captures = False

    def start_span(
        self,
        trace: Trace,
        name: str,
        *,
        context: otel_context.Context,
        attributes: Mapping[str, AttributeValue] | None = None,
        start_time: float | None = None,
        links: Sequence[otel.Link] = (),
    ) -> otel.Span:
        """Begin a span by hand."""
        parent = otel.get_current_span(context).get_span_context()
        return PlainSpan(
            trace, name, context=context_below(parent), parent=parent, attributes=attributes, start_time=start_time
        )
