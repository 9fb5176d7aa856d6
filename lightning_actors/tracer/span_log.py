"""The spans of one trace in order, and how far they are written.

```
 0 ──────── written ──────── taken ──────── end
   as the       with a write       not yet
   store has    under way
   them
```

One write at a time; a failed one leaves its spans to the next. Spans are added from any thread, by single list
operations; everything else happens in the event loop that the trace belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from lightning_actors.types import Span

__all__ = ["SpanLog"]


class SpanLog:
    """Ended spans in order of their ends.

    Args:
        forward: Is handed spans as they were stored; None for nobody.
    """

    def __init__(self, forward: Callable[[Sequence[Span]], object] | None = None) -> None:
        self._forward = forward
        self._spans: list[Span] = []
        self._ids: set[str] | None = None  # made when it is first asked for an id, which is rare
        self._taken = 0
        self._written = 0
        self._is_writing = False
        self._write_ended: anyio.Event | None = None  # made by who waits for it, which is rare

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def spans(self) -> list[Span]:
        """A copy of all of them; those written are as the store returned them."""
        return list(self._spans)

    @property
    def unwritten(self) -> int:
        """How many have not been written."""
        return len(self._spans) - self._written

    @property
    def is_being_written(self) -> bool:
        """Whether a write is under way."""
        return self._is_writing

    def append(self, span: Span) -> None:
        """Add one at the end."""
        self._spans.append(span)
        if self._ids is not None:
            self._ids.add(span.span_id)

    def find(self, span_id: str) -> Span | None:
        """The span with this id."""
        if self._ids is None:
            self._ids = {span.span_id for span in self._spans}
        if span_id not in self._ids:
            return None
        return next(span for span in self._spans if span.span_id == span_id)

    def take(self) -> list[Span]:
        """The spans that no write has had, now handed to one; empty while another write is under way."""
        if self._is_writing:
            return []
        batch = self._spans[self._taken :]
        if batch:
            self._taken += len(batch)
            self._is_writing = True
        return batch

    def settle(self, stored: Sequence[Span] | None) -> None:
        """End the write that ``take`` began.

        Args:
            stored: What the store returned (it may leave out spans that it had already); None if it failed.
        """
        self._is_writing = False
        if stored is None:
            self._taken = self._written
        else:
            by_id = {span.span_id: span for span in stored}
            for position in range(self._written, self._taken):
                span = self._spans[position]
                self._spans[position] = by_id.get(span.span_id, span)
            if self._forward is not None:
                self._forward(self._spans[self._written : self._taken])
            self._written = self._taken
        if self._write_ended is not None:
            self._write_ended.set()
            self._write_ended = None

    async def wait_written(self) -> None:
        """Wait for the write that is under way, if there is one."""
        if self._is_writing:
            self._write_ended = self._write_ended or anyio.Event()
            await self._write_ended.wait()
