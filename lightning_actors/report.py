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
from typing import Any, Final

from lightning_actors.adapter import ChatMessage, LLMCall, read_call
from lightning_actors.adapter.span_tree import span_forest
from lightning_actors.emitter import get_message_value, get_reward_value, get_rewards_from_span
from lightning_actors.semconv import AGL_EXCEPTION, AGL_OPERATION, LightningSpanAttributes
from lightning_actors.types import Span

__all__ = ["render_span_tree", "walk"]

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
        call, complaint = _call(span)
        lines.append(_fitted(_indented(first, columns) + headline(span, call), columns))
        lines.extend(
            _fitted(_indented(rest, columns) + "  " + line, columns) for line in (*details(span, call), *complaint)
        )
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


def _call(span: Span) -> tuple[LLMCall | None, list[str]]:
    """The call of a model that a span tells of, and a line that says why it cannot be read."""
    try:
        return read_call(span), []
    except ValueError as error:  # a report shows what there is
        return None, [f"! {error}"]


def headline(span: Span, call: LLMCall | None = None) -> str:
    """A span in one line: name, duration, how it failed, and what matters most of its attributes.

    Args:
        span: The span.
        call: The call of a model that it tells of, if it does.
    """
    parts = [_title(span), _duration(span)]
    if span.status.status_code == "ERROR":
        parts.append(f"ERROR {span.status.description or ''}".rstrip())
    parts.extend(_model_facts(call) if call is not None else [])
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


def _model_facts(call: LLMCall) -> list[str]:
    taken, given = call.input_tokens, call.output_tokens
    facts = [f"tokens {taken}+{given}"] if taken is not None and given is not None else []
    return facts + [f"finish {reason}" for reason in call.finish_reasons if reason not in {"", "stop"}]


def _other_facts(attributes: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_short(value)}" for key, value in attributes.items() if not key.startswith(_SILENT)]


def _short(value: object, most: int = 40) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= most else text[: most - 1] + "…"


def details(span: Span, call: LLMCall | None = None) -> list[str]:
    """Further lines of a span: what went into an operation or a model and what came out, and events.

    Args:
        span: The span.
        call: The call of a model that it tells of, if it does.
    """
    lines = [f"← {_spoken(message)}" for message in (call.prompt if call is not None else ())]
    lines += [f"→ {_spoken(message)}" for message in (call.answers if call is not None else ())]
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


def _spoken(message: ChatMessage) -> str:
    """A message in one line: role, text, what it shows and what it wants called."""
    calls = [f"{call.name}({call.arguments})" for call in message.tool_calls]
    return " ".join(part for part in (f"{message.role}:", message.text, *message.image_urls, *calls) if part)
