"""`LlmProxyTraceToTriplet`: token ids from a proxy's spans, in order of their sequence ids."""

from __future__ import annotations

import pytest
from dialect_writers import chat, make_span, reward

from lightning_actors.adapter import LlmProxyTraceToTriplet
from lightning_actors.types import Span, Triplet

adapter = LlmProxyTraceToTriplet()


def raw(number: int, response_id: str, at: tuple[float, float] = (1.0, 2.0)) -> Span:
    attributes = {
        "llm.hosted_vllm.prompt_token_ids": f"[{number}, 0]",
        "llm.hosted_vllm.response_token_ids": f"[[{number}], [99]]",
        "llm.hosted_vllm.id": response_id,
    }
    return make_span("raw_gen_ai_request", None, at, attributes, sequence_id=number, span_id=f"raw {number}")


def test_a_triplet_holds_token_ids_and_the_reward_that_follows_whatever_the_times() -> None:
    spans = [reward(0.5, at=0, sequence_id=4), raw(3, "b", (0, 1)), raw(1, "a", (5, 6)), reward(1, at=9, sequence_id=2)]
    assert adapter.adapt(spans) == [
        Triplet(prompt={"token_ids": [1, 0]}, response={"token_ids": [1]}, reward=1, metadata={"response_id": "a"}),
        Triplet(prompt={"token_ids": [3, 0]}, response={"token_ids": [3]}, reward=0.5, metadata={"response_id": "b"}),
    ]


def test_calls_without_token_ids_are_left_out_and_take_no_reward() -> None:
    spans = [raw(1, "a"), chat("client", sequence_id=2), reward(1, sequence_id=3)]
    assert [(one.response["token_ids"], one.reward) for one in adapter(spans)] == [([1], 1)]


def test_a_request_and_the_raw_request_below_it_are_one_call() -> None:
    request = make_span(
        "litellm_request",
        attributes={"gen_ai.prompt.0.content": "Hi", "gen_ai.response.id": "a", "prompt_token_ids": [1, 0]},
        sequence_id=1,
    )
    (triplet,) = adapter.adapt([request, raw(2, "a")])
    assert (triplet.prompt, triplet.response) == ({"token_ids": [1, 0]}, {"token_ids": [2]})


def test_no_spans_give_no_triplets() -> None:
    assert adapter.adapt([]) == []


def test_a_span_that_makes_no_sense_is_named() -> None:
    odd = make_span("raw_gen_ai_request", attributes={"llm.hosted_vllm.prompt_token_ids": "__import__('os')"})
    with pytest.raises(ValueError, match=r"span 'raw_gen_ai_request'.*neither JSON nor a Python literal"):
        adapter.adapt([odd])
