"""`Session`: the server's side of one connection: carries out what the client asks for, and tells what it watches.

```
channel ─▶ ServerEnd ─▶ ask ─▶ ┌ in a store of this process that need not be awaited: at once     ┐ ─▶ reply
                               │ a wait or a read: in a task that ends with the connection        │
                               └ a change: in a task that outlives it, see `Desk`                 ┘
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from pydantic_core import to_json

from lightning_actors.actors.message import Message
from lightning_actors.errors import BoundExceeded, LightningError, OperationUnavailable, StoreError
from lightning_actors.http import wire_errors
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
from lightning_actors.http.link.operations import OPERATIONS, WAITING, changes
from lightning_actors.http.link.payloads import item_kind, read_items, read_message, write_reply
from lightning_actors.http.link.server_end import NOBODY_ASKS, ServerEnd
from lightning_actors.http.served import QUERIES, ServedStore
from lightning_actors.log import get_logger
from lightning_actors.store import LightningStore
from lightning_actors.store.messages import Statistics, StoreMessage, StoreWait
from lightning_actors.store.once import Once

__all__ = ["Desk", "Session"]

log = get_logger("lightning_actors.http")

_TURN = 64
"""So many asks are begun before others get their turn."""
_HELLO_SECONDS = 10.0
_FAREWELL_SECONDS = 2.0


class Desk(Protocol):
    """What the server keeps of a client, whatever becomes of its connections."""

    def is_under_way(self, number: int) -> bool:
        """Whether this change is being carried out, asked for over an earlier connection."""
        ...

    def carry_out(self, number: int, message: Message[Any], asked: Message[Any]) -> None:
        """Carry out a change to its end, and answer it over the connection that is there then.

        Args:
            number: Its number.
            message: The change.
            asked: What the store is asked: the same, or an envelope with it.
        """
        ...


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
        self._at_once = served.store.at_once
        self._remembers_replies = served.store.capabilities.get("remembers_replies", False)
        self._channel = channel
        self._limits = limits
        self._greet = greet
        self._end = ServerEnd(limits, _welcome_to(served.store, limits), waiting=WAITING)
        self._bell = Bell()
        self._farewell = anyio.Event()
        self._desk: Desk | None = None
        self._items: dict[int, list[Any] | Exception] = {}
        self._scopes: dict[int, anyio.CancelScope] = {}
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
                log.warning("link_misused", client=self.client, error=str(error))
                self.end(str(error), final=True)
            except ChannelClosed as closed:
                log.debug("link_closed", client=self.client, reason=str(closed))
                self._farewell.set()
            finally:
                self._tasks = None
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
                if (scope := self._scopes.get(number)) is not None:
                    scope.cancel()
            case Watch(attempt_id=attempt_id):
                self._watch(attempt_id)
            case Unwatch(attempt_id=attempt_id):
                if (leave := self._leave_watches.pop(attempt_id, None)) is not None:
                    leave()
            case Hello():
                self._desk = self._greet(frame, self)
            case Bye(reason=reason):
                log.debug("link_left", client=self.client, reason=reason)
            case _:
                pass

    # ── watches ──

    def _watch(self, attempt_id: str | None) -> None:
        if attempt_id is None:
            self._leave_watches[None] = self._store.watch_queue(self._ready)
            return

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
        except ValueError as error:
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
        items, tasks, desk = self._items.pop(ask.number, []), self._tasks, self._desk
        if tasks is None or desk is None or desk.is_under_way(ask.number):
            return
        try:
            message = self._message(ask, items)
        except (StoreError, ValueError) as error:
            self.fail(ask.number, error)
            return
        if ask.operation in WAITING or isinstance(message, (*QUERIES, Statistics)):
            tasks.start_soon(self._carry_out, ask.number, message)
        elif self._at_once is not None:
            try:
                reply = self._at_once(self._enveloped(ask.number, message))
            except Exception as error:  # noqa: BLE001 - boundary: the store; told to the client
                self.fail(ask.number, error)
            else:
                self.reply(ask.number, message, reply)
        elif changes(type(message)):
            desk.carry_out(ask.number, message, self._enveloped(ask.number, message))
        else:
            tasks.start_soon(self._carry_out, ask.number, message)

    def _message(self, ask: Ask, items: list[Any] | Exception) -> Message[Any]:
        kind = OPERATIONS.get(ask.operation)
        if kind is None:
            raise OperationUnavailable(
                f"this server's store has no operation {ask.operation!r}: install the same release of "
                f"lightning-actors on both sides",
                operation=ask.operation,
            )
        if isinstance(items, Exception):
            raise items
        if ask.operation in WAITING and self._end.has_too_many_waits:
            raise BoundExceeded(
                f"more than {self._limits.waits:,} operations of this client wait: wait for many rollouts in one "
                f"wait_for_rollouts, or follow store.completions()",
                bound="waits",
                allowed=self._limits.waits,
            )
        return read_message(kind, ask.payload, items)

    def _enveloped(self, number: int, message: Message[Any]) -> Message[Any]:
        """The message as the store is asked: a change that is asked for again is not to be carried out again."""
        if not self._remembers_replies or not changes(type(message)):
            return message
        inner = cast("StoreMessage[Any]", message)
        return Once(self.client, number, settled_below=min(self._end.settled, number), message=inner)

    async def _carry_out(self, number: int, message: Message[Any]) -> None:
        """Carry out what may be broken off."""
        with anyio.CancelScope() as scope:
            self._scopes[number] = scope
            try:
                is_wait = isinstance(message, StoreWait)  # one that is broken off by the server is asked again
                reply = await (
                    self._store.ask(message) if is_wait else self._served.carry(cast("StoreMessage[Any]", message))
                )
            except Exception as error:  # noqa: BLE001 - boundary: the store; told to the client
                self.fail(number, error)
            else:
                self.reply(number, message, reply)
            finally:
                del self._scopes[number]
        if scope.cancelled_caught:
            self._end.fault(number, NOBODY_ASKS)
            self._bell.ring()

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
