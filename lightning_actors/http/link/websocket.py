"""The client's end of a WebSocket: the protocol of `websockets`, without its I/O, on a stream of anyio's."""

from __future__ import annotations

import logging
import ssl
from collections import deque
from typing import Any, Final, cast
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream
from pydantic_core import from_json
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from lightning_actors.errors import ConfigError, StoreError
from lightning_actors.http import wire_errors
from lightning_actors.http.link.channel import ChannelClosed
from lightning_actors.http.routes import LINK

__all__ = ["NoLink", "WebSocketChannel", "connect_websocket"]

_READ_BYTES: Final = 64 * 1024
_LATER: Final = frozenset({429, 500, 502, 503, 504})
_QUIET: Final = logging.getLogger("lightning_actors.http.websocket")


class NoLink(StoreError):
    """The server has no place for a link: it may be one of Agent Lightning's."""


class WebSocketChannel:
    """A link's messages as those of a WebSocket.

    Args:
        stream: The connection.
        protocol: The protocol, before its handshake.
    """

    def __init__(self, stream: ByteStream, protocol: ClientProtocol) -> None:
        self._stream = stream
        self._protocol = protocol
        self._messages: deque[bytes] = deque()
        self._pieces: list[bytes] = []
        self._sending = anyio.Lock(fast_acquire=True)
        self._response: Response | None = None

    async def shake_hands(self, headers: dict[str, str]) -> None:
        """Ask the server for a WebSocket, with these headers; raises as `connect_websocket`."""
        request = self._protocol.connect()
        request.headers.update(headers)
        self._protocol.send_request(request)
        await self._flush()
        while self._response is None:
            await self._hear()
        failure = self._protocol.handshake_exc
        if isinstance(failure, InvalidStatus):
            raise _refusal(self._response)
        if failure is not None:
            raise NoLink(f"the server answers at {LINK} what is no WebSocket: {failure}")

    async def send(self, message: bytes) -> None:
        """Send a message. Raises ChannelClosed."""
        try:
            self._protocol.send_binary(message)
        except InvalidState:
            raise ChannelClosed(self._why()) from None
        await self._flush()

    async def receive(self) -> bytes:
        """The next message. Raises ChannelClosed."""
        while not self._messages:
            await self._hear()
        return self._messages.popleft()

    async def aclose(self) -> None:
        """Close the WebSocket and its connection."""
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close()
                await self._flush()
        except ChannelClosed:
            pass  # as it should be
        finally:
            await self._stream.aclose()

    async def _flush(self) -> None:
        async with self._sending:
            data = b"".join(self._protocol.data_to_send())
            if data:
                try:
                    await self._stream.send(data)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                    raise ChannelClosed(self._why(error)) from error

    async def _hear(self) -> None:
        """Take what comes next, and answer what the protocol itself answers."""
        if self._protocol.state is State.CLOSED or self._protocol.handshake_exc is not None:
            raise ChannelClosed(self._why(self._protocol.handshake_exc))
        try:
            self._protocol.receive_data(await self._stream.receive(_READ_BYTES))
        except anyio.EndOfStream:
            self._protocol.receive_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ChannelClosed(self._why(error)) from error
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
            elif isinstance(event, Response):
                self._response = event
        await self._flush()

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in {Opcode.BINARY, Opcode.TEXT, Opcode.CONT}:
            return
        self._pieces.append(bytes(frame.data))
        if frame.fin:
            self._messages.append(b"".join(self._pieces))
            self._pieces.clear()

    def _why(self, error: Exception | None = None) -> str:
        received = self._protocol.close_rcvd
        if received is not None:
            return f"the server closed the connection: {received.reason or received.code}"
        cause = None if error is None else error.__cause__ or error
        return f"the connection broke off{'' if cause is None else f': {str(cause) or type(cause).__name__}'}"


async def connect_websocket(
    address: str, *, token: str | None, ssl_context: ssl.SSLContext | None, message_bytes: int
) -> WebSocketChannel:
    """Connect to a server's place for links.

    Args:
        address: The server, as ``http://localhost:4747``.
        token: What is shown to it.
        ssl_context: How its certificate is checked; by default by the usual authorities.
        message_bytes: The longest message that is taken.

    Raises:
        NoLink: It has no such place.
        AccessRefused: It does not let this client in.
        ConfigError: Its certificate is not to be trusted.
        ChannelClosed: It cannot do so now.
        OSError: Nobody listens there.
    """
    parts = urlsplit(address)
    is_secure = parts.scheme == "https"
    protocol = ClientProtocol(
        parse_uri(f"{'wss' if is_secure else 'ws'}://{parts.netloc}{parts.path}{LINK}"),
        max_size=message_bytes,
        logger=_QUIET,
    )
    stream = await _stream_to(parts.hostname or "", parts.port, ssl_context, is_secure=is_secure)
    channel = WebSocketChannel(stream, protocol)
    try:
        await channel.shake_hands({} if token is None else {"Authorization": f"Bearer {token}"})
    except BaseException:
        with anyio.CancelScope(shield=True), anyio.move_on_after(1):
            await stream.aclose()
        raise
    return channel


async def _stream_to(host: str, port: int | None, ssl_context: ssl.SSLContext | None, *, is_secure: bool) -> ByteStream:
    if not is_secure:
        return await anyio.connect_tcp(host, port or 80)
    try:
        return await anyio.connect_tcp(
            host, port or 443, tls=True, ssl_context=ssl_context, tls_standard_compatible=False
        )
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(
            f"the certificate of {host} is not to be trusted ({error.verify_message}): give the client an ssl_context, "
            f"or name its authority in SSL_CERT_FILE"
        ) from error


def _refusal(response: Response) -> Exception:
    """The error that a server's answer to the handshake comes to."""
    if response.status_code in _LATER:
        return ChannelClosed(f"the server answered {response.status_code} {response.reason_phrase}")
    try:
        error: Any = from_json(response.body or b"null")["error"]
        return wire_errors.from_data(cast("dict[str, Any]", error))
    except (ValueError, TypeError, LookupError, AttributeError):
        return NoLink(f"the server has no links: it answered {response.status_code} to {LINK}")
