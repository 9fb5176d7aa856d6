"""`LinkPart`: the links of a server, as a route for a WebSocket."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send

from lightning_actors.http.link.channel import ChannelClosed
from lightning_actors.http.link.hub import LinkHub
from lightning_actors.http.link.limits import LinkLimits
from lightning_actors.http.routes import LINK
from lightning_actors.http.served import ServedStore

__all__ = ["LinkPart"]

_SERVER_GOES: Final = "the server stops"


class LinkPart:
    """What a server serves at `LINK`.

    Args:
        served: The store.
        limits: The bounds of each link.
    """

    def __init__(self, served: ServedStore, *, limits: LinkLimits | None = None) -> None:
        self._served = served
        self._limits = limits
        self._hub = LinkHub(served, limits=limits)

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The route."""
        return (WebSocketRoute(LINK, self, name="link"),)

    def opened(self) -> AbstractAsyncContextManager[Any]:
        """Serve links for the length of a block."""
        self._hub = LinkHub(self._served, limits=self._limits)
        return self._hub

    async def drain(self) -> None:
        """Tell all clients that the server goes."""
        await self._hub.drain(_SERVER_GOES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection: an ASGI application."""
        await receive()  # that it wants to be connected
        await send({"type": "websocket.accept"})
        channel = _AsgiChannel(receive, send)
        await self._hub.serve(channel)
        await channel.aclose()


class _AsgiChannel:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def send(self, message: bytes) -> None:
        try:
            await self._send({"type": "websocket.send", "bytes": message})
        except OSError as error:  # what an ASGI server raises once its client is gone
            raise ChannelClosed("the client is gone") from error

    async def receive(self) -> bytes:
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise ChannelClosed(f"the client closed the connection ({message.get('code')})")
        data: bytes | None = message.get("bytes")
        return message.get("text", "").encode() if data is None else data

    async def aclose(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # it may be closed already
            await self._send({"type": "websocket.close", "code": 1000})
