"""Held work: what an actor has begun elsewhere and answers for, without a task of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVarTuple, Unpack

from lightning_actors.actors.turn import Owner, Turn, current_turn

__all__ = ["Holding", "Work"]

Arguments = TypeVarTuple("Arguments")


class Work(Protocol):
    """Something that goes on without a task of the actor that holds it."""

    def cancel(self) -> None:
        """End, now or soon; a second time changes nothing."""
        ...


class Holder(Protocol):
    """What holds the work for an actor."""

    def start_for_work(
        self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str | None
    ) -> None:
        """Start a task for held work."""
        ...

    def release(self, work: Holding) -> None:
        """This work is over."""
        ...


class Holding(Turn):
    """A piece of work that an actor holds, from `Actor.hold` until it is released.

    A stop waits for it within the grace time, as for a concurrent handler; then, and when the actor crashes, the work
    is cancelled, and the actor ends when the work is released. It is the turn of whatever the work does as well.
    """

    __slots__ = ("_holder",)

    def __init__(self, holder: Holder, owner: Owner, message: object, since: float) -> None:
        super().__init__(owner, message, since)
        self._holder = holder

    def enter(self) -> None:
        """Let what runs in the current context, and below it, count as done by the actor, until the release."""
        current_turn.set(self)

    def start_soon(
        self, func: Callable[[Unpack[Arguments]], Awaitable[object]], *args: *Arguments, name: str | None = None
    ) -> None:
        """Start a task for the work. Only the work itself can cancel it, and must see that it ends.

        An error in it crashes the actor.

        Args:
            func: An async function.
            *args: Its arguments.
            name: The task's name, for debuggers.
        """
        self._holder.start_for_work(func, args, name)

    def release(self) -> None:
        """The work is over."""
        self._holder.release(self)
