"""`Reception`: the loop's side of a durable store. It sends letters, hands outcomes out, and tells those who watch.

```
send ──▶ Writer ──▶ collect, once for each transaction:  watchers ▷ slots ▷ sleepers
```

It knows no tables, and the writer's thread knows no more of it than a door to its loop.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from typing import Any

from lightning_actors.actors.clock import Clock
from lightning_actors.actors.message import Message
from lightning_actors.errors import StoreClosed, StoreError
from lightning_actors.log import get_logger
from lightning_actors.store.api import Slot
from lightning_actors.store.claims import claims_in
from lightning_actors.store.clerk import Clerk
from lightning_actors.store.in_one_go import InOneGo
from lightning_actors.store.loop_guard import LoopGuard, running_loop
from lightning_actors.store.messages import ReleaseAttempt, StoreWait
from lightning_actors.store.sleepers import Sleepers
from lightning_actors.store.sqlite.door import Door
from lightning_actors.store.sqlite.letter import NOBODY, Letter, WaitLetter
from lightning_actors.store.sqlite.writer import Writer
from lightning_actors.store.surroundings import BESIDE_THE_TABLES, Surroundings
from lightning_actors.store.watchers import Watchers

__all__ = ["Reception"]

log = get_logger("lightning_actors.store")


class Reception:
    """Takes operations in and hands their outcomes out, on one loop at a time.

    Args:
        name: What the store is called.
        writer: The thread that has its file.
        clock: Whose time it is.

    Attributes:
        guard: Knows the loop.
        watchers: Who is told of the queue and of attempts.
        sleepers: Who sleeps until a deadline.
    """

    def __init__(self, name: str, writer: Writer, clock: Clock) -> None:
        self._name = name
        self._writer = writer
        self._clock = clock
        self._pid = os.getpid()
        self._door: Door | None = None
        self._next_due = writer.next_due
        self._is_closed = False
        self._in_flight = 0
        """How many operations have not come back; while there are any, the store has a loop."""
        self.guard = LoopGuard(name)
        self.watchers = Watchers(self.guard)
        self.sleepers = Sleepers(clock, lambda: self._next_due)
        self._surroundings = Surroundings(name, clock, self.watchers, writer.clerk.waiters.count_for)

    def submit(self, message: Message[Any], slot: Slot) -> Callable[[], None]:
        """Have an operation, or several in one go, carried out; one that waits, for as long as it takes. See `Submit`.

        Raises:
            StoreClosed: The store was closed.
            StoreError: It was opened by the process that this one was forked from.
            WrongLoop: It is in use from another loop.
        """
        door = self._open_door()
        if isinstance(message, StoreWait) and not (message.timeout is not None and message.timeout <= 0):
            letter: Letter = WaitLetter(message, slot, door, self._writer.answered)
        elif isinstance(message, InOneGo):
            letter = Letter(lambda _: self._writer.in_one_go(message.operations), slot, door)
        else:
            letter = Letter(lambda clerk: clerk.perform(message), slot, door, message)
        self._writer.send(letter)
        letter.is_counted = True
        if not self._in_flight:
            self.guard.enter()
        self._in_flight += 1
        return lambda: self._take_back(letter)

    def _count_out(self, letter: Letter) -> None:
        if letter.is_counted and letter.door is self._door:
            letter.is_counted = False
            self._in_flight -= 1
            if not self._in_flight:
                self.guard.leave()

    def _take_back(self, letter: Letter) -> None:
        letter.is_withdrawn = True
        self._count_out(letter)
        if letter.is_delivered:  # its asker was cancelled before it could look
            self._undo(letter)
        elif isinstance(letter, WaitLetter):
            self._send(lambda _: self._writer.forget(letter), NOBODY)

    def _send(self, work: Callable[[Clerk], Any], slot: Slot) -> None:
        """Have something done that nobody waits for."""
        with contextlib.suppress(StoreClosed):
            self._writer.send(Letter(work, slot, self._open_door()))

    def settle(self) -> None:
        """Have settled what is due, if anything is.

        Raises:
            StoreClosed: The store was closed.
        """
        if self._is_closed:
            raise StoreClosed(f"this {self._name} was closed: open it again to go on")
        if self._next_due is not None and self._next_due <= self._clock.time():
            self._next_due = None  # until the writer says when the next is
            self._send(lambda clerk: clerk.settle(), NOBODY)

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None]) -> Callable[[], None]:
        """Have ``stop`` called once when the attempt is stopped; soon, where it is over already."""
        leave = self.watchers.watch_attempt(attempt_id, stop)

        def tell(reason: str | None) -> None:
            if reason is not None:
                self.watchers.tell_stopped(attempt_id, reason)

        self._send(lambda clerk: clerk.why_over(attempt_id), _Told(tell))
        return leave

    def close(self) -> None:
        """Have what was sent carried out, and end it. Those who sleep are woken and told; any thread may do this."""
        self._is_closed = True
        self._next_due = -math.inf
        self._writer.close()
        if self._door is not None:
            self._door.ring()

    def _open_door(self) -> Door:
        if os.getpid() != self._pid:
            raise StoreError(
                f"this {self._name} was opened by process {self._pid}, of which this one is a fork: a forked process "
                f"cannot use it. Reach it over a network there, as with a LightningStoreServer"
            )
        loop, door = running_loop(), self._door
        if door is not None and door.loop is loop:
            return door
        if door is not None and self._in_flight and not door.is_open():  # its loop has ended, and all that waited there
            self._in_flight = 0
            self.guard.leave()
        self.guard.check()
        self._door = door = Door(self._collect)
        return door

    def _collect(self) -> None:
        """Tell of the transactions that are over, on the loop."""
        outbox = self._writer.outbox
        while outbox:
            batch = outbox.popleft()
            self.watchers.tell(batch.change)
            for letter in batch.letters:
                self._deliver(letter)
        if not self._is_closed:
            self._next_due = self._writer.next_due
        self.sleepers.look()

    def _deliver(self, letter: Letter) -> None:
        letter.is_delivered = True
        self._count_out(letter)
        if letter.is_withdrawn or letter.door is not self._door:
            self._undo(letter)
        elif letter.error is not None:
            letter.slot.fail(letter.error)
        else:
            message, reply = letter.message, letter.reply
            if message is not None and type(message) in BESIDE_THE_TABLES:
                reply = self._surroundings.complete(message, reply)
            letter.slot.set(reply)

    def _undo(self, letter: Letter) -> None:
        """Nobody waits for the outcome any more: a claim is undone, what else was done stands."""
        if letter.message is None or letter.error is not None:
            return
        for claim in claims_in(letter.message, letter.reply):
            release = ReleaseAttempt(claim.rollout_id, claim.attempt.attempt_id)
            self._send(lambda clerk, release=release: clerk.perform(release), NOBODY)


class _Told:
    """A slot that is a function."""

    __slots__ = ("_tell",)

    def __init__(self, tell: Callable[[str | None], None]) -> None:
        self._tell = tell

    def set(self, value: str | None, /) -> None:
        """Tell."""
        self._tell(value)

    def fail(self, error: BaseException, /) -> None:
        """Whoever watches hears of it with the next operation."""
        log.warning("attempt_not_looked_at", error=repr(error))
