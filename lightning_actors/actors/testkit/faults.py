"""`Faults`: what goes wrong with an actor's messages, put between its mailbox and its handlers.

```
mailbox ──▶ nth message ──▶ handler                 an actor without faults is not touched
                 ├ CrashActor      the actor crashes with the message in hand
                 ├ DropMessage     the message is lost: an asker waits on
                 └ DelayMessage    the message, and those behind it, wait
```
"""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import anyio

from lightning_actors.actors.actor import Actor
from lightning_actors.actors.ending import Crash
from lightning_actors.actors.handlers import Handler, HandlerTable
from lightning_actors.actors.message import Kind, Message, Reply
from lightning_actors.actors.ref import ActorRef

__all__ = ["CrashActor", "DelayMessage", "DropMessage", "Fault", "Faults", "InjectedCrash", "crash"]

A = TypeVar("A", bound=Actor)


class InjectedCrash(Exception):
    """What an actor crashes with when a test wants it to."""


@dataclass(frozen=True, slots=True)
class CrashActor:
    """The actor crashes with the message in hand: its asker gets ActorCrashed, and it goes to dead letters.

    Attributes:
        error: What it crashes with.

    Raises:
        TypeError: ``error`` is no Exception.
    """

    error: Exception = field(default_factory=lambda: InjectedCrash("a test wanted this crash"))

    def __post_init__(self) -> None:
        if not isinstance(self.error, Exception):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(f"an actor crashes with an Exception, such as ValueError('boom'); got {self.error!r}")


@dataclass(frozen=True, slots=True)
class DropMessage:
    """The message is lost: nobody handles it, and its asker waits until it gives up or the actor ends."""


