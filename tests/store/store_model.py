"""A model of the store: a few dicts, and what follows from what, written down once more and as plainly as can be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lightning_actors.types import (
    AttemptedRollout,
    AttemptStatus,
    HeldLease,
    Lease,
    RolloutConfig,
    RolloutStatus,
    WorkerStatus,
)

__all__ = ["ENDED", "FINAL", "Going", "Known", "Model", "Task", "Try"]

ENDED = {"succeeded", "failed", "cancelled"}
FINAL = {"succeeded", "failed", "timeout"}
OPEN = {"preparing", "running"}


@dataclass
class Try:
    """An attempt as the model sees it; ``why`` is the reason that its metadata gives."""

    attempt_id: str
    worker: str | None = None
    status: AttemptStatus = "preparing"
    started: float = 0.0
    alive: float = 0.0
    why: str | None = None
    lease: HeldLease | None = None
    counted: bool = True

    def prolong(self, now: float) -> None:
        """Its holder has given word."""
        if self.lease is not None:
            self.lease = self.lease.model_copy(update={"until": now + self.lease.seconds})

    def become(self, status: AttemptStatus) -> None:
        """Its new status; a lease does not outlast its end."""
        self.status = status
        if status not in OPEN:
            self.lease = None


@dataclass
class Task:
    """A rollout as the model sees it; ``spans`` are the sequence ids of its spans, by attempt and span id."""

    config: RolloutConfig
    resources_id: str | None
    status: RolloutStatus = "queuing"
    tries: list[Try] = field(default_factory=list[Try])
    spans: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    counter: int = 0

    def counted_tries(self) -> int:
        """How many attempts there are, without those that do not count; the newest does, once it is decided on."""
        return sum(one.counted for one in self.tries[:-1]) + 1

    def attempt(self, attempt_id: str) -> Try | None:
        """One of its attempts; None if it has no such (any more)."""
        return next((one for one in self.tries if one.attempt_id == attempt_id), None)


@dataclass
class Known:
    """A worker as the model sees it."""

    status: WorkerStatus = "unknown"
    holds: str | None = None


@dataclass
class Going:
    """A run of an algorithm as the model sees it; it is free from some time on, now or never."""

    run_id: str
    name: str
    turn: int
    holder: str | None
    seconds: float
    free_from: float


@dataclass
class Model:
    """Everything that a store knows."""

    tasks: dict[str, Task] = field(default_factory=dict[str, Task])
    queue: list[str] = field(default_factory=list[str])
    workers: dict[str, Known] = field(default_factory=dict[str, Known])
    keys: dict[str, str] = field(default_factory=dict[str, str])
    versions: dict[str, int] = field(default_factory=dict[str, int])
    latest: str | None = None
    runs: list[Going] = field(default_factory=list[Going])

    def find(self, rollout_id: str, attempt_id: str) -> tuple[Task, Try] | None:
        """A rollout and one of its attempts; None if there is no such attempt (any more)."""
        task = self.tasks.get(rollout_id)
        found = None if task is None else task.attempt(attempt_id)
        return None if task is None or found is None else (task, found)

    def record(self, rollout_id: str, config: RolloutConfig) -> Task:
        """A new rollout, which nobody has claimed and which is not in the queue yet."""
        task = self.tasks[rollout_id] = Task(config, self.latest)
        return task

    def enqueue(self, rollout_id: str, config: RolloutConfig, key: str | None) -> None:
        """A rollout was answered to whoever enqueued a task: it is new, or that of a key that is known."""
        assert rollout_id == self.keys.get(key or "", rollout_id)
        if rollout_id in self.tasks:
            assert key in self.keys
            return
        if key is not None:
            self.keys[key] = rollout_id
        self.record(rollout_id, config)
        self.become(rollout_id, "queuing")

    def claim(
        self, claimed: AttemptedRollout, worker: str | None, now: float, lease: Lease | None = None
    ) -> tuple[str, str]:
        """A new attempt."""
        task, attempt = self.tasks[claimed.rollout_id], claimed.attempt
        task.tries.append(Try(attempt.attempt_id, worker, started=now, alive=now))
        if lease is not None:
            task.tries[-1].lease = HeldLease(
                holder=lease.holder, seconds=lease.seconds, attempt_id=attempt.attempt_id, until=now + lease.seconds
            )
        assert attempt.sequence_id == len(task.tries)
        self.become(claimed.rollout_id, "preparing")
        if worker is not None:
            self.workers[worker] = Known("busy", attempt.attempt_id)
        return claimed.rollout_id, attempt.attempt_id

    def become(self, rollout_id: str, status: RolloutStatus) -> None:
        """A rollout's new status: it stands in the queue or not, at the end of it if it is new there."""
        self.tasks[rollout_id].status = status
        if status not in {"queuing", "requeuing"}:
            self.queue = [queued for queued in self.queue if queued != rollout_id]
        elif rollout_id not in self.queue:
            self.queue.append(rollout_id)

    def decide(self, rollout_id: str, status: AttemptStatus) -> None:
        """The newest attempt at a rollout has this status now: what becomes of both."""
        task = self.tasks[rollout_id]
        task.tries[-1].become(status)
        self.tell_worker(task.tries[-1])
        if status in {"preparing", "running", "succeeded"}:
            self.become(rollout_id, status)  # pyright: ignore[reportArgumentType]  # these three are statuses of rollouts too
        elif status in task.config.retry_condition and task.counted_tries() < task.config.max_attempts:
            self.become(rollout_id, "requeuing")
        else:
            self.become(rollout_id, "failed")

    def tell_worker(self, attempt: Try) -> None:
        """The worker of an attempt whose status was given, or followed."""
        if attempt.worker is None:
            return
        worker = self.workers[attempt.worker]
        if attempt.status in OPEN:
            worker.status, worker.holds = "busy", attempt.attempt_id
        elif worker.holds == attempt.attempt_id:
            worker.status = "idle" if attempt.status in {"succeeded", "failed"} else "unknown"
            worker.holds = None

    def close(self, attempt: Try, status: AttemptStatus) -> None:
        """An attempt is ended over its worker's head."""
        attempt.become(status)
        self.tell_worker(attempt)

    def undo(self, rollout_id: str) -> None:
        """The newest attempt never began: it is forgotten, and its rollout is the head of the queue."""
        task = self.tasks[rollout_id]
        last = task.tries.pop()
        task.status = "requeuing" if task.tries else "queuing"
        self.queue.insert(0, rollout_id)
        task.spans = {key: number for key, number in task.spans.items() if key[0] != last.attempt_id}
        if last.worker is not None and self.workers[last.worker].holds == last.attempt_id:
            self.workers[last.worker] = Known("idle")

    def abandon(self, now: float) -> None:
        """Whoever held the open attempts and runs is gone, but for those who hold leases."""
        for run in self.runs:
            if run.free_from == math.inf:
                run.free_from = -math.inf
            elif run.free_from > -math.inf:
                run.free_from = max(run.free_from, now + run.seconds)
        open_tasks = [(i, task) for i, task in self.tasks.items() if task.tries and task.tries[-1].status in OPEN]
        for rollout_id, task in sorted(open_tasks, key=lambda one: one[1].tries[-1].started)[::-1]:
            last = task.tries[-1]
            if last.lease is not None:
                last.prolong(now)
                last.alive = now
            elif last.status == "preparing":
                self.undo(rollout_id)
            else:
                last.why, last.counted = "the process that ran it is gone", False
                self.close(last, "unresponsive")
                task.status = "requeuing"
                self.queue.insert(0, rollout_id)

    def due(self, rollout_id: str) -> tuple[float, float, float]:
        """When a rollout's newest attempt times out, is silent too long, and loses its lease; infinite if never."""
        task = self.tasks[rollout_id]
        if not task.tries or task.tries[-1].status not in OPEN:
            return math.inf, math.inf, math.inf
        last, config = task.tries[-1], task.config
        return (
            last.started + (config.timeout_seconds or math.inf),
            last.alive + (config.unresponsive_seconds or math.inf),
            math.inf if last.lease is None else last.lease.until,
        )

    def end_overdue(self, now: float) -> tuple[dict[str, float], int]:
        """End what is overdue; the timeout goes before silence, and a lease decides where it lapses before both.

        Returns:
            When each rollout was or is due, and how many claims were undone.
        """
        undone = 0
        due = {rollout_id: self.due(rollout_id) for rollout_id in self.tasks}
        for rollout_id, (times_out, falls_silent, lapses) in due.items():
            last = self.tasks[rollout_id].tries[-1:]
            if lapses <= now and lapses < min(times_out, falls_silent):
                if last[0].status == "preparing":
                    self.undo(rollout_id)
                    undone += 1
                else:
                    last[0].why = "lease lapsed"
                    self.decide(rollout_id, "unresponsive")
            elif min(times_out, falls_silent) <= now:
                status: AttemptStatus = "timeout" if times_out <= now else "unresponsive"
                last[0].why = status
                self.decide(rollout_id, status)
        return {rollout_id: min(all_three) for rollout_id, all_three in due.items()}, undone

    def revives(self, task: Task, attempt: Try) -> bool:
        """Whether a span makes an attempt running."""
        if attempt is not task.tries[-1] or task.status in ENDED:
            return False
        is_silent = attempt.status == "unresponsive" and attempt.why in {None, "unresponsive"}
        return attempt.status == "preparing" or is_silent
