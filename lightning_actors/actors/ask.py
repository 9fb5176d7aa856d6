"""One ask, from the moment it is made until nobody waits for it any more.

QUEUED ──▶ BEGUN ──▶ ANSWERED     a plain or concurrent handler has it; its reply, or its error, is with the asker
   │         │  ╲
   │         │   ▶ KEPT ──▶ ANSWERED      a deferred handler has returned and holds the reply
   ▼         ▼      ▼
      GONE                        the asker went away, or was told that the actor crashed or stopped
"""

from __future__ import annotations

from typing import Any, Final, Generic, Protocol, TypeVar

from lightning_actors.actors.turn import Owner, Turn, current_turn
from lightning_actors.errors import ActorError

__all__ = ["ANSWERED", "BEGUN", "GONE", "KEPT", "NOBODY", "QUEUED", "Ask", "Giver", "Waker"]

R = TypeVar("R")

# Plain integers: they are compared on every message.
QUEUED: Final = 0
BEGUN: Final = 1
KEPT: Final = 2
ANSWERED: Final = 3
GONE: Final = 4


class Waker(Protocol):
    """What an answered ask sets off: an event, or a request's outcome."""

    def set(self) -> None:
        """Tell the asker that its ask is over."""
        ...


class Nobody:
    """Waits for the reply to a tell, or does not wait any more."""

    __slots__ = ()

    def set(self) -> None:
        """Nobody is waiting."""


NOBODY: Final = Nobody()


class Giver(Owner, Protocol):
    """What an ask needs of the actor that is to answer it."""

    asks: dict[Ask[Any], None]
    held: list[Ask[Any]] | None

    def take_back(self, ask: Ask[Any], value: Any) -> None:
        """A reply found no asker."""
        ...

    def asker_left(self, ask: Ask[Any]) -> None:
        """The asker of a kept reply went away."""
        ...

    def error_unheard(self, ask: Ask[Any], error: BaseException) -> None:
        """An error found no asker."""
        ...


class Ask(Generic[R]):
    """A message that waits for its reply; both sides work on this one object."""

    __slots__ = ("error", "giver", "message", "state", "turn", "value", "waker")

    value: R

    def __init__(self, message: Any, giver: Giver, waker: Waker) -> None:
        self.message = message
        self.giver = giver
        self.waker = waker
        self.state = QUEUED
        self.error: BaseException | None = None
        self.turn: Turn | None = None

    @property
    def owner(self) -> Owner:
        """The actor that is to answer."""
        return self.giver

    @property
    def blocker(self) -> Turn | None:
        """The turn that must end before this ask can be answered.

        The turn of a kept reply is over: the reply may come from anywhere, and nobody can say who must act.
        """
        return self.giver.turn if self.state == QUEUED else self.turn

    def answer(self, value: R) -> bool:
        """Give the reply; False when nobody waits for it and it went back to its giver."""
        if self.state >= ANSWERED:
            self._must_be_gone()
            self.giver.take_back(self, value)
            return False
        self.value = value
        self.state = ANSWERED
        giver = self.giver
        del giver.asks[self]
        if giver.held is None or giver.turn is not current_turn.get():
            self.waker.set()
        else:  # given by the batch in hand
            giver.held.append(self)
        return True

    def fail(self, error: BaseException) -> bool:
        """Give an error instead of a reply; False when nobody waits for it."""
        if self.state >= ANSWERED:
            self._must_be_gone()
            self.giver.error_unheard(self, error)
            return False
        self.error = error
        self.state = ANSWERED
        giver = self.giver
        del giver.asks[self]
        if giver.held is None or giver.turn is not current_turn.get():
            self.waker.set()
        else:  # given by the batch in hand
            giver.held.append(self)
        return True

    def close(self, error: BaseException) -> None:
        """The kernel's own word that no reply will come: one given later finds no asker."""
        if self.state < ANSWERED:
            self.error = error
            self.state = GONE
            del self.giver.asks[self]
            self.waker.set()

    def withdraw(self) -> None:
        """The asker goes away, wherever the ask is by now."""
        state = self.state
        if state == GONE:
            return
        self.state = GONE
        giver = self.giver
        if state == ANSWERED:
            if giver.held is None or self not in giver.held:
                self.give_back()
            return
        del giver.asks[self]
        if state == KEPT:
            giver.asker_left(self)
        elif state == BEGUN and self.turn is not None and self.turn.scope is not None:
            self.turn.scope.cancel()

    def give_back(self) -> None:
        """Return what was answered to its giver."""
        if self.error is None:
            self.giver.take_back(self, self.value)
        else:
            self.giver.error_unheard(self, self.error)

    def release(self, error: BaseException | None) -> None:
        """Let a reply go that was held back while its batch was done; an error replaces it."""
        if error is not None:
            self.error = error
        if self.state == ANSWERED:
            self.waker.set()
        elif error is None:
            self.give_back()

    def _must_be_gone(self) -> None:
        if self.state == ANSWERED:
            message = f"the {type(self.message).__name__} of {self.giver.name!r} is already answered: reply once only"
            raise ActorError(message, actor=self.giver.name)
