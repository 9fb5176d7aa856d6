"""`Probe`: an actor that keeps what it gets and answers as it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio

from lightning_actors.actors.actor import Actor
from lightning_actors.actors.message import Message, Reply, defers

__all__ = ["Probe"]

M = TypeVar("M", bound=Message[Any])
R = TypeVar("R")

_ANY: Final[type[Message[Any]]] = Message


class Probe(Actor):
    """Stands where an actor of the program would, and shows the test what comes.

        probe = Probe()
        probe.answers(Price, lambda price: 3)
        async with hosted(lambda: probe) as ref:
            await shop(ref)
            assert (await probe.receive(Paid)).amount == 3

    It takes any message. One that is asked, and for which it was told no answer, is kept until the test replies:
    ``probe.reply_to(message).set(value)``.

    Attributes:
        received: Everything that came, oldest first.
    """

    def __init__(self) -> None:
        self.received: list[Message[Any]] = []
        self._unread: list[Message[Any]] = []
        self._replies: list[tuple[Message[Any], Reply[Any]]] = []
        self._functions: dict[type[Any], Callable[[Any], Any]] = {}
        self._news: anyio.Event | None = None

    def answers(self, kind: type[Message[R]], answer: Callable[[Any], R | Awaitable[R]]) -> None:
        """Answer messages of this type, and of its subclasses that have no answer of their own, from now on.

        Args:
            kind: The message type.
            answer: Called with the message; what it returns is the reply, what it raises goes to the asker.
        """
        self._functions[kind] = answer

    async def receive(self, kind: type[M]) -> M:
        """Wait for the next message of this type; those of other types stay for later.

        Args:
            kind: The message type; a base of several takes any of them.
        """
        while True:
            for index, message in enumerate(self._unread):
                if isinstance(message, kind):
                    del self._unread[index]
                    return message
            if self._news is None:
                self._news = anyio.Event()
            await self._news.wait()

    def reply_to(self, message: Message[R]) -> Reply[R]:
        """The reply that a message which was received is owed.

        Raises:
            ValueError: This very object has not come, or was answered as the probe had been told.
        """
        for known, reply in self._replies:
            if known is message:
                return reply
        raise ValueError(f"nothing is owed to {message!r}: it has not come, or answers() has answered it")

    @defers(_ANY)
    async def take(self, message: Message[Any], reply: Reply[Any]) -> None:
        """Keep a message, and answer it if there is an answer."""
        self.received.append(message)
        self._unread.append(message)
        news, self._news = self._news, None
        if news is not None:
            news.set()
        for ancestor in type(message).__mro__:
            if ancestor in self._functions:
                value = self._functions[ancestor](message)
                reply.set(await value if hasattr(value, "__await__") else value)
                return
        self._replies.append((message, reply))
