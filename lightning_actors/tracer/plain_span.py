"""A span for tracers that have no SDK."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from opentelemetry import trace as otel
from opentelemetry.trace.status import Status
from opentelemetry.trace.status import StatusCode as OtelStatusCode
from opentelemetry.util.types import Attributes as OtelAttributes

from lightning_actors.attributes import format_exception_attributes, sanitize_attributes
from lightning_actors.tracer.trace import Trace
from lightning_actors.types import AttributeValue, Event, Link, TraceStatus
from lightning_actors.types.nothing import NO_ENTRIES, NO_ITEMS

__all__ = ["PlainSpan"]

_UNSET: Final = TraceStatus()


class PlainSpan(otel.Span):
    """A span that needs no SDK: it goes into its trace when it ends."""

    def __init__(
        self,
        trace: Trace,
        name: str,
        *,
        context: otel.SpanContext,
        parent: otel.SpanContext = otel.INVALID_SPAN_CONTEXT,
        links: Sequence[otel.Link] = (),
        attributes: Mapping[str, AttributeValue] | None = None,
        start_time: float | None = None,
    ) -> None:
        self._trace = trace
        self._name = name
        self._context = context
        self._parent = parent
        self._attributes: dict[str, Any] = dict(attributes or {})
        self._events: list[Event] | None = None
        self._links = links
        self._status = _UNSET
        self._start_time = start_time if start_time is not None else time.time()
        self._has_ended = False

    def get_span_context(self) -> otel.SpanContext:
        """Its ids."""
        return self._context

    def is_recording(self) -> bool:
        """Whether it has not ended."""
        return not self._has_ended

    def set_attribute(self, key: str, value: Any) -> None:
        """Add one attribute."""
        self._attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes."""
        self._attributes.update(attributes)

    def add_event(self, name: str, attributes: OtelAttributes = None, timestamp: int | None = None) -> None:
        """Note that something happened."""
        known = sanitize_attributes(cast("Mapping[str, Any]", attributes or {}), fallback=repr)
        seconds = timestamp / 1e9 if timestamp is not None else time.time()
        if self._events is None:
            self._events = []
        self._events.append(Event(name=name, attributes=known, timestamp=seconds))

    def add_link(self, context: otel.SpanContext, attributes: OtelAttributes = None) -> None:
        """Point to another span."""
        self._links = [*self._links, otel.Link(context, attributes)]

    def update_name(self, name: str) -> None:
        """Change the name."""
        self._name = name

    def set_status(self, status: Status | OtelStatusCode, description: str | None = None) -> None:
        """Say how it ended."""
        if isinstance(status, Status):
            status, description = status.status_code, status.description
        if status is OtelStatusCode.UNSET or self._status.status_code == "OK":
            return  # as the SDK has it: nothing unsets a status, and nothing takes an OK back
        told = description if status is OtelStatusCode.ERROR else None
        self._status = TraceStatus(status_code=status.name, description=told)

    def record_exception(
        self,
        exception: BaseException,
        attributes: OtelAttributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 - OpenTelemetry's signature
    ) -> None:
        """Note that this was raised."""
        known: dict[str, Any] = {**format_exception_attributes(exception), "exception.escaped": str(escaped)}
        self.add_event("exception", {**known, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """Put the span into its trace, if that is still open; a second time changes nothing."""
        if self._has_ended:
            return
        self._has_ended = True
        if not self._trace.is_open:
            return
        self._trace.take_in(
            self._name,
            self._context,
            self._parent,
            status=self._status,
            attributes=sanitize_attributes(self._attributes, fallback=repr) if self._attributes else NO_ENTRIES,
            events=self._events or NO_ITEMS,
            links=[Link.from_opentelemetry(link) for link in self._links] if self._links else NO_ITEMS,
            start_time=self._start_time,
            end_time=end_time / 1e9 if end_time is not None else time.time(),
        )
