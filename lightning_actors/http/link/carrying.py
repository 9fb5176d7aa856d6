"""`Carrying`: how what one client asks for is carried out by the store.

```
ask ─▶ ┌ a store of this process that need not be awaited     at once
       │ a store that takes operations and answers later      submitted; no task each
       │ any other: a read or a wait                          a task that ends with the connection
       └            a change                                  a task that outlives it, see `Desk`
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from lightning_actors.actors.message import Message
from lightning_actors.http.link.operations import changes
from lightning_actors.http.served import QUERIES, ServedStore
from lightning_actors.store.api import Slot
from lightning_actors.store.messages import Statistics, StoreMessage, StoreWait
from lightning_actors.store.once import Once

__all__ = ["Carrying", "Client", "Desk"]

_BOUNDED = (*QUERIES, Statistics)
"""What a server bounds, or adds to."""


class Client(Protocol):
    """Whoever asked, over a connection."""

    @property
    def settled(self) -> int:
        """The lowest number whose answer it still needs."""
        ...

    def reply(self, number: int, message: Message[Any], reply: Any) -> None:
        """Answer an ask."""
        ...

    def fail(self, number: int, error: Exception) -> None:
        """Answer an ask with what it raised."""
        ...

    def give_up(self, number: int) -> None:
        """Say that an ask was broken off."""
        ...


class Desk(Protocol):
    """What the server keeps of a client, whatever becomes of its connections."""

    @property
    def client(self) -> str:
        """Who it is."""
        ...

    def is_under_way(self, number: int) -> bool:
        """Whether this change is being carried out, asked for over an earlier connection."""
        ...

    def slot(self, number: int, message: Message[Any]) -> Slot:
        """Where the outcome of an ask is put, to be told over the connection that is there then."""
        ...

    def carry_out(self, message: Message[Any], slot: Slot) -> None:
        """Carry out a change to its end."""
        ...


class Carrying:
    """What is carried out for one connection.

    Args:
        served: The store.
        client: Whoever asks.
        desk: What is kept of it.
        tasks: End with the connection.
    """

    def __init__(self, served: ServedStore, client: Client, desk: Desk, tasks: TaskGroup) -> None:
        store = served.store
        self._served = served
        self._client = client
        self._desk = desk
        self._tasks = tasks
        self._at_once = store.at_once
        self._submit = store.submit
        self._remembers_replies = store.capabilities.get("remembers_replies", False)
        self._breaking_off: dict[int, Callable[[], None]] = {}

    def begin(self, number: int, message: StoreMessage[Any]) -> None:
        """Carry this out, unless that is under way since an earlier connection."""
        if self._desk.is_under_way(number):
            return
        if isinstance(message, _BOUNDED) or (isinstance(message, StoreWait) and self._submit is None):
            self._tasks.start_soon(self._in_a_task, number, message)
        elif self._at_once is not None:
            try:
                reply = self._at_once(self._enveloped(number, message))
            except Exception as error:  # noqa: BLE001 - boundary: the store; told to the client
                self._client.fail(number, error)
            else:
                self._client.reply(number, message, reply)
        elif changes(type(message)):
            self._change(self._enveloped(number, message), self._desk.slot(number, message))
        elif self._submit is not None:
            try:
                self._breaking_off[number] = self._submit(message, _Broken(self, number, message))
            except Exception as error:  # noqa: BLE001 - boundary: the store; told to the client
                self._client.fail(number, error)
        else:
            self._tasks.start_soon(self._in_a_task, number, message)

    def _change(self, message: Message[Any], slot: Slot) -> None:
        if self._submit is None:
            self._desk.carry_out(message, slot)
            return
        try:
            self._submit(message, slot)
        except Exception as error:  # noqa: BLE001 - boundary: the store; told to the client
            slot.fail(error)

    def cancel(self, number: int) -> None:
        """Nobody waits for this: break it off, if that does no harm."""
        break_off = self._breaking_off.pop(number, None)
        if break_off is not None:
            break_off()
            self._client.give_up(number)

    def close(self) -> None:
        """The connection is over: break off all that may be."""
        while self._breaking_off:
            self._breaking_off.popitem()[1]()

    def done(self, number: int, message: Message[Any], reply: Any, error: Exception | None) -> None:
        """What could have been broken off has come to its end."""
        if self._breaking_off.pop(number, None) is None:
            return
        if error is None:
            self._client.reply(number, message, reply)
        else:
            self._client.fail(number, error)

    def _enveloped(self, number: int, message: StoreMessage[Any]) -> Message[Any]:
        """The message as the store is asked: a change that is asked for again is not to be carried out again."""
        if not self._remembers_replies or not changes(type(message)):
            return message
        settled_below = min(self._client.settled, number)
        return Once(self._desk.client, number, settled_below=settled_below, message=message)

    async def _in_a_task(self, number: int, message: StoreMessage[Any]) -> None:
        reply: Any = None
        failure: Exception | None = None
        with anyio.CancelScope() as scope:
            self._breaking_off[number] = scope.cancel
            try:
                if isinstance(message, StoreWait):
                    # if the server stops meanwhile, its client asks the next one
                    reply = await self._served.store.ask(message)
                else:
                    reply = await self._served.carry(message)
            except Exception as error:  # noqa: BLE001 - boundary: the store; told to the client
                failure = error
        self.done(number, message, reply, failure)


class _Broken:
    """Where the outcome is put of what may be broken off."""

    __slots__ = ("_carrying", "_message", "_number")

    def __init__(self, carrying: Carrying, number: int, message: Message[Any]) -> None:
        self._carrying = carrying
        self._number = number
        self._message = message

    def set(self, value: Any, /) -> None:
        self._carrying.done(self._number, self._message, value, None)

    def fail(self, error: BaseException, /) -> None:
        if isinstance(error, Exception):
            self._carrying.done(self._number, self._message, None, error)
