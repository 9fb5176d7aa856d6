"""SDK spans as they are stored: values of every kind that an SDK lets through, and shared parts."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace.span import TraceState

from lightning_actors.types import Span, SpanContext


def read(**parts: Any) -> Span:
    fields: dict[str, Any] = {"context": otel.SpanContext(1, 2, is_remote=False), "resource": Resource({}), **parts}
    return Span.from_opentelemetry(ReadableSpan("span", **fields), "ro-1", "at-1", 0)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("x", "x"),
        (True, True),
        ((1, 2), [1, 2]),
        ((), []),
        (b"\xff", "ff"),
        (None, "null"),
        ((1, None), "[1,null]"),
        ((1, "x"), '[1,"x"]'),
        ((b"\xff",), '["ff"]'),
        ({"a": {"b": (1, b"\x00")}}, '{"a":{"b":[1,"00"]}}'),
    ],
)
def test_attributes_of_every_kind_are_stored(value: Any, stored: Any) -> None:
    assert read(attributes={"key": value}).attributes == {"key": stored}
    assert read(events=[Event("e", {"key": value}, 1)]).events[0].attributes == {"key": stored}


def test_ids_times_and_states_are_read() -> None:
    context = otel.SpanContext(0xA, 0xB, is_remote=True, trace_state=TraceState([("vendor", "1")]))
    parent = otel.SpanContext(0xA, 0xC, is_remote=False)
    span = read(
        context=context, parent=parent, start_time=1_500_000_000, end_time=2_000_000_000, links=[otel.Link(parent)]
    )
    assert (span.trace_id, span.span_id, span.parent_id) == (f"{0xA:032x}", f"{0xB:016x}", f"{0xC:016x}")
    assert (span.start_time, span.end_time) == (1.5, 2.0)
    assert span.context == SpanContext(
        trace_id=span.trace_id, span_id=span.span_id, is_remote=True, trace_state={"vendor": "1"}
    )
    assert span.links[0].context == span.parent
    assert span.links[0].attributes is None


def test_a_span_that_was_never_started_is_refused() -> None:
    with pytest.raises(ValueError, match="has no context"):
        read(context=None)


def test_spans_share_their_resource_and_the_contexts_they_have_in_common() -> None:
    tracer = TracerProvider(sampler=ALWAYS_ON, resource=Resource({"a": 1}), shutdown_on_exit=False).get_tracer("t")
    with tracer.start_as_current_span("above") as above, tracer.start_as_current_span("below") as below:
        pass
    known: dict[int, SpanContext] = {}
    assert isinstance(above, ReadableSpan)
    assert isinstance(below, ReadableSpan)
    first = Span.from_opentelemetry(below, "ro-1", "at-1", 0, known=known)
    second = Span.from_opentelemetry(above, "ro-1", "at-1", 0, known=known)
    assert first.parent is second.context
    assert first.resource is second.resource
    assert first.resource.attributes == {"a": 1}
