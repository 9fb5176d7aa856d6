"""`Guard`: who may speak to a served store, whether by HTTP or over a WebSocket."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Collection, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic_core import to_json
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightning_actors import __version__
from lightning_actors.errors import AccessRefused
from lightning_actors.http import wire_errors
from lightning_actors.http.routes import HEALTH, SERVER_HEADER

__all__ = ["Guard", "is_loopback"]

_EXPOSED: Final = (SERVER_HEADER, "retry-after")
_CHALLENGE: Final = {"www-authenticate": 'Bearer realm="lightning-actors"'}


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, out of reach for any other."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Lets in who knows the token, and keeps pages of other origins out.

    Args:
        token: What a client must present, as ``Authorization: Bearer``, or as the password of a Basic authorization
            (which is what ``http://:token@host`` becomes); None asks for none.
        cors_allow_origins: Origins whose pages may use this server from a browser; "*" for any.
        only_loopback: Whether requests must name this machine itself as their host. Without a token this keeps out
            foreign pages whose name was made to point here.
    """

    def __init__(
        self, token: str | None = None, *, cors_allow_origins: Sequence[str] = (), only_loopback: bool = False
    ) -> None:
        self._token = None if token is None else token.encode()
        self._origins: Collection[str] = frozenset(cors_allow_origins)
        self._only_loopback = only_loopback

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application behind this guard."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            refused = self._refuses(scope)
            if refused is None:
                await app(scope, receive, send)
            else:
                await _refuse(scope, send, *refused)

        inner: ASGIApp = guarded
        if self._origins:
            inner = CORSMiddleware(
                guarded,
                allow_origins=sorted(self._origins),
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type", "content-encoding"],
                expose_headers=_EXPOSED,
            )

        async def named(scope: Scope, receive: Receive, send: Send) -> None:
            async def with_name(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message)[SERVER_HEADER] = __version__
                await send(message)

            await inner(scope, receive, with_name)

        return named

    def _refuses(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is not let in, with the status that says so."""
        if scope["type"] not in {"http", "websocket"}:
            return None
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._only_loopback and not is_loopback(_hostname(host)):
            return 403, (
                f"this server takes no token, and answers only who calls it by a name of this machine, not {host!r}: "
                f"use http://127.0.0.1, or give the server a token"
            )
        origin = headers.get("origin")
        if origin is not None and not self._may_use(origin, host):
            return 403, (
                f"a page of {origin!r} may not use this server: name its origin in cors_allow_origins where the server "
                f"is started"
            )
        if self._token is None or scope["path"] == HEALTH or self._knows_token(headers.get("authorization", "")):
            return None
        what = "the token is not this server's" if "authorization" in headers else "this server wants a token"
        return 401, f"{what}: give it as LightningStoreClient(token=...), or set LIGHTNING_ACTORS_TOKEN"

    def _may_use(self, origin: str, host: str) -> bool:
        return origin in self._origins or "*" in self._origins or origin.partition("://")[2] == host

    def _knows_token(self, authorization: str) -> bool:
        kind, _, given = authorization.partition(" ")
        secret = given.strip().encode(errors="surrogateescape")
        if kind.lower() == "basic":
            try:
                secret = base64.b64decode(secret, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(secret, self._token or b"")


def _hostname(host: str) -> str:
    """The name in a Host header, without its port; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _refuse(scope: Scope, send: Send, status: int, why: str) -> None:
    data: dict[str, Any] = {"detail": why, "error": wire_errors.as_data(AccessRefused(why))}
    body = to_json(data)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:  # noqa: PLR2004 - the challenge that belongs to it
        headers += [(name.encode(), value.encode()) for name, value in _CHALLENGE.items()]
    kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
