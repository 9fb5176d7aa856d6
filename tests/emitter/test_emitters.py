"""Emitters: what they leave in a trace, what they refuse, and reading it back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from pydantic import BaseModel

from lightning_actors.emitter import (
    emission,
    emit_annotation,
    emit_exception,
    emit_message,
    emit_object,
    emit_reward,
    find_final_reward,
    find_reward_spans,
    get_message_value,
    get_object_value,
    get_reward_value,
    get_rewards_from_span,
    is_reward_span,
)
from lightning_actors.semconv import RewardPydanticModel
from lightning_actors.tracer import DummyTracer, OtelTracer, Tracer
from lightning_actors.types import Span, SpanCoreFields

EMITTERS: list[Callable[..., SpanCoreFields]] = [
    partial(emit_reward, 1.0),
    partial(emit_annotation, {"a": 1}),
    partial(emit_message, "text"),
    partial(emit_object, [1]),
    partial(emit_exception, ValueError("bad")),
]
IDS = ["reward", "annotation", "message", "object", "exception"]


@pytest.fixture(params=[OtelTracer, DummyTracer])
def tracer(request: pytest.FixtureRequest) -> Tracer:
    return request.param()


def span(core: SpanCoreFields) -> Span:
    return Span.from_core_fields(core, rollout_id="ro-1", attempt_id="at-1", sequence_id=1)


def readable(core: SpanCoreFields) -> ReadableSpan:
    return ReadableSpan(core.name, attributes=core.attributes)


@pytest.mark.anyio
@pytest.mark.parametrize("emit", EMITTERS, ids=IDS)
async def test_an_emitter_adds_its_span_to_the_trace(tracer: Tracer, emit: Callable[..., SpanCoreFields]) -> None:
    async with tracer.trace_context(rollout_id="ro-1", attempt_id="at-1") as trace:
        core = emit()
    emitted, root = trace.spans
    assert (emitted.name, emitted.attributes, emitted.status.status_code) == (core.name, core.attributes, "OK")
    assert (emitted.rollout_id, emitted.parent_id) == ("ro-1", root.span_id)
    assert emitted.start_time == emitted.end_time == core.start_time


@pytest.mark.anyio
@pytest.mark.parametrize("emit", EMITTERS, ids=IDS)
async def test_propagate_false_only_describes(tracer: Tracer, emit: Callable[..., SpanCoreFields]) -> None:
    async with tracer.trace_context() as trace:
        core = emit(propagate=False)
    assert core.attributes
    assert len(trace.spans) == 1


@pytest.mark.parametrize("emit", EMITTERS, ids=IDS)
def test_outside_a_rollout_an_emitter_returns_the_fields_counts_and_warns_once_per_kind(
    emit: Callable[..., SpanCoreFields], reported: Callable[[], list[tuple[str, dict[str, Any]]]]
) -> None:
    emission.UNRECORDED.clear()
    first = emit()
    second = emit()
    assert second.attributes.keys() == first.attributes.keys()
    assert dict(emission.UNRECORDED) == {first.name: 2}
    ((event, fields),) = reported()
    assert (event, fields["span"]) == ("emitted_outside_any_rollout", first.name)
    emit(propagate=False)
    assert dict(emission.UNRECORDED) == {first.name: 2}


@pytest.mark.parametrize("reward", [1, 0.5, True, -3, Fraction(1, 4)])
def test_a_reward_is_a_number(reward: Any) -> None:
    core = emit_reward(reward, propagate=False)
    assert core.name == "agentlightning.annotation"
    assert core.attributes == {
        "agentlightning.reward.0.name": "primary",
        "agentlightning.reward.0.value": float(reward),
    }
    assert get_reward_value(span(core)) == get_reward_value(readable(core)) == float(reward)


@pytest.mark.parametrize("reward", ["1", None, [1.0], object(), 1j])
def test_a_reward_that_is_no_number_is_refused(reward: Any) -> None:
    with pytest.raises(TypeError, match="a reward must be a finite number"):
        emit_reward(reward)


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_refused(reward: float) -> None:
    with pytest.raises(ValueError, match="a reward must be a finite number"):
        emit_reward(reward)
    with pytest.raises(ValueError, match="reward 'speed' must be a finite number"):
        emit_reward({"quality": 1.0, "speed": reward}, primary_key="quality")


def test_the_primary_dimension_of_a_reward_comes_first() -> None:
    core = emit_reward({"speed": 0.2, "quality": 0.9}, primary_key="quality", attributes={"judge": "me"})
    assert get_rewards_from_span(span(core)) == [
        RewardPydanticModel(name="quality", value=0.9),
        RewardPydanticModel(name="speed", value=0.2),
    ]
    assert get_reward_value(readable(core)) == 0.9
    assert core.attributes["judge"] == "me"


@pytest.mark.parametrize(
    ("reward", "key", "said"),
    [
        ({"a": 1.0}, None, "needs primary_key"),
        ({"a": 1.0}, "b", "'b' is none of"),
        ({}, "b", "'b' is none of"),
        ({"a": "x"}, "a", "reward 'a' must be a finite number"),
        (1.0, "a", "goes with a reward of several dimensions"),
    ],
)
def test_dimensions_that_make_no_sense_are_refused(reward: Any, key: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        emit_reward(reward, primary_key=key)


def named(attributes: dict[str, Any], name: str = "agentlightning.annotation") -> list[Span | ReadableSpan]:
    return [Span.from_attributes(attributes=attributes, name=name), ReadableSpan(name, attributes=attributes)]


@pytest.mark.parametrize(
    ("attributes", "name", "value"),
    [
        ({"agentops.task.output": '{"type": "reward", "value": 0.25}'}, "x", 0.25),
        ({"agentops.entity.output": '{"type": "reward", "value": 1}'}, "x", 1.0),
        ({"agentops.task.output": '{"type": "other", "reward": 1}'}, "x", None),
        ({"agentops.task.output": "not json, but reward"}, "x", None),
        ({"agentops.task.output": '{"type": "reward", "value": null}'}, "x", None),
        ({"reward": 2}, "agentlightning.annotation", 2.0),
        ({"reward": 2}, "agentlightning.reward", 2.0),
        ({"reward": 2}, "something.else", None),
        ({}, "agentlightning.annotation", None),
    ],
)
def test_older_forms_of_rewards_are_read(attributes: dict[str, Any], name: str, value: float | None) -> None:
    for one in named(attributes, name):
        assert get_reward_value(one) == value
        assert is_reward_span(one) is (value is not None)


def test_rewards_that_are_not_numbered_from_zero_are_an_error() -> None:
    with pytest.raises(ValueError, match="not numbered from 0"):
        get_rewards_from_span(Span.from_attributes(attributes={"agentlightning.reward.1.value": 1.0}))
    assert get_rewards_from_span(Span.from_attributes(attributes={"other": 1.0})) == []


def test_the_final_reward_is_that_of_the_last_span_in_the_list_that_has_one() -> None:
    first, last = emit_reward(1.0, propagate=False), emit_reward(0.0, propagate=False)
    other = emit_message("x", propagate=False)
    assert find_final_reward([span(first), span(last), span(other)]) == 0.0
    assert find_final_reward([readable(last), readable(first)]) == 1.0
    assert find_final_reward([span(other)]) is None
    assert find_final_reward([]) is None
    spans = [span(first), span(other), span(last)]
    assert find_reward_spans(spans) == [spans[0], spans[2]]


def test_a_message_is_read_back() -> None:
    core = emit_message("hello", {"to": {"whom": "you"}}, propagate=False)
    assert core.name == "agentlightning.message"
    assert core.attributes == {"to.whom": "you", "agentlightning.message.body": "hello"}
    assert get_message_value(span(core)) == get_message_value(readable(core)) == "hello"
    assert get_message_value(span(emit_reward(1, propagate=False))) is None
    with pytest.raises(TypeError, match="takes a string, got dict"):
        emit_message({"a": 1})  # pyright: ignore[reportArgumentType] - what a user may try


class Model(BaseModel):
    a: int
    b: list[str]


@dataclass
class Data:
    day: date


@pytest.mark.parametrize(
    ("value", "back", "kind"),
    [
        ("text", "text", "str"),
        (3, 3, "int"),
        (2.5, 2.5, "float"),
        (True, True, "bool"),
        (b"\x00\xff", b"\x00\xff", "bytes"),
        (None, None, "NoneType"),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, "dict"),
        ([1, "x"], [1, "x"], "list"),
        ([], [], "list"),
        (Model(a=1, b=["x"]), {"a": 1, "b": ["x"]}, "Model"),
        (Data(date(2026, 1, 2)), {"day": "2026-01-02"}, "Data"),
    ],
)
def test_an_object_is_read_back(value: Any, back: Any, kind: str) -> None:
    core = emit_object(value, propagate=False)
    assert core.attributes["agentlightning.object.type"] == kind
    for one in (span(core), readable(core)):
        found = get_object_value(one)
        assert found == back
        assert type(found) is type(back)


def test_an_object_that_json_cannot_hold_is_refused_by_its_type() -> None:
    class Connection:
        pass

    with pytest.raises(TypeError, match=r"emit_object cannot write this object.*Connection"):
        emit_object({"a": [Connection()]})
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(TypeError, match="list is not JSON"):
        emit_object(circle)
    assert get_object_value(span(emit_message("x", propagate=False))) is None


def test_an_exception_is_described_in_opentelemetrys_words() -> None:
    with pytest.raises(KeyError) as raised:
        {}["gone"]  # pyright: ignore[reportUnusedExpression] - it raises
    core = emit_exception(raised.value, {"step": 2}, propagate=False)
    assert core.name == "agentlightning.exception"
    assert core.status.status_code == "OK"
    assert core.attributes["exception.type"] == "KeyError"
    assert core.attributes["exception.message"] == "'gone'"
    assert core.attributes["exception.escaped"] == "False"
    assert "test_emitters.py" in str(core.attributes["exception.stacktrace"])
    assert core.attributes["step"] == 2
    with pytest.raises(TypeError, match="takes an exception, got str"):
        emit_exception("bad")  # pyright: ignore[reportArgumentType] - what a user may try


def test_an_annotation_is_flattened_and_what_is_no_attribute_becomes_json() -> None:
    core = emit_annotation({"a": {"b": [1, 2], "c": [1, "x"]}, "n": None, "m": Model(a=1, b=[])}, propagate=False)
    assert core.attributes == {"a.b": [1, 2], "a.c.0": 1, "a.c.1": "x", "n": "null", "m": '{"a":1,"b":[]}'}
    assert emit_annotation({}, propagate=False).attributes == {}


@pytest.mark.parametrize(
    ("annotation", "error", "said"),
    [
        ({"a": {1: 2}}, ValueError, "attribute keys must be strings, got 1"),
        ({"": 1}, ValueError, "non-empty string"),
        ({"a": object()}, TypeError, "the attribute 'a' cannot be written as JSON"),
        ([1], TypeError, "must be a mapping, got list"),
        ({"a.b": 1, "a": {"b": 2}}, ValueError, "two values would have the attribute 'a.b'"),
    ],
)
def test_an_annotation_that_cannot_be_written_is_refused(annotation: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        emit_annotation(annotation)
