"""Messages, the marks that say which method handles which message, and the reply that a deferred handler keeps.

    @dataclass(frozen=True)
    class Add(Message[int]):            a message names the type of its reply
        amount: int

    class Counter(Actor):
        @handles(Add)                   plain: one at a time, the returned value is the reply
        def add(self, message: Add) -> int: ...

        @handles(Report, concurrent=True)   in a task of its own
        async def report(self, message: Report) -> str: ...

        @defers(Wait)                   keeps the reply and returns; answers it later
        def wait(self, message: Wait, reply: Reply[int]) -> None: ...

A handler whose parameter or reply does not fit its message is a static error, and one at import.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, overload

from lightning_actors.actors.ask import ANSWERED, GONE, Ask

__all__ = ["Message", "Reply", "defers", "handles"]

A = TypeVar("A")
M = TypeVar("M", bound="Message[Any]")
M_co = TypeVar("M_co", bound="Message[Any]", covariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
R_contra = TypeVar("R_contra", contravariant=True)


class Message(Generic[R_co]):
    """A request whose reply has type ``R_co``. Subclass it as a frozen dataclass (plain or pydantic)."""

    __slots__ = ()

    @classmethod
    def reply_type(cls) -> Any:
        """The type of the reply as it was written, or Any when it cannot be told at run time."""
        return _reply_type(cls)


@functools.cache
def _reply_type(message: type[Any]) -> Any:
    for ancestor in message.__mro__:
        for base in vars(ancestor).get("__orig_bases__", ()):
            origin = get_origin(base)
            if origin is Message:
                return get_args(base)[0]
    return Any


class Reply(Generic[R_contra]):
    """The promise of a reply that a deferred handler keeps.

    It can be handed around and answered from any task of the same event loop, once.
    """

    __slots__ = ("_ask",)

    def __init__(self, ask: Ask[Any]) -> None:
        self._ask = ask

    def set(self, value: R_contra) -> bool:
        """Send the reply.

        Returns:
            True when it is on its way. False when nobody waits for it any more: the value then goes to the
            ``undelivered`` method of the actor that gave it.

        Raises:
            ActorError: It was answered before.
        """
        return self._ask.answer(value)

    def fail(self, error: BaseException) -> bool:
        """Send an error instead, which is raised at the asker.

        Returns:
            True when it is on its way; False when nobody waits for it any more (it then goes to dead letters).

        Raises:
            ActorError: It was answered before.
        """
        return self._ask.fail(error)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to answer: a reply was given, or nobody waits for it."""
        return self._ask.state >= ANSWERED

    @property
    def abandoned(self) -> bool:
        """Whether the asker went away, or was told that the actor crashed or stopped."""
        return self._ask.state == GONE

    def __eq__(self, other: object) -> bool:
        """Two replies are equal if they answer the same ask: ``withdrawn`` can find the one that was kept."""
        return isinstance(other, Reply) and other._ask is self._ask  # pyright: ignore[reportUnknownMemberType]  # any reply will do

    def __hash__(self) -> int:
        return hash(self._ask)

    def __repr__(self) -> str:
        state = "abandoned" if self.abandoned else "done" if self.done else "open"
        return f"<Reply to {type(self._ask.message).__name__}, {state}>"


class Kind(Enum):
    """How a handler runs."""

    PLAIN = "plain"
    CONCURRENT = "concurrent"
    DEFERRED = "deferred"


def mark(handler: Callable[..., Any], message: type[Message[Any]], kind: Kind) -> None:
    """Note on a function which message it handles, and how."""
    marks: tuple[tuple[type[Message[Any]], Kind], ...] = getattr(handler, "__handles__", ())
    vars(handler)["__handles__"] = (*marks, (message, kind))


class _Marker(Generic[M_co]):
    """What ``handles`` and ``defers`` make: a decorator for one message."""

    def __init__(self, message: type[M_co], kind: Kind) -> None:
        if not isinstance(message, type) or not issubclass(message, Message):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(
                f"{message!r} is no message type: handle a subclass of Message, as in class Add(Message[int])"
            )
        self._message = message
        self._kind = kind


class PlainMarker(_Marker[M_co]):
    """Marks a plain handler, sync or async."""

    @overload
    def __call__(
        self: PlainMarker[Message[R]], handler: Callable[[A, M_co], Awaitable[R]], /
    ) -> Callable[[A, M_co], Awaitable[R]]: ...
    @overload
    def __call__(self: PlainMarker[Message[R]], handler: Callable[[A, M_co], R], /) -> Callable[[A, M_co], R]: ...
    def __call__(self, handler: Callable[[Any, Any], Any], /) -> Callable[[Any, Any], Any]:
        mark(handler, self._message, self._kind)
        return handler


class ConcurrentMarker(_Marker[M_co]):
    """Marks an async handler that runs in a task of its own."""

    def __call__(
        self: ConcurrentMarker[Message[R]], handler: Callable[[A, M_co], Awaitable[R]], /
    ) -> Callable[[A, M_co], Awaitable[R]]:
        mark(handler, self._message, self._kind)
        return handler


class DeferredMarker(_Marker[M_co]):
    """Marks a handler that keeps its reply."""

    @overload
    def __call__(
        self: DeferredMarker[Message[R]], handler: Callable[[A, M_co, Reply[R]], Awaitable[None]], /
    ) -> Callable[[A, M_co, Reply[R]], Awaitable[None]]: ...
    @overload
    def __call__(
        self: DeferredMarker[Message[R]], handler: Callable[[A, M_co, Reply[R]], None], /
    ) -> Callable[[A, M_co, Reply[R]], None]: ...
    def __call__(self, handler: Callable[[Any, Any, Any], Any], /) -> Callable[[Any, Any, Any], Any]:
        mark(handler, self._message, self._kind)
        return handler


@overload
def handles(message: type[M], *, concurrent: Literal[False] = False) -> PlainMarker[M]: ...
@overload
def handles(message: type[M], *, concurrent: Literal[True]) -> ConcurrentMarker[M]: ...
def handles(message: type[M], *, concurrent: bool = False) -> PlainMarker[M] | ConcurrentMarker[M]:
    """Mark the method that handles a message; what it returns is the reply.

    A plain handler, sync or async, has the actor to itself until it ends. A concurrent one is async and runs in a task
    that the actor owns, beside the messages that follow.

    Args:
        message: The message type. Messages of a subclass of it come here too, unless they have a handler of their own.
        concurrent: Run it in a task of its own.
    """
    return ConcurrentMarker(message, Kind.CONCURRENT) if concurrent else PlainMarker(message, Kind.PLAIN)


def defers(message: type[M]) -> DeferredMarker[M]:
    """Mark the method that takes a message together with its reply, returns, and answers later.

    Whoever waits for a kept reply costs no task. If the asker goes away first, the actor's ``withdrawn`` is called.

    Args:
        message: The message type.
    """
    return DeferredMarker(message, Kind.DEFERRED)
