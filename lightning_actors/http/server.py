"""`LightningStoreServer`: a store that others reach over HTTP, in the event loop of whoever starts it."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from contextvars import Context
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio
import httpx2

from lightning_actors.actors import Clock, Message, SystemClock
from lightning_actors.errors import ConfigError, PortInUse
from lightning_actors.http.app import app_of
from lightning_actors.http.client import LightningStoreClient
from lightning_actors.http.guard import Guard, is_loopback
from lightning_actors.http.limits import ServerLimits
from lightning_actors.http.link.asgi import LinkPart
from lightning_actors.http.listener import Listener, bind, tls_options
from lightning_actors.http.parts import ServerPart
from lightning_actors.http.routes import HEALTH, TRACES
from lightning_actors.http.served import ServedStore
from lightning_actors.http.tokens import TOKEN_VARIABLE, token_or_environment
from lightning_actors.log import get_logger
from lightning_actors.store import LightningStore, LightningStoreCapabilities

__all__ = ["LightningStoreServer"]

R = TypeVar("R")

log = get_logger("lightning_actors.http")

_PORT: Final = 4747
_ASK_SECONDS: Final = 1.0
"""How long whoever holds a port has to say who it is."""
_OPTIONS: Final[dict[str, tuple[tuple[object, ...], str]]] = {
    "launch_mode": (("asyncio", "thread"), "a server runs in the event loop that starts it"),
    "launcher_args": ((None,), "host, port, bounds and files of TLS are arguments of the server itself"),
    "n_workers": ((1,), "one process has the store"),
    "tracker": ((None,), "statistics() counts what the store holds"),
}
"""Options of Agent Lightning that have no meaning here: the values that ask for nothing else, and what does the job."""


class LightningStoreServer(LightningStore):
    """Serves a store over HTTP, wire-compatible with Agent Lightning 0.3; it is itself that store for its own process.

    ``async with LightningStoreServer(store) as server:`` serves it until the block ends; ``start`` and ``stop`` do the
    same apart, ``run_forever`` until it is cancelled. It needs asyncio (or uvloop). A pickled copy is a client.

    Args:
        store: The store, whatever its home. It stays usable here beside its clients.
        host: The address to listen at; this machine only, by default.
        port: The port; 0 takes a free one, which ``server.port`` tells.
        token: What clients must present; by default what LIGHTNING_ACTORS_TOKEN says, if it is set.
        insecure: Listen at other addresses than this machine's own without a token all the same.
        cors_allow_origins: Origins whose pages may use the server from a browser; "*" for any.
        limits: Bounds of requests, replies and connections.
        ssl_certfile: File of the certificate, for HTTPS.
        ssl_keyfile: File of its key, if that is another.
        ssl_keyfile_password: Password of the key.
        grace_seconds: How long a stop lets requests go on that are being answered.
        clock: Whose time a ``timeout`` is.
        **options: Options of Agent Lightning that have no meaning here: they warn where they ask for something else.

    Raises:
        ConfigError: It would listen to others without a token.
    """

    def __init__(
        self,
        store: LightningStore,
        host: str | None = "127.0.0.1",
        port: int | None = _PORT,
        *,
        token: str | None = None,
        insecure: bool = False,
        cors_allow_origins: Sequence[str] | str | None = None,
        limits: ServerLimits | None = None,
        ssl_certfile: str | os.PathLike[str] | None = None,
        ssl_keyfile: str | os.PathLike[str] | None = None,
        ssl_keyfile_password: str | None = None,
        grace_seconds: float = 5.0,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        _check_options(options)
        self.store = store
        self.host = host or "127.0.0.1"
        self._wanted_port = _PORT if port is None else port
        self._token = token_or_environment(token)
        _check_safety(self.host, self._token, insecure)
        origins = [cors_allow_origins] if isinstance(cors_allow_origins, str) else cors_allow_origins or ()
        only_loopback = self._token is None and is_loopback(self.host) and not insecure
        self._guard = Guard(self._token, cors_allow_origins=origins, only_loopback=only_loopback)
        self._served = ServedStore(store, limits=limits, clock=clock or SystemClock())
        self._tls = tls_options(ssl_certfile, ssl_keyfile, ssl_keyfile_password)
        self._grace = grace_seconds
        self._parts = self._make_parts()
        self._serving: _Serving | None = None
        self.at_once = store.at_once
        self.run_ledger = store.run_ledger

    def _make_parts(self) -> Sequence[ServerPart]:
        """What it serves beside the REST interface."""
        return (LinkPart(self._served),)

    @property
    def port(self) -> int:
        """The port that it listens at; before it does, the one that it was given."""
        return self._wanted_port if self._serving is None else self._serving.port

    @property
    def endpoint(self) -> str:
        """The address that clients on this machine use."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104 - a comparison
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def waiters(self) -> int:
        """How many requests wait for rollouts to end."""
        return self._served.waiters

    async def start(self) -> None:
        """Begin to serve; returns when clients can connect.

        Raises:
            PortInUse: Something else listens there; the message says what it is, if that can be found out.
            ConfigError: It runs already, the host is none of this machine's, or the event loop is not asyncio's.
        """
        if self._serving is not None:
            raise ConfigError(f"this server runs already, at {self.endpoint}: stop it first")
        if not _is_on_asyncio():
            raise ConfigError(
                "LightningStoreServer needs asyncio, for uvicorn does: run it as `lightning-actors store`, or in a "
                "thread with asyncio.run; a LightningStoreClient works on trio"
            )
        try:
            listening = bind(self.host, self._wanted_port)
        except PortInUse as error:
            raise await _with_its_holder(error) from error
        app = app_of(self._served, self._guard, routes=[route for part in self._parts for route in part.routes])
        try:
            listener = Listener(app, connections=self._served.limits.connections, tls=self._tls)
        except ConfigError:
            listening.close()
            raise
        self._serving = _Serving(self._served, self._parts, listener, listening)
        await self._serving.begin()
        log.info("server_started", endpoint=self.endpoint, store=type(self.store).__name__, token=bool(self._token))

    async def stop(self) -> None:
        """Stop serving: waits are answered, idle connections closed, the rest has the grace time. Twice is once.

        Raises:
            Exception: What had ended it before.
        """
        serving, self._serving = self._serving, None
        if serving is not None:
            with anyio.CancelScope(shield=True):
                await serving.end(self._grace)
            log.info("server_stopped", port=serving.port)

    async def run_forever(self) -> None:
        """Serve until cancelled, or until the store fails."""
        async with self:
            if self._serving is not None:
                await self._serving.ended.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def deliver(self, message: Message[R], /) -> R:
        """Carry one operation out on the store, in this process."""
        return await self.store.ask(message)

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Have ``ready`` called whenever a rollout may be waiting in the queue."""
        return self.store.watch_queue(ready)

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Have ``stop`` called once if the store ends this attempt before its worker does."""
        return self.store.watch_attempt(attempt_id, stop)

    async def keep_time(self) -> None:
        """Settle deadlines as they fall due, until cancelled."""
        await self.store.keep_time()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process is a client of this server."""
        return _client_of, (self.endpoint, self._token)

    @property
    def capabilities(self) -> LightningStoreCapabilities:
        """What the store can do, and that it takes traces."""
        return {**self.store.capabilities, "otlp_traces": True}

    def otlp_traces_endpoint(self) -> str:
        """The address that takes OTLP traces."""
        return f"{self.endpoint}{TRACES}"


class _Serving:
    """One time of serving, from start to stop; a task of the event loop."""

    def __init__(self, served: ServedStore, parts: Sequence[ServerPart], listener: Listener, listening: Any) -> None:
        self._served = served
        self._parts = parts
        self._listener = listener
        self._listening = listening
        self._task: asyncio.Task[None] | None = None
        self.port: int = listening.getsockname()[1]
        self.ended = anyio.Event()

    async def begin(self) -> None:
        """Start the task; returns when clients can connect."""
        self._task = asyncio.get_running_loop().create_task(self._serve(), name="store server", context=Context())
        await self._listener.listening.wait()
        if self._task.done():
            await self._task

    async def end(self, grace: float) -> None:
        """Stop the task, and raise what ended it."""
        self._served.stopping.set()
        for part in self._parts:
            await part.drain()
        self._listener.stop(grace)
        if self._task is not None:
            await self._task

    async def _serve(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._served.store.opened())
                for part in self._parts:
                    await stack.enter_async_context(part.opened())
                keeping = asyncio.ensure_future(self._served.store.keep_time())
                keeping.add_done_callback(lambda _: self._listener.stop(0.0))
                try:
                    await self._listener.serve([self._listening])
                finally:
                    keeping.cancel()
                    await asyncio.wait([keeping])
                if not keeping.cancelled():
                    keeping.result()
        except Exception:
            log.exception("server_failed", port=self.port)
            raise
        finally:
            self._listening.close()
            self._listener.listening.set()
            self.ended.set()


def _client_of(address: str, token: str | None) -> LightningStoreClient:
    return LightningStoreClient(address, token=token)


def _is_on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _check_options(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if name not in _OPTIONS:
            raise TypeError(f"LightningStoreServer has no option {name!r}")
        harmless, instead = _OPTIONS[name]
        if value not in harmless:
            warnings.warn(f"LightningStoreServer({name}=...) has no meaning here: {instead}", UserWarning, stacklevel=3)


def _check_safety(host: str, token: str | None, insecure: bool) -> None:  # noqa: FBT001 - the option of that name
    if token is None and not insecure and not is_loopback(host):
        raise ConfigError(
            f"a server at {host!r} could be used by anyone who reaches it: give it a token "
            f"(token=..., or {TOKEN_VARIABLE}), or say insecure=True"
        )


async def _with_its_holder(error: PortInUse) -> PortInUse:
    """The same error, with what is known of whoever holds the port."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(error.host, error.host)  # noqa: S104 - a comparison
    address = f"http://{f'[{host}]' if ':' in host else host}:{error.port}"
    who = "by something that is no store"
    try:
        async with httpx2.AsyncClient(timeout=_ASK_SECONDS, trust_env=False) as client:
            about: Any = (await client.get(f"{address}{HEALTH}")).json()
        if about["status"] == "ok":
            who = "by a store server, it seems one of Agent Lightning's"
            who = f"by a store server of lightning-actors {about['version']}, process {about['pid']}"
    except (httpx2.HTTPError, ValueError, LookupError, TypeError):
        pass
    return PortInUse(
        f"{error}, {who}: stop it, or choose another port (0 takes a free one)", host=error.host, port=error.port
    )
