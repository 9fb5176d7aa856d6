"""Child specs: supervision as data."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from lightning_actors.actors.actor import Actor

__all__ = ["Backoff", "ChildSpec"]

A_co = TypeVar("A_co", bound=Actor, covariant=True)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart: exponential, with jitter.

    Attributes:
        first: Seconds before the first restart.
        factor: By how much each further restart within the period waits longer.
        maximum: Seconds at most.
        jitter: By what fraction a pause may be longer, at random.
    """

    first: float = 0.01
    factor: float = 2.0
    maximum: float = 5.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.first < 0 or self.factor < 1 or self.maximum < 0 or self.jitter < 0:
            raise ValueError(f"{self} makes no sense: first, maximum and jitter are 0 or more, factor is 1 or more")

    def delay(self, restart: int) -> float:
        """Seconds to wait before a restart.

        Args:
            restart: Which one within the period, from 1.
        """
        try:
            delay = min(self.maximum, self.first * self.factor ** (restart - 1))
        except OverflowError:
            delay = self.maximum
        return delay * (1 + self.jitter * random.random())  # noqa: S311  # jitter, not cryptography


@dataclass(frozen=True, slots=True)
class ChildSpec(Generic[A_co]):
    """How a child is made, and what happens when it ends.

    Attributes:
        name: Unique among its siblings.
        factory: Makes one incarnation; a class that takes no arguments will do.
        restart: ``permanent``: always. ``transient``: after a crash only. ``temporary``: never.
        significant: When it has ended and is not restarted, the whole tree ends: normally if it ended normally, with
            its error if it crashed.
        group: Neighbours with the same group are stopped at the same time instead of one after another.
        grace: Seconds that a stop leaves for handlers to finish.
        mailbox_size: How many messages its mailbox holds.
        overflow: What a full mailbox does: let senders ``wait``, or ``reject``.
        intensity: More restarts than this within ``period`` seconds are a failure of the supervisor.
        period: Seconds.
        backoff: The pause before a restart.
    """

    name: str
    factory: Callable[[], A_co]
    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    significant: bool = False
    group: str = ""
    grace: float = 5.0
    mailbox_size: int = 64
    overflow: Literal["wait", "reject"] = "wait"
    intensity: int = 3
    period: float = 5.0
    backoff: Backoff = Backoff()

    def __post_init__(self) -> None:
        if self.mailbox_size < 1:
            raise ValueError(f"mailbox_size of {self.name!r} is {self.mailbox_size}: it must hold at least 1 message")
        if self.grace < 0 or self.intensity < 0 or self.period < 0:
            raise ValueError(f"grace, intensity and period of {self.name!r} must be 0 or more")
        if self.restart not in {"permanent", "transient", "temporary"}:
            raise ValueError(f"restart of {self.name!r} is {self.restart!r}: use permanent, transient or temporary")
        if self.overflow not in {"wait", "reject"}:
            raise ValueError(f"overflow of {self.name!r} is {self.overflow!r}: use wait or reject")
