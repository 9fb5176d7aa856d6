"""The whole store in memory beside a model of a few dicts, through whatever comes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from store_homes import span_of

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import InvalidTransition
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.messages import (
    AddManySpans,
    DequeueRollout,
    EnqueueRollout,
    GetRolloutById,
    QueryAttempts,
    QueryRollouts,
    QuerySpans,
    ReleaseAttempt,
    StartAttempt,
    StartRollout,
    Statistics,
    UpdateAttempt,
    UpdateManyWorkers,
    UpdateRollout,
    WaitForRollouts,
)
from lightning_actors.types import (
    AttemptedRollout,
    AttemptStatus,
    RolloutConfig,
    RolloutStatus,
)

ENDED = {"succeeded", "failed", "cancelled"}
FINAL = {"succeeded", "failed", "timeout"}


@dataclass
class Try:
    """An attempt as the model sees it."""

    attempt_id: str
    status: AttemptStatus = "preparing"
    started: float = 0.0
    alive: float = 0.0
    spans: int = 0


@dataclass
class Task:
    """A rollout as the model sees it."""

    config: RolloutConfig
    status: RolloutStatus = "queuing"
    tries: list[Try] = field(default_factory=list[Try])


class StoreMachine(RuleBasedStateMachine):
    """Every operation that changes rollouts, in any order, with time passing."""

    rollouts = Bundle[str]("rollouts")
    attempts = Bundle[tuple[str, str]]("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock(start=0)
        self.store = InMemoryLightningStore(clock=self.clock)
        self.model: dict[str, Task] = {}
        self.queue: list[str] = []

    # What the model does with a status of an attempt.

    def _settle(self) -> None:
        """End what is overdue, and take over the order in which the store did: that of the deadlines."""
        self.store.settle()
        waiting = len(self.queue)
        due: dict[str, float] = {}
        for rollout_id, task in self.model.items():
            if not task.tries or task.tries[-1].status not in {"preparing", "running"}:
                continue
            times_out = task.tries[-1].started + (task.config.timeout_seconds or math.inf)
            falls_silent = task.tries[-1].alive + (task.config.unresponsive_seconds or math.inf)
            due[rollout_id] = min(times_out, falls_silent)
            if due[rollout_id] <= self.clock.time():
                self._follow(rollout_id, "timeout" if times_out <= self.clock.time() else "unresponsive")
        requeued = [rollout.rollout_id for rollout in self.store._tables.queued(1_000)][waiting:]
        assert sorted(requeued) == sorted(self.queue[waiting:])
        assert [due[rollout_id] for rollout_id in requeued] == sorted(due[rollout_id] for rollout_id in requeued)
        self.queue[waiting:] = requeued

    def _follow(self, rollout_id: str, status: AttemptStatus) -> None:
        task = self.model[rollout_id]
        task.tries[-1].status = status
        if status in {"preparing", "running", "succeeded"}:
            self._set(rollout_id, status)  # pyright: ignore[reportArgumentType]  # these three are statuses of rollouts too
        elif status in task.config.retry_condition and len(task.tries) < task.config.max_attempts:
            self._set(rollout_id, "requeuing")
        else:
            self._set(rollout_id, "failed")

    def _set(self, rollout_id: str, status: RolloutStatus) -> None:
        self.model[rollout_id].status = status
        if status not in {"queuing", "requeuing"}:
            self.queue = [queued for queued in self.queue if queued != rollout_id]
        elif rollout_id not in self.queue:
            self.queue.append(rollout_id)

    def _try(self, claimed: AttemptedRollout) -> tuple[str, str]:
        now = self.clock.time()
        task = self.model[claimed.rollout_id]
        task.tries.append(Try(claimed.attempt.attempt_id, started=now, alive=now))
        assert claimed.attempt.sequence_id == len(task.tries)
        self._set(claimed.rollout_id, "preparing")
        return claimed.rollout_id, claimed.attempt.attempt_id

    configs = some.builds(
        RolloutConfig,
        timeout_seconds=some.sampled_from([None, 4.0, 9.0]),
        unresponsive_seconds=some.sampled_from([None, 3.0, 6.0]),
        max_attempts=some.integers(1, 3),
        retry_condition=some.lists(some.sampled_from(["failed", "timeout", "unresponsive"]), unique=True),
    )

    @rule(target=rollouts, config=configs)
    def enqueue(self, config: RolloutConfig) -> str:
        self._settle()
        rollout = self.store.perform(EnqueueRollout("task", config=config))
        self.model[rollout.rollout_id] = Task(config)
        self.queue.append(rollout.rollout_id)
        return rollout.rollout_id

    @rule(target=attempts, config=configs)
    def start(self, config: RolloutConfig) -> tuple[str, str]:
        self._settle()
        started = self.store.perform(StartRollout("task", config=config, worker_id="Worker-1"))
        self.model[started.rollout_id] = Task(config)
        return self._try(started)

    @rule(target=attempts)
    def dequeue(self) -> tuple[str, str]:
        self._settle()
        claimed = self.store.perform(DequeueRollout("Worker-2"))
        if not self.queue:
            assert claimed is None
            return "", ""
        assert claimed is not None
        assert claimed.rollout_id == self.queue[0]
        return self._try(claimed)

    @rule(target=attempts, rollout_id=rollouts)
    def try_by_hand(self, rollout_id: str) -> tuple[str, str]:
        self._settle()
        task = self.model[rollout_id]
        try:
            claimed = self.store.perform(StartAttempt(rollout_id))
        except InvalidTransition:
            assert task.status in ENDED
            return "", ""
        assert task.status not in ENDED
        if task.tries and task.tries[-1].status in {"preparing", "running"}:
            task.tries[-1].status = "failed"
        return self._try(claimed)

    @rule(attempt=consumes(attempts))
    def release(self, attempt: tuple[str, str]) -> None:
        self._settle()
        rollout_id, attempt_id = attempt
        released = self.store.perform(ReleaseAttempt(rollout_id, attempt_id))
        task = self.model.get(rollout_id)
        latest = task.tries[-1] if task is not None and task.tries else None
        assert released == (latest is not None and latest.attempt_id == attempt_id and latest.status == "preparing")
        if released and task is not None:
            task.tries.pop()
            task.status = "requeuing" if task.tries else "queuing"
            self.queue.insert(0, rollout_id)

    @rule(attempt=attempts, status=some.sampled_from(["running", "succeeded", "failed", "timeout", "unresponsive"]))
    def report(self, attempt: tuple[str, str], status: AttemptStatus) -> None:
        self._settle()
        rollout_id, attempt_id = attempt
        task = self.model.get(rollout_id)
        known = None if task is None else next((t for t in task.tries if t.attempt_id == attempt_id), None)
        if task is None or known is None:
            return
        closed = known.status in FINAL or known is not task.tries[-1] or task.status in ENDED
        try:
            self.store.perform(UpdateAttempt(rollout_id, attempt_id, status=status))
        except InvalidTransition:
            assert closed
            assert status != known.status
            return
        if status == known.status:
            return
        assert not closed
        if status == "running":
            known.alive = self.clock.time()
        self._follow(rollout_id, status)

    @rule(attempt=attempts, count=some.integers(1, 3))
    def add_spans(self, attempt: tuple[str, str], count: int) -> None:
        self._settle()
        rollout_id, attempt_id = attempt
        task = self.model.get(rollout_id)
        known = None if task is None else next((t for t in task.tries if t.attempt_id == attempt_id), None)
        if task is None or known is None:
            return
        self.store.perform(AddManySpans([span_of(rollout_id, attempt_id) for _ in range(count)]))
        known.spans += count
        if known is task.tries[-1] and task.status not in ENDED and known.status in {"preparing", "unresponsive"}:
            known.alive = self.clock.time()
            self._follow(rollout_id, "running")
        elif known.status == "running":
            known.alive = self.clock.time()

    @rule(attempt=attempts)
    def beat(self, attempt: tuple[str, str]) -> None:
        self._settle()
        self.store.perform(UpdateManyWorkers(["Worker-1"], attempts=[attempt]))
        task = self.model.get(attempt[0])
        if task and task.tries and task.tries[-1].attempt_id == attempt[1] and task.tries[-1].status == "running":
            task.tries[-1].alive = self.clock.time()

    @rule(rollout_id=rollouts, status=some.sampled_from(["queuing", "requeuing", "cancelled", "failed", "succeeded"]))
    def set_by_hand(self, rollout_id: str, status: RolloutStatus) -> None:
        self._settle()
        task = self.model[rollout_id]
        try:
            self.store.perform(UpdateRollout(rollout_id, status=status))
        except InvalidTransition:
            assert task.status in ENDED
            assert status in ENDED
            assert status != task.status
            return
        if status == task.status:
            return
        if task.tries and task.tries[-1].status not in FINAL:
            task.tries[-1].status = "succeeded" if status == "succeeded" else "failed"
        self._set(rollout_id, status)

    @rule(seconds=some.sampled_from([0.5, 1.0, 3.0, 10.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def the_store_is_what_the_model_says(self) -> None:
        self._settle()
        for rollout_id, task in self.model.items():
            rollout = self.store.perform(GetRolloutById(rollout_id))
            assert rollout is not None
            assert rollout.status == task.status
            assert (rollout.end_time is not None) == (task.status in ENDED)
            attempts = self.store.perform(QueryAttempts(rollout_id))
            assert [(a.attempt_id, a.status) for a in attempts] == [(t.attempt_id, t.status) for t in task.tries]
            for number, attempt in enumerate(attempts, start=1):
                assert attempt.sequence_id == number
                assert (attempt.end_time is not None) == (attempt.status in {*FINAL, "unresponsive"})
        assert [rollout.rollout_id for rollout in self.store._tables.queued(1_000)] == self.queue

    @invariant()
    def pages_and_counts_agree(self) -> None:
        self._settle()
        by_status: dict[str, list[str]] = {}
        for rollout_id, task in self.model.items():
            by_status.setdefault(task.status, []).append(rollout_id)
        for status in ("queuing", "requeuing", "preparing", "running", "failed", "succeeded", "cancelled"):
            page = self.store.perform(QueryRollouts(status_in=[status]))
            assert [rollout.rollout_id for rollout in page] == by_status.get(status, [])
        counts = self.store.perform(Statistics())
        assert counts.get("total_rollouts") == len(self.model)
        assert counts.get("total_attempts") == sum(len(task.tries) for task in self.model.values())
        spans = sum(self.store.perform(QuerySpans(rollout_id)).total for rollout_id in self.model)
        assert counts.get("total_spans") == spans
        ended = self.store.perform(WaitForRollouts(rollout_ids=list(self.model), timeout=0))
        assert [rollout.rollout_id for rollout in ended] == [i for i, t in self.model.items() if t.status in ENDED]


TestStoreModel = StoreMachine.TestCase
TestStoreModel.settings = settings(max_examples=40, stateful_step_count=25)
