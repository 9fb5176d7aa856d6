"""From spans to OTLP: what a collector is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from lightning_actors.semconv import LightningResourceAttributes
from lightning_actors.types import Link, Span, SpanContext
from lightning_actors.types.tracer import Event, StatusCode

__all__ = ["encode"]

_STATUS: Final[dict[StatusCode, trace_pb2.Status.StatusCode.ValueType]] = {
    "UNSET": trace_pb2.Status.STATUS_CODE_UNSET,
    "OK": trace_pb2.Status.STATUS_CODE_OK,
    "ERROR": trace_pb2.Status.STATUS_CODE_ERROR,
}
_INT64: Final = range(-(2**63), 2**63)


def encode(spans: Iterable[Span], *, service_name: str) -> bytes:
    """Write spans as an ExportTraceServiceRequest, in its binary form.

    Each says by its attributes to which attempt it belongs, so that another store could file it too.

    Args:
        spans: The spans.
        service_name: The name of the service for spans whose resource has none.
    """
    request = ExportTraceServiceRequest()
    by_resource: dict[int, list[Span]] = {}
    for span in spans:
        by_resource.setdefault(id(span.resource), []).append(span)
    for group in by_resource.values():
        resource = group[0].resource
        attributes = {"service.name": service_name, **resource.attributes}
        of_resource = request.resource_spans.add(
            resource=Resource(attributes=_pairs(attributes)), schema_url=resource.schema_url
        )
        scope = of_resource.scope_spans.add(scope=InstrumentationScope(name="lightning_actors"))
        scope.spans.extend(_span(span) for span in group)
    return request.SerializeToString()


def _span(span: Span) -> trace_pb2.Span:
    place = {
        LightningResourceAttributes.ROLLOUT_ID.value: span.rollout_id,
        LightningResourceAttributes.ATTEMPT_ID.value: span.attempt_id,
        LightningResourceAttributes.SPAN_SEQUENCE_ID.value: span.sequence_id,
    }
    return trace_pb2.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id or ""),
        trace_state=_trace_state(span.context),
        name=span.name,
        kind=trace_pb2.Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=_nanoseconds(span.start_time),
        end_time_unix_nano=_nanoseconds(span.end_time),
        attributes=_pairs({**span.attributes, **place}),
        events=[_event(event) for event in span.events],
        links=[_link(link) for link in span.links],
        status=trace_pb2.Status(code=_STATUS[span.status.status_code], message=span.status.description or ""),
    )


def _event(event: Event) -> trace_pb2.Span.Event:
    return trace_pb2.Span.Event(
        name=event.name, time_unix_nano=_nanoseconds(event.timestamp), attributes=_pairs(event.attributes)
    )


def _link(link: Link) -> trace_pb2.Span.Link:
    return trace_pb2.Span.Link(
        trace_id=bytes.fromhex(link.context.trace_id),
        span_id=bytes.fromhex(link.context.span_id),
        trace_state=_trace_state(link.context),
        attributes=_pairs(link.attributes or {}),
    )


def _trace_state(context: SpanContext | None) -> str:
    return "" if context is None else ",".join(f"{key}={value}" for key, value in context.trace_state.items())


def _nanoseconds(seconds: float | None) -> int:
    return 0 if seconds is None else round(seconds * 1e9)


def _pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value) if value in _INT64 else AnyValue(string_value=str(value))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    items = cast("Sequence[Any]", value)
    return AnyValue(array_value=ArrayValue(values=[_value(item) for item in items]))
