"""Nested values ↔ flat span attributes, and what is kept in them by convention: tags, links, exceptions.

```
{"a": {"b": [1, 2]}, "c": [{"d": None}]}      what a program has
        ↓ flatten          ↑ unflatten
{"a.b": [1, 2], "c.0.d": None}                dotted keys
        ↓ sanitize
{"a.b": [1, 2], "c.0.d": "null"}              what OpenTelemetry allows
```

Source: names, dotted keys and the rules for lists are those of Agent Lightning 0.3.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, cast

from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan
from pydantic_core import PydanticSerializationError, to_json

from lightning_actors.semconv import LightningSpanAttributes, LinkPydanticModel
from lightning_actors.types import AttributeValue, Span

__all__ = [
    "check_attributes_sanity",
    "extract_links_from_attributes",
    "extract_tags_from_attributes",
    "filter_and_unflatten_attributes",
    "filter_attributes",
    "flatten_attributes",
    "format_exception_attributes",
    "make_link_attributes",
    "make_tag_attributes",
    "query_linked_spans",
    "sanitize_attributes",
    "unflatten_attributes",
]

S = TypeVar("S", Span, ReadableSpan)

_PRIMITIVES = (str, bool, int, float)
_DEEPEST = 100


def flatten_attributes(nested: object, *, expand_leaf_lists: bool = False) -> dict[str, Any]:
    """Turn nested mappings and sequences into one level of dotted keys.

    Args:
        nested: A mapping or sequence; positions become keys. Anything else is a leaf.
        expand_leaf_lists: Give the items of a list of primitives of one kind a key each, instead of keeping it whole.

    Returns:
        Leaves by dotted key, in order. Empty mappings and lists are leaves. A lone leaf has the key ``""``.

    Raises:
        ValueError: A key is not a string, the value contains itself, or two leaves would have the same key.
    """
    flat: dict[str, Any] = {}
    _flatten(nested, "", flat, whole_lists=not expand_leaf_lists, depth=0)
    return flat


def _flatten(value: object, path: str, flat: dict[str, Any], *, whole_lists: bool, depth: int) -> None:
    items = _items(value, path, whole_lists=whole_lists)
    if items is None:
        if path in flat:
            raise ValueError(f"two values would have the attribute {path!r}: rename one of them")
        flat[path] = value
        return
    if depth >= _DEEPEST:
        raise ValueError(
            f"attributes are nested more than {_DEEPEST} levels deep at {path[:80]!r}: does a value hold itself?"
        )
    for key, item in items:
        _flatten(item, f"{path}.{key}" if path else key, flat, whole_lists=whole_lists, depth=depth + 1)


def _items(value: object, path: str, *, whole_lists: bool) -> Iterable[tuple[str, object]] | None:
    """The children of a value that has any, else None."""
    if isinstance(value, Mapping):
        mapping = cast("Mapping[object, object]", value)
        for key in mapping:
            if not isinstance(key, str):
                where = f" below {path!r}" if path else ""
                raise ValueError(  # noqa: TRY004 - the value is wrong, and Agent Lightning's users catch ValueError
                    f"attribute keys must be strings, got {key!r} ({type(key).__name__}){where}"
                )
        return cast("Mapping[str, object]", mapping).items() if mapping else None
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        sequence = cast("Sequence[object]", value)
        if not sequence or (whole_lists and _is_uniform(sequence)):
            return None
        return ((str(position), item) for position, item in enumerate(sequence))
    return None


def _is_uniform(sequence: Sequence[object]) -> bool:
    """Whether all items are primitives of one kind."""
    kind = type(sequence[0]) if sequence else str
    return kind in _PRIMITIVES and all(type(item) is kind for item in sequence)


def unflatten_attributes(flat: Mapping[str, Any]) -> Any:
    """Turn dotted keys back into nested dicts and lists.

    Keys at one level become a list only if they are exactly 0…n-1. A value that stands both alone and above others
    (``a`` and ``a.b``) keeps its place under the key ``""``.

    Args:
        flat: Leaves by dotted key.

    Returns:
        A dict, or a list if the top level's keys are 0…n-1; the leaf itself if its key is ``""`` and it is alone.
    """
    if len(flat) == 1 and "" in flat:
        return flat[""]
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *above, last = key.split(".")
        branch = tree
        for part in above:
            below = branch.setdefault(part, _Branch())
            if not isinstance(below, _Branch):
                below = branch[part] = _Branch({"": below})
            branch = cast("dict[str, Any]", below)
        taken = branch.get(last)
        if isinstance(taken, _Branch):
            taken[""] = value
        else:
            branch[last] = value
    return _listed(tree)


class _Branch(dict[str, Any]):
    """An inner node, told from a leaf that happens to be a dict."""


def _listed(tree: dict[str, Any]) -> Any:
    grown = {key: _listed(value) if isinstance(value, _Branch) else value for key, value in tree.items()}
    if grown and all(key.isascii() and key.isdigit() for key in grown):
        wanted = [str(position) for position in range(len(grown))]
        if set(grown) == set(wanted):
            return [grown[key] for key in wanted]
    return grown


def filter_attributes(attributes: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Those attributes whose key is the prefix or stands below it (``prefix.…``)."""
    below = f"{prefix}."
    return {key: value for key, value in attributes.items() if key == prefix or key.startswith(below)}


