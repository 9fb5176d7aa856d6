"""`RunLedger`: which rollouts belong to which of the runs that share a store, so that each run counts its own.

```
a rollout that             is counted by
a run recorded             that run, whoever ran it
nobody's run recorded      the run whose runner took the first of its attempts
… and nobody ran           the first run to end of those that saw it come
had not ended with a run   that run, as left over; and by the one whose runner has it in hand, or takes it next
```

What has ended, the run that counted it keeps, also when it has ended itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from lightning_actors.store.rules import ROLLOUT_ENDED, ROLLOUT_QUEUED
from lightning_actors.types import Attempt, AttemptedRollout, Rollout

__all__ = ["RunLedger", "RunPage"]


class RunLedger:
    """What the runs on one store have recorded, claimed and counted, for as long as any run is under way there.

    Attributes:
        owners: Whose a rollout is: the run that recorded it, or counted it with its outcome.
        claims: For whose runners an attempt was claimed, by its id; but for a run's own rollouts.
        left_over: How many attempts were over at a rollout that a run counted as left over.
        recording: How often runs are recording rollouts at this moment, and do not know yet which.
    """

    def __init__(self) -> None:
        self.owners: dict[str, RunPage] = {}
        self.claims: dict[str, RunPage] = {}
        self.left_over: dict[str, int] = {}
        self.recording: Counter[RunPage] = Counter()
        self._open = 0

    def open(self) -> RunPage:
        """Begin a run."""
        self._open += 1
        return RunPage(self)

    def close(self) -> None:
        """End a run; with the last one all is forgotten, for whoever begins later saw nothing of it come."""
        self._open -= 1
        if not self._open:
            self.owners.clear()
            self.claims.clear()
            self.left_over.clear()


class RunPage:
    """What one run has to do with the rollouts of its store."""

    def __init__(self, ledger: RunLedger) -> None:
        self._ledger = ledger
        self._recorded: set[str] = set()
        self._counted: set[str] = set()
        self._claims: list[str] = []
        self._claimed: set[str] = set()
        self._done: set[str] = set()

    @contextmanager
    def recording(self) -> Generator[None]:
        """To be entered while this run's algorithm records rollouts; they are in the store before it knows of them."""
        recording = self._ledger.recording
        recording[self] += 1
        try:
            yield
        finally:
            recording[self] -= 1
            if not recording[self]:
                del recording[self]

    @property
    def may_be_recorded_elsewhere(self) -> bool:
        """Whether a rollout that seems to be nobody's may be another run's."""
        return bool(self._ledger.recording.keys() - {self})

    def record(self, rollout_ids: Iterable[str]) -> None:
        """Note that this run's algorithm recorded these rollouts. What another run has counted by now is that one's."""
        for rollout_id in rollout_ids:
            self._recorded.add(rollout_id)
            self._ledger.owners.setdefault(rollout_id, self)

    def note_done(self, rollout_ids: Iterable[str]) -> None:
        """Note which rollouts had ended when this run's algorithm asked for them first, as it goes on with a run."""
        self._done.update(id_ for id_ in rollout_ids if id_ not in self._recorded)

    @property
    def done_before(self) -> int:
        """How many rollouts were done before this run, and not by its own runners since it began."""
        return len(self._done - self._claimed)

    def claim(self, rollout: AttemptedRollout) -> None:
        """Note that an attempt was claimed for this run's runners, also if the claim may be undone."""
        if self._ledger.owners.get(rollout.rollout_id) is not self:
            self._claims.append(rollout.attempt.attempt_id)
            self._claimed.add(rollout.rollout_id)
            self._ledger.claims[rollout.attempt.attempt_id] = self

    @property
    def concerned(self) -> set[str]:
        """The rollouts that this run recorded, or that were claimed for its runners."""
        return self._recorded | self._claimed

    def has_claimed(self, rollout_id: str) -> bool:
        """Whether this rollout was claimed for this run's runners, and was not its own before."""
        return rollout_id in self._claimed

    def count(self, rollout: Rollout) -> None:
        """Note that this rollout, as it is here, goes into the result of this run."""
        id_ = rollout.rollout_id
        self._counted.add(id_)
        if rollout.status in ROLLOUT_ENDED:
            self._ledger.owners[id_] = self
            return
        self._ledger.owners.pop(id_, None)
        attempts = rollout.attempt.sequence_id if isinstance(rollout, AttemptedRollout) else 0
        self._ledger.left_over[id_] = attempts if rollout.status in ROLLOUT_QUEUED else attempts - 1

    def is_own(self, rollout_id: str) -> bool:
        """Whether this run recorded this rollout, or has counted it."""
        return rollout_id in self._recorded or rollout_id in self._counted

    def is_of_another(self, rollout_id: str) -> bool:
        """Whether another run recorded this rollout, or counted it with its outcome."""
        return self._ledger.owners.get(rollout_id, self) is not self

    def is_left_over(self, rollout_id: str) -> bool:
        """Whether a run counted this rollout as left over."""
        return rollout_id in self._ledger.left_over

    def attempts_left_over(self, rollout_id: str) -> int:
        """How many attempts were over at a rollout when it was left over; 0 for one that was not."""
        return self._ledger.left_over.get(rollout_id, 0)

    def was_first_to_run(self, rollout_id: str, attempts: Iterable[Attempt]) -> bool:
        """Whether this run's runners were the first to take a rollout; of one that was left over, since then.

        Args:
            rollout_id: The rollout.
            attempts: Its attempts, in order, those from before it was left over included or not.
        """
        since = self.attempts_left_over(rollout_id)
        runs = (self._ledger.claims.get(each.attempt_id) for each in attempts if each.sequence_id > since)
        return next((run for run in runs if run is not None), None) is self

    def close(self, *, is_seen: bool) -> None:
        """End the run.

        Args:
            is_seen: Whether anybody gets to see its result. If not it counts nothing, and what it recorded is counted
                by whoever ran it or runs it.
        """
        for attempt_id in self._claims:
            del self._ledger.claims[attempt_id]
        for rollout_id in () if is_seen else self._recorded | self._counted:
            if not self.is_of_another(rollout_id):
                self._ledger.owners.pop(rollout_id, None)
        self._ledger.close()
