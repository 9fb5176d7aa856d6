"""Spans and their parts, as they are stored and sent.

Source: names, fields and the time rule are those of Agent Lightning 0.3; ids and statuses those of OpenTelemetry.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol, Self, cast

from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace.status import Status as SdkStatus
from pydantic import BaseModel, ConfigDict, Field, WrapValidator
from pydantic_core import to_json

from lightning_actors.types.nothing import NO_ENTRIES, NO_ITEMS
from lightning_actors.types.trusted import trusted

__all__ = [
    "AttributeValue",
    "Attributes",
    "Event",
    "Link",
    "OtelResource",
    "Span",
    "SpanContext",
    "SpanCoreFields",
    "SpanLike",
    "SpanRecordingContext",
    "StatusCode",
    "TraceState",
    "TraceStatus",
    "attribute_value",
    "seconds_of",
]

AttributeValue = str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]
"""What OpenTelemetry allows as an attribute: a primitive, or a sequence of primitives of one kind."""

_PRIMITIVES = frozenset({str, bool, int, float})


def _quick(value: object, handler: Callable[[object], dict[str, AttributeValue]]) -> dict[str, AttributeValue]:
    """Skip the slow union check where all values are plainly primitive, which is nearly always."""
    if isinstance(value, dict):
        plain = cast("dict[str, AttributeValue]", value)
        if all(type(v) in _PRIMITIVES for v in plain.values()):
            return plain
    return handler(cast("object", value))


Attributes = Annotated[dict[str, AttributeValue], WrapValidator(_quick)]
"""Attribute values by dotted name."""

TraceState = dict[str, str]
"""Vendor entries that travel with a span context."""

StatusCode = Literal["UNSET", "OK", "ERROR"]
"""How a span ended, in OpenTelemetry's words."""

_NANOSECONDS_FROM = 1e12


def seconds_of(stamp: float | None) -> float | None:
    """A time stamp in seconds: anything above 1e12 is taken for nanoseconds, None and 0 mean none."""
    if not stamp:
        return None
    return stamp / 1e9 if stamp > _NANOSECONDS_FROM else float(stamp)


class _Part(BaseModel):
    """A frozen part of a span that keeps what it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")


class SpanContext(_Part):
    """Where a span stands: 32 hex digits of trace id, 16 of span id."""

    trace_id: str
    span_id: str
    is_remote: bool = False
    trace_state: TraceState = Field(default_factory=dict[str, str])

    @classmethod
    def from_opentelemetry(cls, source: otel.SpanContext) -> Self:
        """Read an OpenTelemetry span context."""
        trace_id, span_id, is_remote, _, state, _ = source
        fields = {
            "trace_id": _in_hex(trace_id),
            "span_id": f"{span_id:016x}",
            "is_remote": is_remote,
            "trace_state": NO_ENTRIES if state is otel.DEFAULT_TRACE_STATE else dict(state.items()),
        }
        return trusted(cls, _CONTEXT_FIELDS, fields, NO_ENTRIES)


_CONTEXT_FIELDS = set(SpanContext.model_fields)


@lru_cache(256)
def _in_hex(trace_id: int) -> str:
    """A trace id in hex, the same text for all spans of a trace that come soon after one another."""
    return f"{trace_id:032x}"


class TraceStatus(_Part):
    """How a span ended."""

    status_code: StatusCode = "UNSET"
    description: str | None = None

    @classmethod
    def from_opentelemetry(cls, source: SdkStatus) -> Self:
        """Read an OpenTelemetry status."""
        return cls(status_code=source.status_code.name, description=source.description)


_UNSET = TraceStatus()


class Event(_Part):
    """Something that happened within a span; ``timestamp`` in seconds."""

    name: str
    attributes: Attributes = Field(default_factory=dict[str, AttributeValue])
    timestamp: float | None = None

    @classmethod
    def from_opentelemetry(cls, source: SdkEvent) -> Self:
        """Read an OpenTelemetry event."""
        return cls(name=source.name, attributes=_plain(source.attributes), timestamp=source.timestamp / 1e9)


class Link(_Part):
    """A pointer to another span."""

    context: SpanContext
    attributes: Attributes | None = None

    @classmethod
    def from_opentelemetry(cls, source: otel.Link) -> Self:
        """Read an OpenTelemetry link."""
        return cls(
            context=SpanContext.from_opentelemetry(source.context),
            attributes=_plain(source.attributes) if source.attributes else None,
        )


class OtelResource(BaseModel):
    """The process that a span comes from."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    attributes: Attributes = Field(default_factory=dict[str, AttributeValue])
    schema_url: str = ""

    @classmethod
    def from_opentelemetry(cls, source: SdkResource) -> Self:
        """Read an OpenTelemetry resource; the same one, as all spans of a provider share it, gives the same object."""
        known = _RESOURCES.get(id(source))
        if known is not None and known[0] is source and type(known[1]) is cls:
            return known[1]
        resource = cls(attributes=_plain(source.attributes), schema_url=source.schema_url)
        if len(_RESOURCES) >= _RESOURCES_KEPT:
            _RESOURCES.clear()
        _RESOURCES[id(source)] = (source, resource)
        return resource


