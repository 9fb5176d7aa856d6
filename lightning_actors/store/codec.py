"""Records and messages as JSON, for all that leaves the process: a disk, a network.

```
dump(Rollout, rollout) ──▶ b'{"rollout_id": …}' ──▶ load(Rollout, data) == rollout
```

A kind is any type that an operation takes or answers: a record, ``list[Rollout]``, ``Rollout | None``,
``PaginatedResult[Span]``, ``NamedResources``, or the class of a message. What was dumped comes back equal, except that
tuples come back as lists, and numbers and texts of a class of their own as plain ones. NaN and the infinities are
written as Python's ``json`` writes them. A field of a message that was not given is left out.

A resource whose class this process has not imported is read as an `OpaqueResource`, and written again as it was.

Source: the form is that of Agent Lightning 0.3's REST interface: snake case, all fields present, times in seconds.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import ConfigDict, PydanticUserError, TypeAdapter

from lightning_actors.actors.message import Message
from lightning_actors.store.json_data import check, field_names, find
from lightning_actors.store.messages import AddOtelSpan, AddSpan, StoreMessage
from lightning_actors.store.unset import Unset
from lightning_actors.types import AttemptedRollout, Rollout, Span
from lightning_actors.types.resources import KEEP_UNKNOWN_RESOURCES

__all__ = ["adapter", "as_data", "build", "dump", "load"]

R = TypeVar("R")

_CONFIG = ConfigDict(ser_json_inf_nan="constants")


def dump(kind: Any, value: object, *, without: Collection[str] = ()) -> bytes:
    """Write a value as JSON.

    Args:
        kind: Its type.
        value: A value of this type; it is trusted to be one.
        without: Fields of it to leave out.

    Returns:
        JSON in UTF-8, on one line.

    Raises:
        NotJson: Part of it cannot be held by JSON; ``error.place`` says which.
    """
    check(kind, value)
    try:
        return adapter(kind).dump_json(value, exclude=_left_out(kind, value, without), warnings=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise find(value, error) from error


def load(kind: Any, data: bytes | bytearray | str) -> Any:
    """Read what `dump` has written for this type.

    Args:
        kind: The type.
        data: JSON.

    Returns:
        A value of the type.

    Raises:
        pydantic.ValidationError: It is not JSON, or not of this type; ``error.errors()`` names the fields.
    """
    return adapter(kind).validate_json(data, context=KEEP_UNKNOWN_RESOURCES)


def build(kind: Any, fields: Mapping[str, Any]) -> Any:
    """Make a value of a type from its fields, as JSON holds them.

    Args:
        kind: A record, or the class of a message.
        fields: What was read from JSON, by name.

    Returns:
        A value of the type.

    Raises:
        pydantic.ValidationError: The fields are not of this type; ``error.errors()`` names them.
        NotJson: A field is nested too deep to be written again.
    """
    value = adapter(kind).validate_python(fields, context=KEEP_UNKNOWN_RESOURCES)
    check(kind, value)
    return value


def as_data(message: Message[R]) -> Message[R]:
    """The same message, or one of the same meaning that JSON can hold: AddSpan in place of AddOtelSpan.

    Raises:
        ValueError: The OpenTelemetry span was never started.
    """
    if not isinstance(message, AddOtelSpan):
        return message
    place = message.rollout_id, message.attempt_id, message.sequence_id or 0
    return cast("Message[R]", AddSpan(Span.from_opentelemetry(message.readable_span, *place)))


@functools.lru_cache(maxsize=256)
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What reads and writes values of a type, and describes them."""
    written = _on_the_wire(kind)
    try:
        return TypeAdapter(written, config=_CONFIG)
    except PydanticUserError:  # it has a configuration of its own, which says the same
        return TypeAdapter(written)


def _on_the_wire(kind: Any) -> Any:
    """The type with AttemptedRollout allowed where it says Rollout, for a store adds the attempt where there is one."""
    if kind is Rollout:
        return AttemptedRollout | Rollout
    args = get_args(kind)
    replaced = args if get_origin(kind) is Literal else tuple(_on_the_wire(arg) for arg in args)
    if replaced == args:
        return kind
    return Union[replaced] if get_origin(kind) in {Union, types.UnionType} else get_origin(kind)[replaced]  # noqa: UP007 - made of parts that are not known before


def _left_out(kind: Any, value: object, without: Collection[str]) -> set[str] | None:
    """What is not written; of a message also the fields that it leaves as they are."""
    if not isinstance(value, StoreMessage):
        return set(without) or None
    is_left_as_it_is = (isinstance(getattr(cast("object", value), name), Unset) for name in field_names(kind))
    return {name for name, left in zip(field_names(kind), is_left_as_it_is, strict=True) if left}.union(without)
