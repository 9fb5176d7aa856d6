"""`LinkHub`: the links of one served store.

```
connection ─▶ Session ─▶ hello ─▶ _Desk of that client: which changes are under way, over which connection to answer
```
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
from anyio import AsyncContextManagerMixin
from anyio.abc import TaskGroup

from lightning_actors.actors.message import Message
from lightning_actors.http.link.channel import Channel
from lightning_actors.http.link.frames import Hello
from lightning_actors.http.link.limits import LinkLimits
from lightning_actors.http.link.session import Session
from lightning_actors.http.served import ServedStore
from lightning_actors.log import get_logger
from lightning_actors.store import LightningStore
from lightning_actors.store.api import Slot

__all__ = ["LinkHub"]

log = get_logger("lightning_actors.http")

_DRAIN_SECONDS = 5.0


class LinkHub(AsyncContextManagerMixin):
    """Serves a store over any number of links, inside its ``async with`` block.

    Args:
        served: The store.
        limits: The bounds of each link.
    """

    def __init__(self, served: ServedStore, *, limits: LinkLimits | None = None) -> None:
        self._served = served
        self._limits = limits or LinkLimits()
        self._desks: dict[str, _Desk] = {}
        self._sessions: dict[Session, None] = {}
        self._tasks: TaskGroup | None = None
        self._closing: str | None = None
        self._all_gone = anyio.Event()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        failure: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                yield self
            except BaseException as error:  # noqa: BLE001 - raised outside the group, so that no ExceptionGroup wraps it
                failure = error
            self._tasks = None
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def serve(self, channel: Channel) -> None:
        """Serve one connection until it is over.

        Args:
            channel: The connection, before anything was said over it.
        """
        session = Session(self._served, channel, self._limits, self._greet)
        self._sessions[session] = None
        if self._tasks is None or self._closing is not None:
            session.end(self._closing or "the server has stopped")
        elif len(self._sessions) > self._limits.clients:
            session.end(f"more than {self._limits.clients:,} clients are here already (clients): come back later")
        try:
            await session.run()
        finally:
            del self._sessions[session]
            if not self._sessions:
                self._all_gone.set()
            desk = self._desks.get(session.client)
            if desk is not None and desk.session is session:
                desk.session = None
                self.drop_if_idle(desk)

    async def drain(self, reason: str) -> None:
        """Let no more clients in, and have those who are here told that the server goes; wait a little until they have.

        Args:
            reason: For a person.
        """
        self._closing = reason
        for session in tuple(self._sessions):
            session.end(reason)
        if self._sessions:
            self._all_gone = anyio.Event()
            with anyio.move_on_after(_DRAIN_SECONDS):
                await self._all_gone.wait()

    @property
    def clients(self) -> int:
        """How many connections there are."""
        return len(self._sessions)

    def _greet(self, hello: Hello, session: Session) -> _Desk:
        desk = self._desks.get(hello.client)
        if desk is None:
            desk = self._desks[hello.client] = _Desk(self, hello.client, self._served.store)
        elif desk.session is not None:
            desk.session.end("this client has come back over another connection")
        desk.session = session
        log.info("client_linked", client=hello.client, library=hello.library, clients=len(self._sessions))
        return desk

    def drop_if_idle(self, desk: _Desk) -> None:
        """Forget a client that is gone and of which nothing is under way."""
        if desk.session is None and not desk.under_way and self._desks.get(desk.client) is desk:
            del self._desks[desk.client]

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run this in a task of the hub's own; not once it is closed: its client will ask again."""
        if self._tasks is not None:
            self._tasks.start_soon(task)


class _Desk:
    """What is kept of one client.

    Attributes:
        client: Who it is.
        session: Its connection, if there is one.
        under_way: Changes that are being carried out.
    """

    def __init__(self, hub: LinkHub, client: str, store: LightningStore) -> None:
        self.client = client
        self.session: Session | None = None
        self.under_way: set[int] = set()
        self._hub = hub
        self._store = store

    def is_under_way(self, number: int) -> bool:
        """Whether this change is being carried out, asked for over an earlier connection."""
        return number in self.under_way

    def slot(self, number: int, message: Message[Any]) -> _Slot:
        """Where the outcome of a change is put, to be told over the connection that is there then."""
        self.under_way.add(number)
        return _Slot(self, number, message)

    def carry_out(self, message: Message[Any], slot: Slot) -> None:
        """Carry out a change to its end."""

        async def ask() -> None:
            try:
                reply = await self._store.ask(message)
            except Exception as error:  # noqa: BLE001 - boundary: the store; told to the client
                slot.fail(error)
            else:
                slot.set(reply)

        self._hub.start(ask)

    def is_done(self, number: int) -> Session | None:
        """A change has come to its end; returns whom to tell."""
        self.under_way.discard(number)
        if self.session is None:
            self._hub.drop_if_idle(self)
        return self.session


class _Slot:
    """Where the outcome of a change is put."""

    __slots__ = ("_desk", "_message", "_number")

    def __init__(self, desk: _Desk, number: int, message: Message[Any]) -> None:
        self._desk = desk
        self._number = number
        self._message = message

    def set(self, value: Any, /) -> None:
        """Tell the reply."""
        session = self._desk.is_done(self._number)
        if session is not None:
            session.reply(self._number, self._message, value)

    def fail(self, error: BaseException, /) -> None:
        """Tell the error."""
        session = self._desk.is_done(self._number)
        if session is not None and isinstance(error, Exception):
            session.fail(self._number, error)
