"""One rollout's spans as a tree that can be read in a plain terminal.

```
agentlightning.rollout  1.20s
├─ chat SmolLM2  0.31s  tokens 12+3
│    ← user: What is the capital of France?
│    → assistant: Paris.
├─ search  0.02s  ERROR ValueError: no such index
└─ reward 0.5
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from lightning_actors.attributes import filter_and_unflatten_attributes
from lightning_actors.emitter import get_message_value, get_reward_value, get_rewards_from_span
from lightning_actors.semconv import AGL_EXCEPTION, AGL_OPERATION, LightningSpanAttributes
from lightning_actors.types import Span

__all__ = ["SpanNode", "render_span_tree", "span_forest", "walk"]

_FEWEST: Final = 40
_DEFAULT: Final = 100
_DEEPEST_INDENT: Final = 30

# Told in words elsewhere on the lines, or of no interest to a reader.
_SILENT: Final = (
    "agentlightning.",
    "gen_ai.",
    "llm.",
    "exception.",
    "server.",
    "openinference.",
    "input.",
    "output.",
    "traceloop.",
    "error.type",
)


@dataclass
class SpanNode:
    """A span and those below it, by start time."""

    span: Span
    children: list[SpanNode] = field(default_factory=list["SpanNode"])


def span_forest(spans: Sequence[Span]) -> list[SpanNode]:
    """The spans as trees by their parent ids.

    A span whose parent is not among them stands at the top, as do those in a circle of parents. Of spans with the same
    id the last one holds the children.

    Args:
        spans: The spans of one attempt, in any order.

    Returns:
        The roots, by start time and then by place in the list.
    """
    nodes = [SpanNode(span) for span in spans]
    by_id = {node.span.span_id: node for node in nodes}
    roots: list[SpanNode] = []
    for node in nodes:
        above = by_id.get(node.span.parent_id or "")
        if above is None or _is_below(above, node, by_id):
            roots.append(node)
        else:
            above.children.append(node)
    for node in nodes:
        node.children.sort(key=_start)
    return sorted(roots, key=_start)


def _is_below(node: SpanNode, other: SpanNode, by_id: Mapping[str, SpanNode]) -> bool:
    """Whether going up from a node leads to the other, or in a circle."""
    seen: set[str] = set()
    current: SpanNode | None = node
    while current is not None:
        if current is other or current.span.span_id in seen:
            return True
        seen.add(current.span.span_id)
        current = by_id.get(current.span.parent_id or "")
    return False


def _start(node: SpanNode) -> float:
    return node.span.start_time or float("inf")


def walk(spans: Sequence[Span]) -> Iterator[tuple[str, str, Span]]:
    """The spans in the order of reading, with what a terminal draws before them.

    Yields:
        What stands before the span's first line, what stands before its other lines, and the span.
    """
    # A list instead of recursion: an agent that calls itself makes trees deeper than Python's stack.
    waiting = [("", "", node) for node in reversed(span_forest(spans))]
    while waiting:
        first, rest, node = waiting.pop()
        yield first, rest + ("│ " if node.children else "  "), node.span
        last = len(node.children) - 1
        waiting.extend(
            (rest + ("└─ " if at == last else "├─ "), rest + ("   " if at == last else "│  "), child)
            for at, child in reversed(list(enumerate(node.children)))
        )


def render_span_tree(spans: Sequence[Span], *, width: int | None = None) -> str:
    """Draw the spans of one rollout.

    Args:
        spans: The spans of one attempt, in any order.
        width: Columns to use, at least 40; None for the terminal's.

    Returns:
        Lines of plain text without colours and without a final line break.
    """
    columns = max(width if width is not None else shutil.get_terminal_size((_DEFAULT, 24)).columns, _FEWEST)
    lines: list[str] = []
    for first, rest, span in walk(spans):
        lines.append(_fitted(_indented(first, columns) + headline(span), columns))
        lines.extend(_fitted(_indented(rest, columns) + "  " + line, columns) for line in details(span))
    return "\n".join(lines) if lines else "(no spans)"


def _indented(lead: str, columns: int) -> str:
    """A lead that leaves most of the line to the text, however deep the tree is."""
    most = min(_DEEPEST_INDENT, columns // 2)
    return lead if len(lead) <= most else "…" + lead[-most + 1 :]


def _fitted(line: str, columns: int) -> str:
    line = _one_line(line)
    return line if len(line) <= columns else line[: columns - 1] + "…"


def _one_line(text: str) -> str:
    """Line breaks and control characters shown, so that a span's text cannot spoil the terminal."""
    return "".join(
        character if character.isprintable() else "⏎" if character == "\n" else " "
        for character in text.replace("\r\n", "\n")
    )


def headline(span: Span) -> str:
    """A span in one line: name, duration, how it failed, and what matters most of its attributes."""
    parts = [_title(span), _duration(span)]
    if span.status.status_code == "ERROR":
        parts.append(f"ERROR {span.status.description or ''}".rstrip())
    parts.extend(_model_facts(span.attributes))
    parts.extend(_other_facts(span.attributes))
    return "  ".join(part for part in parts if part)


