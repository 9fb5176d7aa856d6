"""Every dialect is read into the same record; what makes no sense is an error that names the span."""

from __future__ import annotations

import json
import string
from dataclasses import replace
from typing import Any

import pytest
from dialect_writers import WRITERS, make_span
from hypothesis import given
from hypothesis import strategies as st

from lightning_actors.adapter import (
    ChatMessage,
    ImagePart,
    LLMCall,
    OtherPart,
    Part,
    TextPart,
    Tool,
    ToolCall,
    read_call,
)
from lightning_actors.adapter.dialects import DIALECTS

# ── the round trip ──

words = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=8)
texts = st.text(max_size=30).filter(lambda text: not text.startswith("[{"))  # that is how OpenLLMetry writes parts
schemas: st.SearchStrategy[dict[str, Any]] = st.dictionaries(words, words | st.integers() | st.lists(words), max_size=3)
arguments = schemas.map(lambda value: json.dumps(value, separators=(",", ":")))
parts: st.SearchStrategy[Part] = st.one_of(
    st.builds(TextPart, texts),
    st.builds(
        ImagePart, words.map(lambda word: f"https://images.example/{word}.png") | st.just("data:image/png;base64,AA")
    ),
    st.builds(OtherPart, words.map(lambda word: {"type": "file", "file_id": word})),
)
part_lists = st.lists(parts, min_size=1, max_size=3).filter(
    lambda found: len(found) > 1 or not isinstance(found[0], TextPart)
)
contents = st.none() | texts | part_lists.map(tuple)
tool_calls = st.lists(st.builds(ToolCall, st.none() | words, words, arguments), max_size=2).map(tuple)
thoughts = st.none() | st.text(min_size=1, max_size=10)
said = st.builds(ChatMessage, st.sampled_from(["system", "user"]), contents, name=st.none() | words) | st.builds(
    ChatMessage, st.just("tool"), texts, st.just(()), words
)
answers = st.builds(ChatMessage, st.just("assistant"), contents, tool_calls, reasoning=thoughts)
token_ids = st.none() | st.lists(st.integers(0, 200_000), min_size=1, max_size=5).map(tuple)
entries: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({"token": words, "logprob": st.floats(-9, 0)})


@st.composite
def calls(draw: st.DrawFn) -> LLMCall:
    answered = draw(st.lists(answers, min_size=1, max_size=2))
    reasons = st.sampled_from(["stop", "length", "tool_calls"])
    model = draw(words)
    return LLMCall(
        make_span(),
        prompt=tuple(draw(st.lists(said | answers, max_size=4))),
        answers=tuple(answered),
        finish_reasons=tuple(draw(reasons) for _ in answered),
        tools=tuple(
            draw(st.lists(st.builds(Tool, words, st.none() | words, st.just({"type": "object"}) | schemas), max_size=2))
        ),
        request={"model": model},
        response_id=draw(st.none() | words),
        response_model=model,
        input_tokens=draw(st.none() | st.integers(0, 99)),
        output_tokens=draw(st.none() | st.integers(0, 99)),
        prompt_token_ids=draw(token_ids),
        response_token_ids=draw(token_ids),
        logprobs=draw(st.none() | st.lists(entries, min_size=1, max_size=3).map(tuple)),
    )


@pytest.mark.parametrize("dialect", WRITERS)
@given(call=calls())
def test_a_call_comes_back_as_it_was_from_every_dialect(dialect: str, call: LLMCall) -> None:
    name, write = WRITERS[dialect]
    span = make_span(name, attributes=write(call))
    assert read_call(span) == replace(call, span=span)


def test_every_dialect_has_a_writer_here() -> None:
    assert {dialect.name for dialect in DIALECTS} == set(WRITERS)


@given(call=calls())
def test_openais_form_is_plain_json(call: LLMCall) -> None:
    messages = [message.as_openai() for message in (*call.prompt, *call.answers)]
    assert json.loads(json.dumps(messages)) == messages
    assert all({"role", "content"} <= set(message) for message in messages)


# ── what else the dialects write ──


def read(attributes: dict[str, Any], name: str = "call") -> LLMCall:
    call = read_call(make_span(name, attributes=attributes))
    assert call is not None
    return call


def test_genai_system_instructions_come_first() -> None:
    call = read(
        {
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
            "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]),
        }
    )
    assert call.prompt == (ChatMessage("system", "Be brief."), ChatMessage("user", "Hi"))


