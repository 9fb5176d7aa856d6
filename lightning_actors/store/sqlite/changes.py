"""`Changes`: how a change is made: at once at hand, and in the file together with the others of its transaction."""

from __future__ import annotations

from typing import Any, NamedTuple

from lightning_actors.store import rules
from lightning_actors.store.change import Change
from lightning_actors.store.sqlite.folder import Folder, Task, notes_text, task_of
from lightning_actors.store.sqlite.parts import Parts
from lightning_actors.store.sqlite.replies import reply_text
from lightning_actors.store.sqlite.spans import span_text
from lightning_actors.types import Attempt, HeldLease, Rollout, RolloutStatus

__all__ = ["Changes", "place_of"]


class _Texts(NamedTuple):
    """What of a change is written as JSON; worked out first, for it may be refused."""

    tasks: list[Task | None]
    notes: list[str | None]
    spans: list[str]
    workers: list[tuple[Any, ...]]
    resources: list[tuple[Any, ...]]
    reply: str | None


class Changes:
    """Makes changes.

    Args:
        parts: What is changed.

    Attributes:
        is_torn: Part of a change was made and not the rest; until all is rolled back, nothing may be read or written.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.is_torn = False

    def make(self, change: Change[Any]) -> None:
        """Make all writes of a change; see `SqlTables.apply`."""
        texts = self._texts(change)
        self._parts.has_changes = self.is_torn = True
        if change.removed is not None:
            self._remove_attempt(change.removed)
        for rollout, task in zip(change.rollouts, texts.tasks, strict=True):
            self._put_rollout(rollout, task, to_front=change.to_front)
        for attempt, notes in zip(change.attempts, texts.notes, strict=True):
            self._put_attempt(attempt, notes)
        for lease in change.leases:
            self._put_lease(lease)
        for span, text in zip(change.spans, texts.spans, strict=True):
            folder = self._parts.folders.existing(span.rollout_id)
            self._parts.spans.add(
                (folder.number, folder.numbers[place_of(folder, span.attempt_id)], span.span_id, text)
            )
        for rollout_id, number in change.sequences:
            folder = self._parts.folders.existing(rollout_id)
            folder.sequence = number
            self._parts.writes.rollouts[folder.number] = folder
        self._put_others(change, texts)
        self._parts.has_changes = True
        self.is_torn = False

    def _put_others(self, change: Change[Any], texts: _Texts) -> None:
        """What belongs to no rollout."""
        for worker, row in zip(change.workers, texts.workers, strict=True):
            self._parts.workers.put(worker.worker_id, worker, row)
        for update, row in zip(change.resources, texts.resources, strict=True):
            self._parts.resources.put(update.resources_id, update, row)
        if change.latest_resources_id is not None:
            self._parts.state.set("latest_resources", change.latest_resources_id)
        self._parts.writes.keys.update(change.keys)
        if change.remembered is not None and texts.reply is not None:
            self._parts.replies.put(change.remembered, texts.reply)
        for run in change.runs:
            self._parts.runs.put(run)
        for run_id in change.ended_runs:
            self._parts.runs.end(run_id)

    def _texts(self, change: Change[Any]) -> _Texts:
        return _Texts(
            [self._new_task(rollout) for rollout in change.rollouts],
            [notes_text(attempt.metadata) for attempt in change.attempts],
            [span_text(span) for span in change.spans],
            [self._parts.workers.row_of(worker) for worker in change.workers],
            [self._parts.resources.row_of(update) for update in change.resources],
            None if change.remembered is None else reply_text(change.remembered),
        )

    def _new_task(self, rollout: Rollout) -> Task | None:
        """A rollout's task as JSON; None where it is in the file already."""
        folder = self._parts.folders.get(rollout.rollout_id)
        if folder is not None:
            before = folder.rollout
            if (
                before.input is rollout.input
                and before.metadata is rollout.metadata
                and before.config is rollout.config
            ):
                return None
        return task_of(rollout)

    def _put_rollout(self, rollout: Rollout, task: Task | None, *, to_front: bool) -> None:
        folder = self._parts.folders.get(rollout.rollout_id)
        weight = 0 if task is None else len(task[0]) + len(task[2] or "")
        if folder is None:
            folder = self._parts.folders.add(Folder(rollout, self._parts.state.add("rollouts", 1), weight))
            self._parts.tally.add((rollout.start_time, folder.number), rollout.status)
        else:
            before = folder.rollout
            self._parts.folders.put_rollout(folder, rollout, folder.weight if task is None else weight)
            if before.status != rollout.status:
                self._status_changed(folder, before.status, rollout.status)
            if before.config is not rollout.config and folder.attempts:
                self._put_attempt(folder.attempts[-1], notes_text(folder.attempts[-1].metadata))
        if rollout.status in rules.ROLLOUT_QUEUED and folder.place is None:
            self._parts.line.join(folder, at_head=to_front)
        self._parts.writes.rollouts[folder.number] = folder
        if task is not None:
            self._parts.writes.tasks[folder.number] = folder.number, *task

    def _status_changed(self, folder: Folder, before: RolloutStatus, after: RolloutStatus) -> None:
        self._parts.tally.move((folder.rollout.start_time, folder.number), before, after)
        if before in rules.ROLLOUT_ENDED or after in rules.ROLLOUT_ENDED:
            self._parts.completed.mark(folder, ended=after in rules.ROLLOUT_ENDED)
        if before in rules.ROLLOUT_QUEUED and after not in rules.ROLLOUT_QUEUED:
            self._parts.line.leave(folder)

    def _put_attempt(self, attempt: Attempt, notes: str | None) -> None:
        folder = self._parts.folders.existing(attempt.rollout_id)
        place = folder.find(attempt.attempt_id)
        if place is None:
            number = self._parts.state.add("attempts_made", 1)
            self._parts.state.add("attempts", 1)
            self._parts.folders.put_attempt(folder, attempt, number)
            self._parts.spans.begin(number)
        else:
            number = folder.numbers[place]
            folder.attempts[place] = attempt
            if attempt.status not in rules.ATTEMPT_OPEN:
                folder.leases.pop(attempt.attempt_id, None)
        due = self._parts.writes.put_attempt(number, folder, attempt, notes)
        if due is not None and due < self._parts.next_due:
            self._parts.next_due = due

    def _put_lease(self, lease: HeldLease) -> None:
        folder = self._parts.folders.of_attempt(lease.attempt_id)
        assert folder is not None, lease.attempt_id  # noqa: S101 - the handlers have looked
        folder.leases[lease.attempt_id] = lease
        attempt = folder.attempts[place_of(folder, lease.attempt_id)]
        self._put_attempt(attempt, notes_text(attempt.metadata))

    def _remove_attempt(self, attempt: Attempt) -> None:
        folder = self._parts.folders.existing(attempt.rollout_id)
        number = self._parts.folders.take_attempt(folder, place_of(folder, attempt.attempt_id))
        self._parts.state.add("attempts", -1)
        self._parts.writes.remove_attempt(number)


def place_of(folder: Folder, attempt_id: str) -> int:
    """Where an attempt stands that is there; "latest" is the newest."""
    place = folder.find(attempt_id)
    return len(folder.attempts) - 1 if place is None else place
