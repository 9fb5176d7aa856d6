"""From what a store answered to a response: replies, errors, and the details of a bad request."""

from __future__ import annotations

from typing import Any, Final, cast

from anyio.lowlevel import checkpoint
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from lightning_actors.error_text import describe
from lightning_actors.errors import BoundExceeded, InvalidRequest, RolloutNotFound, StoreError
from lightning_actors.http import wire_errors
from lightning_actors.http.reading import BadRequest
from lightning_actors.http.routes import Route
from lightning_actors.log import get_logger
from lightning_actors.store import codec
from lightning_actors.store.messages import GetRolloutById, StoreMessage
from lightning_actors.types import PaginatedResult

__all__ = ["error_response", "json_response", "reply_response", "route_response"]

log = get_logger("lightning_actors.http")

_JSON: Final = "application/json"
_AT_ONCE: Final = 200
"""How many records of a page are written before others have their turn."""
_LATER: Final = frozenset({"waiters", "connections"})
"""Bounds that another moment may lift."""


def json_response(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response of JSON that has been written already."""
    return Response(content, status, headers, media_type=_JSON)


async def route_response(route: Route, message: StoreMessage[Any], reply: Any) -> Response:
    """The response of a route of Agent Lightning's.

    Raises:
        RolloutNotFound: There is nothing to answer with.
    """
    if reply is None and route.none_is_missing and isinstance(message, GetRolloutById):
        raise RolloutNotFound(message.rollout_id)
    body = await _written(type(message).reply_type(), reply)
    if route.reply_under is not None:
        body = b'{"%b":%b}' % (route.reply_under.encode(), body)
    return json_response(body, route.status)


async def reply_response(message: StoreMessage[Any], reply: Any) -> Response:
    """The response to a message that was sent by its name."""
    return json_response(await _written(type(message).reply_type(), reply))


async def _written(kind: Any, reply: Any) -> bytes:
    """A reply as JSON; a long page piece by piece, so that it holds nobody up."""
    if not isinstance(reply, PaginatedResult):
        return codec.dump(kind, reply)
    page = cast("PaginatedResult[Any]", reply)
    if len(page) <= _AT_ONCE:
        return codec.dump(kind, page)
    pieces: list[bytes] = []
    rest = b""
    for start in range(0, len(page), _AT_ONCE):
        piece = codec.dump(kind, PaginatedResult(page[start : start + _AT_ONCE], page.limit, page.offset, page.total))
        items, _, rest = piece.rpartition(b"]")
        pieces.append(items.removeprefix(b'{"items":['))
        await checkpoint()
    return b'{"items":[%b]%b' % (b",".join(pieces), rest)


def error_response(error: Exception, request: Request) -> Response:
    """The response to whatever went wrong; what nobody foresaw is logged with its traceback and answered without."""
    if isinstance(error, BadRequest):
        detail: Any = error.detail
        data = wire_errors.as_data(InvalidRequest(str(error), fields=error.fields))
        return _error(error.status, detail, data)
    status = wire_errors.status_of(error)
    data = wire_errors.as_data(error)
    if isinstance(error, BoundExceeded) and error.bound in _LATER:
        return _error(429, data["message"], data, {"retry-after": "1"})
    if not wire_errors.is_foreseen(error):
        kind = "store_failed" if isinstance(error, StoreError) else "unforeseen_error"
        log.error(kind, path=request.url.path, error=describe(error), exc_info=error)
    return _error(status, data["message"], data, {"retry-after": "1"} if wire_errors.may_pass(error) else None)


def _error(status: int, detail: Any, data: wire_errors.ErrorData, headers: dict[str, str] | None = None) -> Response:
    return json_response(to_json({"detail": detail, "error": data}), status, headers)
