"""From a request to the message that it asks for; what is wrong with a request is named by its field.

Source: which mistakes are 400 and which 422, and the form of their details, are those of Agent Lightning 0.3.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.requests import Request

from lightning_actors import types
from lightning_actors.errors import BoundExceeded, NotJson
from lightning_actors.http.limits import ServerLimits
from lightning_actors.http.routes import Body, Route
from lightning_actors.store import codec
from lightning_actors.store.json_data import field_names
from lightning_actors.store.messages import StoreMessage

__all__ = ["BadRequest", "Detail", "message_of", "named_message", "read_body"]

_OUT_OF_RANGE: Final = frozenset({"limit", "offset"})
"""Fields whose wrong number is a 400, where any other mistake is a 422."""

_CLASSES: Final = frozenset(types.__all__)
"""Alternatives are named after the classes that were tried."""

Detail = dict[str, Any]
"""One mistake: its ``type``, its place (``loc``) and what is wrong (``msg``)."""


class BadRequest(Exception):
    """A request that cannot be read; ``detail`` lists its mistakes, or is the one there is."""

    def __init__(self, status: int, detail: str | list[Detail]) -> None:
        super().__init__(detail if isinstance(detail, str) else "; ".join(_in_words(one) for one in detail))
        self.status = status
        self.detail = detail

    @property
    def fields(self) -> list[str]:
        """The fields that are wrong, each once."""
        wrong = [] if isinstance(self.detail, str) else [".".join(map(str, one["loc"][1:])) for one in self.detail]
        return list(dict.fromkeys(name for name in wrong if name))


def _in_words(detail: Detail) -> str:
    place = ".".join(map(str, detail["loc"]))
    return f"{place}: {detail['msg']}"


async def read_body(request: Request, limits: ServerLimits) -> bytes:
    """The body, decompressed, as far as the bound allows.

    Raises:
        BoundExceeded: It is longer.
        BadRequest: It is compressed in a way that is not known, or damaged.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", "deflate", ""}:
        raise BadRequest(415, f"a body in the Content-Encoding {encoding!r} cannot be read: send it plain, or by gzip")
    most = limits.body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_long(most)
    parts: list[bytes] = []
    length = 0
    inflate = None if encoding in {"identity", ""} else zlib.decompressobj(zlib.MAX_WBITS | 32)
    async for chunk in request.stream():
        part = chunk if inflate is None else _inflated(inflate, chunk, most - length)
        length += len(part)
        if length > most or (inflate is not None and inflate.unconsumed_tail):
            raise _too_long(most)
        parts.append(part)
    if inflate is not None and parts and (not inflate.eof or inflate.unused_data):
        raise BadRequest(400, "the body breaks off in its compressed data, or goes on after it")
    return b"".join(parts)


def _inflated(inflate: Any, chunk: bytes, room: int) -> bytes:
    try:
        return cast("bytes", inflate.decompress(chunk, room + 1))
    except zlib.error as error:
        raise BadRequest(400, f"the body cannot be decompressed: {error}") from None


def _too_long(most: int) -> BoundExceeded:
    return BoundExceeded(
        f"the body is longer than this server's bound of {most:,} bytes (decompressed): send less at a time, or raise "
        f"ServerLimits(body_bytes=...) where the server is started",
        bound="body_bytes",
        allowed=most,
    )


async def message_of(route: Route, request: Request, limits: ServerLimits) -> StoreMessage[Any]:
    """The message that a request on this route asks for.

    Raises:
        BadRequest: It cannot be read.
        BoundExceeded: It is too long, or brings too many.
    """
    fields: dict[str, Any]
    if route.body is Body.QUERY:
        fields = _from_query(route, request)
    elif route.body is Body.NOTHING:
        fields = {}
    else:
        fields = _from_body(route, await read_body(request, limits))
    return _built(route.message, {**fields, **request.path_params}, limits, route)


async def named_message(kind: type[StoreMessage[Any]], request: Request, limits: ServerLimits) -> StoreMessage[Any]:
    """The message of a known class that is the body of a request.

    Raises:
        BadRequest: It cannot be read.
        BoundExceeded: It is too long, or brings too many.
    """
    body = await read_body(request, limits)
    return _built(kind, _object(body) if body else {}, limits, None)


