"""Reading a span's attributes strictly: what is there makes sense, or the error names the span and the attribute."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pydantic_core import from_json

from lightning_actors.attributes import filter_and_unflatten_attributes
from lightning_actors.types import Span

__all__ = ["Fields", "SpanFields", "json_written"]

Fields = Mapping[str, Any]
"""An object of JSON."""


class SpanFields:
    """The attributes of one span, by what they should hold.

    Every method gives None, or nothing, for what is not there.

    Args:
        span: The span to read.

    Raises:
        ValueError: By every method: what is there is not what it should be.
    """

    def __init__(self, span: Span) -> None:
        self.span = span
        self._attributes: Fields = span.attributes

    def malformed(self, reason: str) -> ValueError:
        """The error to raise where the span makes no sense."""
        span = self.span
        return ValueError(
            f"span {span.name!r} (span_id {span.span_id!r}, number {span.sequence_id} of {span.rollout_id!r}) "
            f"cannot be read as a call of a language model: {reason}"
        )

    def text(self, *keys: str) -> str | None:
        """The first of these attributes that is there and not empty, as text."""
        return next((str(self._attributes[key]) for key in keys if self._attributes.get(key) not in (None, "")), None)

    def count(self, *keys: str) -> int | None:
        """The first of these attributes that is there, a whole number."""
        key = next((key for key in keys if key in self._attributes), None)
        if key is None:
            return None
        value = self._attributes[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not float(value).is_integer():
            raise self.malformed(f"{key!r} is {value!r}, where a whole number was expected")
        return int(value)

    def texts(self, *keys: str) -> tuple[str, ...]:
        """The first of these attributes that is there: a list of texts, as such or as JSON, or a lone text."""
        key = next((key for key in keys if self._attributes.get(key) not in (None, "")), None)
        if key is None:
            return ()
        value: object = self._attributes[key]
        if isinstance(value, str):
            value = self.parsed(key, value) if value.startswith("[") else [value]
        if not isinstance(value, (list, tuple)):
            raise self.malformed(f"{key!r} is {value!r}, where a list was expected")
        return tuple(str(item) for item in cast("Sequence[object]", value))

    def parsed(self, key: str, value: object) -> Any:
        """A value found at a key, which is JSON text."""
        if not isinstance(value, str):
            raise self.malformed(f"{key!r} is {type(value).__name__}, where JSON text was expected")
        try:
            return from_json(value)
        except ValueError as error:
            raise self.malformed(f"{key!r} is no JSON ({error}): {value[:80]!r}") from error

    def document(self, key: str) -> Any:
        """What the JSON text in an attribute says."""
        value = self._attributes.get(key)
        return None if value is None else self.parsed(key, value)

    def json_objects(self, key: str) -> list[Fields]:
        """The objects in the JSON list in an attribute."""
        found = self.document(key)
        return [] if found is None else self.objects(key, found)

    def objects(self, key: str, found: object) -> list[Fields]:
        """A value found at a key, which is a list of objects."""
        if not isinstance(found, (list, tuple)):
            raise self.malformed(f"{key!r} holds {type(found).__name__}, where a list was expected")
        items = cast("Sequence[object]", found)
        return [self.object(f"{key}[{position}]", item) for position, item in enumerate(items)]

    def object(self, key: str, found: object) -> Fields:
        """A value found at a key, which is an object."""
        if not isinstance(found, Mapping):
            raise self.malformed(f"{key!r} is {type(found).__name__}, where an object was expected")
        return cast("Fields", found)

    def tree(self, prefix: str) -> Any:
        """What stands below a prefix, nested; an empty dict if nothing does."""
        try:
            return filter_and_unflatten_attributes(self._attributes, prefix)
        except (ValueError, RecursionError) as error:
            raise self.malformed(str(error)) from error

    def numbered(self, prefix: str) -> list[Fields]:
        """The objects below a prefix that has a number for each, from 0."""
        return self.listed(prefix, self.tree(prefix))

    def listed(self, prefix: str, found: object) -> list[Fields]:
        """A value found below a prefix, which has numbers from 0 as keys."""
        if isinstance(found, Mapping):
            if found:
                raise self.malformed(
                    f"the keys below {prefix!r} are {sorted(cast('Fields', found))!r}, where 0…n-1 was expected"
                )
            return []
        return self.objects(prefix, found)

    def options(self, prefix: str) -> dict[str, Any]:
        """What stands below a prefix, by name."""
        return dict(self.object(prefix, self.tree(prefix)))

    def token_ids(self, key: str, value: object = None) -> tuple[int, ...] | None:
        """Token ids in an attribute, or in a value found at a key; of several lists the first.

        They may be numbers or text, as JSON or as Python writes them.
        """
        found: object = self._attributes.get(key) if value is None else value
        if found is None:
            return None
        ids = self.literal(key, found) if isinstance(found, str) else found
        if ids is None:  # written as text
            return None
        if isinstance(ids, (list, tuple)) and ids and isinstance(ids[0], (list, tuple)):
            ids = cast("Sequence[object]", ids)[0]
        if not isinstance(ids, (list, tuple)) or not all(type(one) is int for one in cast("Sequence[object]", ids)):
            raise self.malformed(f"{key!r} is {str(found)[:80]!r}, where a list of token ids was expected")
        return tuple(cast("Sequence[int]", ids))

    def logprobs(self, key: str, value: object = None) -> tuple[Fields, ...] | None:
        """The log probabilities in an attribute, or in a value found at a key: an object for each token."""
        found: object = self._attributes.get(key) if value is None else value
        if found is None:
            return None
        return tuple(self.objects(key, self.literal(key, found) if isinstance(found, str) else found))

    def literal(self, key: str, text: str) -> Any:
        """A value found at a key, which is text as JSON or Python writes it."""
        parsers: tuple[Callable[[str], Any], ...] = (from_json, ast.literal_eval)
        for parse in parsers:
            try:
                return parse(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
        raise self.malformed(f"{key!r} is neither JSON nor a Python literal: {text[:80]!r}")


def json_written(value: object) -> str:
    """A value as JSON text; text as it is, and nothing for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
