"""`app_of`: the ASGI application that serves a store, for a server of ours or inside an application of the user's."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive

from lightning_actors import __version__
from lightning_actors.errors import OperationUnavailable
from lightning_actors.http.batches import as_one
from lightning_actors.http.envelopes import ONCE_HEADER, wrapped
from lightning_actors.http.guard import Guard
from lightning_actors.http.openapi import OPENAPI, description
from lightning_actors.http.otlp_route import traces_of
from lightning_actors.http.reading import message_of, named_message
from lightning_actors.http.routes import AGL, HEALTH, MESSAGES, OPERATIONS, ROUTES, TRACES, Route
from lightning_actors.http.served import ServedStore
from lightning_actors.http.writing import error_response, json_response, reply_response, route_response
from lightning_actors.store.messages import StoreMessage

__all__ = ["app_of"]

Answer = Callable[[Request], Awaitable[Response]]


def app_of(served: ServedStore, guard: Guard | None = None, *, routes: Sequence[BaseRoute] = ()) -> ASGIApp:
    """The application that serves a store.

    Args:
        served: The store, with the bounds within which it is served.
        guard: Who may come in; None for everybody, as where an application of the user's sees to that.
        routes: Further routes, such as one for a WebSocket; they are tried first, behind the same guard.

    Returns:
        An ASGI application; it has no lifespan of its own.
    """
    own = [
        StarletteRoute(HEALTH, _answering(_health(served)), methods=["GET"]),
        *(
            StarletteRoute(AGL + route.path, _answering(_by_route(served, route)), methods=[route.method])
            for route in ROUTES
        ),
        StarletteRoute(f"{MESSAGES}/{{name}}", _answering(_by_name(served)), methods=["POST"]),
        StarletteRoute(OPENAPI, _openapi, methods=["GET"]),
        StarletteRoute(TRACES, traces_of(served), methods=["POST"]),
        *(
            StarletteRoute(path, _answering(_not_there), methods=["POST"])
            for path in ("/v1/metrics", "/v1/logs", "/v1/development/profiles")
        ),
    ]
    app = Starlette(routes=[*routes, *own], exception_handlers={HTTPException: _no_such_route})
    return app if guard is None else guard.around(app)


def _answering(answer: Answer) -> Answer:
    """The endpoint whose errors are responses."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except Exception as error:  # noqa: BLE001 - boundary: HTTP
            return error_response(error, request)

    return endpoint


def _by_route(served: ServedStore, route: Route) -> Answer:
    async def answer(request: Request) -> Response:
        message = await message_of(route, request, served.limits)
        asked, whole = as_one(message)
        return await route_response(route, message, whole(await _carried(served, asked, request)))

    return answer


def _by_name(served: ServedStore) -> Answer:
    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        kind = OPERATIONS.get(name)
        if kind is None:
            raise OperationUnavailable(
                f"there is no operation {name!r}: it may belong to another version, this server's are "
                f"{', '.join(sorted(OPERATIONS))}",
                operation=name,
            )
        message = await named_message(kind, request, served.limits)
        return await reply_response(message, await _carried(served, message, request))

    return answer


async def _carried(served: ServedStore, message: StoreMessage[Any], request: Request) -> Any:
    """The reply to a message; one that names its client and number is answered from memory the second time."""
    if served.remembers_replies:
        message = wrapped(message, request.headers.get(ONCE_HEADER))
    return await served.carry(message, _gone(request.receive))


def _gone(receive: Receive) -> Callable[[], Awaitable[None]]:
    """Returns when the client has gone away; for a request whose body has been read."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    return gone


def _health(served: ServedStore) -> Answer:
    about: dict[str, Any] = {
        "status": "ok",
        "server": "lightning-actors",
        "version": __version__,
        "pid": os.getpid(),
        "remembers_replies": served.remembers_replies,
        "durable": served.store.capabilities.get("durable", False),
    }
    response = to_json(about)

    async def answer(_: Request) -> Response:
        return json_response(response)

    return answer


async def _openapi(_: Request) -> Response:
    return json_response(to_json(description()))


async def _not_there(_: Request) -> Response:
    """Signals of OpenTelemetry that a store has no place for."""
    return Response(status_code=501)


async def _no_such_route(_: Request, error: Exception) -> Response:
    refusal = cast("HTTPException", error)
    return json_response(to_json({"detail": refusal.detail}), refusal.status_code, dict(refusal.headers or {}))
