"""OpenLLMetry's and AgentOps' way: an attribute for each field of each message.

```
gen_ai.prompt.0.role             user
gen_ai.prompt.0.content          Hi                  or the parts of OpenAI's form, as JSON text
gen_ai.completion.0.content      Hello
gen_ai.completion.0.tool_calls.0.{id,name,arguments}
gen_ai.completion.0.finish_reason        stop     or for all answers gen_ai.response.finish_reasons
llm.request.functions.0.{name,description,parameters}       gen_ai.request.functions and .tools too
gen_ai.prompt.0.user             Once upon        the prompt of a completion without messages
```

OpenLLMetry's later releases speak GenAI.

Source: OpenLLMetry's semantic conventions; the names under ``gen_ai.request`` are those that Agent Lightning reads.
"""

from __future__ import annotations

from typing import Any, Final, cast

from pydantic_core import from_json

from lightning_actors.adapter.call import ChatMessage, LLMCall, Tool
from lightning_actors.adapter.dialects.dialect import NOT_GENERATION, Dialect
from lightning_actors.adapter.dialects.facts import finish_reasons, response_facts
from lightning_actors.adapter.dialects.fields import Fields, SpanFields
from lightning_actors.adapter.dialects.openai_form import message_of, tool_of
from lightning_actors.types import Span

__all__ = ["OPENLLMETRY"]

_PROMPT: Final = "gen_ai.prompt"
_COMPLETION: Final = "gen_ai.completion"
_TOOLS: Final = ("llm.request.functions", "gen_ai.request.functions", "gen_ai.request.tools")
_BEARING: Final = tuple(f"{key}{end}" for key in (_PROMPT, _COMPLETION) for end in (".", ""))
_GENERATION: Final = frozenset({"chat", "completion"})


def _recognises(span: Span) -> bool:
    attributes = span.attributes
    kind = attributes.get("llm.request.type")
    if kind in NOT_GENERATION or attributes.get("gen_ai.operation.name") in NOT_GENERATION:
        return False
    return kind in _GENERATION or any(key.startswith(_BEARING) for key in attributes)


def _read(fields: SpanFields) -> LLMCall:
    answered = fields.numbered(_COMPLETION)
    return LLMCall(
        fields.span,
        prompt=_messages(fields, _PROMPT, fields.numbered(_PROMPT), "user"),
        answers=_messages(fields, _COMPLETION, answered, "assistant"),
        finish_reasons=finish_reasons(fields, answered),
        tools=_tools(fields),
        **response_facts(fields),
    )


def _messages(fields: SpanFields, key: str, written: list[Fields], role: str) -> tuple[ChatMessage, ...]:
    return tuple(message_of(fields, f"{key}.{at}", _plain(message), role) for at, message in enumerate(written))


def _plain(message: Fields) -> Fields:
    """A message in OpenAI's form: the text of a completion's prompt stands under its role, parts are JSON text."""
    content = message.get("content")
    if content is None and isinstance(message.get("user"), str):
        return {**message, "content": message["user"]}
    if not isinstance(content, str) or not content.startswith("[{"):
        return message
    try:
        parts: Any = from_json(content)
    except ValueError:
        return message  # text that begins like a list
    items = cast("list[Any]", parts)
    are_parts = all(isinstance(part, dict) and "type" in part for part in items)
    return {**message, "content": items} if are_parts else message


def _tools(fields: SpanFields) -> tuple[Tool, ...]:
    for key in _TOOLS:
        if written := fields.numbered(key):
            return tuple(tool_of(fields, f"{key}.{at}", tool) for at, tool in enumerate(written))
    return ()


OPENLLMETRY: Final = Dialect("OpenLLMetry", _recognises, _read)
"""Also AgentOps', and that of LiteLLM's requests."""
