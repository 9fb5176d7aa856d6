"""What JSON cannot hold, and where it is: looked for before anything is written.

A field that takes anything (a task's input, metadata) may hold a set, a date or an object of the user's. A serializer
would write something that only resembles it; `check` refuses it and names the place. What a class vouches for with
the types of its fields is not looked into.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import reprlib
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import to_json

from lightning_actors.error_text import with_article
from lightning_actors.errors import NotJson
from lightning_actors.store.unset import Unset

__all__ = ["check", "field_names", "find"]


class _Way(enum.Enum):
    """How a value is looked through: it may be anything, or it is made of records whose fields may hold anything."""

    ANYTHING = enum.auto()
    RECORDS = enum.auto()


_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_DEEPEST: Final = 100
"""How deep what is given may be nested; what reads JSON gives up at 200."""
_NOTHING: Final[Mapping[str, object]] = {}
_ADVICE: Final = "write it as dicts with texts for keys, lists, texts, numbers, booleans and None"


def check(kind: Any, value: object) -> None:
    """Refuse a value of this type that JSON would give back as something else, or not at all.

    Raises:
        NotJson: With the place in the value.
    """
    way = _way(kind)
    if way is None:
        return
    try:
        if way is _Way.ANYTHING:
            _check_anything(value, 0)
        else:
            _check_records(value)
    except _Refused as refused:
        raise refused.named() from None


def find(value: object, error: Exception) -> NotJson:
    """The error that names what in a value could not be written, as a text that is no Unicode.

    Args:
        value: What was to be written.
        error: What was raised then.
    """
    return _find(value, error).named()


@functools.lru_cache(maxsize=1024)
def field_names(kind: type[Any]) -> tuple[str, ...]:
    """The fields of a dataclass."""
    return tuple(field.name for field in dataclasses.fields(kind))


class _Refused(Exception):
    """Something that JSON cannot hold; the steps to it are added on the way out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.steps: list[str] = []

    def named(self) -> NotJson:
        place = "".join(reversed(self.steps)).removeprefix(".")
        return NotJson(f"{place or 'it'} {self}", place=place)


def _check_anything(value: object, depth: int) -> None:
    if isinstance(value, dict):
        _check_depth(depth)
        for key, item in cast("dict[object, object]", value).items():
            if not isinstance(key, str):
                raise _Refused(f"has the key {reprlib.repr(key)}, and JSON has texts for keys only: {_ADVICE}")
            if type(item) not in _PLAIN:
                _check_part(f"[{key!r}]", item, _Way.ANYTHING, depth + 1)
    elif isinstance(value, (list, tuple)):
        _check_depth(depth)
        for index, item in enumerate(cast("Sequence[object]", value)):
            if type(item) not in _PLAIN:
                _check_part(f"[{index}]", item, _Way.ANYTHING, depth + 1)
    elif not (value is None or isinstance(value, (str, int, float))):
        what = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise _Refused(f"is {with_article(what)} ({reprlib.repr(value)}), which JSON cannot hold: {_ADVICE}")


def _check_depth(depth: int) -> None:
    if depth >= _DEEPEST:
        raise _Refused(f"is nested more than {_DEEPEST} deep, or holds itself, which JSON cannot hold: give it flatter")


def _check_records(value: object) -> None:
    """Look through records, and what holds them, for fields that may hold anything."""
    if isinstance(value, BaseModel):
        held = value.__dict__
        for name, step, way in _fields(type(value)):
            _check_part(step, held[name], way)
        for name, item in (value.__pydantic_extra__ or _NOTHING).items():
            _check_part(f".{name}", item, _Way.ANYTHING)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("Sequence[object]", value)):
            _check_part(f"[{index}]", item, _Way.RECORDS)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            _check_part(f"[{key!r}]", item, _Way.RECORDS)
    elif dataclasses.is_dataclass(value):
        for name, step, way in _fields(type(value)):
            _check_part(step, getattr(value, name), way)


def _check_part(step: str, part: object, way: _Way, depth: int = 0) -> None:
    if type(part) in _PLAIN or isinstance(part, Unset):
        return
    try:
        if way is _Way.ANYTHING:
            _check_anything(part, depth)
        else:
            _check_records(part)
    except _Refused as refused:
        refused.steps.append(step)
        raise


@functools.lru_cache(maxsize=1024)  # bounded, for a notebook defines its classes again and again
def _fields(kind: type[Any], above: frozenset[type[Any]] = frozenset()) -> tuple[tuple[str, str, _Way], ...]:
    """The fields of a class that have to be looked into: name, step, way. ``above`` are the classes it is a part of."""
    if issubclass(kind, BaseModel):
        annotations = {name: field.annotation for name, field in kind.model_fields.items()}
    else:
        hints = typing.get_type_hints(kind)
        annotations = {name: hints[name] for name in field_names(kind)}
    ways = ((name, _way(annotation, above | {kind})) for name, annotation in annotations.items())
    return tuple((name, f".{name}", way) for name, way in ways if way is not None)


@functools.lru_cache(maxsize=1024)
def _way(kind: Any, above: frozenset[type[Any]] = frozenset()) -> _Way | None:
    """How values of this type are looked through; None where the type itself vouches for them."""
    if kind is Any or kind is object:
        return _Way.ANYTHING
    origin = get_origin(kind)
    if isinstance(kind, TypeVar) or _is_open_record(kind if origin is None else origin, above):
        return _Way.RECORDS
    args = () if origin is Literal else get_args(kind)[:1] if origin is Annotated else get_args(kind)
    ways = {_way(arg, above) for arg in args if not isinstance(arg, list)}
    return _Way.RECORDS if _Way.RECORDS in ways else _Way.ANYTHING if _Way.ANYTHING in ways else None


def _is_open_record(kind: object, above: frozenset[type[Any]]) -> bool:
    """Whether it is a record that may hold anything, in a field or beside them."""
    if not isinstance(kind, type):
        return False
    known = cast("type[Any]", kind)
    if not (issubclass(known, BaseModel) or dataclasses.is_dataclass(known)):
        return False
    is_open = known in above or getattr(known, "model_config", _NOTHING).get("extra") == "allow"
    return is_open or bool(_fields(known, above))


def _find(value: object, error: Exception) -> _Refused:
    for step, item in _items(value):
        try:
            to_json(item)
        except (ValueError, TypeError, RecursionError) as inner:
            found = _find(item, inner)
            found.steps.append(step)
            return found
    return _Refused(f"cannot be written as JSON ({type(error).__name__}: {error}): {_ADVICE}")


def _items(value: object) -> Iterable[tuple[str, object]]:
    """Everything that a value is made of, with the step that leads there."""
    if isinstance(value, BaseModel):
        return [(f".{name}", item) for name, item in value]
    if dataclasses.is_dataclass(value):
        items = [(f".{name}", getattr(value, name)) for name in field_names(type(value))]
        return [item for item in items if not isinstance(item[1], Unset)]
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", item) for key, item in cast("Mapping[object, object]", value).items()]
    if isinstance(value, (list, tuple)):
        return [(f"[{index}]", item) for index, item in enumerate(cast("Sequence[object]", value))]
    return []
