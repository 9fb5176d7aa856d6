"""What asks and replies carry: messages and their answers as JSON, with what comes by the thousand apart, as items.

```
AddManySpans([4,000 spans]) ──▶ items [..] items [..] … {"spans":[]}      read as they come, each a moment's work
its reply                   ──▶ {"receipts":[[0,17],[1,18],…]}            which were new, and their sequence ids
```
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from lightning_actors.actors.message import Message
from lightning_actors.errors import OperationUnavailable
from lightning_actors.http.routes import OPERATIONS
from lightning_actors.store.codec import build, dump, load
from lightning_actors.store.json_data import check
from lightning_actors.store.messages import AddManySpans, AddSpan
from lightning_actors.store.once import Once
from lightning_actors.types import PaginatedResult, Span
from lightning_actors.types.trusted import evolved

__all__ = [
    "Payload",
    "item_kind",
    "read_items",
    "read_message",
    "read_reply",
    "reply_item_kind",
    "write_message",
    "write_reply",
]

_FEW: Final = 32
"""So many things go with what they belong to."""
_ITEMS_BYTES: Final = 16 * 1024
"""About how long a list of items is made."""
_RECEIPTS: Final = "receipts"


class _Envelope(TypedDict):
    around: tuple[str, int, int, str]
    message: dict[str, Any]


_ENVELOPE: Final = TypeAdapter(_Envelope)


@dataclass(frozen=True, slots=True)
class Payload:
    """JSON, and the items that belong to it as JSON lists."""

    body: bytes
    items: Sequence[bytes] = ()


# ── messages ──


def item_kind(kind: type[Message[Any]]) -> Any:
    """The type of the records that a message may have by the thousand; None if it has none."""
    return None if (field := _many_field(kind)) is None else field[1]


def write_message(message: Message[Any]) -> Payload:
    """A message as it travels.

    Raises:
        NotJson: JSON cannot hold it.
    """
    kind = type(message)
    if isinstance(message, Once):
        return Payload(_written_envelope(message))
    field = _many_field(kind)
    if field is None or len(things := cast("Sequence[Any]", getattr(message, field[0]))) <= _FEW:
        return Payload(dump(kind, message))
    name, item = field
    emptied = dataclasses.replace(cast("Any", message), **{name: []})
    return Payload(dump(kind, emptied), list(_written(item, things)))


def read_message(kind: type[Message[Any]], body: bytes, items: list[Any]) -> Message[Any]:
    """The message that came.

    Args:
        kind: Its class.
        body: What `write_message` made of it.
        items: Its items, as `read_items` gave them.

    Raises:
        pydantic.ValidationError: It is none.
        NotJson: It is nested too deep to be written again.
    """
    if kind is Once:
        return _read_envelope(body)
    message = load(kind, body)
    check(kind, message)
    field = _many_field(kind)
    return message if not items or field is None else dataclasses.replace(message, **{field[0]: items})


def read_items(item: Any, data: bytes) -> list[Any]:
    """Some of the items.

    Raises:
        pydantic.ValidationError: They are none of this type.
        NotJson: They are nested too deep to be written again.
    """
    items = load(list[item], data)
    check(list[item], items)
    return items


# ── replies ──


def reply_item_kind(message: Message[Any]) -> Any:
    """The type of the records that a reply may have by the thousand; None if it has none."""
    return _record_of(_reply_kind(message))


def write_reply(message: Message[Any], reply: Any) -> Payload:
    """A reply as it travels.

    Args:
        message: What it is the reply to.
        reply: The reply.

    Raises:
        NotJson: JSON cannot hold it.
    """
    receipts = _receipts(message, reply)
    if receipts is not None:
        return Payload(to_json({_RECEIPTS: receipts}))
    kind = _reply_kind(message)
    item = _record_of(kind)
    if item is None or len(reply) <= _FEW:
        return Payload(dump(kind, reply))
    if isinstance(reply, PaginatedResult):
        page = cast("PaginatedResult[Any]", reply)
        return Payload(dump(kind, dataclasses.replace(page, items=[])), list(_written(item, page.items)))
    return Payload(b"[]", list(_written(item, reply)))


def read_reply(message: Message[Any], body: bytes, items: list[Any]) -> Any:
    """The reply that came.

    Raises:
        pydantic.ValidationError: It is none.
    """
    if isinstance(message, AddManySpans | AddSpan) and body.startswith(b'{"receipts":'):
        return _received(message, from_json(body)[_RECEIPTS])
    reply = load(_reply_kind(message), body)
    if not items:
        return reply
    if isinstance(reply, PaginatedResult):
        return dataclasses.replace(cast("PaginatedResult[Any]", reply), items=items)
    return items


def _receipts(message: Message[Any], reply: Any) -> list[tuple[int, int]] | None:
    """Which of the spans in a message were new, and their sequence ids; None where that does not say all."""
    if isinstance(message, AddSpan):
        given, stored = [message.span], [] if reply is None else [cast("Span", reply)]
    elif isinstance(message, AddManySpans):
        given, stored = message.spans, cast("list[Span]", reply)
    else:
        return None
    places: dict[tuple[str, str, str], int] = {}
    for place, span in enumerate(given):
        places.setdefault((span.rollout_id, span.attempt_id, span.span_id), place)
    receipts: list[tuple[int, int]] = []
    for span in stored:
        place = places.get((span.rollout_id, span.attempt_id, span.span_id))
        if place is None or not _is_stored_as_given(given[place], span):
            return None
        receipts.append((place, span.sequence_id))
    return receipts


def _is_stored_as_given(given: Span, stored: Span) -> bool:
    return stored is given or stored == evolved(given, sequence_id=stored.sequence_id)


def _received(message: AddManySpans | AddSpan, receipts: list[tuple[int, int]]) -> Any:
    given = message.spans if isinstance(message, AddManySpans) else [message.span]
    stored = [_numbered(given[place], number) for place, number in receipts]
    return stored if isinstance(message, AddManySpans) else next(iter(stored), None)


def _numbered(span: Span, number: int) -> Span:
    return span if span.sequence_id == number else evolved(span, sequence_id=number)


# ── envelopes ──


def _reply_kind(message: Message[Any]) -> Any:
    return type(message.message if isinstance(message, Once) else message).reply_type()


def _written_envelope(once: Once) -> bytes:
    kind = type(once.message)
    around = [once.client, once.number, once.settled_below, kind.__name__]
    return b'{"around":%b,"message":%b}' % (to_json(around), dump(kind, once.message))


def _read_envelope(body: bytes) -> Once:
    parts = _ENVELOPE.validate_json(body)
    client, number, settled_below, operation = parts["around"]
    kind = OPERATIONS.get(operation)
    if kind is None:
        raise OperationUnavailable(
            f"there is no operation {operation!r} to be put into an envelope", operation=operation
        )
    return Once(client, number, settled_below=settled_below, message=build(kind, parts["message"]))


# ── shapes ──


def _written(item: Any, things: Sequence[Any]) -> Iterator[bytes]:
    """The things as lists of about the same size in bytes."""
    kind, at, count = list[item], 0, 8
    while at < len(things):
        some = dump(kind, things[at : at + count])
        yield some
        at += count
        count = max(1, min(4 * count, count * _ITEMS_BYTES // len(some)))


@functools.cache
def _many_field(kind: type[Any]) -> tuple[str, Any] | None:
    """The one field of a message that takes many records, and their type."""
    hints = typing.get_type_hints(kind)
    fields = [(field.name, _record_of(hints[field.name])) for field in dataclasses.fields(kind)]
    many = [(name, item) for name, item in fields if item is not None]
    return many[0] if len(many) == 1 else None


@functools.cache
def _record_of(kind: Any) -> type[BaseModel] | None:
    """The type of the records that values of this type are a sequence of; None if they are not."""
    origin, args = get_origin(kind), get_args(kind)
    if not (isinstance(origin, type) and issubclass(origin, Sequence) and len(args) == 1):
        return None
    return args[0] if isinstance(args[0], type) and issubclass(args[0], BaseModel) else None
