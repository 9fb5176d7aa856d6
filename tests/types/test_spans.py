"""Spans: times, ids and places."""

from __future__ import annotations

import copy
import pickle
import re
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as some
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from lightning_actors.types import Event, Span, SpanContext, SpanCoreFields, TraceStatus
from lightning_actors.types.tracer import seconds_of


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        (None, None),
        (0, None),
        (0.0, None),
        (1.5, 1.5),
        (1_700_000_000, 1_700_000_000.0),
        (1e12, 1e12),
        (1_700_000_000_500_000_000, 1_700_000_000.5),
        (2e12, 2000.0),
    ],
)
def test_a_stamp_above_a_million_million_is_in_nanoseconds(stamp: float | None, seconds: float | None) -> None:
    assert seconds_of(stamp) == seconds


@given(some.floats(min_value=1e9, max_value=4e9))
def test_seconds_and_their_nanoseconds_are_the_same_time(seconds: float) -> None:
    assert seconds_of(seconds) == seconds
    assert seconds_of(int(seconds * 1e9)) == pytest.approx(seconds, abs=1e-6)


def test_a_span_that_no_tracer_saw_gets_what_it_lacks() -> None:
    span = Span.from_attributes(attributes={"n": 1})
    assert re.fullmatch(r"[0-9a-f]{32}", span.trace_id)
    assert re.fullmatch(r"[0-9a-f]{16}", span.span_id)
    assert (span.rollout_id, span.attempt_id, span.sequence_id, span.parent_id) == ("", "", 0, None)
    assert (span.name, span.status) == ("agentlightning.virtual", TraceStatus(status_code="OK"))
    assert span.context is not None
    assert (span.context.trace_id, span.context.span_id, span.parent) == (span.trace_id, span.span_id, None)
    other = Span.from_attributes(attributes={})
    assert other.span_id != span.span_id


def test_a_span_that_no_tracer_saw_keeps_what_it_is_given() -> None:
    span = Span.from_attributes(
        attributes={},
        rollout_id="ro-1",
        attempt_id="at-1",
        sequence_id=4,
        name="n",
        trace_id="a" * 32,
        span_id="b" * 16,
        parent_id="c" * 16,
        start_time=1_700_000_000_000_000_000,
        end_time=1_700_000_001,
        status=TraceStatus(status_code="ERROR"),
    )
    assert (span.start_time, span.end_time) == (1_700_000_000.0, 1_700_000_001.0)
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == ("a" * 32, "c" * 16)
    assert repr(span) == "<Span 'n' #4 of ro-1 ERROR 1.000s>"


def test_core_fields_start_now_if_they_do_not_say() -> None:
    before = time.time()
    span = Span.from_core_fields(
        SpanCoreFields(name="n", attributes={"a": 1}, start_time=None, end_time=None),
        rollout_id="ro-1",
        attempt_id="at-1",
        sequence_id=2,
    )
    assert span.start_time is not None
    assert before <= span.start_time <= time.time()
    assert (span.end_time, span.sequence_id, span.attributes) == (None, 2, {"a": 1})


def test_a_span_keeps_what_it_does_not_know() -> None:
    span = Span.model_validate({**Span.from_attributes(attributes={}).model_dump(), "colour": "red"})
    assert span.model_dump()["colour"] == "red"
    assert Span.model_validate_json(span.model_dump_json()) == span


def test_spans_without_events_share_one_list_that_stays_empty() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    ended = [provider.get_tracer("a").start_span(str(number)) for number in range(2)]
    for span in ended:
        span.end()
    first, second = (Span.from_opentelemetry(cast("ReadableSpan", span), "ro-1", "at-1", 1) for span in ended)
    assert first.events is second.events
    assert first.events == []
    changes: list[Callable[[list[Any]], Any]] = [
        lambda items: items.append(1),
        lambda items: items.extend([1]),
        lambda items: items.insert(0, 1),
        lambda items: items.__iadd__([1]),
    ]
    for change in changes:
        with pytest.raises(TypeError, match="frozen"):
            change(first.events)
    read = Span.model_validate_json(first.model_dump_json())
    for same in (copy.deepcopy(first), pickle.loads(pickle.dumps(first)), read):  # noqa: S301 - our own
        assert same == first
        same.events.append(Event(name="now it is its own"))
    assert first.events == []


def a_bare_span() -> Span:
    provider = TracerProvider(shutdown_on_exit=False)
    span = provider.get_tracer("test").start_span("bare")
    span.end()
    assert isinstance(span, ReadableSpan)
    return Span.from_opentelemetry(span, "ro-1", "at-1", 1)


CHANGES: list[Callable[[Span], object]] = [
    lambda span: span.attributes.update(x=1),
    lambda span: span.attributes.__setitem__("x", 1),
    lambda span: span.attributes.setdefault("x", 1),
    lambda span: cast("SpanContext", span.context).trace_state.__setitem__("x", "1"),
    lambda span: cast("dict[str, Any]", span.model_extra).__setitem__("x", 1),
    lambda span: span.events.append(Event(name="x")),
    lambda span: span.links.extend([]),
]
COPIES: list[Callable[[Span], Span]] = [
    copy.copy,
    copy.deepcopy,
    lambda span: pickle.loads(pickle.dumps(span)),  # noqa: S301 - our own
    lambda span: Span.model_validate_json(span.model_dump_json()),
    lambda span: Span.model_validate(span.model_dump()),
    lambda span: span.model_copy(update={"later": None}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_spans_share_of_nothing_stays_nothing(change: Callable[[Span], object]) -> None:
    span = a_bare_span()
    with pytest.raises(TypeError, match="records are frozen"):
        change(span)
    assert a_bare_span().attributes == {}


@pytest.mark.parametrize("copied", COPIES)
def test_a_span_without_anything_is_copied_like_any_other(copied: Callable[[Span], Span]) -> None:
    span = a_bare_span()
    twin = copied(span)
    assert twin.model_dump(exclude={"later"}) == span.model_dump()
    assert (twin.attributes, twin.events, twin.links) == ({}, [], [])
    assert span.model_extra == {}
