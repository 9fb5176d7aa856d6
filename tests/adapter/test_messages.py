"""Each call of a model becomes a conversation in OpenAI's form."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from dialect_writers import WRITERS, chat, make_span, reward, write_genai
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter

from lightning_actors.adapter import ChatMessage, ImagePart, LLMCall, TextPart, Tool, ToolCall, TraceToMessages

CALL = LLMCall(
    make_span(),
    prompt=(
        ChatMessage("system", "Be brief."),
        ChatMessage("user", (TextPart("What is this?"), ImagePart("https://images.example/cat.png"))),
        ChatMessage("assistant", None, (ToolCall("c1", "look", '{"at":"it"}'),)),
        ChatMessage("tool", "a cat", (), "c1"),
    ),
    answers=(ChatMessage("assistant", "A cat."),),
    finish_reasons=("stop",),
    tools=(Tool("look", "looks", {"type": "object"}),),
)
CONVERSATION = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://images.example/cat.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":"it"}'}}],
        },
        {"role": "tool", "content": "a cat", "tool_call_id": "c1"},
        {"role": "assistant", "content": "A cat."},
    ],
    "tools": [
        {"type": "function", "function": {"name": "look", "description": "looks", "parameters": {"type": "object"}}}
    ],
}
adapter = TraceToMessages()


@pytest.mark.parametrize("dialect", WRITERS)
def test_every_dialect_gives_the_same_conversation(dialect: str) -> None:
    name, write = WRITERS[dialect]
    assert adapter.adapt([make_span(name, attributes=write(CALL))]) == [CONVERSATION]


def test_the_messages_are_what_the_openai_sdk_takes() -> None:
    for message in adapter([make_span(attributes=write_genai(CALL))])[0]["messages"]:
        TypeAdapter[ChatCompletionMessageParam](ChatCompletionMessageParam).validate_python(message)


def test_there_is_one_conversation_for_each_call_in_the_order_of_the_spans() -> None:
    spans = [chat("b", at=(5, 6)), make_span("work"), chat("a"), reward(1)]
    said = [[message["content"] for message in one["messages"]] for one in adapter.adapt(spans)]
    assert said == [["b?", "b"], ["a?", "a"]]


def test_no_spans_and_calls_without_messages_give_none() -> None:
    assert adapter.adapt([]) == []
    assert adapter.adapt([make_span(attributes={"gen_ai.operation.name": "chat"})]) == []


def test_a_call_that_failed_has_no_answer_and_one_without_tools_none() -> None:
    failed = make_span(attributes=write_genai(LLMCall(make_span(), prompt=(ChatMessage("user", "Hi"),))))
    assert adapter.adapt([failed]) == [{"messages": [{"role": "user", "content": "Hi"}], "tools": None}]


def test_all_answers_stand_at_the_end() -> None:
    two = replace(CALL, answers=(ChatMessage("assistant", "A cat."), ChatMessage("assistant", "A lion.")))
    (found,) = adapter.adapt([make_span(attributes=write_genai(two))])
    assert [message["content"] for message in found["messages"][-2:]] == ["A cat.", "A lion."]


def test_tool_calls_on_spans_right_below_the_call_are_its_answers() -> None:
    asked = make_span(
        "openai.chat.completion",
        attributes={"gen_ai.prompt.0.content": "Look!", "gen_ai.completion.0.role": "assistant"},
    )
    tools = [
        make_span(
            "tool", asked.span_id, attributes={"tool.name": "look", "tool.parameters": "{}", "tool.call.id": "c1"}
        ),
        make_span("elsewhere", "other", attributes={"tool.name": "listen"}),
    ]
    for spans in ([asked, *tools], [*tools, asked]):
        (found,) = adapter.adapt(spans)
        assert found["messages"][-1] == {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        }


def test_tool_calls_that_the_answer_names_are_not_overruled_by_spans() -> None:
    call = replace(CALL, answers=(ChatMessage("assistant", None, (ToolCall("c1", "look", "{}"),)),))
    asked = make_span("asked", attributes=write_genai(call))
    (found,) = adapter.adapt([asked, make_span("tool", "asked", attributes={"tool.name": "listen"})])
    assert [one["function"]["name"] for one in found["messages"][-1]["tool_calls"]] == ["look"]


def test_what_a_model_thought_is_kept_apart() -> None:
    thought = [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "yes"}]
    attributes = {"gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": thought}])}
    (found,) = adapter.adapt([make_span(attributes=attributes)])
    assert found["messages"] == [{"role": "assistant", "content": "yes", "reasoning_content": "hm"}]


def test_a_span_that_makes_no_sense_is_named() -> None:
    with pytest.raises(ValueError, match="span 'odd'"):
        adapter.adapt([chat("a"), make_span("odd", attributes={"gen_ai.input.messages": "["})])
