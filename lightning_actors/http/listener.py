"""`Listener`: uvicorn in the caller's event loop. It touches no signals and no logging, and its stop is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, cast

import anyio
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

from lightning_actors.errors import ConfigError, PortInUse

__all__ = ["Listener", "bind", "tls_options"]

_TICK_SECONDS: Final = 1.0
"""How often the Date header is renewed."""
_IDLE_SECONDS: Final = 75
"""How long a connection may be idle; longer than a client keeps it, so that none is closed while a request is sent."""
_ABORT_SECONDS: Final = 1.0
_MESSAGE_BYTES: Final = 256 * 1024
"""The longest message of a WebSocket."""

_TOO_MANY: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nconnection: close\r\nretry-after: 1\r\n"
    b"content-length: %d\r\n\r\n%b"
)


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound to this address, so that a port in use is said before anything else happens.

    Raises:
        PortInUse: Something else listens there.
        ConfigError: The host is no address of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"cannot listen at {host!r}: {error}") from error
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    listening = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers have the same port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} of {host} is in use", host=host, port=port) from error
        raise ConfigError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
    return listening


class Listener(uvicorn.Server):
    """Serves an application on a socket until it is told to stop.

    Args:
        app: The ASGI application.
        connections: The most open connections; one more is answered with 429 and closed.
        tls: Files of certificate, key and the key's password, as uvicorn names them.
    """

    def __init__(self, app: ASGIApp, *, connections: int, tls: dict[str, Any]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_bounded_protocol(connections),
                ws="websockets-sansio",
                ws_max_size=_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_IDLE_SECONDS,
                **tls,
            )
        )
        try:
            self.config.load()
        except ssl.SSLError as error:
            raise ConfigError(f"the certificate or its key cannot be read ({error}): both are files in PEM") from error
        self.listening = asyncio.Event()
        self._stop = asyncio.Event()
        self._grace = 0.0

    def stop(self, grace: float) -> None:
        """Stop listening; what is being answered has ``grace`` seconds to be so."""
        self._grace = grace
        self._stop.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to the application."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        """Wait to be told to stop."""
        while not self._stop.is_set():
            await self.on_tick(0)
            with anyio.move_on_after(_TICK_SECONDS):
                await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close idle connections at once, the others when they have been answered or the grace is over."""
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        for connection in tuple(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(tuple(self.server_state.tasks), timeout=self._grace)
        for task in tuple(self.server_state.tasks):
            task.cancel()
        if self.server_state.tasks:
            await asyncio.wait(tuple(self.server_state.tasks), timeout=_ABORT_SECONDS)
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        with anyio.move_on_after(_ABORT_SECONDS):
            for server in self.servers:
                await server.wait_closed()


def _bounded_protocol(connections: int) -> type[asyncio.Protocol]:
    """What makes a connection's protocol: that of uvicorn, or for one too many, one that refuses it."""
    refusal = (
        b'{"detail":"this server\'s bound for connections is %d: close some, or raise ServerLimits(connections=...) '
        b'where the server is started"}' % connections
    )

    def protocol(server_state: ServerState, **parts: Any) -> asyncio.Protocol:
        if len(server_state.connections) >= connections:
            return _Refused(_TOO_MANY % (len(refusal), refusal))
        return cast("Any", AutoHTTPProtocol)(server_state=server_state, **parts)

    return cast("type[asyncio.Protocol]", protocol)


class _Refused(asyncio.Protocol):
    """A connection too many: it is told so and closed."""

    def __init__(self, refusal: bytes) -> None:
        self._refusal = refusal

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        told = cast("asyncio.WriteTransport", transport)
        told.write(self._refusal)
        told.close()


def tls_options(
    certificate: str | os.PathLike[str] | None, key: str | os.PathLike[str] | None, password: str | None
) -> dict[str, Any]:
    """The options of TLS, as uvicorn names them; empty without a certificate.

    Raises:
        ConfigError: A file is not there, or a key has no certificate.
    """
    files = {"ssl_certfile": certificate, "ssl_keyfile": key}
    given = {name: Path(file) for name, file in files.items() if file is not None}
    for name, file in given.items():
        if not file.is_file():
            raise ConfigError(f"{name}={str(file)!r}: there is no such file")
    if certificate is None and (given or password is not None):
        raise ConfigError("a key without a certificate serves nobody: give ssl_certfile too")
    options: dict[str, Any] = {name: str(file) for name, file in given.items()}
    if password is not None:
        options["ssl_keyfile_password"] = password
    return options
