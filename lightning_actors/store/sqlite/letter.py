"""`Letter`: one operation on its way from an event loop to the writer's thread and back.

```
loop     send ──▶ inbox                                                ┌──▶ slot.set(reply) or slot.fail(error)
writer              └──▶ batch: carried out, … ──▶ commit ──▶ outbox ──┘
```

A letter is the writer's until it is in the outbox, and the loop's from then on. Only ``is_withdrawn`` is set by the
loop at any time; the writer looks at it before it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning_actors.actors.message import Message
from lightning_actors.store.api import Slot
from lightning_actors.store.clerk import Clerk
from lightning_actors.store.messages import StoreRead, StoreWait
from lightning_actors.store.sqlite.door import Door
from lightning_actors.store.waiters import Waiter

__all__ = ["NOBODY", "Letter", "WaitLetter"]


class _Nobody:
    """Wants no outcome."""

    __slots__ = ()

    def set(self, value: Any, /) -> None:
        """Nobody looks at it."""

    def fail(self, error: BaseException, /) -> None:
        """It shows again with the next operation."""


NOBODY = _Nobody()


class Letter:
    """Something that the clerk is to do.

    Attributes:
        message: The operation, if it is one.
        slot: Where its outcome goes.
        door: The loop that it comes from.
        is_withdrawn: Nobody wants it any more; what was not begun never will be.
        is_counted: It is among those that the loop's side has sent and waits for.
        is_delivered: Its outcome has been handed out.
        is_done: There is an outcome.
        reply: The reply, once it is done.
        error: Why it was not carried out, if it was not.
    """

    __slots__ = (
        "_work",
        "door",
        "error",
        "is_counted",
        "is_delivered",
        "is_done",
        "is_withdrawn",
        "message",
        "reply",
        "slot",
    )

    def __init__(
        self, work: Callable[[Clerk], Any], slot: Slot, door: Door, message: Message[Any] | None = None
    ) -> None:
        self._work = work
        self.message = message
        self.slot = slot
        self.door = door
        self.is_withdrawn = False
        self.is_counted = False
        self.is_delivered = False
        self.begin()

    def begin(self) -> None:
        """Have no outcome, for the first time or once more."""
        self.is_done = False
        self.reply: Any = None
        self.error: BaseException | None = None

    def carry_out(self, clerk: Clerk) -> None:
        """Have the clerk do it."""
        self.reply = self._work(clerk)
        self.is_done = True

    def look(self, clerk: Clerk) -> bool:
        """Answer what only reads, without settling what is due first; False for anything else."""
        message = self.message
        if isinstance(message, StoreWait) or not isinstance(message, StoreRead):
            return False
        self.reply = clerk.answer_now(message)
        self.is_done = True
        return True

    def refuse(self, error: BaseException) -> None:
        """Have this error for an outcome."""
        self.error = error
        self.is_done = True


class WaitLetter(Letter):
    """An operation that waits until it can be answered in full. It keeps no time.

    Args:
        message: The operation.
        slot: Where its outcome goes.
        door: The loop that it comes from.
        answered: Takes the letter when its wait is over, in the writer's thread.

    Attributes:
        waiter: What waits for it, once it does.
    """

    __slots__ = ("_answered", "_waited", "waiter")

    def __init__(self, message: StoreWait[Any], slot: Slot, door: Door, answered: Callable[[WaitLetter], None]) -> None:
        super().__init__(lambda clerk: clerk.perform(message), slot, door, message)
        self._waited = message
        self._answered = answered
        self.waiter: Waiter | None = None

    def carry_out(self, clerk: Clerk) -> None:
        """Answer it now, or let it wait."""
        self.waiter = clerk.wait(self._waited, self._answer)
        if self.waiter is None:
            super().carry_out(clerk)

    def _answer(self, reply: Any) -> None:
        self.reply = reply
        self.is_done = True
        self._answered(self)
