"""`Waiters`: who waits on a store in this process, and for what; answered when it comes true, with no task for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lightning_actors.store.handlers.completions import number_of
from lightning_actors.store.handlers.rollouts import ended_of
from lightning_actors.store.messages import NextCompletion, StoreWait, WaitForRollouts
from lightning_actors.store.tables import Tables

__all__ = ["Waiter", "Waiters"]


class Waiter:
    """Someone who waits; ``answer`` is called once, with the reply, when the message can be answered in full.

    Attributes:
        message: What is waited for.
        left: The rollouts that have not ended yet, where particular ones are waited for.
    """

    __slots__ = ("answer", "left", "message")

    def __init__(self, message: StoreWait[Any], left: set[str], answer: Callable[[Any], None]) -> None:
        self.message = message
        self.left = left
        self.answer = answer


class Waiters:
    """Those who wait on one store, found by what they wait for.

    Args:
        tables: What decides whether a wait is over.
        answer_now: Gives the reply, once it is.
    """

    def __init__(self, tables: Tables, answer_now: Callable[[StoreWait[Any]], Any]) -> None:
        self._tables = tables
        self._answer_now = answer_now
        self._for_rollout: dict[str, dict[Waiter, None]] = {}
        self._for_next: dict[Waiter, None] = {}

    def __len__(self) -> int:
        waiting = {waiter for waiters in self._for_rollout.values() for waiter in waiters}
        return len(waiting) + len(self._for_next)

    def count_for(self, rollout_id: str) -> int:
        """How many wait for this rollout to end."""
        return len(self._for_rollout.get(rollout_id, ()))

    def add(self, message: StoreWait[Any], answer: Callable[[Any], None]) -> Waiter | None:
        """Have ``answer`` called once the message can be answered; None if it can be already.

        The waiter is taken back with `forget`.

        Raises:
            RolloutNotFound: One of the rollouts is not there.
            ValueError: The cursor is none of this store.
        """
        waiter = Waiter(message, set(), answer)
        return waiter if self._let_wait(waiter) else None

    def _let_wait(self, waiter: Waiter) -> bool:
        """Note what is waited for; False if there is nothing to wait for."""
        message = waiter.message
        if isinstance(message, NextCompletion):
            if self._has_next(message):
                return False
            self._for_next[waiter] = None
            return True
        assert isinstance(message, WaitForRollouts)  # noqa: S101 - there are these two
        _, waiter.left = ended_of(self._tables, message.rollout_ids)
        for rollout_id in waiter.left:
            self._for_rollout.setdefault(rollout_id, {})[waiter] = None
        return bool(waiter.left)

    def rebuild(self, answered: Iterable[Waiter]) -> None:
        """Have all wait anew, and those who were answered too early: the tables went back to what they were.

        A waiter that was answered before that time is not among them; so nobody finds its answer here.
        """
        waiting = {waiter: None for waiters in self._for_rollout.values() for waiter in waiters}
        waiting.update(self._for_next)
        waiting.update(dict.fromkeys(answered))
        self._for_rollout.clear()
        self._for_next.clear()
        for waiter in waiting:
            self._let_wait(waiter)

    def forget(self, waiter: Waiter) -> None:
        """Take back a waiter that does not want its answer any more."""
        self._for_next.pop(waiter, None)
        for rollout_id in waiter.left:
            waiting = self._for_rollout.get(rollout_id)
            if waiting is not None:
                waiting.pop(waiter, None)
                if not waiting:
                    del self._for_rollout[rollout_id]
        waiter.left = set()

    def rollout_ended(self, rollout_id: str) -> None:
        """Answer those whose wait is over with this."""
        for waiter in tuple(self._for_next):
            if self._has_next(waiter.message):
                del self._for_next[waiter]
                self._answer(waiter)
        for waiter in self._for_rollout.pop(rollout_id, ()):
            waiter.left.discard(rollout_id)
            if waiter.left:
                continue
            if not self._let_wait(waiter):  # else one that had ended was put back into the queue meanwhile
                self._answer(waiter)

    def _answer(self, waiter: Waiter) -> None:
        waiter.answer(self._answer_now(waiter.message))

    def _has_next(self, message: StoreWait[Any]) -> bool:
        after = message.after if isinstance(message, NextCompletion) else None
        return self._tables.completed_after(number_of(self._tables, after)) is not None
