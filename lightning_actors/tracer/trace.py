"""The spans of one attempt, from the first to the last.

```
            a span ends, add(), capture()          flush() or the end of the context
 open ────────────────────────────────→ pending ───────────────────────────────────→ written
   │  open spans are known by id                 one add_many_spans at a time
   └─ close(): spans still open are kept as they are, without an end time; nothing is taken in any more
```

Spans start and end in whatever thread the agent uses, so what they touch here is single dict and list operations.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan

from lightning_actors.log import get_logger
from lightning_actors.tracer.recording import Recording
from lightning_actors.tracer.span_log import SpanLog
from lightning_actors.types import (
    AttributeValue,
    Event,
    Link,
    OtelResource,
    Span,
    SpanContext,
    SpanCoreFields,
    TraceStatus,
)
from lightning_actors.types.nothing import NO_ITEMS
from lightning_actors.types.trusted import trusted

__all__ = ["SpanSink", "Trace", "TraceOwner", "current_trace", "last_trace", "remember_last"]

log = get_logger("lightning_actors.tracer")

CURRENT: Final[ContextVar[Trace | None]] = ContextVar("lightning_actors_current_trace", default=None)
LAST: Final[ContextVar[Trace | None]] = ContextVar("lightning_actors_last_trace", default=None)

_NAMES_KEPT: Final = 20
SAMPLED: Final = otel.TraceFlags(otel.TraceFlags.SAMPLED)


class SpanSink(Protocol):
    """Where spans are written: any store."""

    def add_many_spans(self, spans: Sequence[Span]) -> Awaitable[Sequence[Span]]:
        """Store these spans and return them as stored, with the sequence ids that the store gave."""
        ...


class TraceOwner(Protocol):
    """What a trace needs of its tracer."""

    @property
    def captures(self) -> bool:
        """Whether OpenTelemetry spans that begin within its traces are taken in."""
        ...

    @property
    def resource(self) -> OtelResource:
        """Where spans come from that no SDK made."""
        ...

    @property
    def forward(self) -> Callable[[Sequence[Span]], object] | None:
        """What is handed spans that were stored; None for nobody."""
        ...

    def trace_opened(self, trace: Trace) -> None:
        """Do what a trace that has just got its root wants."""
        ...

    def begin_operation(
        self,
        trace: Trace | None,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        start_time: float | None = None,
    ) -> Recording:
        """Begin an operation below the current span."""
        ...


def current_trace() -> Trace | None:
    """The trace of the rollout that this code runs in, closed or not; None outside one."""
    return CURRENT.get()


def last_trace() -> Trace | None:
    """The trace of the current rollout, or outside one the trace that ended last in this context."""
    return CURRENT.get() or LAST.get()


def remember_last(trace: Trace) -> None:
    """Make this the trace that ended last in the caller's context.

    Whoever runs a trace in a task of its own calls this in the task that asked for it.
    """
    LAST.set(trace)


@contextmanager
def outside_any_attempt() -> Generator[None]:
    """Run without a current attempt and span: what writes spans must not add any to the attempt it is called from."""
    token = CURRENT.set(None)
    otel_token = otel_context.attach(otel_context.Context())
    try:
        yield
    finally:
        otel_context.detach(otel_token)
        CURRENT.reset(token)


class Trace:
    """What happened in one attempt.

    Attributes:
        tracer: The tracer that opened it.
        rollout_id: The rollout, or ``""`` outside one.
        attempt_id: The attempt, or ``""`` outside one.
        captures: Whether OpenTelemetry spans that begin in its context are taken in.
        log: Its ended spans, and how far they are written.
        notes: What is missing or odd, JSON values by key; empty when all is well.
            ``open_at_end`` (names of spans that had not ended), ``late`` (how many spans began after the end and were
            not taken in), ``sampled_out`` (how many spans a host's sampler is known to have kept back), ``sampler``
            (that sampler, if it keeps back this rollout's spans), ``truncated`` (how many attributes, events and links
            a host's limits dropped), ``unreadable`` (how many spans could not be converted).
    """

    def __init__(
        self,
        tracer: TraceOwner,
        *,
        rollout_id: str = "",
        attempt_id: str = "",
        sink: SpanSink | None = None,
        mark_dirty: Callable[[Trace], None] | None = None,
    ) -> None:
        self.tracer: Final = tracer
        self.captures: Final = tracer.captures
        self.rollout_id: Final = rollout_id
        self.attempt_id: Final = attempt_id
        self.notes: Final[dict[str, Any]] = {}
        self.sink: Final = sink
        self.thread: Final = threading.get_ident()
        self.log: Final = SpanLog(tracer.forward)
        self.root: otel.SpanContext = otel.INVALID_SPAN_CONTEXT
        self._mark_dirty: Final = mark_dirty if sink is not None else None
        self._is_open = True
        self._open: dict[int, ReadableSpan] = {}
        self.adopted: Final[dict[int | tuple[int, int], None]] = {}
        self._contexts: dict[int, SpanContext] = {}  # those of ended spans and of their parents
        self._missing: dict[int, None] = {}

    def __repr__(self) -> str:
        state = "open" if self._is_open else "closed"
        return f"<Trace {self.rollout_id or 'of no rollout'} {self.attempt_id} {state} spans={len(self.log)}>"

    @property
    def is_open(self) -> bool:
        """Whether it still takes in spans."""
        return self._is_open

    @property
    def spans(self) -> list[Span]:
        """All spans that have ended so far, in order of their ends; those written are as the store returned them."""
        return self.log.spans

    @property
    def pending(self) -> int:
        """How many spans have not been written yet; 0 without a store."""
        return self.log.unwritten if self.sink is not None else 0

    def add(
        self,
        core: SpanCoreFields,
        *,
        context: otel.SpanContext | None = None,
        parent: otel.SpanContext | None = None,
        events: Sequence[Event] = (),
    ) -> Span:
        """Take in a span that no SDK made.

        Args:
            core: What it says. It starts now if it does not say when, and ends when it starts if it does not say.
            context: Its own ids; None for new ones.
            parent: The span above it; None for the current span if that is one of this trace, else the root.
            events: What happened within it.

        Returns:
            The span, with sequence id 0 until the store gives one.

        Raises:
            RuntimeError: The trace is closed.
        """
        self._check_open(core.name)
        above = parent or self.parent_of_new()
        start = core.start_time if core.start_time is not None else time.time()
        return self.take_in(
            core.name,
            context or context_below(above),
            above,
            status=core.status,
            attributes=dict(core.attributes),
            events=list(events) if events else NO_ITEMS,
            start_time=start,
            end_time=core.end_time if core.end_time is not None else start,
        )

    def take_in(
        self,
        name: str,
        context: otel.SpanContext,
        above: otel.SpanContext,
        *,
        status: TraceStatus,
        attributes: dict[str, AttributeValue],
        events: list[Event],
        links: list[Link] | None = None,
        start_time: float,
        end_time: float,
    ) -> Span:
        """Take in a span of parts that were checked before, and keep them; the trace is open.

        Args:
            name: What was done.
            context: Its own ids.
            above: The span above it, invalid for none.
            status: How it ended.
            attributes: What OpenTelemetry allows.
            events: What happened within it.
            links: Spans it points to.
            start_time: Seconds since the epoch.
            end_time: Seconds since the epoch.
        """
        span = Span.of(
            (self.rollout_id, self.attempt_id, 0),
            self._seen(context),
            self._seen(above) if above.is_valid else None,
            name=name,
            status=status,
            attributes=attributes,
            events=events or NO_ITEMS,
            links=links or NO_ITEMS,
            start_time=start_time,
            end_time=end_time,
            resource=self.tracer.resource,
        )
        self._append(span)
        return span

    def _seen(self, context: otel.SpanContext) -> SpanContext:
        """A context as it is stored; spans of one trace share them."""
        known = self._contexts.get(context.span_id)
        if known is None:
            known = self._contexts[context.span_id] = SpanContext.from_opentelemetry(context)
        return known

    def capture(self, span: Span | ReadableSpan) -> Span:
        """Take in a finished span as it is, filed under this trace's ids.

        Args:
            span: One that somebody else made: an SDK span, or a span with this attempt's ids or with none.

        Returns:
            The span as taken in; if the trace has one with this id already, that one.

        Raises:
            RuntimeError: The trace is closed.
            ValueError: The span says that it belongs to another rollout or attempt.
        """
        self._check_open(span.name)
        if isinstance(span, ReadableSpan):
            own = Span.from_opentelemetry(span, self.rollout_id, self.attempt_id, 0)
        else:
            own = self._filed(span)
        known = self.log.find(own.span_id)
        if known is not None:
            return known
        self._append(own)
        return own

    def _filed(self, span: Span) -> Span:
        here = (self.rollout_id, self.attempt_id)
        if (span.rollout_id or here[0], span.attempt_id or here[1]) != here:
            raise ValueError(
                f"span {span.name!r} belongs to rollout {span.rollout_id!r}, attempt {span.attempt_id!r}, not to "
                f"{here[0]!r}, {here[1]!r}: give it these ids, or empty ones"
            )
        if (span.rollout_id, span.attempt_id) == here:
            return span
        return span.model_copy(update={"rollout_id": here[0], "attempt_id": here[1]})

    def _check_open(self, name: str) -> None:
        if not self._is_open:
            raise RuntimeError(
                f"span {name!r} came after the end of {self!r}: emit it before the agent returns, and await the tasks "
                f"that the agent starts"
            )

    def _append(self, span: Span) -> None:
        self.log.append(span)
        if self._mark_dirty is not None:
            self._mark_dirty(self)

    def parent_of_new(self) -> otel.SpanContext:
        """The current span, if it is one of this trace and is being recorded; else the root."""
        current = otel.get_current_span()
        context = current.get_span_context()
        if context is self.root or context.span_id in self._open:
            return context
        if context.trace_id == self.root.trace_id and context.is_valid:
            if current.is_recording():
                return context
            if context.span_id != self.root.span_id:
                self.note_missing(context.span_id)
        return self.root

    def context_of_new(self) -> otel_context.Context:
        """The OpenTelemetry context for a new span that others may stand below."""
        parent = self.parent_of_new()
        if otel.get_current_span().get_span_context() is parent:
            return otel_context.get_current()
        return otel.set_span_in_context(otel.NonRecordingSpan(parent))

    # What the span processor tells.

    def span_started(self, span: ReadableSpan, context: otel.SpanContext) -> None:
        """A span of this trace has begun."""
        parent = span.parent
        if (
            parent is not None
            and parent.span_id not in self._open
            and parent.span_id not in self._contexts
            and parent.trace_id == self.root.trace_id
            and parent.span_id != self.root.span_id
            and not parent.is_remote
        ):
            self.note_missing(parent.span_id)
        self._open[context.span_id] = span

    def span_ended(self, span: ReadableSpan, context: otel.SpanContext) -> bool:
        """A span has ended; tells whether it is one of this trace that was still open."""
        begun = self._open.get(context.span_id)
        if begun is None or begun.get_span_context() is not context:  # ids repeat where an agent seeds ``random``
            return False
        self._open.pop(context.span_id, None)
        self._convert(span)
        return True

    def _convert(self, span: ReadableSpan) -> None:
        try:
            own = Span.from_opentelemetry(span, self.rollout_id, self.attempt_id, 0, known=self._contexts)
        except Exception as error:  # noqa: BLE001 - boundary: a span that cannot be read must not break the agent's code
            self.count("unreadable")
            log.warning("span_unreadable", rollout_id=self.rollout_id, span=span.name, error=repr(error))
            return
        self._append(own)

    def note_missing(self, span_id: int) -> None:
        """Something points to this span, but a host's sampler kept it back."""
        if span_id not in self._missing:
            self._missing[span_id] = None
            self.count("sampled_out")

    def count(self, note: str, by: int = 1) -> None:
        """Add to one of the counters in ``notes``."""
        self.notes[note] = self.notes.get(note, 0) + by

    def close(self) -> None:
        """Take in no more; keep the spans that are still open as they are, without an end time."""
        self._is_open = False
        while self._open:
            try:
                _, span = self._open.popitem()
            except KeyError:  # it ended in another thread at this moment
                break
            names = self.notes.setdefault("open_at_end", [])
            if len(names) < _NAMES_KEPT:
                names.append(span.name)
            self._convert(span)
        self._contexts.clear()


_ids: Final = random.Random()  # noqa: S311 - ids, not secrets
if hasattr(os, "register_at_fork"):  # where there are forks, a child has other ids than its parent
    os.register_at_fork(after_in_child=_ids.seed)


def new_span_id() -> int:
    """A random span id that does not depend on the state of ``random``, which agents seed."""
    return _ids.getrandbits(64) or 1


def new_trace_id() -> int:
    """A random trace id that does not depend on the state of ``random``, which agents seed."""
    return _ids.getrandbits(128) or 1


def context_below(above: otel.SpanContext) -> otel.SpanContext:
    """A new span's context, in the same trace as the span above it if there is one."""
    return otel.SpanContext(above.trace_id or new_trace_id(), new_span_id(), is_remote=False, trace_flags=SAMPLED)


def core_fields(
    name: str,
    attributes: dict[str, AttributeValue] | None = None,
    *,
    timestamp: float | None = None,
    status: TraceStatus | None = None,
) -> SpanCoreFields:
    """A span without duration: at this time (now), and OK, unless said otherwise."""
    at = timestamp if timestamp is not None else time.time()
    fields = {
        "name": name,
        "status": status or OK,
        "attributes": attributes if attributes is not None else {},
        "start_time": at,
        "end_time": at,
    }
    return trusted(SpanCoreFields, _CORE_FIELDS, fields)


OK: Final = TraceStatus(status_code="OK")
_CORE_FIELDS: Final = set(SpanCoreFields.model_fields)
