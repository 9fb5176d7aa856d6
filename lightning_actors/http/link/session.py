"""`Session`: the server's side of one connection: hears what the client asks for, and tells what it watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from pydantic_core import to_json

from lightning_actors.actors.message import Message
from lightning_actors.error_text import describe
from lightning_actors.errors import LightningError, OperationUnavailable, StoreError
from lightning_actors.http import wire_errors
from lightning_actors.http.link.carrying import Carrying, Desk
from lightning_actors.http.link.channel import Bell, Channel, ChannelClosed
from lightning_actors.http.link.frames import (
    Ask,
    Bye,
    Cancel,
    Frame,
    Hello,
    Items,
    LinkProtocolError,
    Unwatch,
    Watch,
    Welcome,
)
from lightning_actors.http.link.limits import LinkLimits
from lightning_actors.http.link.operations import OPERATIONS, WAITING
from lightning_actors.http.link.payloads import item_kind, read_items, read_message, write_reply
from lightning_actors.http.link.server_end import NOBODY_ASKS, ServerEnd
from lightning_actors.http.served import ServedStore
from lightning_actors.log import get_logger
from lightning_actors.store import LightningStore
from lightning_actors.store.messages import StoreMessage

__all__ = ["Session"]

log = get_logger("lightning_actors.http")

_TURN = 64
"""So many asks are begun before others get their turn."""
_UNREADABLE = (StoreError, ValueError, TypeError)
"""What a message raises that makes no sense."""
_HELLO_SECONDS = 10.0
_FAREWELL_SECONDS = 2.0


class Session:
    """One connection.

    Args:
        served: The store.
        channel: The connection.
        limits: Its bounds.
        greet: Called with the client's hello; gives its desk.
    """

    def __init__(
        self, served: ServedStore, channel: Channel, limits: LinkLimits, greet: Callable[[Hello, Session], Desk]
    ) -> None:
        self._served = served
        self._store = served.store
        self._channel = channel
        self._limits = limits
        self._greet = greet
        self._end = ServerEnd(limits, _welcome_to(served.store, limits), waiting=WAITING)
        self._bell = Bell()
        self._farewell = anyio.Event()
        self._carrying: Carrying | None = None
        self._items: dict[int, list[Any] | Exception] = {}
        self._leave_watches: dict[str | None, Callable[[], None]] = {}
        self._tasks: TaskGroup | None = None

    @property
    def settled(self) -> int:
        """The lowest number whose answer the client still needs."""
        return self._end.settled

    @property
    def client(self) -> str:
        """Who it is, as far as is known."""
        return "?" if self._end.hello is None else self._end.hello.client

    async def run(self) -> None:
        """Serve until the connection is over."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._write)
            try:
                await self._read()
            except LinkProtocolError as error:
                log.warning("link_misused", client=self.client, error=error.what)
                self.end(str(error), final=True)
            except ChannelClosed as closed:
                log.debug("link_closed", client=self.client, reason=str(closed))
                self._farewell.set()
            finally:
                carrying, self._carrying, self._tasks = self._carrying, None, None
                if carrying is not None:
                    carrying.close()
                for leave in self._leave_watches.values():
                    leave()
                self._leave_watches.clear()
            with anyio.move_on_after(_FAREWELL_SECONDS):
                await self._farewell.wait()
            tasks.cancel_scope.cancel()

    def end(self, reason: str, *, final: bool = False) -> None:
        """Have the client told that this connection is over, and why.

        Args:
            reason: For a person.
            final: Coming back is no use.
        """
        self._end.bye(reason, final=final)
        self._bell.ring()

    # ── in and out ──

    async def _read(self) -> None:
        try:
            with anyio.fail_after(_HELLO_SECONDS):
                message = await self._channel.receive()
        except TimeoutError:
            raise LinkProtocolError(f"the client did not say hello within {_HELLO_SECONDS:g} s") from None
        while True:
            for frame in self._end.receive(message):
                self._heard(frame)
            while not self._begin_some():
                self._bell.ring()
                await anyio.lowlevel.checkpoint()
            self._bell.ring()
            if self._end.is_over:
                return
            message = await self._channel.receive()

    async def _write(self) -> None:
        try:
            while True:
                message = self._end.take()
                if message is not None:
                    await self._channel.send(message)
                    self._begin_some()  # some may have been held back while too much waited to be sent
                elif self._end.is_over:
                    break
                else:
                    await self._bell.wait()
        except ChannelClosed:
            pass  # whoever receives hears of it too
        self._farewell.set()

    def _heard(self, frame: Frame) -> None:
        match frame:
            case Items():
                self._take_items(frame)
            case Cancel(number=number):
                self._items.pop(number, None)
                if self._carrying is not None:
                    self._carrying.cancel(number)
            case Watch(attempt_id=attempt_id):
                self._watch(attempt_id)
            case Unwatch(attempt_id=attempt_id):
                if (leave := self._leave_watches.pop(attempt_id, None)) is not None:
                    leave()
            case Hello():
                if self._tasks is not None:
                    self._carrying = Carrying(self._served, self, self._greet(frame, self), self._tasks)
            case Bye(reason=reason):
                log.debug("link_left", client=self.client, reason=reason)
            case _:
                pass

    # ── watches ──

    def _watch(self, attempt_id: str | None) -> None:
        try:
            if attempt_id is None:
                self._leave_watches[None] = self._store.watch_queue(self._ready)
            else:
                self._watch_attempt(attempt_id)
        except Exception as error:  # boundary: the store; told to the client
            log.exception("watch_failed", client=self.client)
            self.end(f"the store cannot be watched: {describe(error)}", final=True)

    def _watch_attempt(self, attempt_id: str) -> None:
        def stop(reason: str) -> None:
            self._leave_watches.pop(attempt_id, None)
            self._end.stopped(attempt_id, reason)
            self._bell.ring()

        leave = self._store.watch_attempt(attempt_id, stop)
        if self._end.is_watched(attempt_id):  # else it was over already
            self._leave_watches[attempt_id] = leave

    def _ready(self) -> None:
        self._end.ready()
        self._bell.ring()

    # ── asks ──

    def _take_items(self, frame: Items) -> None:
        so_far = self._items.setdefault(frame.number, [])
        if isinstance(so_far, Exception):
            return
        kind = OPERATIONS.get(frame.operation)
        item = None if kind is None else item_kind(kind)
        if item is None:
            raise LinkProtocolError(f"{frame.operation} has no items")
        try:
            so_far += read_items(item, frame.payload)
        except _UNREADABLE as error:
            self._items[frame.number] = error

    def _begin_some(self) -> bool:
        """Begin asks that have come; whether those were all that may be begun."""
        for _ in range(_TURN):
            ask = self._end.next_ask()
            if ask is None:
                return True
            self._begin(ask)
        return False

    def _begin(self, ask: Ask) -> None:
        items = self._items.pop(ask.number, [])
        if self._carrying is None:
            return
        try:
            message = self._message(ask, items)
        except _UNREADABLE as error:
            self.fail(ask.number, error)
        else:
            self._carrying.begin(ask.number, message)

    def _message(self, ask: Ask, items: list[Any] | Exception) -> StoreMessage[Any]:
        kind = OPERATIONS.get(ask.operation)
        if kind is None:
            raise OperationUnavailable(
                f"this server's store has no operation {ask.operation!r}: install the same release of "
                f"lightning-actors on both sides",
                operation=ask.operation,
            )
        if isinstance(items, Exception):
            raise items
        if ask.operation in WAITING and (refusal := self._end.refusal_of_waits()) is not None:
            raise refusal
        return cast("StoreMessage[Any]", read_message(kind, ask.payload, items))

    def reply(self, number: int, message: Message[Any], reply: Any) -> None:
        """Answer an ask."""
        try:
            payload = write_reply(message, reply)
        except Exception as error:  # noqa: BLE001 - boundary: what a store of the user's answered; told to the client
            self.fail(number, error)
            return
        refusal = self._end.refusal(len(payload.body) + sum(map(len, payload.items)))
        if refusal is None:
            self._end.reply(number, payload.body, payload.items)
            self._bell.ring()
        else:
            self.fail(number, refusal)

    def give_up(self, number: int) -> None:
        """Say that an ask was broken off."""
        self._end.fault(number, NOBODY_ASKS)
        self._bell.ring()

    def fail(self, number: int, error: Exception) -> None:
        """Answer an ask with what it raised."""
        if not isinstance(error, LightningError | ValueError | TypeError):
            log.error("operation_failed", client=self.client, exc_info=error)
        self._end.fault(number, to_json(wire_errors.as_data(error), inf_nan_mode="constants"))
        self._bell.ring()


def _welcome_to(store: LightningStore, limits: LinkLimits) -> Welcome:
    can = store.capabilities
    return Welcome(
        limits.asks,
        limits.waits,
        limits.payload_bytes,
        store=type(store).__name__,
        durable=can.get("durable", False),
        remembers_replies=can.get("remembers_replies", False),
    )
