"""`Clerk`: carries operations out on tables, one after another, and says what is to be told; it tells nobody itself.

```
perform(message) ─▶ settle what is due ─▶ handler: Change ─▶ tables.apply ─▶ waiters that it answers ─▶ tell(change)
```

It knows no event loop and waits for nothing, so it may live on the store's loop or in the thread of its tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from lightning_actors.actors.clock import Clock
from lightning_actors.actors.message import Message
from lightning_actors.store import rules
from lightning_actors.store.change import Change
from lightning_actors.store.handlers import handle
from lightning_actors.store.handlers.abandoned import abandoned
from lightning_actors.store.handlers.deadlines import settled, why_over
from lightning_actors.store.messages import StoreRead, StoreWait
from lightning_actors.store.tables import Tables
from lightning_actors.store.waiters import Waiter, Waiters

__all__ = ["Clerk"]

R = TypeVar("R")


class Clerk:
    """Operations on tables, for one thread.

    Args:
        tables: Where records are kept.
        clock: Whose time it is.
        tell: Takes each change after it was applied, in order: the loop's side of a store tells its watchers by it,
            once it is durable where that takes a commit.

    Attributes:
        waiters: Who waits; each is answered with what was so at the moment that ended its wait.
    """

    def __init__(self, tables: Tables, clock: Clock, tell: Callable[[Change[Any]], None]) -> None:
        self._tables = tables
        self._next_due = tables.next_due
        self._clock = clock
        self._tell = tell
        self.waiters = Waiters(tables, self.answer_now)

    def perform(self, message: Message[R], settled_at: float | None = None) -> R:
        """Carry out one operation that does not wait.

        Args:
            message: The operation.
            settled_at: The time, where what is due by then was settled before; None to do so now.

        Raises:
            StoreError: As the operation says; nothing has changed then.
        """
        change = handle(self._tables, message, self.settle() if settled_at is None else settled_at)
        if change.writes:
            self._commit(change)
        return change.reply

    def settle(self) -> float:
        """End the attempts whose deadline has come, and undo the claims whose lease has lapsed.

        Returns:
            The time at which it was so, in seconds since the epoch.
        """
        now = self._clock.time()
        due = self._next_due()
        if due is not None and due <= now:
            for change in settled(self._tables, now):
                self._commit(change)
        return now

    def take_over(self) -> None:
        """Settle what a process that is gone has left open in these tables; see `handlers.abandoned`."""
        for change in abandoned(self._tables, self._clock.time()):
            self._commit(change)

    def _commit(self, change: Change[Any]) -> None:
        self._tables.apply(change)
        for rollout in change.rollouts:
            if rollout.status in rules.ROLLOUT_ENDED:
                self.waiters.rollout_ended(rollout.rollout_id)
        self._tell(change)

    def wait(self, message: StoreWait[R], answer: Callable[[R], None]) -> Waiter | None:
        """Have ``answer`` called once, with the reply, when the message can be answered in full; None if it can be now.

        The waiter is ended early with ``waiters.forget``. Raises what the operation raises.
        """
        self.settle()
        return self.waiters.add(message, answer)

    def answer_now(self, message: StoreRead[R]) -> R:
        """What can be answered by now; the deadlines stay as they are."""
        return handle(self._tables, message, self._clock.time()).reply

    def why_over(self, attempt_id: str) -> str | None:
        """Why an attempt is over, with what is due settled first; None while it is open."""
        self.settle()
        return why_over(self._tables, attempt_id)

    def roll_back(self, answered: Iterable[Waiter]) -> None:
        """Have all wait again, those answered since included, after the tables went back to what they were."""
        self.waiters.rebuild(answered)
