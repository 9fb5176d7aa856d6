"""Spans that real instrumentations wrote of calls of the OpenAI SDK; `recorded/record.py` says how they were made."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from dialect_writers import make_span

from lightning_actors.adapter import LLMCall, TracerTraceToTriplet, read_call
from lightning_actors.types import Span

FOLDER: Final = Path(__file__).parent / "recorded"
WRITERS: Final = ("openinference", "openllmetry", "openllmetry_indexed")

ASKED: Final[Any] = {"role": "user", "content": "What is the capital of Japan?"}
BRIEF: Final[Any] = {"role": "system", "content": "Be brief."}
TOKYO: Final[Any] = {"role": "assistant", "content": "Tokyo."}
CALLED: Final[Any] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"country":"Japan"}'}}
    ],
}
FOUND: Final[Any] = {"role": "tool", "content": "Tokyo", "tool_call_id": "call_1"}
IS_THIS: Final[Any] = {"type": "text", "text": "What is this?"}
STRUCTURED: Final[Any] = {"role": "assistant", "content": '{"city":"Tokyo"}'}


def image(url: str) -> Any:
    return {"role": "user", "content": [IS_THIS, {"type": "image_url", "image_url": {"url": url}}]}


CALLS: Final[dict[str, tuple[list[Any], list[Any], tuple[str, ...]]]] = {
    "chat": ([BRIEF, ASKED], [TOKYO], ("stop",)),
    "tool call": ([ASKED], [CALLED], ("tool_calls",)),
    "tool answer": ([ASKED, CALLED, FOUND], [TOKYO], ("stop",)),
    "two answers": ([ASKED], [TOKYO, {"role": "assistant", "content": "It is"}], ("stop", "length")),
    "parts": ([image("https://images.example/a.png")], [TOKYO], ("stop",)),
    "image sent along": ([image("data:image/png;base64,iVBORw0KGgo=")], [TOKYO], ("stop",)),
    "tokens": ([ASKED], [{"role": "assistant", "content": "Tokyo"}], ("stop",)),
    "streamed": ([ASKED], [TOKYO], ("stop",)),
    "streamed tool call": ([ASKED], [CALLED], ("tool_calls",)),
    "structured": ([ASKED], [STRUCTURED], ("stop",)),
    "completion": (
        [{"role": "user", "content": "The capital is"}],
        [{"role": "assistant", "content": " Tokyo"}],
        ("length",),
    ),
    "responses": ([BRIEF, ASKED], [TOKYO], ("stop",)),
    "failed": ([{"role": "user", "content": "Please fail."}], [], ()),
}
"""What each call was: what the model was given, what it said, and why it ended."""

NOT_WRITTEN: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("openinference", "responses"): {"reasons": ()},
    ("openllmetry", "image sent along"): {"prompt": []},
    ("openllmetry", "streamed tool call"): {"answers": [{**CALLED, "content": ""}]},
    ("openllmetry_indexed", "image sent along"): {"prompt": [{"role": "user", "content": None}]},
    ("openllmetry_indexed", "responses"): {"reasons": ()},
}
"""What a library does not write, or writes otherwise."""


@cache
def recorded(writer: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{writer}.json").read_text(encoding="utf-8"))


def spans_of(writer: str, name: str) -> list[Span]:
    found = recorded(writer)["calls"][name]
    return [make_span(span["name"], attributes=span["attributes"], sequence_id=at) for at, span in enumerate(found, 1)]


def call_of(writer: str, name: str) -> LLMCall:
    (span,) = spans_of(writer, name)
    call = read_call(span)
    assert call is not None
    return call


@pytest.mark.parametrize("writer", WRITERS)
def test_a_recording_says_what_made_it(writer: str) -> None:
    made = recorded(writer)
    assert made["library"].endswith("-openai")
    assert made["version"][0].isdigit()
    assert set(made["calls"]) == {*CALLS, "embeddings"}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", CALLS)
def test_a_recorded_call_is_read_as_it_was(writer: str, name: str) -> None:
    call = call_of(writer, name)
    prompt, answers, reasons = CALLS[name]
    other = NOT_WRITTEN.get((writer, name), {})
    assert [message.as_openai() for message in call.prompt] == other.get("prompt", prompt)
    assert [message.as_openai() for message in call.answers] == other.get("answers", answers)
    assert call.finish_reasons == other.get("reasons", reasons)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", CALLS)
def test_what_is_known_of_a_recorded_call(writer: str, name: str) -> None:
    call = call_of(writer, name)
    assert call.request["model"] == "stub-model"
    assert not [option for option in call.request.values() if option in ([], (), None)]
    if name == "failed":
        assert (call.response_id, call.response_model, call.input_tokens, call.output_tokens) == (None,) * 4
        return
    assert call.response_model == "stub-model-2024"
    assert call.response_id == {"completion": "cmpl-1", "responses": "resp_1"}.get(name, "chatcmpl-1")
    counted = (None, None) if name == "streamed tool call" else (12, 5)  # its usage was not asked for
    assert (call.input_tokens, call.output_tokens) == counted


@pytest.mark.parametrize("writer", WRITERS)
def test_recorded_options_and_tools(writer: str) -> None:
    request = call_of(writer, "chat").request
    assert (request["temperature"], request["max_tokens"]) == (0.5, 20)
    (tool,) = call_of(writer, "tool call").tools
    assert (tool.name, tool.description) == ("look_up", "Looks up a capital.")
    assert tool.parameters is not None
    assert tool.parameters["required"] == ["country"]


def test_recorded_tokens_and_their_probabilities() -> None:
    call = call_of("openinference", "tokens")
    assert (call.prompt_token_ids, call.response_token_ids) == ((1, 2, 3), (7, 8))
    assert call.logprobs is not None
    assert [(entry["token"], entry["logprob"]) for entry in call.logprobs] == [("Tokyo", -0.1)]
    for writer in WRITERS[1:]:
        assert call_of(writer, "tokens").logprobs is None, "they are not written"


@pytest.mark.parametrize("writer", WRITERS)
def test_a_recorded_embedding_is_no_call(writer: str) -> None:
    (span,) = spans_of(writer, "embeddings")
    assert read_call(span) is None


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", CALLS)
def test_a_recorded_call_makes_a_triplet_that_says_nothing_of_what_is_unknown(writer: str, name: str) -> None:
    (triplet,) = TracerTraceToTriplet().adapt(spans_of(writer, name))
    _, answers, reasons = CALLS[name]
    expected = NOT_WRITTEN.get((writer, name), {}).get("reasons", reasons)
    told = [answer["finish_reason"] for answer in triplet.response["raw_content"] if "finish_reason" in answer]
    assert told == list(expected)
    assert len(triplet.response["raw_content"]) == len(answers)
    assert triplet.metadata["response"].get("finish_reasons") == (list(expected) or None)


# ── finish reasons, wherever they stand ──


def read(attributes: dict[str, Any]) -> LLMCall:
    call = read_call(make_span(attributes=attributes))
    assert call is not None
    return call


INDEXED: Final[dict[str, Any]] = {"gen_ai.completion.0.content": "a", "gen_ai.completion.1.content": "b"}


@pytest.mark.parametrize(
    ("attributes", "reasons"),
    [
        ({}, ()),
        ({"gen_ai.response.finish_reasons": ["stop", "length"]}, ("stop", "length")),
        ({"gen_ai.response.finish_reasons": '["stop", "length"]'}, ("stop", "length")),
        (
            {"gen_ai.response.finish_reasons": ["stop"], "gen_ai.completion.1.finish_reason": "length"},
            ("stop", "length"),
        ),
        ({"gen_ai.completion.1.finish_reason": "length"}, ("", "length")),
        ({"gen_ai.response.finish_reasons": ["tool_call"]}, ("tool_calls", "")),
        ({"gen_ai.response.finish_reasons": "stop"}, ("stop", "")),
        ({"gen_ai.response.finish_reason": "stop"}, ("stop", "")),
        ({"gen_ai.response.finish_reasons": []}, ()),
    ],
)
def test_finish_reasons_of_all_answers_stand_in_for_those_of_each(
    attributes: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    assert read({**INDEXED, **attributes}).finish_reasons == reasons
    (triplet,) = TracerTraceToTriplet().adapt([make_span(attributes={**INDEXED, **attributes})])
    told = [answer.get("finish_reason") for answer in triplet.response["raw_content"]]
    assert told == [reason or None for reason in reasons or ("", "")]
    for answer in triplet.response["raw_content"]:
        assert answer.get("finish_reason", "absent") not in {"", None}


def test_a_span_that_knows_no_finish_reason_takes_that_of_another_of_the_same_call() -> None:
    one, other = read(INDEXED), read({**INDEXED, "gen_ai.response.finish_reasons": ["stop", "stop"]})
    assert one.filled_from(other) == replace(one, finish_reasons=("stop", "stop"))


def test_genai_messages_without_a_finish_reason_have_none() -> None:
    written = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "Hi"}]}])
    assert read({"gen_ai.output.messages": written}).finish_reasons == ()
