"""OpenInference's way: an attribute for each field of each message, and the raw response.

```
llm.input_messages.0.message.role                 user
llm.input_messages.0.message.content              Hi         or message.contents.N.message_content.*
llm.output_messages.0.message.tool_calls.0.tool_call.function.{name,arguments}
llm.prompts.0.prompt.text, llm.choices.0.completion.text     of a completion without messages
llm.tools.0.tool.json_schema                      {"type": "function", ...}
llm.invocation_parameters                         {"temperature": 0}
output.value                                      the response as it came: its id, token ids, logprobs
```

Source: OpenInference's semantic conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from lightning_actors.adapter.call import ChatMessage, LLMCall, Tool
from lightning_actors.adapter.dialects.dialect import Dialect
from lightning_actors.adapter.dialects.facts import TokenFacts, token_facts
from lightning_actors.adapter.dialects.fields import Fields, SpanFields
from lightning_actors.adapter.dialects.openai_form import finish_reasons_of, message_of, tool_of
from lightning_actors.types import Span

__all__ = ["OPENINFERENCE"]

_INPUT: Final = "llm.input_messages"
_OUTPUT: Final = "llm.output_messages"
_TOOLS: Final = "llm.tools"
_BEARING: Final = (f"{_INPUT}.", f"{_OUTPUT}.")
_RESPONSE_KEYS: Final = frozenset({"choices", "output"})
"""What a response of OpenAI's chat or of its newer interface has."""


def _recognises(span: Span) -> bool:
    kind = span.attributes.get("openinference.span.kind")
    if kind is not None:
        return str(kind).upper() == "LLM"
    return any(key.startswith(_BEARING) for key in span.attributes)


def _read(fields: SpanFields) -> LLMCall:
    raw = _raw_response(fields)
    choices = fields.objects("output.value choices", raw.get("choices") or [])
    options: Any = fields.document("llm.invocation_parameters")
    model = fields.text("llm.model_name")
    return LLMCall(
        fields.span,
        prompt=_messages(fields, _INPUT, "user") or _texts(fields, "llm.prompts", "prompt", "user"),
        answers=_messages(fields, _OUTPUT, "assistant") or _texts(fields, "llm.choices", "completion", "assistant"),
        finish_reasons=finish_reasons_of(
            [choice.get("finish_reason") for choice in choices], fields.texts("llm.finish_reason")
        ),
        tools=tuple(_tool(fields, f"{_TOOLS}.{at}", tool) for at, tool in enumerate(fields.numbered(_TOOLS))),
        request={
            **({} if model is None else {"model": model}),
            **({} if options is None else fields.object("llm.invocation_parameters", options)),
        },
        response_id=str(raw["id"]) if raw.get("id") else fields.text("gen_ai.response.id"),
        response_model=str(raw["model"]) if raw.get("model") else model,
        input_tokens=fields.count("llm.token_count.prompt"),
        output_tokens=fields.count("llm.token_count.completion"),
        **_tokens(fields, raw, choices),
    )


def _raw_response(fields: SpanFields) -> Fields:
    """The response as the provider gave it; empty where the span keeps something else."""
    if fields.text("output.mime_type") != "application/json":
        return {}
    found = fields.document("output.value")
    return cast("Fields", found) if isinstance(found, Mapping) and _RESPONSE_KEYS & found.keys() else {}


def _tokens(fields: SpanFields, raw: Fields, choices: list[Fields]) -> TokenFacts:
    facts = token_facts(fields)
    first: Fields = choices[0] if choices else {}
    where = "output.value choices[0]"
    logprobs = fields.object(f"{where}.logprobs", first.get("logprobs") or {})
    return {
        "prompt_token_ids": facts["prompt_token_ids"]
        or fields.token_ids("output.value prompt_token_ids", raw.get("prompt_token_ids")),
        "response_token_ids": facts["response_token_ids"]
        or fields.token_ids(f"{where}.token_ids", first.get("token_ids")),
        "logprobs": facts["logprobs"] or fields.logprobs(f"{where}.logprobs.content", logprobs.get("content")),
    }


def _messages(fields: SpanFields, key: str, role: str) -> tuple[ChatMessage, ...]:
    return tuple(_message(fields, f"{key}.{at}", written, role) for at, written in enumerate(fields.numbered(key)))


def _texts(fields: SpanFields, key: str, name: str, role: str) -> tuple[ChatMessage, ...]:
    """The texts of a completion without messages."""
    written = [fields.object(f"{key}.{at}.{name}", one.get(name, {})) for at, one in enumerate(fields.numbered(key))]
    return tuple(ChatMessage(role, str(one["text"])) for one in written if "text" in one)


def _message(fields: SpanFields, key: str, written: Fields, role: str) -> ChatMessage:
    told = fields.object(f"{key}.message", written.get("message", {}))
    contents = [
        fields.object(f"{key}.message.contents.{at}", item.get("message_content", {}))
        for at, item in enumerate(fields.listed(f"{key}.message.contents", told.get("contents") or {}))
    ]
    thoughts = [str(item.get("text", "")) for item in contents if item.get("type") == "reasoning"]
    parts = [_openai_part(item) for item in contents if item.get("type") != "reasoning"]
    calls = fields.listed(f"{key}.message.tool_calls", told.get("tool_calls") or {})
    in_openai_form = {
        **told,
        "content": told.get("content", parts or None),
        "tool_calls": [call.get("tool_call", call) for call in calls],
        "reasoning": "\n".join(thoughts),
    }
    return message_of(fields, f"{key}.message", in_openai_form, role)


def _openai_part(written: Fields) -> Fields:
    match written:
        case {"type": "image", "image": {"image": {"url": str(url)}}}:
            return {"type": "image_url", "image_url": {"url": url}}
        case _:
            return written


def _tool(fields: SpanFields, key: str, written: Fields) -> Tool:
    """A tool: its schema as JSON is the whole definition or that of the parameters alone."""
    told = fields.object(f"{key}.tool", written.get("tool", {}))
    schema = fields.object(f"{key}.tool.json_schema", fields.parsed(key, told.get("json_schema", "{}")))
    whole = schema if "function" in schema or "name" in schema else {"parameters": schema} if schema else {}
    return tool_of(fields, key, {**whole, **{name: told[name] for name in ("name", "description") if name in told}})


OPENINFERENCE: Final = Dialect("OpenInference", _recognises, _read)
"""Arize's."""