def test_genai_tool_responses_in_a_users_message_are_messages_of_their_own() -> None:
    written = [
        {"type": "tool_call_response", "id": "c1", "response": {"found": 3}},
        {"type": "text", "content": "Go on."},
        {"type": "tool_call_response", "id": "c2", "response": "none"},
    ]
    call = read({"gen_ai.input.messages": json.dumps([{"role": "user", "parts": written}])})
    assert call.prompt == (
        ChatMessage("tool", '{"found":3}', (), "c1"),
        ChatMessage("tool", "none", (), "c2"),
        ChatMessage("user", "Go on."),
    )


def test_genai_without_content_is_a_call_without_messages() -> None:
    call = read({"gen_ai.operation.name": "chat", "gen_ai.response.finish_reasons": ["tool_call"]})
    assert (call.prompt, call.answers, call.finish_reasons) == ((), (), ("tool_calls",))


def test_options_of_the_request_are_kept_by_name() -> None:
    genai = read({"gen_ai.operation.name": "chat", "gen_ai.request.temperature": 0.5, "gen_ai.request.choice.count": 2})
    assert genai.request == {"temperature": 0.5, "choice": {"count": 2}}
    inference = read({"openinference.span.kind": "LLM", "llm.invocation_parameters": '{"temperature": 0.5}'})
    assert inference.request == {"temperature": 0.5}


def test_agentops_functions_are_tools_and_no_options() -> None:
    call = read(
        {
            "gen_ai.prompt.0.content": "Hi",
            "gen_ai.request.model": "m",
            "gen_ai.request.functions.0.name": "look",
            "gen_ai.request.functions.0.parameters": '{"type": "object"}',
        }
    )
    assert call.tools == (Tool("look", None, {"type": "object"}),)
    assert call.request == {"model": "m"}


