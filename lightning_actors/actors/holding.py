"""Held work: what an actor has begun elsewhere and answers for, without a task of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVarTuple, Unpack

from lightning_actors.actors.turn import Turn, current_turn

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

    def release(self, turn: Turn) -> None:
        """The work of this turn is over."""
        ...


class Holding:
    """A piece of work that an actor holds, from `Actor.hold` until it is released.

    A stop waits for it within the grace time, as for a concurrent handler; then, and when the actor crashes, the work
    is cancelled, and the actor ends when the work is released.
    """

    __slots__ = ("_holder", "_turn")

    def __init__(self, holder: Holder, turn: Turn) -> None:
        self._holder = holder
        self._turn = turn

    def enter(self) -> None:
        """Let what runs in the current context, and below it, count as done by the actor, until the release."""
        current_turn.set(self._turn)

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
        self._holder.release(self._turn)
