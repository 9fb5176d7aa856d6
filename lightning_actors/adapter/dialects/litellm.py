"""LiteLLM's proxy: what was asked of it, and, below, the provider's raw response as Python literals.

```
litellm_request                   gen_ai.prompt.N.*, gen_ai.completion.N.*, perhaps token ids
└─ raw_gen_ai_request             llm.<provider>.messages            [{'role': 'user', 'content': 'Hi'}]
                                  llm.<provider>.choices             [{'message': {...}, 'token_ids': [7, 8]}]
                                  llm.<provider>.prompt_token_ids    [1, 2, 3]
```

Source: the attributes that Agent Lightning's proxy adapter reads; the provider is ``hosted_vllm`` there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from lightning_actors.adapter.call import LLMCall
from lightning_actors.adapter.dialects.dialect import Dialect
from lightning_actors.adapter.dialects.fields import Fields, SpanFields
from lightning_actors.adapter.dialects.openai_form import finish_reasons_of, message_of, tool_of
from lightning_actors.adapter.dialects.openllmetry import OPENLLMETRY
from lightning_actors.types import Span

__all__ = ["LITELLM"]

_REQUEST: Final = "litellm_request"
_RAW: Final = "raw_gen_ai_request"
_BODY: Final = frozenset(
    {"messages", "tools", "model", "id", "choices", "usage", "prompt_token_ids", "response_token_ids"}
)


def _recognises(span: Span) -> bool:
    return span.name in {_REQUEST, _RAW}


def _read(fields: SpanFields) -> LLMCall:
    return OPENLLMETRY.read(fields) if fields.span.name == _REQUEST else _raw(fields)


def _raw(fields: SpanFields) -> LLMCall:
    providers = fields.options("llm")
    provider = next((name for name, told in providers.items() if isinstance(told, Mapping) and _BODY & told.keys()), "")
    prefix = f"llm.{provider}"
    body = cast("dict[str, Any]", providers.get(provider, {}))
    choices = _literals(fields, prefix, body, "choices")
    usage = str(body.get("usage", ""))
    counts: Any = fields.literal(f"{prefix}.usage", usage) if usage.startswith("{") else {}  # or an object's repr
    said = [fields.object(f"{prefix}.choices message", choice.get("message") or {}) for choice in choices]
    first: Fields = choices[0] if choices else {}
    logprobs = fields.object(f"{prefix}.choices logprobs", first.get("logprobs") or {})
    return LLMCall(
        fields.span,
        prompt=tuple(
            message_of(fields, f"{prefix}.messages", message, "user")
            for message in _literals(fields, prefix, body, "messages")
        ),
        answers=tuple(message_of(fields, f"{prefix}.choices", message, "assistant") for message in said if message),
        finish_reasons=finish_reasons_of(choice.get("finish_reason") for choice in choices),
        tools=tuple(tool_of(fields, f"{prefix}.tools", tool) for tool in _literals(fields, prefix, body, "tools")),
        request={"model": body["model"]} if "model" in body else {},
        response_id=str(body["id"]) if body.get("id") else fields.text("gen_ai.response.id"),
        response_model=str(body["model"]) if "model" in body else None,
        input_tokens=_count(counts, "prompt_tokens"),
        output_tokens=_count(counts, "completion_tokens"),
        prompt_token_ids=fields.token_ids(f"{prefix}.prompt_token_ids", body.get("prompt_token_ids")),
        response_token_ids=fields.token_ids(f"{prefix}.response_token_ids", body.get("response_token_ids"))
        or fields.token_ids(f"{prefix}.choices token_ids", first.get("token_ids")),
        logprobs=fields.logprobs(f"{prefix}.choices logprobs.content", logprobs.get("content")),
    )


def _literals(fields: SpanFields, prefix: str, body: Mapping[str, Any], name: str) -> list[Fields]:
    """A list of objects in the body, which is a literal."""
    value = body.get(name)
    found = fields.literal(f"{prefix}.{name}", value) if isinstance(value, str) else value
    return [] if found is None else fields.objects(f"{prefix}.{name}", found)


def _count(usage: object, name: str) -> int | None:
    value = cast("Fields", usage).get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) else None


LITELLM: Final = Dialect("LiteLLM", _recognises, _read)
"""Of a proxy, not of an agent."""
