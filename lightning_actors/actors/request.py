"""Requests: asks that cost no task. The reply comes back to the actor between two of its messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from lightning_actors.actors.ask import NOBODY, Ask
from lightning_actors.actors.mailbox import Mailbox
from lightning_actors.actors.turn import Turn

__all__ = ["Outcome", "PendingRequest"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Outcome(Generic[R_co]):
    """How a request ended: with a reply or with an error."""

    __slots__ = ("_value", "error")

    def __init__(self, value: R_co | None, error: BaseException | None) -> None:
        self._value = value
        self.error = error
        """What went wrong, or None."""

    @property
    def value(self) -> R_co:
        """The reply.

        Raises:
            Exception: ``error``, if the request failed.
        """
        if self.error is not None:
            raise self.error
        return self._value  # pyright: ignore[reportReturnType]  # without an error the value was given

    def __repr__(self) -> str:
        return f"Outcome(error={self.error!r})" if self.error is not None else f"Outcome(value={self._value!r})"


class PendingRequest(Generic[R]):
    """A request whose outcome has not been taken yet."""

    __slots__ = ("_ask", "_home", "_is_done", "_then", "waiting")

    def __init__(
        self, message: Any, target: Mailbox, home: Mailbox, then: Callable[[Outcome[R]], Awaitable[None] | None]
    ) -> None:
        self._ask: Ask[R] = Ask(message, target, self)
        self._home = home
        self._then = then
        self._is_done = False
        self.waiting: Turn | None = None
        """The task that waits for room in the target's mailbox, if it had to (for the kernel's own use)."""

    @property
    def done(self) -> bool:
        """Whether its outcome was taken or it was cancelled."""
        return self._is_done

    def cancel(self) -> None:
        """Withdraw it: ``then`` is not called any more. A reply that came already goes back to its giver."""
        if not self._is_done:
            self._is_done = True
            self._ask.withdraw()
            if self.waiting is not None and self.waiting.scope is not None:
                self.waiting.scope.cancel()

    # ── the kernel's side ──

    @property
    def ask(self) -> Ask[R]:
        """The ask itself."""
        return self._ask

    def set(self) -> None:
        """The ask is over: its actor concludes, now if it sleeps, else when it comes to it (called by the ask)."""
        home = self._home
        if self._is_done or home.finished:
            return
        if home.bell is None or home.sleeper is None or not home.sleeper.conclude_asleep(self):
            home.post(self)

    def conclude(self) -> Awaitable[None] | None:
        """Hand over the outcome, unless the request was cancelled meanwhile."""
        if self._is_done:
            return None
        self._is_done = True
        ask = self._ask
        ask.waker = NOBODY  # each holds the other: a circle that only the collector could undo
        value = None if ask.error is not None else ask.value
        then, self._then = self._then, _nothing  # it may hold whoever holds this request: a circle, too
        return then(Outcome(value, ask.error))


def _nothing(_: object) -> None:
    """What is left to do once the outcome was taken."""
