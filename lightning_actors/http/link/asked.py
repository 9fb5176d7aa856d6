"""`Asked`: one operation that somebody waits for on the client's side of a link."""

from __future__ import annotations

from typing import Any

import anyio

from lightning_actors.actors.message import Message
from lightning_actors.errors import StoreError
from lightning_actors.http.link.frames import Items
from lightning_actors.http.link.payloads import read_items, read_reply, reply_item_kind

__all__ = ["Asked"]


class Asked:
    """An ask until it is answered.

    Attributes:
        message: What is asked.
        since: When, by the link's clock.
        reply: The answer.
        error: What it raised instead.
        is_over: Whether there is one of both.
        is_abandoned: Whether nobody waits for it.
    """

    __slots__ = ("_done", "_items", "_misread", "error", "is_abandoned", "is_over", "message", "reply", "since")

    def __init__(self, message: Message[Any], since: float) -> None:
        self.message = message
        self.since = since
        self.reply: Any = None
        self.error: Exception | None = None
        self.is_over = False
        self.is_abandoned = False
        self._items: list[Any] = []
        self._misread: Exception | None = None
        self._done = anyio.Event()

    def take_items(self, frame: Items) -> None:
        """Some of what belongs to the answer has come."""
        try:
            self._items += read_items(reply_item_kind(self.message), frame.payload)
        except Exception as error:  # noqa: BLE001 - boundary: what a server sent; told to the asker
            self._misread = error

    def answer(self, payload: bytes) -> None:
        """The answer has come."""
        try:
            self.reply = read_reply(self.message, payload, self._items)
        except Exception as error:  # noqa: BLE001 - boundary: what a server sent; told to the asker
            self._misread = error
        if self._misread is not None:
            self.error = StoreError(f"the answer to {type(self.message).__name__} cannot be read: {self._misread}")
            self.error.__cause__ = self._misread
        self._end()

    def fail(self, error: Exception) -> None:
        """It raised this, or will never be answered because of it."""
        self.error = error
        self._end()

    async def wait(self) -> None:
        """Wait until it is over."""
        await self._done.wait()

    def _end(self) -> None:
        self.is_over = True
        self._items = []
        self._done.set()
