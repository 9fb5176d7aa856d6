"""What an operation notes about itself, and how a failure is noted on a span."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.trace.status import Status
from opentelemetry.trace.status import StatusCode as OtelStatusCode
from opentelemetry.util.types import Attributes as OtelAttributes

from lightning_actors.attributes import format_exception_attributes, sanitize_attributes
from lightning_actors.types import AttributeValue, SpanCoreFields, StatusCode, TraceStatus

__all__ = ["Recording", "record_failure"]

_OTEL_STATUS: Final = {code.name: code for code in OtelStatusCode}


def failure_text(error: BaseException) -> str:
    """The error's type and message in one line, for a span's status."""
    message = format_exception_attributes(error)["exception.message"]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def record_failure(span: otel.Span, error: BaseException) -> None:
    """Note on a span that this error ended it, cancellation included."""
    span.add_event("exception", cast("OtelAttributes", format_exception_attributes(error)))
    span.set_status(Status(OtelStatusCode.ERROR, failure_text(error)))


class Recording:
    """An operation under way; every note goes to its span too, where there is one.

    Attributes:
        start_time: Seconds since the epoch.
    """

    def __init__(self, name: str, attributes: Mapping[str, AttributeValue], start_time: float) -> None:
        self.start_time: Final = start_time
        self._name = name
        self._attributes = dict(attributes)
        self._status = TraceStatus()
        self._end_time: float | None = None
        self._span: otel.Span | None = None
        self._context: otel_context.Context | None = None

    def record_exception(self, exception: BaseException) -> None:
        """Note that this was raised: an event on the span, and status ERROR."""
        if self._span is not None:
            record_failure(self._span, exception)
        self._status = TraceStatus(status_code="ERROR", description=failure_text(exception))

    def record_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes.

        Raises:
            TypeError: One of them cannot be written as JSON.
        """
        known = sanitize_attributes(attributes)
        self._attributes.update(known)
        if self._span is not None:
            self._span.set_attributes(known)

    def record_status(self, status_code: StatusCode, description: str | None = None) -> None:
        """Say how the operation ended."""
        self._status = TraceStatus(status_code=status_code, description=description)
        if self._span is not None:
            # OpenTelemetry allows a description only beside ERROR.
            told = description if status_code == "ERROR" else None
            self._span.set_status(Status(_OTEL_STATUS[status_code], told))

    def get_recorded_span(self) -> SpanCoreFields:
        """The span as recorded so far; its end time is None until the operation has ended."""
        return SpanCoreFields(
            name=self._name,
            status=self._status,
            attributes=dict(self._attributes),
            start_time=self.start_time,
            end_time=self._end_time,
        )

    def begin_on(self, span: otel.Span, context: otel_context.Context) -> None:
        """Tell this span everything from now on.

        Args:
            span: The operation's span.
            context: The context it was started in.
        """
        self._span = span
        self._context = otel.set_span_in_context(span, context)

    @contextmanager
    def active(self) -> Generator[None]:
        """Make the operation's span the current one for the length of a block."""
        if self._context is None:
            yield
            return
        token = otel_context.attach(self._context)
        try:
            yield
        finally:
            otel_context.detach(token)

    @contextmanager
    def until_end(self, end_time: float | None = None) -> Generator[None]:
        """Record how the block ends, and end the operation there.

        Args:
            end_time: Seconds since the epoch; None for the time at which the block ends.
        """
        try:
            yield
        except GeneratorExit:  # nobody wanted the rest, which is no failure
            raise
        except BaseException as error:
            self.record_exception(error)
            raise
        finally:
            if self._status.status_code == "UNSET":
                self.record_status("OK")
            self._end_time = end_time if end_time is not None else time.time()
            if self._span is not None:
                self._span.end(int(self._end_time * 1e9))
