"""From OTLP to spans: which rollout a span belongs to is said by its attributes, or by those of its resource.

```
resource   agentlightning.rollout_id, .attempt_id, .span_sequence_id      for all its spans
  span     the same names                                                  for this one, before those above
```

A span that names no rollout and attempt, or has no id, is left out and counted.

Source: names and rules are those of Agent Lightning 0.3; the forms of OTLP/HTTP are those of its specification 1.x.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from pydantic_core import from_json

from lightning_actors.semconv import LightningResourceAttributes
from lightning_actors.types import Event, Link, OtelResource, Span, SpanContext, TraceStatus
from lightning_actors.types.tracer import AttributeValue, StatusCode, attribute_value

__all__ = ["Decoded", "decode", "read_json", "read_protobuf"]

_ROLLOUT: Final = LightningResourceAttributes.ROLLOUT_ID.value
_ATTEMPT: Final = LightningResourceAttributes.ATTEMPT_ID.value
_SEQUENCE: Final = LightningResourceAttributes.SPAN_SEQUENCE_ID.value
_STATUS: Final[dict[int, StatusCode]] = {0: "UNSET", 1: "OK", 2: "ERROR"}
_REMOTE_FLAG: Final = 0x200
_GREATEST: Final = 2**62 - 1
_IDS: Final = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")

_Attributes = dict[str, AttributeValue]


@dataclass(slots=True)
class Decoded:
    """What is known after decoding.

    Attributes:
        spans: The spans that can be filed; those without a number have the sequence id 0.
        nameless: How many name no rollout and attempt.
        without_id: How many have no span id.
    """

    spans: list[Span] = field(default_factory=list[Span])
    nameless: int = 0
    without_id: int = 0


def read_protobuf(body: bytes) -> ExportTraceServiceRequest:
    """Read the binary form.

    Raises:
        ValueError: It is none.
    """
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise ValueError(f"no ExportTraceServiceRequest can be read from the body: {error}") from None


def read_json(body: bytes) -> ExportTraceServiceRequest:
    """Read the JSON form, in which ids are hex.

    Raises:
        ValueError: It is none.
    """
    data: Any = from_json(body) if body.strip() else {}
    if not isinstance(data, dict):
        raise ValueError(  # noqa: TRY004 - what cannot be read, for whatever reason, is one kind of error
            "no ExportTraceServiceRequest can be read from the body: it should be a JSON object"
        )
    request = ExportTraceServiceRequest()
    try:
        json_format.ParseDict(_with_binary_ids(data), request, ignore_unknown_fields=True)
    except (json_format.ParseError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no ExportTraceServiceRequest can be read from the body: {error}") from None
    return request


def decode(request: ExportTraceServiceRequest, decoded: Decoded) -> Iterator[None]:
    """Decode span by span.

    Args:
        request: What was received.
        decoded: Where the spans are put.

    Yields:
        After each span, so that a long request need not hold anybody up.
    """
    for group in request.resource_spans:
        resource = OtelResource(attributes=_attributes(group.resource.attributes), schema_url=group.schema_url)
        for scope in group.scope_spans:
            for source in scope.spans:
                _decode_one(source, resource, decoded)
                yield


def _decode_one(source: trace_pb2.Span, resource: OtelResource, decoded: Decoded) -> None:
    attributes = _attributes(source.attributes)
    rollout_id = _named(_ROLLOUT, attributes, resource)
    attempt_id = _named(_ATTEMPT, attributes, resource)
    if rollout_id is None or attempt_id is None:
        decoded.nameless += 1
    elif not any(source.span_id):
        decoded.without_id += 1
    else:
        trace_id = source.trace_id.hex().rjust(32, "0")
        state = _trace_state(source.trace_state)
        span_id = source.span_id.hex().rjust(16, "0")
        own = SpanContext(
            trace_id=trace_id, span_id=span_id, is_remote=bool(source.flags & _REMOTE_FLAG), trace_state=state
        )
        decoded.spans.append(
            Span(
                rollout_id=rollout_id,
                attempt_id=attempt_id,
                sequence_id=_sequence(_named(_SEQUENCE, attributes, resource)),
                trace_id=trace_id,
                span_id=span_id,
                parent_id=source.parent_span_id.hex().rjust(16, "0") if any(source.parent_span_id) else None,
                name=source.name,
                status=TraceStatus(
                    status_code=_STATUS.get(source.status.code, "UNSET"), description=source.status.message or None
                ),
                attributes=attributes,
                events=[_event(event) for event in source.events],
                links=[_link(link) for link in source.links],
                start_time=_seconds(source.start_time_unix_nano),
                end_time=_seconds(source.end_time_unix_nano),
                context=own,
                resource=resource,
            )
        )


def _named(name: str, attributes: _Attributes, resource: OtelResource) -> str | None:
    value = attributes.get(name)
    if value is None:
        value = resource.attributes.get(name)
    return None if value is None or value == "" else str(value)


def _sequence(text: str | None) -> int:
    """A number that was given; 0, for which the store takes the next, where there is none that makes sense."""
    try:
        number = int(text or 0)
    except ValueError:
        return 0
    return number if 0 < number <= _GREATEST else 0


def _seconds(nanoseconds: int) -> float | None:
    return nanoseconds / 1e9 if nanoseconds else None


def _event(source: trace_pb2.Span.Event) -> Event:
    return Event(name=source.name, attributes=_attributes(source.attributes), timestamp=_seconds(source.time_unix_nano))


def _link(source: trace_pb2.Span.Link) -> Link:
    context = SpanContext(
        trace_id=source.trace_id.hex().rjust(32, "0"),
        span_id=source.span_id.hex().rjust(16, "0"),
        is_remote=bool(source.flags & _REMOTE_FLAG),
        trace_state=_trace_state(source.trace_state),
    )
    return Link(context=context, attributes=_attributes(source.attributes) or None)


def _trace_state(text: str) -> dict[str, str]:
    entries = (entry.partition("=") for entry in text.split(",") if "=" in entry)
    return {key.strip(): value.strip() for key, _, value in entries}


def _attributes(pairs: Iterable[KeyValue]) -> _Attributes:
    return {pair.key: attribute_value(_plain(pair.value)) for pair in pairs}


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind)


def _with_binary_ids(data: Any) -> Any:
    """The JSON with its hex ids as protobuf's JSON has bytes: in base64."""
    if isinstance(data, list):
        return [_with_binary_ids(item) for item in cast("list[Any]", data)]
    if not isinstance(data, dict):
        return data
    fields = cast("Mapping[str, Any]", data)
    return {
        name: _base64(value) if name in _IDS and isinstance(value, str) else _with_binary_ids(value)
        for name, value in fields.items()
    }


def _base64(text: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(text)).decode()
    except ValueError:
        raise ValueError(f"{text!r} is no id: in OTLP's JSON ids are written in hex") from None
