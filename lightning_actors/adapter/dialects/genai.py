"""OpenTelemetry's GenAI conventions: whole conversations as JSON, each message made of parts.

```
gen_ai.input.messages    [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
gen_ai.output.messages   [{"role": "assistant", "parts": [...], "finish_reason": "stop"}]
gen_ai.tool.definitions  [{"type": "function", "name": "look", "parameters": {...}}]
```

This is what `OtelTracer` writes of the OpenAI SDK.

Source: OpenTelemetry's semantic conventions for generative AI.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lightning_actors.adapter.call import ChatMessage, ImagePart, LLMCall, OtherPart, Part, TextPart, ToolCall
from lightning_actors.adapter.dialects.dialect import NOT_GENERATION, Dialect
from lightning_actors.adapter.dialects.facts import finish_reasons, response_facts
from lightning_actors.adapter.dialects.fields import Fields, SpanFields, json_written
from lightning_actors.adapter.dialects.openai_form import content_of, tool_of
from lightning_actors.types import Span

__all__ = ["GENAI"]

_SYSTEM: Final = "gen_ai.system_instructions"
_INPUT: Final = "gen_ai.input.messages"
_OUTPUT: Final = "gen_ai.output.messages"
_TOOLS: Final = "gen_ai.tool.definitions"
_GENERATION: Final = frozenset({"chat", "text_completion", "generate_content"})


def _recognises(span: Span) -> bool:
    operation = span.attributes.get("gen_ai.operation.name")
    if operation in NOT_GENERATION:
        return False
    return operation in _GENERATION or _INPUT in span.attributes or _OUTPUT in span.attributes


def _read(fields: SpanFields) -> LLMCall:
    system = content_of([_part(fields, part) for part in fields.json_objects(_SYSTEM)])
    answered = fields.json_objects(_OUTPUT)
    return LLMCall(
        fields.span,
        prompt=(
            *([] if system is None else [ChatMessage("system", system)]),
            *(said for message in fields.json_objects(_INPUT) for said in _messages(fields, _INPUT, message)),
        ),
        answers=tuple(said for message in answered for said in _messages(fields, _OUTPUT, message)),
        finish_reasons=finish_reasons(fields, answered),
        tools=tuple(tool_of(fields, f"{_TOOLS}[{at}]", tool) for at, tool in enumerate(fields.json_objects(_TOOLS))),
        **response_facts(fields),
    )


def _messages(fields: SpanFields, key: str, written: Fields) -> Iterator[ChatMessage]:
    """A message, after the tool responses in it, which are messages of their own in OpenAI's form."""
    role, name = str(written.get("role") or "user"), written.get("name")
    content: list[Part] = []
    calls: list[ToolCall] = []
    reasoning: list[str] = []
    parts = fields.objects(f"{key} parts", written.get("parts", []))
    for part in parts:
        match part:
            case {"type": "tool_call", "name": str(tool)}:
                calls.append(ToolCall(_id(part), tool, json_written(part.get("arguments"))))
            case {"type": "tool_call_response"}:
                yield ChatMessage("tool", json_written(part.get("response", part.get("result"))), (), _id(part))
            case {"type": "reasoning", "content": str(thought)}:
                reasoning.append(thought)
            case _:
                content.append(_part(fields, part))
    if content or calls or reasoning or not any(part.get("type") == "tool_call_response" for part in parts):
        yield ChatMessage(
            role,
            content_of(content),
            tuple(calls),
            name=None if name is None else str(name),
            reasoning="\n".join(reasoning) or None,
        )


def _id(part: Fields) -> str | None:
    return None if part.get("id") is None else str(part["id"])


def _part(fields: SpanFields, part: Fields) -> Part:
    match part:
        case {"type": "text", "content": str(text)}:
            return TextPart(text)
        case {"type": "text"}:
            raise fields.malformed(f"a part of type text has no content: {part!r}")
        case {"type": "uri", "modality": "image", "uri": str(url)}:
            return ImagePart(url)
        case {"type": "blob", "modality": "image", "content": str(encoded)}:
            return ImagePart(f"data:{part.get('mime_type') or 'image/*'};base64,{encoded}")
        case _:
            return OtherPart(part)


GENAI: Final = Dialect("GenAI", _recognises, _read)
"""OpenTelemetry's own."""
