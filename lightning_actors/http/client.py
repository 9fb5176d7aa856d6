"""`LightningStoreClient`: a store that is elsewhere, with the same operations as one that is here."""

from __future__ import annotations

import secrets
import ssl
import warnings
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

from anyio import AsyncContextManagerMixin

from lightning_actors import __version__
from lightning_actors.actors import Clock, Message, SystemClock
from lightning_actors.errors import ConfigError
from lightning_actors.http.carrier import Carrier
from lightning_actors.http.link.limits import LinkOptions
from lightning_actors.http.link.link import Link
from lightning_actors.http.link.websocket import NoLink, WebSocketChannel, connect_websocket
from lightning_actors.http.route_carrier import RouteCarrier
from lightning_actors.http.routes import TRACES
from lightning_actors.http.sessions import Sessions
from lightning_actors.http.tokens import token_or_environment
from lightning_actors.log import get_logger
from lightning_actors.store import LightningStore, LightningStoreCapabilities
from lightning_actors.store.codec import as_data
from lightning_actors.store.messages import StoreWait
from lightning_actors.store.vain_waits import VainWaits

__all__ = ["LightningStoreClient"]

R = TypeVar("R")

log = get_logger("lightning_actors.http")

_RETRY_DELAYS: Final = (1.0, 2.0, 5.0)
_HARMLESS: Final = ((), (0.1, 0.2, 0.5))
"""What ``health_retry_delays`` may say without asking for something: nothing, or Agent Lightning's default."""