@dataclass(frozen=True, slots=True)
class DelayMessage:
    """The message is handled later. What stands behind it waits too, unless its handler is concurrent.

    Attributes:
        seconds: For how long, by the actor's clock; infinite for an actor that hangs.

    Raises:
        TypeError: ``seconds`` is not a number at all.
        ValueError: It is negative, or NaN.
    """

    seconds: float

    def __post_init__(self) -> None:
        wanted = f"a message is delayed by 0 or more seconds, infinite for an actor that hangs; got {self.seconds!r}"
        if not isinstance(self.seconds, int | float) or isinstance(self.seconds, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(wanted)
        if math.isnan(self.seconds) or self.seconds < 0:
            raise ValueError(wanted)


Fault: TypeAlias = CrashActor | DropMessage | DelayMessage


class Faults:
    """What goes wrong with the messages of one actor, counted over all its incarnations.

        faults = Faults({3: CrashActor(), 5: DropMessage(), 7: DelayMessage(seconds=0.5)})
        till = await supervisor.start(faults.injected_into(Till))

    Args:
        plan: The fault by number of the message, the first is 1; or a function of number and message that says which,
            None for no fault. Messages are counted when their handler begins: a concurrent one in a task of its own,
            so maybe after the message that follows.

    Raises:
        TypeError: The plan is neither, or holds something else than faults. A function that gives something else
            raises this where the message is handled.
        ValueError: A number of a message is not a whole number, 1 or more.

    Attributes:
        seen: How many messages were counted so far.
    """

    def __init__(self, plan: Mapping[int, Fault] | Callable[[int, Message[Any]], Fault | None]) -> None:
        self._plan: Callable[[int, Message[Any]], Fault | None]
        self._plan = plan if callable(plan) else _checked(plan)
        self._classes: dict[type[Actor], type[Actor]] = {}
        self.seen = 0

    def injected_into(self, factory: Callable[[], A]) -> Callable[[], A]:
        """A factory of the same actors, which suffer these faults.

        They are of a subclass made for it, so that their class, its other actors and the kernel stay as they are.
        """

        @functools.wraps(factory, updated=())
        def make() -> A:
            actor = factory()
            if type(actor) not in self._classes.values():  # it may be the same one again
                actor.__class__ = self._faulty(type(actor))
            return actor

        return make

    def _faulty(self, kind: type[A]) -> type[A]:
        known: Any = self._classes.get(kind)
        if known is not None:
            return known

        def withdrawn(actor: A, message: Message[Any], reply: Reply[Any]) -> Awaitable[None] | None:
            # Plain handlers are deferred ones here, but the actor must not be told of it.
            handler = kind.__handlers__[type(message)]
            return kind.withdrawn(actor, message, reply) if handler and handler.kind is Kind.DEFERRED else None

        faulty: Any = type(kind.__name__, (kind,), {"__slots__": (), "withdrawn": withdrawn, "__doc__": kind.__doc__})
        faulty.__handlers__ = HandlerTable(
            {message: handler and self._wrapped(handler) for message, handler in kind.__handlers__.items()}
        )
        self._classes[kind] = faulty
        return faulty

    def _next(self, message: Message[Any]) -> Fault | None:
        self.seen += 1
        fault = self._plan(self.seen, message)
        return None if fault is None else _checked_fault(self.seen, fault)

    def _wrapped(self, handler: Handler) -> Handler:
        """A handler that a fault can befall.

        Plain ones become deferred: those alone may leave a message unanswered and let the actor go on.
        """
        if handler.kind is Kind.CONCURRENT:
            return replace(handler, function=self._beside(handler.function))
        handle = handler.function if handler.kind is Kind.DEFERRED else _answering(handler.function)
        return replace(handler, kind=Kind.DEFERRED, function=self._in_turn(handle), is_simple=False)

    def _in_turn(self, handle: Callable[..., Awaitable[None] | None]) -> Callable[..., Awaitable[None] | None]:
        def suffer(actor: Actor, message: Message[Any], reply: Reply[Any]) -> Awaitable[None] | None:
            fault = self._next(message)
            if fault is None:
                return handle(actor, message, reply)
            if isinstance(fault, DelayMessage):
                return delayed(fault.seconds, actor, message, reply)
            if isinstance(fault, CrashActor):
                crash(actor.ref, fault.error, message)
            return None

        async def delayed(seconds: float, actor: Actor, message: Message[Any], reply: Reply[Any]) -> None:
            await actor.clock.sleep(seconds)
            result = handle(actor, message, reply)
            if result is not None:
                await result

        return suffer

    def _beside(self, handle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def suffer(actor: Actor, message: Message[Any]) -> Any:
            fault = self._next(message)
            if isinstance(fault, DelayMessage):
                await actor.clock.sleep(fault.seconds)
            elif isinstance(fault, CrashActor):
                crash(actor.ref, fault.error, message)
                await anyio.sleep_forever()  # the crash cancels this task
            elif isinstance(fault, DropMessage):
                await anyio.sleep_forever()  # until the asker gives up, or the actor ends
            return await handle(actor, message)

        return suffer


def _checked(plan: Mapping[int, Fault]) -> Callable[[int, Message[Any]], Fault | None]:
    """A plan as a function. Raises TypeError, ValueError."""
    if not isinstance(plan, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TypeError(
            f"Faults takes a dict of faults by number of the message, such as {{3: CrashActor()}}, or a function of "
            f"number and message; got {plan!r}"
        )
    for number, fault in plan.items():
        if type(number) is not int or number < 1:
            raise ValueError(f"messages are counted from 1, in whole numbers; got {number!r}")
        _checked_fault(number, fault)
    faults = dict(plan)
    return lambda number, _: faults.get(number)


def _checked_fault(number: int, fault: Fault) -> Fault:
    if not isinstance(fault, Fault):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TypeError(
            f"the fault of message {number} is {fault!r}: give a CrashActor, DropMessage or DelayMessage, made with ()"
        )
    return fault


def _answering(handle: Callable[..., Any]) -> Callable[..., Awaitable[None] | None]:
    """A plain handler as a deferred one that answers at once."""

    def answer(actor: Actor, message: Message[Any], reply: Reply[Any]) -> Awaitable[None] | None:
        value = handle(actor, message)
        if hasattr(value, "__await__"):
            return later(value, reply)
        reply.set(value)
        return None

    async def later(value: Awaitable[Any], reply: Reply[Any]) -> None:
        reply.set(await value)

    return answer


def crash(ref: ActorRef[Any], error: Exception | None = None, message: Message[Any] | None = None) -> None:
    """Crash an actor, as an error in one of its tasks does: between two messages, before any other notice.

    Does nothing once the actor has ended.

    Args:
        ref: The actor.
        error: What it crashes with; InjectedCrash by default.
        message: What it is said to have been handling, for the dead letter.
    """
    if not ref.mailbox.finished:
        ref.mailbox.post(Crash(error or InjectedCrash("a test wanted this crash"), message), first=True)
