"""Spans: stored, numbered, found; a span is its attempt's sign of life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lightning_actors.store import rules
from lightning_actors.store.change import Change
from lightning_actors.store.handlers.attempts import attempt_at, latest_attempt, worker_of
from lightning_actors.store.handlers.registry import operation
from lightning_actors.store.messages import (
    AddManySpans,
    AddOtelSpan,
    AddSpan,
    GetManySpanSequenceIds,
    GetNextSpanSequenceId,
    QuerySpans,
)
from lightning_actors.store.paging import Conditions, sorted_and_paged
from lightning_actors.store.tables import Tables
from lightning_actors.types import Attempt, PaginatedResult, Rollout, Span, Worker
from lightning_actors.types.trusted import evolved

__all__: list[str] = []

_GREATEST: Final = 2**62 - 1
"""The greatest number that may be given: one can count on from there, and every home can hold what comes."""


@operation(AddManySpans)
def add_many_spans(tables: Tables, message: AddManySpans, now: float) -> Change[list[Span]]:
    """Store spans, all or none."""
    return _added(tables, message.spans, now)


@operation(AddSpan)
def add_span(tables: Tables, message: AddSpan, now: float) -> Change[Span | None]:
    """Store one span."""
    return _one(_added(tables, [message.span], now))


@operation(AddOtelSpan)
def add_otel_span(tables: Tables, message: AddOtelSpan, now: float) -> Change[Span | None]:
    """Store one span of OpenTelemetry's SDK."""
    span = Span.from_opentelemetry(
        message.readable_span, message.rollout_id, message.attempt_id, message.sequence_id or 0
    )
    return _one(_added(tables, [span], now))


def _one(many: Change[list[Span]]) -> Change[Span | None]:
    return many.replying(many.reply[0] if many.reply else None)


def _added(tables: Tables, spans: Sequence[Span], now: float) -> Change[list[Span]]:
    rollouts: list[Rollout] = []
    attempts: list[Attempt] = []
    workers: list[Worker] = []
    for rollout_id, attempt_id in dict.fromkeys((span.rollout_id, span.attempt_id) for span in spans):
        rollout, attempt, superseded = attempt_at(tables, rollout_id, attempt_id)
        if rules.span_revives(attempt, rollout, superseded=superseded):
            attempts.append(rules.attempt_begins(attempt, now))
            if rollout.status != "running":
                rollouts.append(rollout.evolve(status="running"))
            if attempt.worker_id is not None:
                workers.append(rules.worker_busy(worker_of(tables, attempt.worker_id), attempt, now))
        elif attempt.status == "running":
            attempts.append(attempt.evolve(last_heartbeat_time=now))
    new, sequences = _numbered(tables, spans)
    return Change(
        new, rollouts=rollouts, attempts=attempts, workers=workers, spans=new, sequences=tuple(sequences.items())
    )


def _numbered(tables: Tables, spans: Sequence[Span]) -> tuple[list[Span], dict[str, int]]:
    """The spans that are not stored yet, each once and with its sequence id, and where that leaves the counters."""
    counters: dict[str, int] = {}
    new: dict[tuple[str, str, str], Span] = {}
    for span in spans:
        rollout_id, attempt_id, span_id = key = span.rollout_id, span.attempt_id, span.span_id
        if key in new or tables.has_span(rollout_id, attempt_id, span_id):
            continue
        last, number = counters.get(rollout_id), span.sequence_id
        if last is None:
            last = tables.sequence(rollout_id)
        if number > _GREATEST:
            raise ValueError(
                f"the sequence_id {number} of span {span_id} is above {_GREATEST}: give 0 to have it numbered"
            )
        if number > 0:
            counters[rollout_id] = max(last, number)
            new[key] = span
        else:
            counters[rollout_id] = last + 1
            new[key] = evolved(span, sequence_id=last + 1)
    return list(new.values()), counters


@operation(GetNextSpanSequenceId)
def get_next_span_sequence_id(tables: Tables, message: GetNextSpanSequenceId, _now: float) -> Change[int]:
    """Take one sequence id."""
    attempt_at(tables, message.rollout_id, message.attempt_id)
    number = tables.sequence(message.rollout_id) + 1
    return Change(number, sequences=((message.rollout_id, number),))


@operation(GetManySpanSequenceIds)
def get_many_span_sequence_ids(tables: Tables, message: GetManySpanSequenceIds, _now: float) -> Change[list[int]]:
    """Take many sequence ids."""
    counters: dict[str, int] = {}
    numbers: list[int] = []
    for rollout_id, attempt_id in message.rollout_attempt_ids:
        attempt_at(tables, rollout_id, attempt_id)
        counters[rollout_id] = counters.get(rollout_id, tables.sequence(rollout_id)) + 1
        numbers.append(counters[rollout_id])
    return Change(numbers, sequences=tuple(counters.items()))


@operation(QuerySpans)
def query_spans(tables: Tables, message: QuerySpans, _now: float) -> Change[PaginatedResult[Span]]:
    """The spans of a rollout."""
    conditions = Conditions(message.filter_logic)
    for name in ("trace_id", "span_id", "parent_id", "name"):
        conditions.exact(name, getattr(message, name)).contains(name, getattr(message, f"{name}_contains"))
    attempt_id = message.attempt_id
    if attempt_id == "latest":
        latest = latest_attempt(tables, message.rollout_id)
        attempt_id = "" if latest is None else latest.attempt_id
    spans = tables.spans(message.rollout_id, attempt_id)
    return Change(
        sorted_and_paged(
            [span for span in spans if conditions.hold(span)] if conditions else spans,
            Span,
            sort_by=message.sort_by,
            sort_order=message.sort_order,
            limit=message.limit,
            offset=message.offset,
        )
    )
