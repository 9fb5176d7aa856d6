"""`Explanation`: why a rollout has not ended, as data that any wire can carry, and in words for a person.

```
ro-… has been queued for 1 min 35 s, behind 12 others. Nobody has asked for work since 14:03:12 (1 min 23 s ago,
Worker-3): is a runner alive?
ro-… is running: attempt 2 of 3 by Worker-4 for 12.1 s, last sign of life 0.4 s ago, times out in 17.9 s.
Attempt 1 failed after 3.0 s: ValueError: no such city.
```
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

from lightning_actors.types.core import AttemptStatus, Record, RolloutStatus

__all__ = ["ExplainedAttempt", "Explanation", "in_words"]

_RECENT_SECONDS = 10.0
"""Where work was asked for so lately, somebody is there who asks."""
_MINUTE, _HOUR = 60, 3600


class ExplainedAttempt(Record):
    """What an explanation says of one attempt.

    Attributes:
        attempt_id: The attempt.
        sequence_id: 1 for the first attempt at the rollout.
        status: Where it stands.
        worker_id: Who makes it; None if nobody said.
        start_time: When it was claimed.
        end_time: When it ended; None while it has not.
        last_heartbeat_time: When it last gave a sign of life (a span or a heartbeat).
        error: What its runner reported, shortened.
        reason: Why it ended other than by its agent's return.
        is_counted: Whether it counts against ``max_attempts``; one whose process was gone does not.
    """

    attempt_id: str
    sequence_id: int
    status: AttemptStatus
    worker_id: str | None = None
    start_time: float
    end_time: float | None = None
    last_heartbeat_time: float | None = None
    error: str | None = None
    reason: str | None = None
    is_counted: bool = True


class Explanation(Record):
    """Why a rollout has not ended, or how it did; ``str()`` says it in a few sentences.

    All times are the store's, in seconds since the epoch.

    Attributes:
        rollout_id: The rollout.
        status: Where it stands.
        task: Its input, as a short text.
        time: When all this was so.
        start_time: When the rollout was recorded.
        end_time: When it ended; None while it has not.
        max_attempts: How many attempts it may have.
        n_attempts: How many it has had.
        n_uncounted: How many of them do not count.
        attempts: The last of them (ten at most), first one first.
        ahead: How many stand before it in the queue; None if it does not stand there.
        under_way: How many rollouts the store knows to be claimed or running, this one included.
        last_asked_time: When work was last asked for, whether or not there was some; None if it never was.
        last_asked_by: Who did, where that was said.
        listeners: How many are told when a rollout is queued. A pool of runners has one for all its runners.
        is_watched: Whether a runner listens for the end of the attempt that is open.
        deadline: When the open attempt meets its next deadline, unless it gives a sign of life; None if it has none.
        deadline_status: The status that it is given then.
        held_by: Who holds a lease on the open attempt; None if nobody does, for it was claimed without one.
        held_until: When the lease lapses unless it is renewed.
        waiters: How many wait for the rollout to end.
    """

    rollout_id: str
    status: RolloutStatus
    task: str
    time: float
    start_time: float
    end_time: float | None = None
    max_attempts: int
    n_attempts: int
    n_uncounted: int = 0
    attempts: list[ExplainedAttempt]
    ahead: int | None = None
    under_way: int = 0
    last_asked_time: float | None = None
    last_asked_by: str | None = None
    listeners: int = 0
    is_watched: bool = False
    deadline: float | None = None
    deadline_status: Literal["timeout", "unresponsive"] | None = None
    held_by: str | None = None
    held_until: float | None = None
    waiters: int = 0

    def __str__(self) -> str:
        return " ".join((*self._now(), *self._earlier(), *self._around()))

    def _summary(self) -> str:
        return f"{self.rollout_id} {self.status}"

    def _now(self) -> Iterator[str]:
        match self.status:
            case "queuing" | "requeuing":
                yield self._queued()
                yield self._demand()
            case "preparing" | "running" if self.attempts:
                yield self._open(self.attempts[-1])
                if self.held_until is not None:
                    left = in_words(self.held_until - self.time)
                    yield f"{self.held_by} holds it for {left} more, unless it renews its lease."
                elif not self.is_watched:
                    yield "No runner has registered to be told of its end: it may be gone."
            case _:
                when = "" if self.end_time is None else f" {in_words(self.time - self.end_time)} ago"
                yield f"{self.rollout_id} is over: {self.status}{when}."

    def _queued(self) -> str:
        place = "first in line" if not self.ahead else f"behind {_counted(self.ahead, 'other')}"
        if self.n_attempts:
            return f"{self.rollout_id} is queued for attempt {self.n_attempts + 1} of {self._at_most()}, {place}."
        return f"{self.rollout_id} has been queued for {in_words(self.time - self.start_time)}, {place}."

    def _at_most(self) -> int:
        """How many attempts there may be; an explicit requeuing allows another."""
        return max(self.max_attempts + self.n_uncounted, self.n_attempts + (self.ahead is not None))

    def _demand(self) -> str:
        """Whether anybody is there to take it."""
        asked = self.last_asked_time
        is_recent = asked is not None and self.time - asked < _RECENT_SECONDS
        if asked is None:
            said = "Nobody has asked for work yet"
        elif is_recent:
            said = f"Work was last asked for {in_words(self.time - asked)} ago{_by(self.last_asked_by)}"
        else:
            clock = time.strftime("%H:%M:%S", time.localtime(asked))
            who = "" if self.last_asked_by is None else f", {self.last_asked_by}"
            said = f"Nobody has asked for work since {clock} ({in_words(self.time - asked)} ago{who})"
        if not self.listeners and not is_recent:
            return f"{said}: is a runner alive?"
        if is_recent and not (self.listeners and self.under_way):
            return f"{said}."
        if self.under_way:
            busy = f"{_counted(self.under_way, 'rollout')} {'is' if self.under_way == 1 else 'are'} under way"
            return f"{said}; {busy}, so that all runners may be busy."
        return f"{said}, though {self.listeners} {'listens' if self.listeners == 1 else 'listen'} for it."

    def _open(self, attempt: ExplainedAttempt) -> str:
        which = f"attempt {attempt.sequence_id} of {self._at_most()}{_by(attempt.worker_id)}"
        since = in_words(self.time - attempt.start_time)
        if self.status == "preparing":
            return f"{self.rollout_id} was claimed {since} ago ({which}) and has not begun{self._due()}."
        sign = attempt.last_heartbeat_time
        life = "no sign of life yet" if sign is None else f"last sign of life {in_words(self.time - sign)} ago"
        return f"{self.rollout_id} is running: {which} for {since}, {life}{self._due() or ', no deadline'}."

    def _due(self) -> str:
        if self.deadline is None:
            return ""
        what = "times out" if self.deadline_status == "timeout" else "counts as unresponsive"
        return f", {what} in {in_words(self.deadline - self.time)}"

    def _earlier(self) -> Iterator[str]:
        """How the attempts before the open one went."""
        if self.n_attempts > len(self.attempts):
            yield f"(The first {_counted(self.n_attempts - len(self.attempts), 'attempt')} left out.)"
        closed = self.attempts[:-1] if self.status in {"preparing", "running"} else self.attempts
        for attempt in closed:
            took = "" if attempt.end_time is None else f" after {in_words(attempt.end_time - attempt.start_time)}"
            why = attempt.error or (attempt.reason if attempt.reason != attempt.status else None)
            yield (
                f"Attempt {attempt.sequence_id}{_by(attempt.worker_id)} {_ENDED[attempt.status]}{took}"
                + ("" if why is None else f": {why.rstrip('.')}")
                + ("." if attempt.is_counted else " (not counted).")
            )

    def _around(self) -> Iterator[str]:
        if self.waiters and self.end_time is None:
            yield f"{self.waiters} {'waits' if self.waiters == 1 else 'wait'} for it to end."
        yield f"Task: {self.task}"


_ENDED: dict[AttemptStatus, str] = {
    "preparing": "never began",
    "running": "was given up",
    "failed": "failed",
    "succeeded": "succeeded",
    "unresponsive": "became unresponsive",
    "timeout": "timed out",
}


def in_words(seconds: float) -> str:
    """A length of time as a person would say it: ``0.4 s``, ``1 min 23 s``, ``2 h 5 min``."""
    seconds = max(seconds, 0.0)
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def _by(worker_id: str | None) -> str:
    return "" if worker_id is None else f" by {worker_id}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