def filter_and_unflatten_attributes(attributes: Mapping[str, Any], prefix: str) -> Any:
    """What stands below a prefix, nested again, without the prefix.

    Raises:
        ValueError: An attribute has the prefix itself as its key, so that it is both a leaf and a branch.
    """
    found = filter_attributes(attributes, prefix)
    if prefix in found:
        raise ValueError(f"the attribute {prefix!r} has a value of its own: expected only keys below it ({prefix}.…)")
    return unflatten_attributes({key[len(prefix) + 1 :]: value for key, value in found.items()})


def check_attributes_sanity(attributes: Mapping[Any, Any]) -> None:
    """Make sure that attributes are flat and have usable keys.

    Raises:
        ValueError: A key is not a non-empty string, or a value is a mapping that has not been flattened.
    """
    for key, value in attributes.items():
        if not isinstance(key, str) or not key:
            raise ValueError(f"an attribute's key must be a non-empty string, got {key!r} ({type(key).__name__})")
        if isinstance(value, Mapping) and value:
            raise ValueError(f"the attribute {key!r} is a mapping: flatten_attributes gives its values dotted keys")


def sanitize_attributes(
    attributes: Mapping[str, Any], *, fallback: Callable[[object], str] | None = None
) -> dict[str, AttributeValue]:
    """Keep what OpenTelemetry allows and write the rest as JSON text.

    Args:
        attributes: Flat attributes.
        fallback: What to write for a value that JSON cannot hold; None to raise.

    Returns:
        The same keys, each with a primitive, a list of primitives of one kind, or JSON text.

    Raises:
        TypeError: A value cannot be written as JSON, and there is no fallback.
    """
    return {key: _sanitized(key, value, fallback) for key, value in attributes.items()}


def _sanitized(key: str, value: object, fallback: Callable[[object], str] | None) -> AttributeValue:
    if isinstance(value, _PRIMITIVES):
        return value if type(value) in _PRIMITIVES else _unwrapped(value)
    if isinstance(value, (list, tuple)) and _is_uniform(cast("Sequence[object]", value)):
        return list(cast("Sequence[str]", value))
    other = cast("object", value)
    try:
        return json_text(other)
    except ValueError as error:
        if fallback is not None:
            return fallback(other)
        raise TypeError(f"the attribute {key!r} cannot be written as JSON: {error}") from error


def _unwrapped(value: str | float) -> AttributeValue:
    """The plain primitive in an instance of a subclass (an enum member, a numpy float)."""
    plain = cast("str | float", value.value) if isinstance(value, Enum) else value
    if isinstance(plain, str):
        return str.__str__(plain)
    return int(plain) if isinstance(plain, int) else float(plain)