class LightningStoreClient(AsyncContextManagerMixin, LightningStore):
    """Speaks to a `LightningStoreServer`, or to one of Agent Lightning 0.3, which has fewer operations.

    It works on asyncio and trio, from many tasks at once, and from one event loop after another; `close` closes the
    connections of the running loop, and so does the end of the loop. It can be pickled: the copy speaks to the same
    server, with the same token.

    A request that did not reach the server is tried again, and so is a read whose answer was lost. A large query is
    answered page by page, so that what changes meanwhile may be missed.

    Args:
        server_address: Where the server is, such as ``http://localhost:4747``; a token may stand in it, as in
            ``http://:token@localhost:4747``.
        token: What the server wants to be shown; by default what LIGHTNING_ACTORS_TOKEN says, if it is set.
        retry_delays: The pauses in seconds before each further try; none for a single one.
        request_timeout: How long an answer may take, in seconds; a wait has its own time besides.
        connection_timeout: How long it may take to connect, in seconds.
        ssl_context: How the certificate of an ``https`` server is checked; by default by the usual authorities.
        clock: Whose time a ``timeout`` is.
        link_options: How the connection behaves that it keeps while it is open.
        health_retry_delays: Accepted from users of Agent Lightning; has no meaning here.

    Attributes:
        address: The server, without a token.
        token: What is shown to it.
        ssl_context: As given.

    Raises:
        ConfigError: This is no address of a server.
    """

    def __init__(
        self,
        server_address: str = "http://localhost:4747",
        *,
        token: str | None = None,
        retry_delays: Sequence[float] = _RETRY_DELAYS,
        request_timeout: float = 30.0,
        connection_timeout: float = 5.0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
        link_options: LinkOptions | None = None,
        health_retry_delays: Sequence[float] = (),
    ) -> None:
        if tuple(health_retry_delays) not in _HARMLESS:
            warnings.warn(
                "LightningStoreClient(health_retry_delays=...) has no meaning here: retry_delays says when a request "
                "is tried again",
                UserWarning,
                stacklevel=2,
            )
        self.address, in_address = _parted(server_address)
        self.token = token_or_environment(token or in_address)
        self.ssl_context = ssl_context
        self.link_options = link_options or LinkOptions()
        self._retry_delays = tuple(retry_delays)
        self._timeouts = request_timeout, connection_timeout
        self._clock = clock or SystemClock()
        self._vain_waits = VainWaits(self._clock)
        headers = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        self._sessions = Sessions(
            self.address,
            headers,
            connect=connection_timeout,
            answer=request_timeout,
            tls=True if ssl_context is None else ssl_context,
        )
        self._link = self._new_link()
        self.routes = RouteCarrier(self.address, self._sessions, retry_delays=self._retry_delays, clock=self._clock)

    @property
    def carrier(self) -> Carrier:
        """What takes operations to the server: where the client is open the link, else a request for each."""
        return self._link if self._link.is_open else self.routes

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep one connection for the length of a block, over which all operations go and the server can speak first.

        Several blocks may be open at a time; ``async with client`` is one of them. What the connection loses on its way
        is asked for again, and nothing is carried out twice; claims are held under a lease that is renewed. Where the
        server is one of Agent Lightning's, it stays at requests.

        Raises:
            StoreUnreachable: No server answered within the patience of ``link_options``.
            AccessRefused: It wants another token.
        """
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._link.opened())
            except NoLink as absent:
                log.info("no_link", address=self.address, why=str(absent))
                await stack.enter_async_context(self.routes.watching())
            yield

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self.opened():
            yield self

    def _new_link(self) -> Link:
        async def connect() -> WebSocketChannel:
            return await connect_websocket(
                self.address, token=self.token, ssl_context=self.ssl_context, message_bytes=options.limits.message_bytes
            )

        options = self.link_options
        client = f"client-{secrets.token_hex(8)}"
        return Link(
            connect, address=self.address, client=client, options=options, clock=self._clock, library=__version__
        )

    def leave_within(self, seconds: float, /) -> None:
        """Whoever has the client open will leave: from then on a store that is gone is waited for no longer.

        After ``seconds`` what is asked fails with StoreUnreachable once the connection has been down for 5 s, however
        much patience there is otherwise; not while the client is open for somebody else, too.
        """
        self._link.leave_within(seconds)

    async def deliver(self, message: Message[R], /) -> R:
        """Have one operation carried out by the server.

        Raises:
            StoreError: As the operation says, of the same class as in the server.
            StoreUnreachable: No store answers.
            AccessRefused: It wants another token.
            OperationUnavailable: It has no such operation.
            NotJson: The message holds what JSON cannot.
        """
        reply = await self.carrier.carry(as_data(message))
        if isinstance(message, StoreWait):
            await self._vain_waits.tell(self.ask, message, reply)
        return reply

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Have ``ready`` called whenever a rollout may be waiting in the queue, while the client is open."""
        return self.carrier.watch_queue(ready)

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Have ``stop`` called once if the store ends this attempt before its worker does, while the client is open."""
        return self.carrier.watch_attempt(attempt_id, stop)

    async def close(self) -> None:
        """Close the connections of the running event loop; the client stays usable and opens others."""
        await self._sessions.close()

    @property
    def capabilities(self) -> LightningStoreCapabilities:
        """Copies of it in other processes are the same store; what the server's can do is known once it was asked."""
        welcome, about = self._link.welcome, self.routes.about
        remembers = self.routes.is_ours is not False if welcome is None else welcome.remembers_replies
        durable = about.get("durable") is True if welcome is None else welcome.durable
        return LightningStoreCapabilities(
            async_safe=True,
            thread_safe=True,
            zero_copy=True,
            otlp_traces=True,
            remembers_replies=remembers,
            durable=durable,
        )

    def otlp_traces_endpoint(self) -> str:
        """The address that takes OTLP traces."""
        return f"{self.address}{TRACES}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"

    def __getstate__(self) -> dict[str, Any]:
        if self.ssl_context is not None:
            raise TypeError("a client with an ssl_context cannot be pickled: set SSL_CERT_FILE instead of giving one")
        return {
            "server_address": self.address,
            "token": self.token,
            "retry_delays": self._retry_delays,
            "request_timeout": self._timeouts[0],
            "connection_timeout": self._timeouts[1],
            "link_options": self.link_options,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def _parted(address: str) -> tuple[str, str | None]:
    """A server's address and the token that stood in it."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1 or parts.query or parts.fragment:
        raise ConfigError(f"{address!r} is no address of a server: write it as http://localhost:4747")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port is None else f"{host}:{port}"
    path = parts.path.rstrip("/").removesuffix("/v1/agl")
    return f"{parts.scheme}://{place}{path}", unquote(parts.password) if parts.password else None
