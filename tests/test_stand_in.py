"""The stand-in for a model's server behaves as the OpenAI SDK expects."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest
from openai import BadRequestError, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from stand_in import Message, StandIn, serve_stand_in
from starlette.exceptions import HTTPException

ASKED: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "one two three"},
]


def backwards(messages: Sequence[Message]) -> str:
    if messages[-1]["content"] == "refuse":
        raise HTTPException(400, "no")
    return " ".join(reversed(messages[-1]["content"].split()))


@pytest.fixture(scope="module")
def stand_in() -> Generator[StandIn]:
    with serve_stand_in(backwards) as running:
        yield running


@pytest.fixture(scope="module")
def client(stand_in: StandIn) -> Generator[OpenAI]:
    with OpenAI(base_url=stand_in.base_url, api_key="none", max_retries=0) as made:
        yield made


def test_an_answer_is_computed_from_the_prompt_and_counted_in_words(client: OpenAI, stand_in: StandIn) -> None:
    completion = client.chat.completions.create(model="m", messages=ASKED)
    assert completion.choices[0].message.content == "three two one"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (5, 3)
    assert stand_in.requests[-1]["messages"] == ASKED


def test_a_stream_has_the_same_answer_word_by_word(client: OpenAI) -> None:
    with client.chat.completions.create(
        model="m", messages=ASKED, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    parts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert [part for part in parts if part] == ["three ", "two ", "one"]
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.total_tokens == 8


def test_answers_end_at_the_token_limit_and_at_stops(client: OpenAI) -> None:
    cut = client.chat.completions.create(model="m", messages=ASKED, max_tokens=2)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("three two", "length")
    stopped = client.chat.completions.create(model="m", messages=ASKED, stop=[" two"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("three", "stop")


def test_a_refusal_is_an_error_of_the_sdk(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="no"):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "refuse"}])
