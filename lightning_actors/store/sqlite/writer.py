"""`Writer`: the one thread that writes a store's file, and reads it. What waits for it is one transaction.

```
inbox ──▶ all that waits ──▶ carried out, one after another ──▶ COMMIT ──▶ outbox ──▶ the loop collects
                                                                  │
                              ROLLBACK ◀── the file failed ───────┘
                                 └──▶ each by itself, in a transaction of its own: what fails, fails alone
```

An operation that the rules refuse has written nothing, and disturbs no other.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any, Final

from lightning_actors.actors.clock import Clock
from lightning_actors.actors.request import Outcome
from lightning_actors.errors import StoreClosed
from lightning_actors.log import get_logger
from lightning_actors.store.change import Change
from lightning_actors.store.clerk import Clerk
from lightning_actors.store.in_one_go import in_one_go
from lightning_actors.store.messages import StoreMessage
from lightning_actors.store.sqlite.letter import Letter, WaitLetter
from lightning_actors.store.sqlite.long_reads import LongReads, is_long
from lightning_actors.store.sqlite.news import News
from lightning_actors.store.sqlite.opening import StoreFile, explained, is_of_the_file

__all__ = ["Batch", "Writer"]

log = get_logger("lightning_actors.store")

_MOST: Final = 512
_PAUSE_SECONDS: Final = 1.0
_END_SECONDS: Final = 10.0


class Batch:
    """What is to be told once a transaction is over.

    Attributes:
        letters: Those that have their outcome.
        change: What concerns watchers.
    """

    __slots__ = ("change", "letters")

    def __init__(self, letters: Sequence[Letter], change: Change[None]) -> None:
        self.letters = letters
        self.change = change


class Writer:
    """Carries letters out, in the order in which they were sent.

    Args:
        file: The store's file, which is the writer's from now on.
        clock: Whose time it is.

    Attributes:
        clerk: Does what letters say; of use in the writer's thread alone, but for the number of its waiters.
        outbox: What is to be told; whoever takes from it does so on the loop of the letters.
        next_due: When something may next fall due, in seconds since the epoch.
    """

    def __init__(self, file: StoreFile, clock: Clock) -> None:
        self._file = file
        self._tables = file.tables
        self._clock = clock
        self.clerk = Clerk(file.tables, clock, self._note)
        self.outbox: deque[Batch] = deque()
        self._inbox: SimpleQueue[Letter | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._is_closed = False
        self._waiting: dict[WaitLetter, None] = {}
        self._news = News()
        """Of the transaction under way."""
        self._later: list[Letter] = []
        """What is to be read once it is committed, without anybody waiting for it."""
        self._failure: Exception | None = None
        self._long_reads = LongReads(file, clock, lambda letter: self._tell([letter], Change(None)))
        self._take_over()
        self.next_due = file.tables.next_due()
        self._thread = threading.Thread(target=self._run, name=f"store {file.path.name}", daemon=True)
        self._thread.start()

    def _take_over(self) -> None:
        try:
            self.clerk.take_over()
            self._tables.commit()
        except Exception as error:
            self._file.close()
            if is_of_the_file(error):
                raise explained(error, self._file.path) from error
            raise
        self._news = News()

    def send(self, letter: Letter) -> None:
        """Have a letter carried out.

        Raises:
            StoreClosed: The writer takes no more.
        """
        with self._lock:
            if self._is_closed:
                raise StoreClosed(f"the store in {self._file.path} was closed: open it again to go on")
            self._inbox.put(letter)

    def _note(self, change: Change[Any]) -> None:
        self._news.note(change)

    def answered(self, letter: WaitLetter) -> None:
        """A wait is over; for the letter itself."""
        self._news.answered.append(letter)

    def forget(self, letter: WaitLetter) -> None:
        """Take back a wait, in the writer's thread."""
        if self._waiting.pop(letter, 0) is None and letter.waiter is not None:
            self.clerk.waiters.forget(letter.waiter)

    def close(self) -> None:
        """Carry out what was sent, end all waits, and close the file; wait until that is done, but not for ever.

        In a forked process there is no such thread, and the file is the other process's: nothing is done.
        """
        if os.getpid() != self._pid:
            return
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_SECONDS)

    # ── in its thread ──

    def _run(self) -> None:
        is_open = True
        while is_open:
            letters, is_open = self._take()
            letters = [letter for letter in letters if not letter.is_withdrawn]
            if letters:
                self._handle(letters)
        self._end([], lambda: StoreClosed(f"the store in {self._file.path} was closed while this waited"))
        self._long_reads.close()
        self._file.close()

    def _take(self) -> tuple[list[Letter], bool]:
        """What waits, and whether there will be more."""
        inbox = self._inbox
        letters: list[Letter] = []
        letter = inbox.get()
        while letter is not None:
            letters.append(letter)
            if len(letters) >= _MOST or inbox.empty():
                return letters, True
            letter = inbox.get()
        return letters, False

    def _handle(self, letters: list[Letter]) -> None:
        if self._failure is not None:
            self._give_up(letters, self._failure)
            return
        try:
            news, pause = self._together(letters), 0.0
            if news is None:
                news, pause = self._one_by_one(letters), _PAUSE_SECONDS
        except Exception as error:  # noqa: BLE001 - the boundary of the thread: there is no way on, and all are told
            self._give_up(letters, error)
            return
        for letter in letters:
            if isinstance(letter, WaitLetter) and not letter.is_done:
                self._waiting[letter] = None
        for letter in news.answered:
            self._waiting.pop(letter, None)
        due = self._tables.next_due()
        self.next_due = due if due is None or not pause else max(due, self._clock.time() + pause)
        done = dict.fromkeys(letter for letter in (*letters, *news.answered) if letter.is_done)
        self._tell(list(done), news.change())

    def _tell(self, letters: list[Letter], change: Change[None]) -> None:
        self.outbox.append(Batch(letters, change))
        for door in {letter.door: None for letter in letters}:
            door.ring()

    def _together(self, letters: Iterable[Letter]) -> News | None:
        """Carry out all in one transaction; None if the file failed, and nothing was done."""
        try:
            for letter in letters:
                self._carry_out(letter)
            return self._commit()
        except Exception as error:  # noqa: BLE001 - the boundary of a transaction
            log.warning("store_transaction_failed", path=str(self._file.path), error=repr(error))
            self._roll_back(letters)
            return None

    def _one_by_one(self, letters: Iterable[Letter]) -> News:
        news = News()
        for letter in letters:
            try:
                self._carry_out(letter)
                news.add(self._commit())
            except Exception as error:  # noqa: BLE001 - the boundary of a transaction
                self._roll_back([letter])
                if not self._look(letter):
                    letter.refuse(explained(error, self._file.path) if is_of_the_file(error) else error)
        return news

    def _commit(self) -> News:
        self._tables.commit()
        self._file.tidy()
        for letter in self._later:
            self._long_reads.send(letter)
        self._later = []
        news, self._news = self._news, News()
        return news

    def _look(self, letter: Letter) -> bool:
        try:
            return letter.look(self.clerk)
        except Exception as error:
            if is_of_the_file(error):
                raise
            letter.refuse(error)
            return True

    def _carry_out(self, letter: Letter) -> None:
        try:
            if is_long(letter, self._tables):
                self.clerk.settle()
                self._later.append(letter)
            else:
                letter.carry_out(self.clerk)
        except Exception as error:
            if is_of_the_file(error) or self._tables.is_torn:
                raise
            letter.refuse(error)

    def in_one_go(self, operations: Sequence[StoreMessage[Any]]) -> list[Outcome[Any]]:
        """Several operations, in the writer's thread: where the file fails one, all of them fail."""
        return in_one_go(self.clerk.perform, operations, lambda error: is_of_the_file(error) or self._tables.is_torn)

    def _roll_back(self, letters: Iterable[Letter]) -> None:
        """Go back to the last commit, with all who wait, and let these letters begin anew."""
        self._later = []
        begun, answered = set(letters), self._news.answered
        self._news = News()
        for letter in (*begun, *answered):
            letter.begin()
            if letter in begun and isinstance(letter, WaitLetter) and letter.waiter is not None:
                self.clerk.waiters.forget(letter.waiter)
                letter.waiter = None
        self._tables.roll_back()
        self.clerk.roll_back(one.waiter for one in answered if one not in begun and one.waiter is not None)

    def _give_up(self, letters: list[Letter], error: Exception) -> None:
        """Nothing can be done any more until the store is opened again."""
        if self._failure is None:
            log.error("store_failed", path=str(self._file.path), error=repr(error), exc_info=error)
            self._failure = error
        self._news = News()
        is_of_file, path = is_of_the_file(error), self._file.path
        self._end(letters, lambda: explained(error, path) if is_of_file else error)

    def _end(self, letters: list[Letter], error: Callable[[], Exception]) -> None:
        """Refuse these letters, and all that wait."""
        waiting, self._waiting = self._waiting, {}
        for letter in (*letters, *waiting):
            letter.refuse(error())
        self._tell([*letters, *waiting], Change(None))
