"""`Once`: an operation that may be asked for again, and is carried out once.

```
Once(client, 7, settled_below=5, EnqueueRollout(task))
    not known   ─▶ carried out; its reply is remembered in the same change, or in none
    known       ─▶ the remembered reply
```

That is for askers whose answer may be lost on its way. A client numbers what it asks for, and says with each envelope
below which number it needs no answer any more. Only replies are remembered: what raised has changed nothing, and is
tried again.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any, Protocol, TypeVar, cast

import anyio
from pydantic import ConfigDict, Field, SkipValidation
from pydantic.dataclasses import dataclass

from lightning_actors.actors.message import Message
from lightning_actors.errors import StoreError
from lightning_actors.store.change import Remembered
from lightning_actors.store.messages import StoreMessage, StoreRead

__all__ = ["Once", "Recall", "RememberReply", "Repeats"]

R = TypeVar("R")

_CONFIG = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
_SECONDS = 30.0


@dataclass(frozen=True, slots=True, config=_CONFIG)
class Once(StoreMessage[Any]):
    """Carry an operation out, or answer what was answered to it before; the reply is that of the operation.

    A store remembers 1,024 replies of a client, and 4,096 clients, those that it heard of last. Raises ReplyForgotten,
    and changes nothing, for a number whose reply it remembers no more, or that the client has said to be settled;
    NumberReused for one that was another kind of operation; and what the operation raises.

    Attributes:
        client: Who asks; the numbers of one client are its own.
        number: The number of this operation, each greater than those before.
        settled_below: The replies to the numbers below this one are needed no more.
        message: The operation; none that only reads, for that can be asked for again as it is.
    """

    client: str = Field(min_length=1)
    number: int = Field(ge=0, lt=2**63)
    _: KW_ONLY
    settled_below: int = Field(default=0, ge=0, lt=2**63)
    message: SkipValidation[StoreMessage[Any]]

    def __post_init__(self) -> None:
        """Refuse what has no business in an envelope."""
        if not isinstance(cast("object", self.message), StoreMessage) or isinstance(self.message, StoreRead | Once):
            raise TypeError(
                f"{type(self.message).__name__} is no operation that changes anything: ask for it without an envelope"
            )


@dataclass(frozen=True, slots=True, config=_CONFIG)
class Recall(StoreRead[Remembered | None]):
    """What is remembered of a client's number; None if it was never answered. Raises ReplyForgotten, NumberReused."""

    client: str
    number: int
    operation: type[Any]


@dataclass(frozen=True, slots=True, config=_CONFIG)
class RememberReply(StoreMessage[Any]):
    """Changes nothing and answers what it holds: in an envelope, the reply that another way has led to."""

    operation: type[Any]
    reply: Any


class _Store(Protocol):
    """A store, as far as it is needed here."""

    async def deliver(self, message: Message[R], /) -> R: ...

    async def ask(self, message: Message[R], /) -> R: ...


class Repeats:
    """Envelopes for operations whose methods a store's class overrides: looked up before, remembered after.

    The two are not one change: where the process dies between them, the operation is carried out again.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], anyio.Event] = {}

    async def answer(self, store: _Store, once: Once) -> Any:
        """Carry an operation out by its method, or answer what was answered before.

        A repeat of what is still under way waits for it. Once begun, it is not given up when its asker is: the repeat
        of an asker that lost its connection is to find the reply.
        """
        place = once.client, once.number
        while (under_way := self._under_way.get(place)) is not None:
            await under_way.wait()
        done = self._under_way[place] = anyio.Event()
        try:
            known = await store.deliver(Recall(*place, type(once.message)))
            if known is not None:
                return known.reply
            with anyio.move_on_after(_SECONDS, shield=True):
                reply = await store.ask(once.message)
                remember = RememberReply(type(once.message), reply)
                return await store.deliver(Once(*place, settled_below=once.settled_below, message=remember))
        finally:
            del self._under_way[place]
            done.set()
        raise StoreError(f"{type(once.message).__name__} was not answered within {_SECONDS:g} s")
