"""What could not be delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lightning_actors.log import get_logger

__all__ = ["DeadLetter", "DeadLetters", "log_dead_letter"]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message, or the reply to one, that reached nobody.

    Attributes:
        actor: The name of the actor that it was meant for or, for a reply, that gave it.
        message: The message.
        reason: ``crashed``: handling it crashed the actor. ``mailbox_full``: a full mailbox rejected it. ``stopped``:
            the actor had ended. ``undelivered``: the reply to it found no asker.
        error: What crashed the actor, or the error that found no asker.
        value: The reply that found no asker.
    """

    actor: str
    message: Any
    reason: Literal["crashed", "mailbox_full", "stopped", "undelivered"]
    error: BaseException | None = None
    value: Any = None


DeadLetters: TypeAlias = Callable[[DeadLetter], object]


def log_dead_letter(letter: DeadLetter) -> None:
    """Log a dead letter as a warning: where they go when nobody asked for them."""
    log.warning(
        "dead_letter",
        actor=letter.actor,
        message=type(letter.message).__name__,
        reason=letter.reason,
        **({} if letter.error is None else {"error": repr(letter.error)}),
    )
