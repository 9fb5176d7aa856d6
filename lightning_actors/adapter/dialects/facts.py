"""What spans of several dialects tell in the same attributes: options, response, usage, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypedDict

from lightning_actors.adapter.dialects.fields import Fields, SpanFields
from lightning_actors.adapter.dialects.openai_form import finish_reasons_of

__all__ = ["ResponseFacts", "TokenFacts", "finish_reasons", "response_facts", "token_facts"]


_NO_OPTIONS: Final = frozenset({"functions", "tools"})
_NOTHING: Final[tuple[object, ...]] = (None, [], ())  # OpenLLMetry writes an empty list for an option not given


class TokenFacts(TypedDict):
    """A call as the model saw it; the fields are those of `LLMCall`."""

    prompt_token_ids: tuple[int, ...] | None
    response_token_ids: tuple[int, ...] | None
    logprobs: tuple[Fields, ...] | None


class ResponseFacts(TokenFacts):
    """What is known of a call besides its messages; the fields are those of `LLMCall`."""

    request: dict[str, Any]
    response_id: str | None
    response_model: str | None
    input_tokens: int | None
    output_tokens: int | None


def token_facts(fields: SpanFields) -> TokenFacts:
    """Token ids and log probabilities, in the attributes that Agent Lightning writes beside any dialect's."""
    return {
        "prompt_token_ids": fields.token_ids("prompt_token_ids"),
        "response_token_ids": fields.token_ids("response_token_ids"),
        "logprobs": fields.logprobs("logprobs.content"),
    }


def finish_reasons(fields: SpanFields, answers: Sequence[Fields]) -> tuple[str, ...]:
    """Why the answers ended, as each of them or ``gen_ai.response`` says."""
    beside = fields.texts("gen_ai.response.finish_reasons", "gen_ai.response.finish_reason")
    return finish_reasons_of([answer.get("finish_reason") for answer in answers], beside)


def response_facts(fields: SpanFields) -> ResponseFacts:
    """What ``gen_ai.request``, ``.response`` and ``.usage`` say, under their older names too."""
    options = fields.options("gen_ai.request")
    return {
        "request": {
            name: value for name, value in options.items() if name not in _NO_OPTIONS and value not in _NOTHING
        },
        "response_id": fields.text("gen_ai.response.id"),
        "response_model": fields.text("gen_ai.response.model"),
        "input_tokens": fields.count("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        "output_tokens": fields.count("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        **token_facts(fields),
    }
