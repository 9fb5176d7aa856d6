"""Finds out whose span it is, on every provider that spans may come from.

```
on_start(span)   1 its parent belongs to a trace        → that trace
                 2 else the current attempt is open     → that one adopts it: a new root, or below a span of the host
                 3 else the current attempt is closed   → nobody: counted there as "late", reported once
                 4 else                                 → none of our business
on_end(span)     a new object: found by its id
```

There is one processor for the life of the process, put once on each provider. While no trace is open it does nothing
but look at a context variable. A trace's ids are known only while it is open.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan

from lightning_actors.log import get_logger
from lightning_actors.tracer.trace import Trace, current_trace

__all__ = ["PROCESSOR", "TraceProcessor"]

log = get_logger("lightning_actors.tracer")


class TraceProcessor(SpanProcessor):
    """Hands spans to the traces that they belong to."""

    def __init__(self) -> None:
        self._owners: dict[int | tuple[int, int], Trace] = {}
        self._attached: weakref.WeakSet[otel.TracerProvider] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._reported: set[str] = set()

    def attach(self, provider: otel.TracerProvider) -> None:
        """See this provider's spans from now on; a second time changes nothing."""
        if provider in self._attached:
            return
        with self._lock:
            if provider in self._attached:
                return
            self._attached.add(provider)
        if isinstance(provider, TracerProvider):
            provider.add_span_processor(self)
        else:
            self.report_once(
                "provider_not_captured",
                provider=type(provider).__qualname__,
                hint="only spans of opentelemetry-sdk's TracerProvider can be captured in rollouts",
            )

    def opened(self, trace: Trace) -> None:
        """A trace takes in spans from now on."""
        self._owners[trace.root.trace_id] = trace

    def closed(self, trace: Trace) -> None:
        """A trace takes in no more: forget all ids that led to it."""
        for key in (trace.root.trace_id, *trace.adopted):
            if self._owners.get(key) is trace:
                del self._owners[key]

    def report_once(self, event: str, **fields: Any) -> None:
        """Warn of something that is counted on each rollout but said once in the life of the process."""
        if event not in self._reported:
            self._reported.add(event)
            log.warning(event, **fields)

    def on_start(self, span: SdkSpan, parent_context: otel_context.Context | None = None) -> None:
        """Give a span that has begun to its owner; see the module's docstring."""
        current = current_trace()
        if current is not None and not current.captures:
            current = None
        if current is None and not self._owners:
            return
        context = span.get_span_context()
        trace = self._owner(span.parent, context, current)
        if trace is not None:
            trace.span_started(span, context)
        elif current is not None:
            current.count("late")
            self.report_once(
                "span_after_the_end",
                span=span.name,
                rollout_id=current.rollout_id,
                hint="the agent left a task or thread behind; its spans are counted in trace.notes['late']",
            )

    def _owner(self, parent: otel.SpanContext | None, context: otel.SpanContext, current: Trace | None) -> Trace | None:
        if parent is not None:
            ours = parent.trace_id
            if current is not None and current.is_open and (ours == current.root.trace_id or ours in current.adopted):
                return current
            beside = (ours, parent.span_id)
            owner = self._owners.get(ours) or self._owners.get(beside)
            if owner is not None:
                if beside in owner.adopted:
                    self._adopt(owner, (context.trace_id, context.span_id))
                return owner
        if current is None or not current.is_open:
            return None
        self._adopt(current, context.trace_id if parent is None else (context.trace_id, context.span_id))
        return current

    def _adopt(self, trace: Trace, key: int | tuple[int, int]) -> None:
        """Remember an id that leads to the trace: a new root's whole trace, or one span in a trace of the host."""
        trace.adopted[key] = None
        self._owners[key] = trace

    def on_end(self, span: ReadableSpan) -> None:
        """Give a span that has ended to its owner."""
        context = span.get_span_context()
        if context is None:
            return
        owner = current_trace()
        if owner is None or not owner.span_ended(span, context):
            owner = self._owners.get(context.trace_id) or self._owners.get((context.trace_id, context.span_id))
            if owner is None or not owner.span_ended(span, context):
                return
        dropped = span.dropped_attributes + span.dropped_events + span.dropped_links
        if dropped:
            owner.count("truncated", dropped)
            self.report_once(
                "spans_truncated",
                span=span.name,
                rollout_id=owner.rollout_id,
                hint="the application's OpenTelemetry limits drop attributes, events or links of spans in rollouts; "
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT and its like raise them",
            )


PROCESSOR: Final = TraceProcessor()
"""The one processor of this process."""