# By identity, since a resource's own hash writes all of it as JSON. It holds the source, so that an id stays taken.
_RESOURCES: dict[int, tuple[SdkResource, OtelResource]] = {}
_RESOURCES_KEPT = 16


class SpanCoreFields(BaseModel):
    """What an agent or an emitter says of a span; ids and place are added when it is stored.

    Attributes:
        name: What was done.
        status: How it ended.
        attributes: Values by dotted name.
        start_time: Seconds, or None for the time of storing.
        end_time: Seconds, or None.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    name: str
    status: TraceStatus = Field(default_factory=TraceStatus)
    attributes: Attributes = Field(default_factory=dict[str, AttributeValue])
    start_time: float | None
    end_time: float | None


class Span(_Part):
    """One step of a rollout.

    Attributes:
        rollout_id: The rollout it belongs to.
        attempt_id: The attempt it belongs to.
        sequence_id: Its place among the rollout's spans, from 1; 0 until the store has given one.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: The enclosing span, or None at the root.
        name: What was done.
        status: How it ended.
        attributes: Values by dotted name.
        events: What happened within it, in order.
        links: Spans it points to.
        start_time: Seconds since the epoch.
        end_time: Seconds since the epoch; None if it never ended.
        context: Its own OpenTelemetry context, where known.
        parent: Its parent's context, where known.
        resource: The process it comes from.
    """

    rollout_id: str
    attempt_id: str
    sequence_id: int = Field(ge=-(2**63), lt=2**63)
    trace_id: str
    span_id: str
    parent_id: str | None = None
    name: str
    status: TraceStatus = Field(default_factory=TraceStatus)
    attributes: Attributes = Field(default_factory=dict[str, AttributeValue])
    events: list[Event] = Field(default_factory=list[Event])
    links: list[Link] = Field(default_factory=list[Link])
    start_time: float | None = None
    end_time: float | None = None
    context: SpanContext | None = None
    parent: SpanContext | None = None
    resource: OtelResource = Field(default_factory=OtelResource)

    def __repr__(self) -> str:
        seconds = f" {self.end_time - self.start_time:.3f}s" if self.start_time and self.end_time else ""
        status = "" if self.status.status_code == "UNSET" else f" {self.status.status_code}"
        return f"<Span {self.name!r} #{self.sequence_id} of {self.rollout_id}{status}{seconds}>"

    __str__ = __repr__

    @classmethod
    def from_opentelemetry(
        cls,
        source: ReadableSpan,
        rollout_id: str,
        attempt_id: str,
        sequence_id: int,
        *,
        known: dict[int, SpanContext] | None = None,
    ) -> Self:
        """Read an OpenTelemetry span that has ended.

        Args:
            source: The span as the SDK hands it to a processor or exporter.
            rollout_id: The rollout to file it under.
            attempt_id: The attempt to file it under.
            sequence_id: Its place; 0 lets the store choose.
            known: Contexts read before, by span id as a number; spans of one trace share them, and new ones are added.

        Returns:
            The span with ids in hex and times in seconds.

        Raises:
            ValueError: The span has no context (it was never started).
        """
        context = source.get_span_context()
        if context is None:
            raise ValueError(f"span {source.name!r} has no context: only a started span can be stored")
        own = _shared(context, known)
        above = _shared(source.parent, known) if source.parent else None
        status, events, links = source.status, source.events, source.links
        return cls.of(
            (rollout_id, attempt_id, sequence_id),
            own,
            above,
            name=source.name,
            status=_UNSET if status.is_unset else TraceStatus.from_opentelemetry(status),
            attributes=_plain(source.attributes),
            events=[Event.from_opentelemetry(event) for event in events] if events else NO_ITEMS,
            links=[Link.from_opentelemetry(link) for link in links] if links else NO_ITEMS,
            start_time=source.start_time / 1e9 if source.start_time else None,
            end_time=source.end_time / 1e9 if source.end_time else None,
            resource=OtelResource.from_opentelemetry(source.resource),
        )

    @classmethod
    def of(
        cls,
        place: tuple[str, str, int],
        own: SpanContext,
        above: SpanContext | None,
        *,
        name: str,
        status: TraceStatus,
        attributes: dict[str, AttributeValue],
        events: list[Event],
        links: list[Link],
        start_time: float | None,
        end_time: float | None,
        resource: OtelResource,
    ) -> Self:
        """A span of parts that were checked before; trusted, not checked again.

        Args:
            place: Its rollout, its attempt, and its sequence id (0 lets the store choose).
            own: Its own context.
            above: That of the span above it; None at the root.
            name: What was done.
            status: How it ended.
            attributes: What OpenTelemetry allows, by dotted name; the span keeps this dict.
            events: What happened within it; the span keeps this list.
            links: Spans it points to; the span keeps this list.
            start_time: Seconds since the epoch.
            end_time: Seconds since the epoch.
            resource: The process it comes from.
        """
        fields = {
            "rollout_id": place[0],
            "attempt_id": place[1],
            "sequence_id": place[2],
            "trace_id": own.trace_id,
            "span_id": own.span_id,
            "parent_id": None if above is None else above.span_id,
            "name": name,
            "status": status,
            "attributes": attributes,
            "events": events,
            "links": links,
            "start_time": start_time,
            "end_time": end_time,
            "context": own,
            "parent": above,
            "resource": resource,
        }
        return trusted(cls, _SPAN_FIELDS, fields, NO_ENTRIES)

    @classmethod
    def from_attributes(
        cls,
        *,
        attributes: dict[str, AttributeValue],
        rollout_id: str | None = None,
        attempt_id: str | None = None,
        sequence_id: int | None = None,
        name: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        parent_id: str | None = None,
        start_time: float | None = None,
        end_time: float | None = None,
        resource: OtelResource | None = None,
        status: TraceStatus | None = None,
    ) -> Self:
        """Make a span that no tracer saw: random ids, no place, status OK, unless said otherwise."""
        trace_id = trace_id or secrets.token_hex(16)
        span_id = span_id or secrets.token_hex(8)
        return cls(
            rollout_id=rollout_id or "",
            attempt_id=attempt_id or "",
            sequence_id=sequence_id or 0,
            trace_id=trace_id,
            span_id=span_id,
            parent_id=parent_id,
            name=name or "agentlightning.virtual",
            status=status or TraceStatus(status_code="OK"),
            attributes=attributes,
            start_time=seconds_of(start_time),
            end_time=seconds_of(end_time),
            context=SpanContext(trace_id=trace_id, span_id=span_id),
            parent=SpanContext(trace_id=trace_id, span_id=parent_id) if parent_id else None,
            resource=resource or OtelResource(),
        )

    @classmethod
    def from_core_fields(cls, core: SpanCoreFields, *, rollout_id: str, attempt_id: str, sequence_id: int) -> Self:
        """Give the span that an agent or emitter described its ids and its place; it starts now if it says nothing."""
        return cls.from_attributes(
            attributes=dict(core.attributes),
            rollout_id=rollout_id,
            attempt_id=attempt_id,
            sequence_id=sequence_id,
            name=core.name,
            start_time=core.start_time if core.start_time is not None else time.time(),
            end_time=core.end_time,
            status=core.status,
        )


_SPAN_FIELDS = set(Span.model_fields)

SpanLike = ReadableSpan | Span
"""What the readers of rewards and messages accept."""


class SpanRecordingContext(Protocol):
    """What ``operation_context`` gives while an operation is under way."""

    def record_exception(self, exception: BaseException) -> None:
        """Note that this was raised."""
        ...

    def record_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes to the span; what is not an attribute's value is written as JSON."""
        ...

    def record_status(self, status_code: StatusCode, description: str | None = None) -> None:
        """Say how the operation ended."""
        ...

    def get_recorded_span(self) -> SpanCoreFields:
        """The span as recorded so far."""
        ...


def _shared(source: otel.SpanContext, known: dict[int, SpanContext] | None) -> SpanContext:
    if known is None:
        return SpanContext.from_opentelemetry(source)
    context = known.get(source.span_id)
    if context is None:
        context = known[source.span_id] = SpanContext.from_opentelemetry(source)
    return context


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, AttributeValue]:
    """OpenTelemetry's mapping as a dict of what a span may hold."""
    if not attributes:
        return NO_ENTRIES
    copied: dict[str, Any] = cast("Any", attributes).copy() if hasattr(attributes, "copy") else dict(attributes)
    for key, value in copied.items():
        if type(value) not in _PRIMITIVES:
            copied[key] = attribute_value(value)
    return copied


def attribute_value(value: Any) -> AttributeValue:
    """Any value as one that a span may hold.

    Bytes become hex, tuples lists; what OpenTelemetry allows only lately (None, mappings, mixed lists) JSON text.
    """
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        items = list(cast("Sequence[Any]", value))
        if not items or (type(items[0]) in _PRIMITIVES and all(type(item) is type(items[0]) for item in items)):
            return items
    elif isinstance(value, (str, bool, int, float)):
        return value
    return to_json(value, bytes_mode="hex", inf_nan_mode="constants", fallback=repr).decode()
