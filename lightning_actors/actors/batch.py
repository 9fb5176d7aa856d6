"""Batches: several messages handled as one, whose replies leave together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, overload

from lightning_actors.actors.ask import Ask
from lightning_actors.actors.message import Message

__all__ = ["Batch", "Delivery"]


class Delivery:
    """One message of a batch."""

    __slots__ = ("_handle", "handled", "item", "message")

    def __init__(self, item: Message[Any] | Ask[Any], handle: Callable[[Any], Coroutine[Any, Any, bool]]) -> None:
        self.item = item
        """The message, or the ask that carries it (for the kernel's own use)."""
        self.message: Message[Any] = item.message if isinstance(item, Ask) else item
        """The message."""
        self.handled = False
        """Whether its handler was called."""
        self._handle = handle

    async def handle(self) -> bool:
        """Call the message's handler. Its reply, or its error, is kept until the batch is done.

        Returns:
            Whether it went well. If not, undo what the handler may have done; the rest of the batch is not affected.
        """
        self.handled = True
        return await self._handle(self.item)


class Batch(Sequence[Delivery]):
    """The messages that an actor took from its mailbox in one go, in order."""

    __slots__ = ("_deliveries",)

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries = deliveries

    def __len__(self) -> int:
        return len(self._deliveries)

    @overload
    def __getitem__(self, index: int) -> Delivery: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Delivery]: ...
    def __getitem__(self, index: int | slice) -> Delivery | Sequence[Delivery]:
        return self._deliveries[index]

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._deliveries)

    async def handle_all(self) -> None:
        """Call every message's handler, in order."""
        for delivery in self._deliveries:
            await delivery.handle()
