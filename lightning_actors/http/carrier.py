"""`Carrier`: what takes a client's operations to its server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from lightning_actors.actors import Message

__all__ = ["Carrier"]

R = TypeVar("R")


class Carrier(Protocol):
    """A way to a server: the REST interface, or a link that stays open."""

    async def carry(self, message: Message[R], /) -> R:
        """Have one operation carried out; the message holds what JSON can hold.

        Raises:
            StoreError: As the operation says; StoreUnreachable, AccessRefused.
        """
        ...

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Have ``ready`` called whenever a rollout may be waiting; returns what ends the watch."""
        ...

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Have ``stop`` called once if the store ends this attempt; returns what ends the watch."""
        ...