def _from_query(route: Route, request: Request) -> dict[str, Any]:
    """The fields that stand in the query string; other names there are passed over, as is the custom."""
    given = request.query_params
    known = set(field_names(route.message)) - route.ours
    many = {name for name in known if name.endswith("_in")}
    return {name: given.getlist(name) if name in many else given[name] for name in given if name in known}


def _from_body(route: Route, body: bytes) -> dict[str, Any]:
    if route.body is Body.OPTIONAL and not body.strip():
        return {}
    if route.body is Body.WHOLE:
        return {route.whole: _json(body)}
    value = _json(body)
    if value is None and route.body is Body.OPTIONAL:
        return {}
    fields = _as_object(value)
    for name in route.path_fields:
        if name in fields:
            raise BadRequest(422, [_detail("extra_forbidden", ("body", name), "It stands in the path")])
    return {route.renamed.get(name, name): item for name, item in fields.items()}


def _json(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError as error:
        raise BadRequest(422, [_detail("json_invalid", ("body",), f"The body is no JSON: {error}")]) from None


def _object(body: bytes) -> dict[str, Any]:
    return _as_object(_json(body))


def _as_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(422, [_detail("model_attributes_type", ("body",), "The body should be a JSON object")])
    return cast("dict[str, Any]", value)


def _built(
    kind: type[StoreMessage[Any]], fields: Mapping[str, Any], limits: ServerLimits, route: Route | None
) -> StoreMessage[Any]:
    _check_batch(fields, limits)
    if route is not None and "offset" in field_names(kind) and fields.get("limit") in [0, "0"]:
        raise BadRequest(400, "limit must be greater than 0, or -1 for no limit")
    try:
        return codec.build(kind, fields)
    except NotJson as error:
        raise BadRequest(422, [_detail("value_error", ("body", error.place), str(error))]) from None
    except ValidationError as error:
        details = _details(error.errors(include_url=False, include_context=True), route)
        raise BadRequest(_status(details, fields), details) from None


def _check_batch(fields: Mapping[str, Any], limits: ServerLimits) -> None:
    for name, value in fields.items():
        if isinstance(value, list) and len(cast("list[Any]", value)) > limits.batch:
            raise BoundExceeded(
                f"{name} has {len(cast('list[Any]', value)):,} items, and this server's bound for batch is "
                f"{limits.batch:,}: send fewer at a time, or raise ServerLimits(batch=...) where the server is started",
                bound="batch",
                allowed=limits.batch,
            )


def _details(errors: Iterable[ErrorDetails], route: Route | None) -> list[Detail]:
    """One entry for each field that is wrong, in the words of the first thing that is wrong with it."""
    details: dict[tuple[int | str, ...], Detail] = {}
    for error in errors:
        if error["type"] == "is_instance_of" and "Unset" in error["msg"]:
            continue  # that a field may be left out needs no saying
        place = _place(error["loc"], route)
        details.setdefault(place, _detail(error["type"], place, error["msg"]))
    return list(details.values())


def _place(steps: tuple[int | str, ...], route: Route | None) -> tuple[int | str, ...]:
    """Where a mistake is in the request: without the alternatives that were tried at a place, and by its name there."""
    plain = [step for step in steps if not (isinstance(step, str) and ("[" in step or "-" in step or step in _CLASSES))]
    if route is None or not plain:
        return ("body", *plain)
    first = str(plain[0])
    if first in route.path_fields:
        return ("path", *plain)
    if route.body is Body.QUERY:
        return ("query", *plain)
    if first == route.whole:
        return ("body", *plain[1:])
    renamed = {ours: theirs for theirs, ours in route.renamed.items()}
    return ("body", renamed.get(first, first), *plain[1:])


def _status(details: list[Detail], fields: Mapping[str, Any]) -> int:
    """400 for a null where none may stand, and for a page that there cannot be; 422 for anything else."""
    names = [str(detail["loc"][1]) if len(detail["loc"]) > 1 else "" for detail in details]
    is_null = all(name in fields and fields[name] is None for name in names)
    no_page = all(
        name in _OUT_OF_RANGE and detail["type"] == "greater_than_equal"
        for name, detail in zip(names, details, strict=True)
    )
    return 400 if is_null or no_page else 422


def _detail(kind: str, place: tuple[int | str, ...], message: str) -> Detail:
    return {"type": kind, "loc": list(place), "msg": message}
