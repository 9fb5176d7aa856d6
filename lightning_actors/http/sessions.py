"""`Sessions`: the connections of a client, for each event loop that it is used from."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
import weakref
from collections.abc import AsyncGenerator
from typing import Any, Final, cast

import anyio
import httpx2
from anyio.lowlevel import RunVar, current_token

from lightning_actors.http.guard import is_loopback

__all__ = ["Session", "Sessions"]

_CONNECTIONS: Final = 16
"""For operations; more callers than these wait for one, which is quicker than as many connections."""
_IDLE_SECONDS: Final = 20.0
"""How long a connection is kept, less than servers keep theirs."""


class Session:
    """The connections in one event loop: some for operations, and one for each wait."""

    def __init__(self, address: str, headers: dict[str, str], *, connect: float, answer: float, tls: Any) -> None:
        self.room = anyio.CapacityLimiter(_CONNECTIONS)
        self.is_closed = False
        self.answer_seconds = answer
        self.connect_seconds = connect
        is_here = is_loopback(httpx2.URL(address).host)
        if tls is True and is_here:  # no proxies of the environment, but its SSL_CERT_FILE
            tls = ssl.create_default_context()
        options: dict[str, Any] = {
            "base_url": address,
            "headers": headers,
            "timeout": httpx2.Timeout(answer, connect=connect, pool=None),
            "verify": tls if address.startswith("https:") else False,  # else the authorities are read for nothing
            "trust_env": not is_here,
        }
        limits: dict[str, Any] = {"max_keepalive_connections": _CONNECTIONS, "keepalive_expiry": _IDLE_SECONDS}
        self.operations = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=_CONNECTIONS, **limits), **options)
        self.waits = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None, **limits), **options)
        self._life = _begun(self._until_closed())
        _left_to_the_loop().add(self._life)

    async def close(self) -> None:
        """Close all connections; a second time does nothing."""
        await self._life.aclose()

    async def _until_closed(self) -> AsyncGenerator[None]:
        """Every event loop closes the generators that are left when it ends, and with this one the connections."""
        try:
            yield
        finally:
            self.is_closed = True
            await self.operations.aclose()
            await self.waits.aclose()
            _left_to_the_loop().discard(self._life)


_LEFT: RunVar[set[AsyncGenerator[None]]] = RunVar("connections of store clients")


def _left_to_the_loop() -> set[AsyncGenerator[None]]:
    """What the running event loop closes at its end, unless somebody does before."""
    try:
        return _LEFT.get()
    except LookupError:
        left = set[AsyncGenerator[None]]()
        _LEFT.set(left)
        return left


def _begun(generator: AsyncGenerator[None]) -> AsyncGenerator[None]:
    """The same, at its first yield, before which it has nothing to wait for; so the loop knows of it."""
    step = cast("Any", generator.__anext__())
    with contextlib.suppress(StopIteration):  # how a step that is done says so
        step.send(None)
    return generator


class Sessions:
    """Makes a session for each event loop when it is first wanted there.

    A session ends with `close`, else with its event loop, or soon after nobody has the `Sessions` any more.

    Args:
        address: The server.
        headers: What each request bears.
        connect: How long it may take to connect, in seconds.
        answer: How long an answer may take, in seconds.
        tls: How the certificate of the server is checked: a context, or True for the usual authorities.
    """

    def __init__(
        self, address: str, headers: dict[str, str], *, connect: float, answer: float, tls: ssl.SSLContext | bool
    ) -> None:
        self._new = functools.partial(Session, address, headers, connect=connect, answer=answer, tls=tls)
        self._by_loop: dict[object, Session] = {}
        weakref.finalize(self, _close_soon, self._by_loop).atexit = False

    def current(self) -> Session:
        """The session of the running event loop."""
        loop: object = current_token().native_token
        session = self._by_loop.get(loop)
        if session is None or session.is_closed:
            for ended in [one for one, other in self._by_loop.items() if other.is_closed]:
                del self._by_loop[ended]
            session = self._by_loop[loop] = self._new()
        return session

    async def close(self) -> None:
        """Close the session of the running event loop; those of loops that have ended are closed already."""
        session = self._by_loop.pop(current_token().native_token, None)
        if session is not None:
            await session.close()


def _close_soon(sessions: dict[object, Session]) -> None:
    """Close what belonged to a client that is gone, in the event loops that are still there."""
    for loop, session in sessions.items():
        if session.is_closed:
            continue
        with contextlib.suppress(RuntimeError):  # the loop has ended, and closed it
            if isinstance(loop, asyncio.AbstractEventLoop):
                loop.call_soon_threadsafe(_as_task, loop, session)
            else:
                cast("Any", loop).run_sync_soon(_as_system_task, session)


def _as_task(loop: asyncio.AbstractEventLoop, session: Session) -> None:
    loop.create_task(session.close())


def _as_system_task(session: Session) -> None:
    import trio  # noqa: PLC0415 - not imported where there is no loop of trio's

    with contextlib.suppress(RuntimeError):  # the loop is about to end, and closes it
        trio.lowlevel.spawn_system_task(session.close)
