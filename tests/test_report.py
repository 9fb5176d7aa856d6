"""The tree of a rollout's spans in a plain terminal."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from lightning_actors.emitter import emit_exception, emit_message, emit_object, emit_reward
from lightning_actors.report import render_span_tree
from lightning_actors.types import Event, Span, SpanCoreFields, TraceStatus


def span(
    name: str, parent: str | None = None, *, start: float = 100.0, seconds: float | None = 1.0, **more: Any
) -> Span:
    fields: dict[str, Any] = {
        "rollout_id": "ro-1",
        "attempt_id": "at-1",
        "sequence_id": 1,
        "trace_id": "t" * 32,
        "span_id": name,
        "parent_id": parent,
        "name": name,
        "start_time": start,
        "end_time": None if seconds is None else start + seconds,
    }
    return Span(**{**fields, **more})


def emitted(core: SpanCoreFields, parent: str, start: float) -> Span:
    return span(core.name, parent, start=start, seconds=0, attributes=core.attributes, span_id=f"{core.name}{start}")


def test_a_tree_shows_names_durations_errors_models_and_rewards() -> None:
    prompt = [{"role": "user", "parts": [{"type": "text", "content": "What is\n2+2?"}]}]
    answer = [{"role": "assistant", "parts": [{"type": "text", "content": "4"}], "finish_reason": "stop"}]
    call = {
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.input.messages": json.dumps(prompt),
        "gen_ai.output.messages": json.dumps(answer),
        "temperature": 0.5,
    }
    operation = {
        "agentlightning.operation.name": "search",
        "agentlightning.operation.input.query": "x",
        "agentlightning.operation.output": ["a", "b"],
    }
    spans = [
        span("root", seconds=2.5),
        span("chat m", "root", start=100.1, seconds=0.005, attributes=call),
        span("agentlightning.operation", "root", start=100.2, attributes=operation),
        span(
            "inner", "agentlightning.operation", start=100.3, status=TraceStatus(status_code="ERROR", description="no")
        ),
        span("never ended", "root", start=100.4, seconds=None),
        emitted(emit_message("hello", propagate=False), "root", 100.5),
        emitted(emit_object({"a": 1}, propagate=False), "root", 100.6),
        emitted(emit_exception(ValueError("bad"), propagate=False), "root", 100.7),
        emitted(emit_reward({"q": 0.5, "s": 1}, primary_key="q", propagate=False), "root", 100.8),
    ]
    assert render_span_tree(spans, width=80) == "\n".join(  # noqa: FLY002 - lines are easier to read
        [
            "root  2.50s",
            "├─ chat m  5.00ms  tokens 12+3  temperature=0.5",
            "│      ← user: What is⏎2+2?",
            "│      → assistant: 4",
            "├─ search  1.00s",
            "│  │   ← query=x",
            '│  │   → ["a", "b"]',
            "│  └─ inner  1.00s  ERROR no",
            "├─ never ended  not ended",
            "├─ message: hello",
            '├─ object dict: {"a":1}',
            "├─ exception ValueError: bad",
            "└─ reward 0.5 (q 0.5, s 1)",
        ]
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": "hi",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": "ho",
            "llm.token_count.prompt": 1,
            "llm.token_count.completion": 2,
        },
        {
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": "hi",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "ho",
            "gen_ai.usage.input_tokens": 1,
            "gen_ai.usage.output_tokens": 2,
        },
    ],
    ids=["openinference", "openllmetry"],
)
def test_other_dialects_of_model_calls_are_read(attributes: dict[str, Any]) -> None:
    lines = render_span_tree([span("call", attributes=attributes)], width=80).splitlines()
    assert [line.strip() for line in lines] == ["call  1.00s  tokens 1+2", "← user: hi", "→ assistant: ho"]


def test_tool_calls_and_odd_ends_are_shown() -> None:
    parts = [{"type": "tool_call", "name": "look", "arguments": {"q": 1}}]
    attributes = {
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": parts}]),
        "gen_ai.response.finish_reasons": ["tool_calls"],
    }
    shown = render_span_tree([span("call", attributes=attributes)], width=100)
    assert "finish tool_calls" in shown
    assert '→ assistant: look({"q":1})' in shown


@pytest.mark.parametrize(
    "messages", ["not json", '"text"', "17", "null", "{}", "[17, null]", '[{"parts": 3}]', '[{"content": [["x"]]}]']
)
def test_messages_that_make_no_sense_do_no_harm(messages: str) -> None:
    shown = render_span_tree([span("call", attributes={"gen_ai.input.messages": messages})], width=80).splitlines()
    assert shown[0] == "call  1.00s"
    assert all(line.startswith("    ") for line in shown[1:])


def test_a_call_that_cannot_be_read_says_why() -> None:
    shown = render_span_tree([span("call", attributes={"gen_ai.input.messages": "17"})], width=200)
    assert "! span 'call'" in shown
    assert "'gen_ai.input.messages' holds int" in shown


def test_a_reward_that_makes_no_sense_does_no_harm() -> None:
    odd = {"agentlightning.reward.0.value": 1.0, "agentlightning.reward.x.value": 2.0}
    assert render_span_tree([span("odd", attributes=odd)], width=80).startswith("reward 1")


def test_events_are_shown_and_a_handled_exception_too() -> None:
    events = [
        Event(name="retry"),
        Event(name="exception", attributes={"exception.type": "E", "exception.message": "m"}),
    ]
    assert render_span_tree([span("work", events=events)], width=80).splitlines()[1:] == ["    ! retry", "    ! E: m"]


def test_no_line_is_wider_than_asked_for_and_no_control_character_gets_through() -> None:
    spans = [span("s0", attributes={"text": "\x1b[31m" + "long " * 100})]
    spans += [span(f"s{number}", f"s{number - 1}") for number in range(1, 60)]
    for width in (10, 40, 77):
        lines = render_span_tree(spans, width=width).splitlines()
        assert len(lines) == 60
        assert max(map(len, lines)) <= max(width, 40)
        assert all(line.isprintable() for line in lines)
        assert lines[-1].endswith("s59  1.00s")


def test_children_stand_in_order_of_start_whatever_the_order_of_the_list() -> None:
    spans = [span("root"), *(span(f"child {number}", "root", start=100.0 + number) for number in range(5))]
    random.Random(3).shuffle(spans)  # noqa: S311 - a test's order
    assert [line.split("  ")[0].lstrip("├└─ ") for line in render_span_tree(spans, width=80).splitlines()] == [
        "root",
        *(f"child {number}" for number in range(5)),
    ]


def test_spans_without_their_parent_and_circles_of_parents_are_drawn() -> None:
    spans = [span("orphan", "gone"), span("a", "b"), span("b", "a"), span("below", "a"), span("self", "self")]
    assert render_span_tree(spans, width=80).count("1.00s") == 5


def test_very_deep_trees_are_drawn() -> None:
    spans = [span("s0"), *(span(f"s{number}", f"s{number - 1}") for number in range(1, 1500))]
    assert len(render_span_tree(spans, width=80).splitlines()) == 1500


def test_no_spans_are_said_to_be_none() -> None:
    assert render_span_tree([]) == "(no spans)"