def test_tool_calls_may_be_one_json_text() -> None:
    written = json.dumps([{"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}])
    call = read({"gen_ai.completion.0.tool_calls": written})
    assert call.answers == (ChatMessage("assistant", None, (ToolCall("c", "look", "{}"),)),)


def test_roles_that_are_not_said_are_those_one_expects() -> None:
    call = read({"gen_ai.prompt.0.content": "Hi", "gen_ai.completion.0.content": "Ho"})
    assert (call.prompt, call.answers) == ((ChatMessage("user", "Hi"),), (ChatMessage("assistant", "Ho"),))


def test_text_that_only_begins_like_a_list_of_parts_stays_text() -> None:
    for text in ('[{"type": ', '[{"a": 1}]', "[{}]"):
        assert read({"gen_ai.prompt.0.content": text}).prompt == (ChatMessage("user", text),)


def test_openinference_tools_may_bear_their_schema_alone() -> None:
    call = read(
        {
            "openinference.span.kind": "LLM",
            "llm.tools.0.tool.name": "look",
            "llm.tools.0.tool.description": "looks",
            "llm.tools.0.tool.json_schema": '{"type": "object"}',
        }
    )
    assert call.tools == (Tool("look", "looks", {"type": "object"}),)


def test_openinference_keeps_other_output_than_a_response_to_itself() -> None:
    for output in ('{"text": "x"}', "[1]"):
        call = read({"openinference.span.kind": "LLM", "output.mime_type": "application/json", "output.value": output})
        assert call.response_id is None
    assert read({"openinference.span.kind": "LLM", "output.value": "plain"}).response_id is None


def test_a_litellm_request_is_read_with_its_token_ids() -> None:
    attributes = {"gen_ai.prompt.0.content": "Hi", "prompt_token_ids": "[1, 2]", "response_token_ids": "[[3], [4]]"}
    call = read(attributes, "litellm_request")
    assert call.prompt == (ChatMessage("user", "Hi"),)
    assert (call.prompt_token_ids, call.response_token_ids) == ((1, 2), (3,))


def test_litellm_writes_what_is_not_there_as_none() -> None:
    names = ("prompt_token_ids", "response_token_ids", "tools", "messages")
    call = read({f"llm.hosted_vllm.{name}": "None" for name in names}, "raw_gen_ai_request")
    assert call == LLMCall(call.span)


def test_litellm_token_ids_may_stand_in_the_choices() -> None:
    attributes = {"llm.hosted_vllm.choices": "[{'message': None, 'token_ids': [7, 8]}]", "llm.hosted_vllm.id": "r"}
    call = read(attributes, "raw_gen_ai_request")
    assert (call.response_token_ids, call.response_id, call.answers) == ((7, 8), "r", ())


# ── which spans are calls ──


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"server.port": 80, "http.request.method": "POST"},
        {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "m"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.input.messages": "[]"},
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look"},
        {"openinference.span.kind": "CHAIN", "llm.input_messages.0.message.role": "user"},
        {"openinference.span.kind": "EMBEDDING", "llm.model_name": "m"},
        {"llm.request.type": "embedding", "gen_ai.prompt.0.content": "x"},
    ],
    ids=str,
)
def test_what_is_no_call_of_a_model_is_none(attributes: dict[str, Any]) -> None:
    assert read_call(make_span(attributes=attributes)) is None


# ── what makes no sense ──


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"gen_ai.input.messages": "[{"}, "'gen_ai.input.messages' is no JSON"),
        ({"gen_ai.input.messages": "{}"}, "'gen_ai.input.messages' holds dict, where a list was expected"),
        ({"gen_ai.input.messages": "[7]"}, r"'gen_ai.input.messages\[0\]' is int, where an object was expected"),
        ({"gen_ai.input.messages": ["x"]}, "'gen_ai.input.messages' is list, where JSON text was expected"),
        ({"gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text"}]}]'}, "has no content"),
        ({"gen_ai.input.messages": "[" * 10_000}, "is no JSON"),
        ({"gen_ai.output.messages": "[]", "gen_ai.tool.definitions": "[{}]"}, "has no name"),
        ({"gen_ai.prompt.1.content": "x"}, r"below 'gen_ai.prompt' are \['1'\], where 0…n-1 was expected"),
        ({"gen_ai.prompt.role": "user"}, "'gen_ai.prompt'"),
        ({"gen_ai.prompt": "x"}, "'gen_ai.prompt' has a value of its own"),
        ({"gen_ai.prompt.0": "x"}, "is str, where an object was expected"),
        ({"gen_ai.completion.0.tool_calls.0.id": "c"}, "has no name"),
        ({"gen_ai.prompt.0.content": "x", "gen_ai.request": "x"}, "'gen_ai.request' has a value of its own"),
        ({"gen_ai.prompt.0.content": "x", "gen_ai.request.0": "x"}, "'gen_ai.request' is list, where an object"),
        ({"gen_ai.prompt.0.content": "x", "gen_ai.usage.input_tokens": "many"}, "'many', where a whole number"),
        ({"gen_ai.prompt.0.content": "x", "gen_ai.usage.input_tokens": float("nan")}, "nan, where a whole number"),
        ({"gen_ai.prompt.0.content": "x", "prompt_token_ids": ["a"]}, "where a list of token ids was expected"),
        ({"gen_ai.prompt.0.content": "x", "prompt_token_ids": "1 2"}, "neither JSON nor a Python literal"),
        ({"gen_ai.prompt.0.content": "x", "logprobs.content": "[0.1]"}, "where an object was expected"),
        ({"llm.input_messages.x.message.role": "user"}, "below 'llm.input_messages'"),
        (
            {"openinference.span.kind": "LLM", "llm.invocation_parameters": "{"},
            "'llm.invocation_parameters' is no JSON",
        ),
        (
            {"openinference.span.kind": "LLM", "output.mime_type": "application/json", "output.value": "{"},
            "'output.value' is no JSON",
        ),
        ({"openinference.span.kind": "LLM", "llm.tools.0.tool.json_schema": "[]"}, "is list, where an object"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_an_error_that_names_the_span(attributes: dict[str, Any], reason: str) -> None:
    span = make_span("odd one", attributes=attributes, span_id="ab12")
    with pytest.raises(ValueError, match=rf"span 'odd one' \(span_id 'ab12'.*'ro-1'\).*{reason}"):
        read_call(span)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "gen_ai.input.messages",
                "gen_ai.output.messages",
                "gen_ai.prompt",
                "gen_ai.prompt.0.content",
                "gen_ai.completion.0.tool_calls.0.name",
                "gen_ai.completion.0.tool_calls",
                "gen_ai.request.tools.0.parameters",
                "gen_ai.response.finish_reasons",
                "gen_ai.usage.output_tokens",
                "llm.input_messages.0.message.contents.0.message_content.type",
                "llm.input_messages.0.message",
                "llm.tools.0.tool.json_schema",
                "llm.hosted_vllm.choices",
                "llm.hosted_vllm",
                "prompt_token_ids",
                "logprobs.content",
                "openinference.span.kind",
            ]
        ),
        st.sampled_from(["LLM", "", "{}", "[]", "[{}]", "[[]]", "[null]", "'", "null", "1"])
        | st.integers()
        | st.floats()
        | st.lists(st.integers(), max_size=2),
    ),
    st.sampled_from(["call", "raw_gen_ai_request", "litellm_request"]),
)
def test_whatever_a_span_holds_it_is_read_or_refused_by_name(attributes: dict[str, Any], name: str) -> None:
    span = make_span(name, attributes=attributes)
    try:
        read_call(span)
    except ValueError as error:
        assert str(error).startswith(f"span {name!r}")  # noqa: PT017 - reading it is as good as refusing it
