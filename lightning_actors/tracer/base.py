"""The tracer: opens a trace for each attempt, and writes what it holds.

```
 runner                         tracer                                     store
 trace_context ──enter──→ root span, current trace
   the agent runs                 spans gather in the trace
   (once a second)  flush ──→ what is pending of all traces ─────────→ add_many_spans
 trace_context ──exit───→ root ends, trace closes, what is pending ──→ add_many_spans
```
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final, Self

from opentelemetry import context as otel_context
from opentelemetry import trace as otel

from lightning_actors.attributes import sanitize_attributes
from lightning_actors.semconv import AGL_ROLLOUT
from lightning_actors.tracer.context import TraceContext
from lightning_actors.tracer.forwarding import collector_in, forwarder
from lightning_actors.tracer.recording import Recording
from lightning_actors.tracer.trace import (
    SpanSink,
    Trace,
    core_fields,
    current_trace,
    last_trace,
)
from lightning_actors.tracer.writer import SpanWriter
from lightning_actors.types import (
    AttributeValue,
    OtelResource,
    ParallelWorkerBase,
    Span,
    SpanCoreFields,
    SpanRecordingContext,
    TraceStatus,
)

__all__ = ["Tracer"]

_RESOURCE: Final = OtelResource(attributes={"service.name": "lightning-actors"})


class Tracer(ParallelWorkerBase, ABC):
    """Records what agents do; one tracer serves any number of rollouts at once.

    A tracer may be shared by several runners: each calls ``init`` and ``teardown``, and the last teardown counts.
    After it the tracer can be initialised again.
    """

    captures: bool = True
    """Whether OpenTelemetry spans that begin within its traces are taken in."""

    def __init__(self) -> None:
        self._users = 0
        self._lock = threading.Lock()
        self._store: SpanSink | None = None
        self._forward: Callable[[Sequence[Span]], object] | None = None
        self._writer: Final = SpanWriter()
        self._mark: Final = self._writer.mark  # bound once, for all traces

    @property
    def resource(self) -> OtelResource:
        """Where spans come from that no SDK made."""
        return _RESOURCE

    @property
    def forward(self) -> Callable[[Sequence[Span]], object] | None:
        """What is handed spans that were stored, for the user's own collector; None where there is none."""
        return self._forward

    def init(self, *args: Any, **kwargs: Any) -> None:
        """Get ready; the first call does the work, each call wants a ``teardown`` of its own."""
        with self._lock:
            if self._users == 0:
                self._set_up()
                collector = collector_in(os.environ)
                forwarding = None if collector is None else forwarder(collector)
                self._forward = None if forwarding is None else forwarding.hand_over
            self._users += 1

    def init_worker(self, worker_id: int, store: SpanSink | None = None, *args: Any, **kwargs: Any) -> None:
        """Get ready for one worker.

        Args:
            worker_id: Its number.
            store: Where traces are written whose ``trace_context`` names no store.
            *args: Not used.
            **kwargs: Not used.
        """
        super().init_worker(worker_id, *args, **kwargs)
        if store is not None:
            self._store = store

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        """Undo ``init``; the last of several calls does the work, one too many changes nothing."""
        with self._lock:
            if self._users == 0:
                return
            self._users -= 1
            if self._users == 0:
                self._store = self._forward = None
                self._tear_down()

    def _set_up(self) -> None:
        """Do once what all users share."""

    def _tear_down(self) -> None:
        """Undo ``_set_up``."""

    @contextmanager
    def lifespan(self, store: SpanSink | None = None) -> Generator[Self]:
        """Initialise for the length of a ``with`` block, for use without a runner.

        Args:
            store: Where traces are written whose ``trace_context`` names no store.
        """
        self.init()
        try:
            self.init_worker(0, store)
            try:
                yield self
            finally:
                self.teardown_worker(0)
        finally:
            self.teardown()

    @abstractmethod
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
        """Begin a span of this trace that other spans may stand below.

        Args:
            trace: Whose span it is.
            name: What is done.
            context: Holds the span above it; empty for a root.
            attributes: What is known of it from the start.
            start_time: Seconds since the epoch; None for now.
            links: Spans it points to.

        Returns:
            The span, not yet current. Ending it puts it into the trace.
        """

    def trace_context(
        self,
        name: str | None = None,
        *,
        store: SpanSink | None = None,
        rollout_id: str | None = None,
        attempt_id: str | None = None,
    ) -> AbstractAsyncContextManager[Trace]:
        """Trace what runs inside as one attempt.

        Inside, a root span is current that begins a new OpenTelemetry trace and links to the span that was current
        before. At the end, also on errors and cancellation, the root ends, the trace takes in no more, and what has not
        been written yet is written at once, shielded from cancellation for up to 30 seconds by the store's clock.

        Args:
            name: The root span's name.
            store: Where spans are written; None for the store of ``init_worker``. Without any store, or without ids,
                spans are only kept in the trace.
            rollout_id: The rollout; given together with ``attempt_id`` or not at all.
            attempt_id: The attempt.

        Returns:
            A context manager that gives the trace.

        Raises:
            ValueError: Only one of the two ids was given.
            StoreError: The store took too long. What the store itself raises is raised as it is. If the body fails
                too, its error is raised, and the failed write is logged and noted on it.
        """
        if (rollout_id is None) != (attempt_id is None):
            raise ValueError(
                f"trace_context needs both rollout_id and attempt_id, or neither: got {rollout_id!r} and {attempt_id!r}"
            )
        sink = (store or self._store) if rollout_id is not None else None
        trace = Trace(self, rollout_id=rollout_id or "", attempt_id=attempt_id or "", sink=sink, mark_dirty=self._mark)
        return TraceContext(trace, name or AGL_ROLLOUT, self._writer)

    def trace_opened(self, trace: Trace) -> None:
        """Do what a trace that has just got its root wants."""

    async def flush(self) -> None:
        """Write what is pending of all traces that were opened in this thread, one batch for each store.

        What is being written already is left to that write. Call it now and then from one task; the end of a trace
        does not depend on it.

        Raises:
            StoreError: A store took too long. What a store itself raises is raised as it is, the first one first; the
                spans stay pending.
        """
        await self._writer.flush()

    def get_last_trace(self) -> list[Span]:
        """The spans so far of the current rollout; outside one, of the trace that ended last in this context."""
        trace = last_trace()
        return trace.spans if trace is not None else []

    def create_span(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        timestamp: float | None = None,
        status: TraceStatus | None = None,
    ) -> SpanCoreFields:
        """Describe a span without duration and, inside an open trace, add it there below the current span.

        Args:
            name: What happened.
            attributes: Flat attributes; what OpenTelemetry does not allow is written as JSON.
            timestamp: Seconds since the epoch; None for now.
            status: How it ended; None for OK.

        Raises:
            TypeError: An attribute cannot be written as JSON.
        """
        core = core_fields(name, sanitize_attributes(attributes or {}), timestamp=timestamp, status=status)
        trace = current_trace()
        if trace is not None and trace.is_open:
            trace.add(core)
        return core

    @contextmanager
    def operation_context(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        start_time: float | None = None,
        end_time: float | None = None,
    ) -> Generator[SpanRecordingContext]:
        """Record what runs inside as one span, with the spans made there below it.

        Args:
            name: What is done.
            attributes: Flat attributes; what OpenTelemetry does not allow is written as JSON.
            start_time: Seconds since the epoch; None for now.
            end_time: Seconds since the epoch; None for the end of the block.

        Yields:
            Something to record more with. Outside an open trace it only describes the span.

        Raises:
            TypeError: An attribute cannot be written as JSON.
        """
        recording = self.begin_operation(current_trace(), name, attributes, start_time)
        with recording.until_end(end_time), recording.active():
            yield recording

    def begin_operation(
        self,
        trace: Trace | None,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        start_time: float | None = None,
    ) -> Recording:
        """Begin an operation below the current span; its caller makes it active and ends it.

        Args:
            trace: Whose operation it is; without an open one it is only described.
            name: What is done.
            attributes: Flat attributes; what OpenTelemetry does not allow is written as JSON.
            start_time: Seconds since the epoch; None for now.

        Raises:
            TypeError: An attribute cannot be written as JSON.
        """
        known = sanitize_attributes(attributes or {})
        recording = Recording(name, known, start_time if start_time is not None else time.time())
        if trace is not None and trace.is_open:
            context = trace.context_of_new()
            span = self.start_span(trace, name, context=context, attributes=known, start_time=recording.start_time)
            recording.begin_on(span, context)
        return recording
