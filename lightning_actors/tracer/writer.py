"""Writes what traces hold: now and then what is pending of all of them, and at its end the rest of each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from lightning_actors.actors.clock import Clock, SystemClock
from lightning_actors.error_text import note
from lightning_actors.errors import StoreError
from lightning_actors.log import get_logger
from lightning_actors.store.api import AtOnce, LightningStore
from lightning_actors.store.messages import AddManySpans
from lightning_actors.tracer.trace import SpanSink, Trace, current_trace, outside_any_attempt
from lightning_actors.types import Span

__all__ = ["SpanWriter", "not_written"]

log = get_logger("lightning_actors.tracer")

_WRITE_SECONDS: Final = 30.0
_MACHINE: Final = SystemClock()

_Part = tuple[Trace, list[Span]]


class SpanWriter:
    """The writes of one tracer; each is shielded from cancellation for up to 30 seconds by the clock of its store."""

    def __init__(self) -> None:
        self._dirty: set[Trace] = set()

    def mark(self, trace: Trace) -> None:
        """This trace has something to write."""
        self._dirty.add(trace)

    async def write_rest(self, trace: Trace, failure: BaseException | None) -> None:
        """Write what a closed trace still holds.

        Args:
            trace: The trace.
            failure: What ended it, which a failing write must not hide.

        Raises:
            StoreError: The store took too long. What it raises itself is raised as it is.
        """
        sink = trace.sink
        if sink is None or not trace.pending:
            return
        at_once = sink.at_once if isinstance(sink, LightningStore) else None
        try:
            if at_once is None or trace.log.is_being_written:
                await self._write_last(trace, sink)
            else:
                self._write_at_once(trace, at_once)
        except Exception as error:
            if not_written(trace, failure, error) is error:
                raise

    def settle_rest(self, trace: Trace, stored: Sequence[Span] | None) -> None:
        """End a write that somebody else made; see ``TraceContext.settle_rest``."""
        trace.log.settle(stored)
        if stored is not None:
            self._dirty.discard(trace)

    async def flush(self) -> None:
        """Write what is pending of all traces of this thread; see ``Tracer.flush``."""
        first: Exception | None = None
        for sink, parts in self._pending_by_sink():
            try:
                await self._write_batch(sink, parts)
            except Exception as error:  # noqa: BLE001 - the other stores still get their spans; raised below
                self._dirty.update(trace for trace, _ in parts if trace.is_open)
                first = first or error
        if first is not None:
            raise first

    def _pending_by_sink(self) -> list[tuple[SpanSink, list[_Part]]]:
        here = threading.get_ident()
        parts: dict[int, tuple[SpanSink, list[_Part]]] = {}
        later: list[Trace] = []
        for _ in range(len(self._dirty)):
            trace = self._dirty.pop()
            if trace.thread != here:  # it belongs to another event loop, and so does its store
                later.append(trace)
            elif trace.sink is not None and (batch := trace.log.take()):
                parts.setdefault(id(trace.sink), (trace.sink, []))[1].append((trace, batch))
            elif trace.pending:
                later.append(trace)
        self._dirty.update(later)
        return list(parts.values())

    def _write_at_once(self, trace: Trace, at_once: AtOnce) -> None:
        """Write the rest into a store of this process: there is nothing to wait for, and nothing to be cancelled."""
        stored: Sequence[Span] | None = None
        batch = trace.log.take()
        try:
            stored = at_once(AddManySpans(batch))
        finally:
            self.settle_rest(trace, stored)

    async def _write_last(self, trace: Trace, sink: SpanSink) -> None:
        with _clock_of(sink).move_on_after(_WRITE_SECONDS) as scope:
            scope.shield = True
            await trace.log.wait_written()
            if batch := trace.log.take():
                await _send(sink, [(trace, batch)])
        if scope.cancelled_caught:
            raise _too_slow(trace.pending)
        self._dirty.discard(trace)

    async def _write_batch(self, sink: SpanSink, parts: list[_Part]) -> None:
        with _clock_of(sink).move_on_after(_WRITE_SECONDS) as scope:
            scope.shield = True
            await _send(sink, parts)
        if scope.cancelled_caught:
            raise _too_slow(sum(len(batch) for _, batch in parts))


def _clock_of(sink: SpanSink) -> Clock:
    """By whose time a write may take too long: the store's own, the machine's for other takers of spans."""
    return sink.clock if isinstance(sink, LightningStore) else _MACHINE


async def _send(sink: SpanSink, parts: list[_Part]) -> None:
    stored: Sequence[Span] | None = None
    spans = [span for _, batch in parts for span in batch]
    try:
        if current_trace() is None:
            stored = await sink.add_many_spans(spans)
        else:
            with outside_any_attempt():
                stored = await sink.add_many_spans(spans)
    finally:
        _settle(parts, stored)


def _settle(parts: list[_Part], stored: Sequence[Span] | None) -> None:
    """Give each trace its own of the stored spans."""
    if stored is None or len(parts) == 1:
        for trace, _ in parts:
            trace.log.settle(stored)
        return
    by_attempt: dict[tuple[str, str], list[Span]] = {}
    for span in stored:
        by_attempt.setdefault((span.rollout_id, span.attempt_id), []).append(span)
    for trace, _ in parts:
        trace.log.settle(by_attempt.get((trace.rollout_id, trace.attempt_id), []))


def not_written(trace: Trace, failure: BaseException | None, error: BaseException) -> BaseException:
    """What ends a trace whose rest was not written: the write's own error, or else the body's.

    The body's error goes to the caller; the write's must not take its place, nor get lost.
    """
    if failure is None:
        return error
    note(failure, f"and {trace.pending} spans of rollout {trace.rollout_id} were not written: {error!r}")
    log.error("spans_not_written", rollout_id=trace.rollout_id, spans=trace.pending, exc_info=error)
    return failure


def _too_slow(count: int) -> StoreError:
    return StoreError(f"{count} spans could not be written within {_WRITE_SECONDS:.0f} s: the store does not answer")
