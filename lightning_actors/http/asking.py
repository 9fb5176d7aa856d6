"""From a message to the request that asks for it, and from the answer to its reply: the table of routes, backwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any, Final, cast

from lightning_actors.http.batches import as_batch
from lightning_actors.http.routes import AGL, MESSAGES, ROUTES, Body, Route
from lightning_actors.http.served import QUERIES
from lightning_actors.store import codec
from lightning_actors.store.json_data import check
from lightning_actors.store.messages import (
    EnqueueManyRollouts,
    StoreMessage,
)
from lightning_actors.types import PaginatedResult

__all__ = ["QUERIES", "Ask", "ask_by_name", "ask_for"]

_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_.~:@+,;=-]*[A-Za-z0-9_~:@+,;=-]")
"""What can stand in a path as it is, and is no step of it."""
_RESERVED: Final = frozenset({"latest", "search", "next"})
"""Words that mean something else where an id might stand."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        message: What it asks for.
        method: The HTTP method.
        path: The path from the root of the server.
        read: Makes the reply of the body of the answer.
        body: JSON, or None for none.
        query: What stands in the query string.
        is_named: Whether it goes by the name of its message, which Agent Lightning's server has no route for.
        missing_is_none: Whether an error that says "no such rollout" stands for None.
    """

    message: StoreMessage[Any]
    method: str
    path: str
    read: Callable[[bytes], Any]
    body: bytes | None = None
    query: tuple[tuple[str, str], ...] = ()
    is_named: bool = False
    missing_is_none: bool = False


def ask_for(message: StoreMessage[Any]) -> Ask:
    """The request that asks for a message: on the route that Agent Lightning has too, else by its name.

    Raises:
        NotJson: It holds what JSON cannot.
    """
    batch, reply_of = as_batch(message)
    if batch is not message:
        check(type(message), message)  # so that an error names the place in what was asked
        return _first_of(batch, message, reply_of)
    if isinstance(message, QUERIES) and message.limit == 0:
        return _with_no_items(message)
    route = _FIRST.get(type(message))
    if route is None or not _fits(message, route):
        return ask_by_name(message)
    return _on_route(message, route)


_FIRST: Final = {route.message: route for route in reversed(ROUTES)}


def _first_of(batch: StoreMessage[Any], message: StoreMessage[Any], reply_of: Callable[[Any], Any]) -> Ask:
    """A batch of one; the operation by its own name where the route of the batch does not do."""
    ask = ask_for(batch)
    if ask.is_named:
        return ask_by_name(message)

    def read(body: bytes) -> Any:
        return reply_of(ask.read(body))

    return replace(ask, message=message, read=read)


def _with_no_items(message: Any) -> Ask:
    """A page without records, for its total alone; the routes want a limit of at least 1."""
    ask = ask_for(replace(message, limit=1))

    def read(body: bytes) -> PaginatedResult[Any]:
        return replace(ask.read(body), items=[], limit=0)

    return replace(ask, read=read)


def _fits(message: StoreMessage[Any], route: Route) -> bool:
    """Whether Agent Lightning's route can say all that the message says."""
    if any(not _is_default(message, field) for field in fields(cast("Any", message)) if field.name in route.ours):
        return False
    if isinstance(message, EnqueueManyRollouts) and any(request.key is not None for request in message.requests):
        return False
    ids = [getattr(message, name) for name in route.path_fields]
    return all(_PLAIN_ID.fullmatch(one) and one not in _RESERVED for one in ids if one != "latest" or len(ids) == 1)


def ask_by_name(message: StoreMessage[Any]) -> Ask:
    """The request that asks for a message by its name, of which only a server of ours knows."""
    kind = type(message)
    body = codec.dump(kind, message)
    return Ask(message, "POST", f"{MESSAGES}/{kind.__name__}", _reader(kind, None), body, is_named=True)


def _on_route(message: StoreMessage[Any], route: Route) -> Ask:
    path = AGL + route.path.format(**{name: getattr(message, name) for name in route.path_fields})
    given = [
        field.name
        for field in fields(cast("Any", message))
        if field.name not in route.path_fields and not _is_default(message, field)
    ]
    read = _reader(route.message, route.reply_under)
    if route.body is Body.QUERY:
        query = tuple((name, str(getattr(message, name))) for name in given)
        return Ask(message, route.method, path, read, query=query)
    body = None if route.body is Body.NOTHING else _body(message, route, given)
    return Ask(message, route.method, path, read, body, missing_is_none=route.none_is_missing)


def _body(message: StoreMessage[Any], route: Route, given: list[str]) -> bytes:
    if route.body is Body.WHOLE:
        given = [route.whole]
    left_out = [field.name for field in fields(cast("Any", message)) if field.name not in given]
    body = codec.dump(type(message), message, without=left_out)
    for theirs, ours in (*route.renamed.items(), *([("", route.whole)] if route.whole else [])):
        value = body.removeprefix(b'{"%b":' % ours.encode())[:-1]  # the message has this field alone
        body = b'{"%b":%b}' % (theirs.encode(), value) if theirs else value
    return body


def _reader(kind: type[StoreMessage[Any]], under: str | None) -> Callable[[bytes], Any]:
    reply = kind.reply_type()
    if under is None:
        return lambda body: codec.load(reply, body)
    return lambda body: codec.load(dict[str, reply], body)[under]


def _is_default(message: StoreMessage[Any], field: Field[Any]) -> bool:
    value, default = getattr(message, field.name), _default(field)
    return value is default or (type(value) is type(default) and value == default)


def _default(field: Field[Any]) -> Any:
    """A dataclass field's default; pydantic keeps that of a ``Field`` inside of it."""
    return MISSING if field.default is MISSING else getattr(field.default, "default", field.default)
