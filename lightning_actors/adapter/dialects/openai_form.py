"""Pieces of conversations in the form of OpenAI's chat API, which several dialects quote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, Final, cast

from lightning_actors.adapter.call import ChatMessage, ImagePart, OtherPart, Part, TextPart, Tool, ToolCall
from lightning_actors.adapter.dialects.fields import Fields, SpanFields, json_written

__all__ = ["content_of", "finish_reasons_of", "message_of", "parts_of", "tool_call_of", "tool_of"]

_FINISH_REASONS: Final = {"tool_call": "tool_calls"}


def _finish_reason_of(written: object) -> str:
    text = "" if written is None else str(written)
    return _FINISH_REASONS.get(text, text)


def finish_reasons_of(each: Iterable[object], all_of_them: Sequence[str] = ()) -> tuple[str, ...]:
    """Why answers ended, in OpenAI's words and their order.

    Args:
        each: What each answer itself says; None for nothing.
        all_of_them: What is said beside them of all.

    Returns:
        A reason for each answer, empty where nothing is said; nothing at all if nothing is said of any.
    """
    pairs = zip_longest(map(_finish_reason_of, each), map(_finish_reason_of, all_of_them), fillvalue="")
    reasons = tuple(own or beside for own, beside in pairs)
    return reasons if any(reasons) else ()


def content_of(parts: Sequence[Part]) -> str | tuple[Part, ...] | None:
    """The content of a message: a lone text is just text, and no parts are none."""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return tuple(parts) or None


def parts_of(parts: Sequence[Fields]) -> tuple[Part, ...]:
    """The parts of a message's content."""
    return tuple(map(_part_of, parts))


def _part_of(part: Fields) -> Part:
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return TextPart(text)
        case {"type": "image_url" | "input_image", "image_url": {"url": str(url)} | str(url)}:
            return ImagePart(url)
        case _:
            return OtherPart(part)


def tool_call_of(fields: SpanFields, key: str, written: Fields) -> ToolCall:
    """A tool call found at a key, its function nested or not; arguments may be JSON text or what it stands for."""
    function = written.get("function")
    named = written if function is None else fields.object(f"{key}.function", function)
    name = named.get("name")
    if not isinstance(name, str):
        raise fields.malformed(f"the tool call at {key!r} has no name: {written!r}")
    call_id = written.get("id")
    return ToolCall(None if call_id is None else str(call_id), name, json_written(named.get("arguments")))


def tool_of(fields: SpanFields, key: str, written: Fields) -> Tool:
    """A tool found at a key, its function nested or not; parameters may be JSON text or what it stands for."""
    function = written.get("function")
    named = written if function is None else fields.object(f"{key}.function", function)
    name = named.get("name", written.get("type"))
    if not isinstance(name, str):
        raise fields.malformed(f"the tool at {key!r} has no name: {written!r}")
    schema: object = named.get("parameters", named.get("input_schema"))
    if isinstance(schema, str):
        schema = fields.parsed(f"{key}.parameters", schema) if schema else None
    description = named.get("description")
    return Tool(
        name,
        None if description is None else str(description),
        None if schema is None else fields.object(f"{key}.parameters", schema),
    )


def message_of(fields: SpanFields, key: str, written: Fields, role: str) -> ChatMessage:
    """A message found at a key.

    Args:
        fields: The span that it stands on.
        key: Where it stands.
        written: The message.
        role: Who speaks if it does not say.
    """
    content: Any = written.get("content")
    if isinstance(content, (list, tuple)):
        parts = fields.objects(f"{key}.content", cast("Sequence[object]", content))
        content = content_of(parts_of(parts))
    elif content is not None and not isinstance(content, str):
        content = json_written(content)
    wanted: Any = written.get("tool_calls") or []
    where = f"{key}.tool_calls"
    calls = fields.listed(where, fields.parsed(where, wanted) if isinstance(wanted, str) else wanted)
    return ChatMessage(
        role=str(written.get("role") or role),
        content=content,
        tool_calls=tuple(tool_call_of(fields, f"{where}.{at}", call) for at, call in enumerate(calls)),
        tool_call_id=_optional(written.get("tool_call_id")),
        name=_optional(written.get("name")),
        reasoning=_optional(written.get("reasoning_content", written.get("reasoning"))),
    )


def _optional(value: object) -> str | None:
    return None if value in (None, "") else str(value)