def _title(span: Span) -> str:
    if (reward := get_reward_value(span)) is not None:
        return f"reward {reward:g}" + _dimensions(span)
    if (message := get_message_value(span)) is not None:
        return f"message: {message}"
    attributes = span.attributes
    if span.name == AGL_OPERATION and LightningSpanAttributes.OPERATION_NAME.value in attributes:
        return str(attributes[LightningSpanAttributes.OPERATION_NAME.value])
    if LightningSpanAttributes.OBJECT_TYPE.value in attributes:
        value = attributes.get(LightningSpanAttributes.OBJECT_JSON.value)
        literal = value if value is not None else attributes.get(LightningSpanAttributes.OBJECT_LITERAL.value)
        return f"object {attributes[LightningSpanAttributes.OBJECT_TYPE.value]}: {literal}"
    if span.name == AGL_EXCEPTION:
        return f"exception {attributes.get('exception.type')}: {attributes.get('exception.message')}"
    return span.name


def _dimensions(span: Span) -> str:
    try:
        rewards = get_rewards_from_span(span)
    except ValueError:  # an odd reward is shown by its first value alone
        return ""
    if len(rewards) <= 1:
        return ""
    return " (" + ", ".join(f"{reward.name} {reward.value:g}" for reward in rewards) + ")"


def _duration(span: Span) -> str:
    if span.end_time is None:
        return "not ended"
    if span.start_time is None or span.end_time <= span.start_time:
        return ""
    seconds = span.end_time - span.start_time
    if seconds < 0.01:  # noqa: PLR2004 - below, hundredths of a second say nothing
        return f"{seconds * 1000:.2f}ms"
    return f"{seconds:.2f}s"


def _model_facts(attributes: Mapping[str, Any]) -> list[str]:
    taken = attributes.get("gen_ai.usage.input_tokens", attributes.get("llm.token_count.prompt"))
    given = attributes.get("gen_ai.usage.output_tokens", attributes.get("llm.token_count.completion"))
    facts = [f"tokens {taken}+{given}"] if taken is not None and given is not None else []
    reasons = attributes.get("gen_ai.response.finish_reasons")
    if isinstance(reasons, (list, tuple)):
        odd = [str(reason) for reason in cast("Sequence[object]", reasons) if reason != "stop"]
        facts.extend(f"finish {reason}" for reason in odd)
    return facts


def _other_facts(attributes: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_short(value)}" for key, value in attributes.items() if not key.startswith(_SILENT)]


def _short(value: object, most: int = 40) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= most else text[: most - 1] + "…"


def details(span: Span) -> list[str]:
    """Further lines of a span: what went into an operation or a model and what came out, and events."""
    lines = [f"← {role}: {text}" for role, text in _messages(span.attributes, _PROMPTS)]
    lines += [f"→ {role}: {text}" for role, text in _messages(span.attributes, _ANSWERS)]
    lines += [f"← {text}" for text in _operation(span, LightningSpanAttributes.OPERATION_INPUT.value)]
    lines += [f"→ {text}" for text in _operation(span, LightningSpanAttributes.OPERATION_OUTPUT.value)]
    lines += [f"! {event.name}" for event in span.events if event.name != "exception"]
    if span.status.status_code != "ERROR":
        lines += [
            f"! {event.attributes.get('exception.type')}: {event.attributes.get('exception.message')}"
            for event in span.events
            if event.name == "exception"
        ]
    return lines


def _operation(span: Span, prefix: str) -> list[str]:
    below = {
        key[len(prefix) :].lstrip("."): value
        for key, value in span.attributes.items()
        if key == prefix or key.startswith(f"{prefix}.")
    }
    if not below:
        return []
    return [", ".join(f"{key}={_short(value)}" if key else _short(value, 200) for key, value in below.items())]


# JSON in one attribute (GenAI conventions), or an attribute for each message and field (OpenInference, OpenLLMetry).
_PROMPTS: Final = ("gen_ai.input.messages", "llm.input_messages", "gen_ai.prompt")
_ANSWERS: Final = ("gen_ai.output.messages", "llm.output_messages", "gen_ai.completion")


def _messages(attributes: Mapping[str, Any], keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    for key in keys:
        found = _message_list(attributes, key)
        if found:
            for message in found:
                yield _role_and_text(message)
            return


def _message_list(attributes: Mapping[str, Any], key: str) -> list[Any]:
    whole = attributes.get(key)
    try:
        found = json.loads(whole) if isinstance(whole, str) else filter_and_unflatten_attributes(attributes, key)
    except ValueError:  # not ours to judge: it is shown as no messages
        return []
    if isinstance(found, Mapping):
        return list(cast("Mapping[str, Any]", found).values())
    return cast("list[Any]", found) if isinstance(found, list) else []


def _role_and_text(message: object) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        return "?", str(message)
    told = cast("Mapping[str, Any]", message)
    inner = told.get("message", told)  # OpenInference puts role and content one level down
    told = cast("Mapping[str, Any]", inner) if isinstance(inner, Mapping) else told
    content = told.get("content", told.get("parts", ""))
    calls = told.get("tool_calls")
    text = _text_of(content) + (f" tool calls {json.dumps(calls, default=str)}" if calls else "")
    return str(told.get("role", "?")), text.strip()


def _text_of(content: object) -> str:
    """The text in a message's content, which may be a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return " ".join(_text_of_part(part) for part in cast("Sequence[object]", content))
    return "" if content is None else json.dumps(content, default=str)


def _text_of_part(part: object) -> str:
    if isinstance(part, Mapping):
        told = cast("Mapping[str, Any]", part)
        for key in ("content", "text"):
            if isinstance(told.get(key), str):
                return str(told[key])
        return json.dumps(told, default=str)
    return str(part)
