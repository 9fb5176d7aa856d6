"""Turns: who is handling what, and who waits for whom.

A turn is one run of one handler. It lives in a context variable while the handler runs and is marked dead when the
handler ends, so that a task which outlives the handler that spawned it is nobody's turn any more.

    turn of a ──waits for──▶ an ask queued at b ──blocked by──▶ turn of b ──waits for──▶ an ask queued at a   (a circle)
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

__all__ = ["Owner", "Turn", "Waited", "current_turn", "find_circle"]


class Owner(Protocol):
    """What a turn knows of the actor that it belongs to."""

    name: str
    turn: Turn | None
    ref: Any


class Waited(Protocol):
    """Something that a turn waits for."""

    @property
    def owner(self) -> Owner:
        """The actor that must act before the wait can end."""
        ...

    @property
    def blocker(self) -> Turn | None:
        """The turn that must end first, if there is one."""
        ...


class Cancellable(Protocol):
    """A cancel scope, or work that does without one."""

    def cancel(self) -> None:
        """Ask it to end."""
        ...


class Turn:
    """One run of one handler.

    ``scope`` is set for handlers that run beside the actor's own task; ``live`` ends with the handler.
    """

    __slots__ = ("live", "message", "owner", "scope", "since", "waits")

    def __init__(self, owner: Owner, message: object, since: float, *, live: bool = True) -> None:
        self.owner = owner
        self.message = message
        self.since = since
        self.live = live
        self.scope: Cancellable | None = None
        self.waits: list[Waited] | None = None
        """Made when it first waits, which most never do."""

    @property
    def label(self) -> str:
        """What is handled: a message type, or the name of a hook."""
        return self.message if isinstance(self.message, str) else type(self.message).__name__


current_turn: ContextVar[Turn | None] = ContextVar("lightning_actors_current_turn", default=None)


def find_circle(turn: Turn, wanted: Waited) -> list[str] | None:
    """The names along a circle that ``turn`` would close by waiting for ``wanted``, or None.

    Returns:
        The actors in order of waiting, from the turn's own actor back to itself.
    """
    return _follow(turn, wanted, [turn.owner.name], set())


def _follow(turn: Turn, waited: Waited, path: list[str], seen: set[int]) -> list[str] | None:
    blocker = waited.blocker
    if blocker is None or not blocker.live or id(blocker) in seen:
        return None
    path = [*path, waited.owner.name]
    if blocker is turn:
        return path
    seen.add(id(blocker))
    for next_waited in blocker.waits or ():
        circle = _follow(turn, next_waited, path, seen)
        if circle is not None:
            return circle
    return None
