"""Objects: any JSON value in the trace."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from lightning_actors.attributes import json_text
from lightning_actors.emitter.emission import emit, span_attributes
from lightning_actors.semconv import AGL_OBJECT, LightningSpanAttributes
from lightning_actors.types import AttributeValue, SpanCoreFields, SpanLike

__all__ = ["emit_object", "get_object_value"]

_TYPE = LightningSpanAttributes.OBJECT_TYPE.value
_LITERAL = LightningSpanAttributes.OBJECT_LITERAL.value
_JSON = LightningSpanAttributes.OBJECT_JSON.value


def emit_object(
    obj: Any,
    attributes: Mapping[str, Any] | None = None,
    propagate: bool = True,  # noqa: FBT001, FBT002 - Agent Lightning's signature
) -> SpanCoreFields:
    """Leave a value in the trace.

    Args:
        obj: A string, number, bool or bytes, or anything that JSON can hold: dicts, lists, None, pydantic models,
            dataclasses, dates.
        attributes: More to say about it.
        propagate: Whether to add it to the current trace; False only describes it.

    Returns:
        The span's fields.

    Raises:
        TypeError: The object, or an attribute, cannot be written as JSON; the message names its type.
        ValueError: A key is not a non-empty string, or a value contains itself.
    """
    return emit(AGL_OBJECT, {**span_attributes(attributes), **_described(obj)}, propagate=propagate)


def _described(obj: object) -> dict[str, AttributeValue]:
    if type(obj) in (str, int, float, bool):
        return {_TYPE: type(obj).__name__, _LITERAL: obj}  # pyright: ignore[reportReturnType] - narrowed by the line above
    if isinstance(obj, (bytes, bytearray)):
        return {_TYPE: "bytes", _LITERAL: base64.b64encode(obj).decode()}
    try:
        text = json_text(obj)
    except ValueError as error:
        raise TypeError(f"emit_object cannot write this object: {error}. Emit its data, or a text about it") from error
    return {_TYPE: type(obj).__qualname__, _JSON: text}


def get_object_value(span: SpanLike) -> Any:
    """The value of an object span: what JSON made of it, or the literal itself; None for any other span."""
    attributes = span.attributes or {}
    if _JSON in attributes:
        return json.loads(str(attributes[_JSON]))
    literal = attributes.get(_LITERAL)
    return base64.b64decode(str(literal)) if attributes.get(_TYPE) == "bytes" and literal is not None else literal
