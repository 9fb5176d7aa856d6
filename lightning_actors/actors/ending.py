"""How an incarnation of an actor ends, and telling whose cancellation that was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from lightning_actors.errors import ActorError

__all__ = ["Crash", "Ending", "is_cancelled", "tell_apart", "tells_only_of"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How an incarnation ended.

    Attributes:
        kind: ``stopped``: it was told to. ``ended``: it told itself to. ``crashed``: an error. ``halted``: its
            supervisor restarts it with its siblings.
        error: What it crashed with, or what its siblings crashed with.
        message: What it was handling when it crashed.
    """

    kind: Literal["stopped", "ended", "crashed", "halted"]
    error: BaseException | None = None
    message: Any = None


@dataclass(frozen=True, slots=True)
class Crash:
    """Notice: a handler, a hook or a task of the actor raised this error."""

    error: BaseException
    message: Any = None


def is_cancelled() -> bool:
    """Whether a scope around the running task is cancelled."""
    return anyio.current_effective_deadline() == -math.inf


def tell_apart(error: BaseException, actor: str) -> BaseException:
    """Tell a real cancellation from one that was picked up elsewhere, such as that of an awaited future.

    Returns:
        The error, or the ActorError that stands for somebody else's cancellation.

    Raises:
        BaseException: ``error`` itself, if it is the cancellation of a scope around this task.
    """
    if not isinstance(error, anyio.get_cancelled_exc_class()):
        return error
    if is_cancelled():
        raise error
    foreign = ActorError(
        f"actor {actor!r} got a cancellation that no scope around it asked for: "
        f"something that it awaited was cancelled elsewhere",
        actor=actor,
    )
    foreign.__cause__ = error
    return foreign


def tells_only_of(error: BaseException | None, failure: BaseException | None) -> bool:
    """Whether an error that leaves a block says no more than that an actor in it is gone, for this failure."""
    return failure is not None and isinstance(error, ActorError) and error.__cause__ is failure
