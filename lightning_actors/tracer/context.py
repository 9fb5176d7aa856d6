"""`TraceContext`: a trace for the length of an ``async with`` block.

```
enter   the trace is the current one; its root span begins a trace of its own and is the current span
exit    the root ends, the trace takes in no more, what is current is as before, and the rest is written
```
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from contextvars import Token
from types import TracebackType
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace as otel

from lightning_actors.tracer.plain_span import PlainSpan
from lightning_actors.tracer.recording import record_failure
from lightning_actors.tracer.span_processor import PROCESSOR
from lightning_actors.tracer.trace import CURRENT, Trace, context_below, remember_last
from lightning_actors.tracer.writer import SpanWriter
from lightning_actors.types import Span

__all__ = ["TraceContext"]

_EMPTY: Final = otel_context.Context()


class TraceContext:
    """What ``Tracer.trace_context`` makes, for one block.

    Args:
        trace: The trace, new.
        name: The root span's name.
        writer: Writes what the trace holds at the end.
    """

    __slots__ = ("_name", "_otel_token", "_root", "_token", "_writer", "trace")

    _root: PlainSpan
    _token: Token[Trace | None]
    _otel_token: Token[otel_context.Context]

    def __init__(self, trace: Trace, name: str, writer: SpanWriter) -> None:
        self.trace: Final = trace
        self._name = name
        self._writer = writer

    def open_here(self) -> Trace:
        """The same for a context that is the trace's alone: nothing in it is ever set back."""
        CURRENT.set(self.trace)
        otel_context.attach(self._begin())
        return self.trace

    def _begin(self) -> otel_context.Context:
        """Begin the root; the context in which it is current."""
        trace = self.trace
        above = otel.get_current_span().get_span_context()
        links = [otel.Link(above)] if above.is_valid else ()
        root = PlainSpan(trace, self._name, context=context_below(otel.INVALID_SPAN_CONTEXT), links=links)
        trace.root = root.get_span_context()
        self._root = root
        trace.tracer.trace_opened(trace)
        return otel.set_span_in_context(root, _EMPTY)

    def close(self, failure: BaseException | None) -> None:
        """End the root and take in no more, in any context; what the trace holds is yet to be written."""
        trace = self.trace
        if trace.is_open:
            if failure is not None:
                record_failure(self._root, failure)
            self._root.end()
            trace.close()
            PROCESSOR.closed(trace)

    def take_rest(self) -> list[Span] | None:
        """The rest, for a caller who writes it, then calls ``settle_rest``; None while another write is under way."""
        trace = self.trace
        if trace.sink is None:
            return []
        return None if trace.log.is_being_written else trace.log.take()

    def settle_rest(self, stored: Sequence[Span] | None) -> None:
        """End the write of what ``take_rest`` gave: with the spans as stored, or None if it failed."""
        self._writer.settle_rest(self.trace, stored)

    async def write_rest(self, failure: BaseException | None) -> None:
        """Write the rest.

        Args:
            failure: What ended the trace, which a failing write must not hide.

        Raises:
            StoreError: The store took too long. What it raises itself is raised as it is.
        """
        await self._writer.write_rest(self.trace, failure)

    async def __aenter__(self) -> Trace:
        trace = self.trace
        self._token = CURRENT.set(trace)
        self._otel_token = otel_context.attach(self._begin())
        return trace

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(failure)
        otel_context.detach(self._otel_token)
        with suppress(ValueError):  # entered in another context, as fixtures do: there is nothing to reset here
            CURRENT.reset(self._token)
        remember_last(self.trace)
        await self.write_rest(failure)