def json_text(value: object) -> str:
    """A value as JSON: pydantic models, dataclasses, dates and the like included.

    Raises:
        ValueError: It holds something that JSON cannot; the message names its type.
    """
    try:
        return to_json(value, inf_nan_mode="constants").decode()
    except (PydanticSerializationError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{type(value).__name__} is not JSON ({reason})") from error


def format_exception_attributes(exception: BaseException) -> dict[str, AttributeValue]:
    """An exception in OpenTelemetry's words: type, message, escaped, stacktrace.

    An exception that cannot be turned into text is described by its type.
    """
    kind = type(exception)
    qualified = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(exception)
        stacktrace = "".join(traceback.format_exception(exception))
    except Exception as broken:  # noqa: BLE001 - boundary: a user's __str__ may raise anything
        message = f"<{qualified}, whose text cannot be had: {type(broken).__name__}>"
        stacktrace = "".join(traceback.format_tb(exception.__traceback__))
    return {
        "exception.type": qualified,
        "exception.message": message,
        "exception.escaped": "True",
        "exception.stacktrace": stacktrace,
    }


def make_tag_attributes(tags: Sequence[str]) -> dict[str, AttributeValue]:
    """Attributes that hold these tags, in order.

    Raises:
        TypeError: A tag is not a string.
    """
    if isinstance(tags, str):
        raise TypeError(f"tags must be a list of strings, got the string {tags!r}: write [{tags!r}]")
    for tag in cast("Sequence[object]", tags):
        if not isinstance(tag, str):
            raise TypeError(f"a tag must be a string, got {tag!r} ({type(tag).__name__})")
    return {f"{LightningSpanAttributes.TAG.value}.{position}": tag for position, tag in enumerate(tags)}


def extract_tags_from_attributes(attributes: Mapping[str, Any]) -> list[str]:
    """The tags that ``make_tag_attributes`` put there, in order.

    Raises:
        ValueError: The tag attributes do not form a list.
    """
    found = filter_and_unflatten_attributes(attributes, LightningSpanAttributes.TAG.value)
    if not isinstance(found, list):
        if not found:
            return []
        raise ValueError(f"tags must have the keys 0…n-1, got {sorted(found)!r}")
    return [str(tag) for tag in cast("list[object]", found)]


def make_link_attributes(links: Mapping[str, str]) -> dict[str, AttributeValue]:
    """Attributes that point to other spans: those on which every key has its value.

    Args:
        links: Attribute values by key; ``trace_id`` and ``span_id`` mean the span's own ids.

    Raises:
        ValueError: A value is not a string.
    """
    attributes: dict[str, AttributeValue] = {}
    for position, (key, value) in enumerate(cast("Mapping[str, object]", links).items()):
        if not isinstance(value, str):
            raise ValueError(  # noqa: TRY004 - Agent Lightning's users catch ValueError
                f"a link's value must be a string, got {key}={value!r} ({type(value).__name__})"
            )
        prefix = f"{LightningSpanAttributes.LINK.value}.{position}"
        attributes[f"{prefix}.key_match"] = key
        attributes[f"{prefix}.value_match"] = value
    return attributes


def extract_links_from_attributes(attributes: Mapping[str, Any]) -> list[LinkPydanticModel]:
    """The links that ``make_link_attributes`` put there, in order.

    Raises:
        ValueError: The link attributes do not form a list of key and value.
    """
    found = filter_and_unflatten_attributes(attributes, LightningSpanAttributes.LINK.value)
    if not isinstance(found, list):
        if not found:
            return []
        raise ValueError(f"links must have the keys 0…n-1, got {sorted(found)!r}")
    return [LinkPydanticModel.model_validate(link) for link in cast("list[object]", found)]


def query_linked_spans(spans: Sequence[S], links: Sequence[LinkPydanticModel]) -> list[S]:
    """Those spans that match every link, in order.

    Args:
        spans: Where to look.
        links: As ``extract_links_from_attributes`` gives them. ``trace_id`` and ``span_id`` are compared with the
            span's ids (in hex), other keys with its attributes, exactly.
    """
    return [span for span in spans if all(_matches(span, link) for link in links)]


def _matches(span: Span | ReadableSpan, link: LinkPydanticModel) -> bool:
    if link.key_match in {"trace_id", "span_id"}:
        return _hex_id(span, link.key_match) == link.value_match
    attributes = span.attributes or {}
    return link.key_match in attributes and attributes[link.key_match] == link.value_match


def _hex_id(span: Span | ReadableSpan, key: str) -> str | None:
    if isinstance(span, Span):
        return span.trace_id if key == "trace_id" else span.span_id
    context = span.get_span_context()
    if context is None:
        return None
    return otel.format_trace_id(context.trace_id) if key == "trace_id" else otel.format_span_id(context.span_id)
