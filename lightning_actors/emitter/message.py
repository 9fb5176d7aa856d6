"""Messages: a line of text in the trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_actors.emitter.emission import emit, span_attributes
from lightning_actors.semconv import AGL_MESSAGE, LightningSpanAttributes
from lightning_actors.types import SpanCoreFields, SpanLike

__all__ = ["emit_message", "get_message_value"]

_BODY = LightningSpanAttributes.MESSAGE_BODY.value


def emit_message(
    message: str,
    attributes: Mapping[str, Any] | None = None,
    propagate: bool = True,  # noqa: FBT001, FBT002 - Agent Lightning's signature
) -> SpanCoreFields:
    """Leave a text in the trace.

    Args:
        message: The text.
        attributes: More to say about it.
        propagate: Whether to add it to the current trace; False only describes it.

    Returns:
        The span's fields.

    Raises:
        TypeError: The message is not a string, or an attribute cannot be written as JSON.
        ValueError: A key is not a non-empty string, or a value contains itself.
    """
    if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers need not be type-checked
        raise TypeError(
            f"emit_message takes a string, got {type(message).__name__}: emit_object takes any JSON value, "
            f"emit_annotation a mapping"
        )
    return emit(AGL_MESSAGE, {**span_attributes(attributes), _BODY: message}, propagate=propagate)


def get_message_value(span: SpanLike) -> str | None:
    """The text of a message span; None for any other span."""
    body = (span.attributes or {}).get(_BODY)
    return body if isinstance(body, str) else None
