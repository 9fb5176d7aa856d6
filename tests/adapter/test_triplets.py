"""`TracerTraceToTriplet`: which calls become triplets, what stands in them, and which reward they get."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from dialect_writers import chat, make_span, reward, write_genai

from lightning_actors.adapter import (
    ChatMessage,
    ImagePart,
    LLMCall,
    RewardMatchPolicy,
    TextPart,
    Tool,
    ToolCall,
    TracerTraceToTriplet,
)
from lightning_actors.types import Span, Triplet

ROOT = make_span("root", at=(0, 100))


def adapted(*spans: Span, **options: Any) -> list[Triplet]:
    return TracerTraceToTriplet(**options).adapt(spans)


def answers(triplets: list[Triplet]) -> list[str]:
    return [triplet.response["raw_content"][0]["content"] for triplet in triplets]


def rewards(*spans: Span, **options: Any) -> dict[str, float | None]:
    triplets = adapted(ROOT, *spans, **options)
    return dict(zip(answers(triplets), [triplet.reward for triplet in triplets], strict=True))


# ── what stands in a triplet ──


def test_a_triplet_holds_prompt_response_reward_and_facts() -> None:
    call = LLMCall(
        ROOT,
        prompt=(ChatMessage("user", (TextPart("What?"), ImagePart("https://images.example/a.png"))),),
        answers=(ChatMessage("assistant", None, (ToolCall("c", "look", "{}"),)),),
        finish_reasons=("tool_calls",),
        tools=(Tool("look"),),
        request={"model": "m", "temperature": 0.5},
        response_id="r-1",
        response_model="m-2",
        prompt_token_ids=(1, 2, 3),
        response_token_ids=(4, 5),
        logprobs=({"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.0}),
    )
    span = make_span("chat m", "root", attributes={**write_genai(call), "gen_ai.agent.name": "planner"})
    assert adapted(ROOT, span, reward(0.5, "root")) == [
        Triplet(
            prompt={
                "token_ids": [1, 2, 3],
                "raw_content": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What?"},
                            {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}},
                        ],
                    }
                ],
                "image_urls": ["https://images.example/a.png"],
            },
            response={
                "token_ids": [4, 5],
                "raw_content": [
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
                        ],
                        "finish_reason": "tool_calls",
                    }
                ],
                "logprobs": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.0}],
            },
            reward=0.5,
            metadata={
                "request": {
                    "model": "m",
                    "temperature": 0.5,
                    "tools": [{"type": "function", "function": {"name": "look"}}],
                },
                "response": {"id": "r-1", "model": "m-2", "finish_reasons": ["tool_calls"]},
                "response_id": "r-1",
                "agent_name": "planner",
            },
        )
    ]


def test_what_is_unknown_is_empty() -> None:
    (triplet,) = adapted(make_span(attributes={"gen_ai.operation.name": "chat"}))
    assert triplet.prompt == {"token_ids": [], "raw_content": [], "image_urls": []}
    assert triplet.response == {"token_ids": [], "raw_content": []}
    assert triplet.reward is None
    assert triplet.metadata == {"request": {}, "response": {}, "response_id": None, "agent_name": None}


def test_no_spans_give_no_triplets() -> None:
    assert adapted() == []
    assert adapted(ROOT, reward(1)) == []


def test_triplets_stand_in_order_of_start_whatever_the_order_of_the_spans() -> None:
    spans = [
        chat("c", "x", (5, 6)),
        chat("a", "root", (1, 2)),
        ROOT,
        make_span("x", "root", (0, 9)),
        chat("b", at=(3, 4)),
    ]
    assert answers(adapted(*spans)) == ["a", "b", "c"]


def test_a_span_that_makes_no_sense_is_named() -> None:
    with pytest.raises(ValueError, match="span 'odd'"):
        adapted(ROOT, make_span("odd", attributes={"gen_ai.input.messages": "["}))


# ── which calls ──


def test_a_call_with_several_spans_is_one_that_knows_what_each_of_them_knows() -> None:
    by_client = chat("client", "root", (1, 5), attributes={"gen_ai.response.id": "r"})
    by_proxy = make_span(
        "raw_gen_ai_request",
        "elsewhere",
        (2, 4),
        {"llm.hosted_vllm.id": "r", "llm.hosted_vllm.prompt_token_ids": "[1]", "llm.hosted_vllm.model": "m"},
    )
    (triplet,) = adapted(ROOT, by_client, by_proxy, reward(1, at=9))
    assert (triplet.prompt["token_ids"], triplet.reward, triplet.metadata["response"]["model"]) == ([1], 1, "m")
    assert triplet.prompt["raw_content"] == [{"role": "user", "content": "client?"}]


def test_a_call_inside_another_that_names_no_other_response_is_the_same() -> None:
    outer = chat("outer", "root", (1, 6))
    inner = chat("inner", "between", (2, 5), attributes={"gen_ai.response.id": "r"})
    (triplet,) = adapted(ROOT, outer, make_span("between", "outer", (1, 6)), inner)
    assert (answers([triplet]), triplet.metadata["response_id"]) == (["outer"], "r")


def test_calls_inside_another_that_name_responses_of_their_own_are_others() -> None:
    outer = chat("outer", "root", (1, 6), attributes={"gen_ai.response.id": "r1"})
    inner = [chat(name, "outer", (2, 5), attributes={"gen_ai.response.id": name}) for name in ("r2", "r3")]
    assert answers(adapted(ROOT, outer, *inner)) == ["outer", "r2", "r3"]


def test_calls_side_by_side_without_response_ids_are_others_even_if_one_lasts_longer() -> None:
    assert answers(adapted(ROOT, chat("long", "root", (1, 9)), chat("short", "root", (2, 3)))) == ["long", "short"]


def test_an_expression_narrows_the_calls_by_name() -> None:
    spans = [chat("chat small", "root"), chat("chat large", "root", (3, 4)), make_span("large", "root")]
    assert answers(adapted(ROOT, *spans, llm_call_match="large$")) == ["chat large"]


def test_an_expression_that_fits_no_name_is_reported_with_the_names(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert adapted(ROOT, chat("chat m", "root"), llm_call_match=r"openai\.chat\.completion") == []
    assert "no_llm_call_has_such_a_name" in caplog.text
    assert "chat m" in caplog.text
    caplog.clear()
    adapted(ROOT, chat("chat m", "root"), agent_match="nobody")
    assert caplog.text == ""


def test_an_expression_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"agent_match='\(' is no regular expression"):
        TracerTraceToTriplet(agent_match="(")
    with pytest.raises(ValueError, match="last_occurrence"):
        TracerTraceToTriplet(reward_match="last_occurrence")


@pytest.mark.parametrize(
    "attributes",
    [
        {"agent.name": "writer"},
        {"gen_ai.agent.name": "writer"},
        {"agentops.span.kind": "agent", "operation.name": "writer"},
        {"recipient_agent_type": "writer"},
        {"langchain.chain.type": "writer"},
        {"executor.id": "writer"},
    ],
    ids=lambda attributes: next(iter(attributes)),
)
def test_agents_are_known_by_the_names_that_frameworks_give_them(attributes: dict[str, Any]) -> None:
    spans = [ROOT, make_span("agent", "root", (1, 9), attributes), chat("call", "agent", (2, 3))]
    (triplet,) = adapted(*spans, agent_match="^writer$")
    assert triplet.metadata["agent_name"] == "writer"
    assert adapted(*spans, agent_match="reader") == []


def test_the_nearest_agent_counts() -> None:
    spans = [
        make_span("outer", "root", (1, 50), {"agent.name": "writer"}),
        make_span("inner", "outer", (2, 40), {"agent.name": "critic"}),
        make_span("step", "inner", (3, 30)),
        chat("of the critic", "step", (4, 5)),
        chat("of the writer", "outer", (6, 7)),
        chat("of nobody", "root", (60, 61)),
    ]
    assert answers(adapted(ROOT, *spans, agent_match="writer")) == ["of the writer"]
    assert answers(adapted(ROOT, *spans, agent_match="critic")) == ["of the critic"]
    assert [one.metadata["agent_name"] for one in adapted(ROOT, *spans)] == ["critic", "writer", None]


def test_a_floating_call_finds_its_agent_by_time_if_that_is_wanted() -> None:
    spans = [ROOT, make_span("agent", "root", (1, 50), {"agent.name": "writer"}), chat("floating", "root", (4, 5))]
    assert answers(adapted(*spans, agent_match="writer")) == ["floating"]
    assert adapted(*spans, agent_match="writer", repair_hierarchy=False) == []


def test_a_judges_calls_are_left_out_unless_they_are_wanted() -> None:
    judging = reward(0.5, "root", span_id="judging").model_copy(update={"start_time": 5.0, "end_time": 9.0})
    spans = [
        ROOT,
        chat("player", "root", (1, 2)),
        judging,
        chat("judge", "judging", (6, 7)),
        chat("late", "root", (6, 8)),
    ]
    assert answers(adapted(*spans, repair_hierarchy=False)) == ["player", "late"]
    assert answers(adapted(*spans)) == ["player"]  # by its time, the late one was made for the reward
    assert answers(adapted(*spans, exclude_llm_call_in_reward=False)) == ["player", "judge", "late"]


# ── which reward ──


def test_one_final_reward_is_the_last_calls() -> None:
    spans = [chat("a", "root", (1, 2)), chat("b", "root", (3, 4)), reward(1, "root", 9)]
    assert rewards(*spans) == {"a": None, "b": 1}


def test_no_rewards_are_none() -> None:
    assert rewards(chat("a", "root")) == {"a": None}


def test_among_siblings_a_reward_stays_with_those_beside_it() -> None:
    spans = [
        make_span("step 1", "root", (0, 5)),
        chat("a", "step 1", (1, 2)),
        reward(1, "step 1", 4),
        make_span("step 2", "root", (5, 9)),
        chat("b", "step 2", (6, 7)),
        reward(2, "root", 20),
    ]
    assert rewards(*spans, reward_match=RewardMatchPolicy.FIRST_OCCURRENCE) == {"a": 1, "b": 2}
    assert rewards(*spans, reward_match="first_sibling") == {"a": 1, "b": None}


def test_those_who_lost_the_same_parent_are_siblings() -> None:
    spans = [chat("a", "gone", (1, 2)), chat("b", "lost", (3, 4)), reward(1, "gone", 5)]
    found = adapted(*spans, reward_match="first_sibling")
    assert [one.reward for one in found] == [1, None]


# ── odd trees ──


@pytest.mark.parametrize("repair_hierarchy", [True, False])
def test_a_trace_ten_thousand_levels_deep_is_no_matter(*, repair_hierarchy: bool) -> None:
    deep = [make_span("0", at=(0, 20_000))]
    deep += [make_span(str(level), str(level - 1), (level, 20_000 - level)) for level in range(1, 9_999)]
    deep += [chat("bottom", "9998", (9_999.2, 9_999.8)), reward(1, "bottom", 15_000)]
    (triplet,) = adapted(*deep, repair_hierarchy=repair_hierarchy)
    assert triplet.reward == 1


def test_circles_of_parents_are_no_matter() -> None:
    assert answers(adapted(chat("a", "b", (1, 2)), make_span("b", "a", (0, 9)), chat("self", "self", (3, 4)))) == [
        "a",
        "self",
    ]


def test_the_adapter_reads_json_numbers_as_they_are() -> None:
    attributes = {"gen_ai.operation.name": "chat", "logprobs.content": json.dumps([{"logprob": -1e-9}])}
    (triplet,) = adapted(make_span(attributes=attributes))
    assert triplet.response["logprobs"] == [{"logprob": -1e-9}]
