"""The whole store in memory beside a model of a few dicts, through whatever comes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from store_homes import span_of
from store_model import ENDED, FINAL, Going, Known, Model, Task

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import AttemptNotFound, InvalidTransition, ResourcesNotFound, RolloutNotFound, RunHeld
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store import messages as say
from lightning_actors.store.local import LocalStore
from lightning_actors.store.once import Once
from lightning_actors.store.rules import is_counted
from lightning_actors.types import (
    AttemptStatus,
    EnqueueRolloutRequest,
    Lease,
    PromptTemplate,
    RolloutConfig,
    RolloutStatus,
)

WORKERS = ["Worker-1", "Worker-2"]
TEMPLATE = PromptTemplate(template="x", engine="f-string")

configs = some.builds(
    RolloutConfig,
    timeout_seconds=some.sampled_from([None, 4.0, 9.0]),
    unresponsive_seconds=some.sampled_from([None, 3.0, 6.0]),
    max_attempts=some.integers(1, 3),
    retry_condition=some.lists(some.sampled_from(["failed", "timeout", "unresponsive"]), unique=True),
)
workers = some.sampled_from([None, *WORKERS])
leases = some.none() | some.builds(
    Lease, holder=some.sampled_from(["client-1", "client-2"]), seconds=some.sampled_from([2.0, 5.0])
)
keys = some.sampled_from([None, None, "one", "two"])


class StoreMachine(RuleBasedStateMachine):
    """Every operation that changes anything, in any order, with time passing."""

    rollouts = Bundle[str]("rollouts")
    attempts = Bundle[tuple[str, str]]("attempts")
    resources = Bundle[str]("resources")

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock(start=0)
        self.asked = 0
        self.model = Model()
        self.open()

    def open(self) -> None:
        """Open the store; a durable one comes back with what it had."""
        self.store: LocalStore = InMemoryLightningStore(clock=self.clock)

    def reopen(self) -> None:
        """Have the store do what it does when it is opened again."""
        self.store.take_over()

    def come_back_after(self, seconds: float) -> None:
        """Be closed for so long."""
        self.advance(seconds)
        self.reopen()

    def perform(self, message: Any) -> Any:
        """Carry an operation out; two in three that change something come in an envelope, and come again."""
        carry_out: Callable[[Any], Any] = self.store.perform
        if issubclass(type(message), say.StoreRead):
            return carry_out(message)
        self.asked += 1
        if self.asked % 3 == 0:
            return carry_out(message)
        once = Once("client-1", self.asked, settled_below=max(0, self.asked - 4), message=message)
        reply = carry_out(once)
        assert carry_out(once) is reply
        return reply

    def advance(self, seconds: float) -> None:
        """Let time go on, of which nobody is told."""
        self.clock.advance(seconds)

    @property
    def now(self) -> float:
        return self.clock.time()

    def settle_the_store(self) -> None:
        """Have the store end what is overdue."""
        self.store.settle()

    def queued(self) -> list[str]:
        """The store's queue."""
        return [rollout.rollout_id for rollout in self.store._tables.queued(1_000)]

    def check_leases(self, task: Task) -> None:
        """The store knows the leases that the model knows."""
        assert [self.store._tables.lease(one.attempt_id) for one in task.tries] == [one.lease for one in task.tries]

    def settle(self) -> None:
        """End what is overdue, and take over the order in which the store did: that of the deadlines."""
        self.settle_the_store()
        waiting = list(self.model.queue)
        due, undone = self.model.end_overdue(self.now)
        if self.model.queue == waiting:
            return
        queue = self.queued()
        last = undone + len(waiting)
        assert queue[undone:last] == waiting
        for place in (slice(0, undone), slice(last, None)):  # claims undone are the head, what is retried is the end
            assert sorted(queue[place]) == sorted(self.model.queue[place])
            assert [due[rollout_id] for rollout_id in queue[place]] == sorted(due[i] for i in queue[place])
        self.model.queue = queue

    # ── rollouts are recorded and claimed ──

    @rule(target=rollouts, config=configs, key=keys)
    def enqueue(self, config: RolloutConfig, key: str | None) -> str:
        self.settle()
        rollout = self.perform(say.EnqueueRollout("task", config=config, key=key))
        self.model.enqueue(rollout.rollout_id, config, key)
        return rollout.rollout_id

    @rule(target=rollouts, many=some.lists(some.tuples(configs, keys), max_size=3))
    def enqueue_many(self, many: list[tuple[RolloutConfig, str | None]]) -> Any:
        self.settle()
        requests = [EnqueueRolloutRequest(input="task", config=config, key=key) for config, key in many]
        made = self.perform(say.EnqueueManyRollouts(requests))
        for rollout, (config, key) in zip(made, many, strict=True):
            self.model.enqueue(rollout.rollout_id, config, key)
        ids: list[str] = [rollout.rollout_id for rollout in made]
        return multiple(*ids)

    @rule(target=attempts, config=configs, worker=workers, lease=leases)
    def start(self, config: RolloutConfig, worker: str | None, lease: Lease | None) -> tuple[str, str]:
        self.settle()
        started = self.perform(say.StartRollout("task", config=config, worker_id=worker, lease=lease))
        self.model.record(started.rollout_id, config)
        return self.model.claim(started, worker, self.now, lease)

    @rule(target=attempts, worker=workers, lease=leases)
    def dequeue(self, worker: str | None, lease: Lease | None) -> Any:
        self.settle()
        claimed = self.perform(say.DequeueRollout(worker, lease))
        return self.take_over([] if claimed is None else [claimed], 1, worker, lease)

    @rule(target=attempts, limit=some.integers(-1, 3), worker=workers, lease=leases)
    def dequeue_many(self, limit: int, worker: str | None, lease: Lease | None) -> Any:
        self.settle()
        claims = self.perform(say.DequeueManyRollouts(limit=limit, worker_id=worker, lease=lease))
        return self.take_over(claims, max(limit, 0), worker, lease)

    def take_over(self, claims: list[Any], limit: int, worker: str | None, lease: Lease | None = None) -> Any:
        assert [claim.rollout_id for claim in claims] == self.model.queue[:limit]
        if worker is not None and limit and not claims:
            self.model.workers[worker] = Known("idle")
        return multiple(*[self.model.claim(claim, worker, self.now, lease) for claim in claims])

    @rule(holder=some.sampled_from(["client-1", "client-2"]), named=some.none() | some.lists(attempts, max_size=3))
    def renew(self, holder: str, named: list[tuple[str, str]] | None) -> None:
        self.settle()
        ids = None if named is None else list(dict.fromkeys(attempt_id for _, attempt_id in named))
        lost = self.perform(say.RenewLeases(holder, ids))
        tries = [one for task in self.model.tasks.values() for one in task.tries]
        held = {one.attempt_id: one for one in tries if one.lease is not None and one.lease.holder == holder}
        assert lost == [attempt_id for attempt_id in ids or () if attempt_id not in held]
        for attempt_id in held if ids is None else set(ids) & set(held):
            held[attempt_id].prolong(self.now)
        for run in self.model.runs:
            if run.holder == holder:
                run.free_from = self.now + run.seconds

    @rule(target=attempts, rollout_id=rollouts, worker=workers)
    def try_by_hand(self, rollout_id: str, worker: str | None) -> Any:
        self.settle()
        task = self.model.tasks[rollout_id]
        try:
            claimed = self.perform(say.StartAttempt(rollout_id, worker))
        except InvalidTransition:
            assert task.status in ENDED
            return self.take_over([], 0, None)
        assert task.status not in ENDED
        if task.tries and task.tries[-1].status in {"preparing", "running"}:
            self.model.close(task.tries[-1], "failed")
        return self.model.claim(claimed, worker, self.now)

    @rule(attempt=consumes(attempts))
    def release(self, attempt: tuple[str, str]) -> None:
        self.settle()
        found = self.model.find(*attempt)
        released = self.perform(say.ReleaseAttempt(*attempt))
        assert released == (found is not None and found[1] is found[0].tries[-1] and found[1].status == "preparing")
        if released:
            self.model.undo(attempt[0])

    # ── attempts go on and end ──

    @rule(
        attempt=attempts,
        status=some.sampled_from(["running", "succeeded", "failed", "timeout", "unresponsive", "unresponsive"]),
        why=some.sampled_from([None, "crashed"]),
    )
    def report(self, attempt: tuple[str, str], status: AttemptStatus, why: str | None) -> None:
        self.settle()
        metadata: dict[str, Any] = {} if why is None else {"metadata": {"reason": why}}
        message = say.UpdateAttempt(*attempt, status=status, **metadata)
        found = self.model.find(*attempt)
        if found is None:
            with pytest.raises(AttemptNotFound):
                self.perform(message)
            return
        task, known = found
        closed = known.status in FINAL or known is not task.tries[-1] or task.status in ENDED
        try:
            self.perform(message)
        except InvalidTransition:
            assert closed
            assert status != known.status
            return
        if status == known.status:
            self.model.tell_worker(known)
        else:
            assert not closed
            if known.status == "unresponsive":
                known.why, known.counted = None, True
            if status == "running":
                known.alive = self.now
            self.model.decide(attempt[0], status)
        known.why = why or known.why

    @rule(attempt=attempts, numbers=some.lists(some.sampled_from([0, 0, 0, 2, 9]), min_size=1, max_size=3))
    def add_spans(self, attempt: tuple[str, str], numbers: list[int]) -> None:
        self.settle()
        spans = [span_of(*attempt, sequence_id=number) for number in numbers]
        message = say.AddManySpans(spans) if len(spans) > 1 else say.AddSpan(spans[0])
        found = self.model.find(*attempt)
        if found is None:
            with pytest.raises(AttemptNotFound):
                self.perform(message)
            return
        self.perform(message)
        self.perform(say.AddSpan(spans[0]))  # once more, which changes nothing but says that its attempt is alive
        task, known = found
        for span in spans:
            task.counter = max(task.counter, span.sequence_id) if span.sequence_id else task.counter + 1
            task.spans[attempt[1], span.span_id] = span.sequence_id or task.counter
        if self.model.revives(task, known):
            known.alive = self.now
            if known.status == "unresponsive":
                known.why, known.counted = None, True
            self.model.decide(attempt[0], "running")
        elif known.status == "running":
            known.alive = self.now

    @rule(attempt=attempts, times=some.integers(1, 2))
    def take_sequence_ids(self, attempt: tuple[str, str], times: int) -> None:
        self.settle()
        found = self.model.find(*attempt)
        one = times == 1
        message = say.GetNextSpanSequenceId(*attempt) if one else say.GetManySpanSequenceIds([attempt] * times)
        if found is None:
            with pytest.raises(AttemptNotFound):
                self.perform(message)
            return
        taken = self.perform(message)
        first = found[0].counter + 1
        assert taken == (first if one else list(range(first, first + times)))
        found[0].counter += times

    # ── workers, resources ──

    @rule(attempt=attempts, ids=some.lists(some.sampled_from(WORKERS), max_size=2, unique=True))
    def beat(self, attempt: tuple[str, str], ids: list[str]) -> None:
        self.settle()
        self.perform(say.UpdateManyWorkers(ids, attempts=[attempt]))
        for worker in ids:
            self.model.workers.setdefault(worker, Known())
        found = self.model.find(*attempt)
        if found is not None and found[1] is found[0].tries[-1] and found[1].status == "running":
            found[1].alive = self.now

    @rule(worker=some.sampled_from(WORKERS))
    def beat_alone(self, worker: str) -> None:
        self.settle()
        self.perform(say.UpdateWorker(worker, {"load": 1}))
        self.model.workers.setdefault(worker, Known())

    @rule(target=resources, publish=some.booleans())
    def add_resources(self, *, publish: bool) -> str:
        self.settle()
        added = self.perform(say.AddResources({"prompt": TEMPLATE}, publish=publish))
        self.model.versions[added.resources_id] = 1
        if publish:
            self.model.latest = added.resources_id
        return added.resources_id

    @rule(target=resources, text=some.sampled_from(["one", "two"]))
    def publish_resources(self, text: str) -> str:
        self.settle()
        prompt = PromptTemplate(template=text, engine="f-string")
        published = self.perform(say.PublishResources({"prompt": prompt}))
        assert published.resources == {"prompt": prompt}
        assert published.version == self.model.versions.setdefault(published.resources_id, 1)
        self.model.latest = published.resources_id
        return published.resources_id

    @rule(resources_id=resources | some.just("rs-of-mine"), publish=some.booleans())
    def update_resources(self, resources_id: str, *, publish: bool) -> None:
        self.settle()
        self.perform(say.UpdateResources(resources_id, {"prompt": TEMPLATE}, publish=publish))
        self.model.versions[resources_id] = self.model.versions.get(resources_id, 0) + 1
        if publish:
            self.model.latest = resources_id

    # ── runs of algorithms ──

    @rule(name=some.sampled_from(["one", "two"]), lease=leases, anew=some.booleans())
    def begin_run(self, name: str, lease: Lease | None, *, anew: bool) -> None:
        self.settle()
        alike = [run for run in self.model.runs if run.name == name]
        free = [run for run in alike if run.free_from <= self.now]
        holder = None if lease is None else lease.holder
        elsewhere = [run for run in alike if run.free_from < math.inf and run.holder != holder]
        message = say.BeginRun(name, "fingerprint", lease, anew=anew)
        if elsewhere and not free and not anew:
            with pytest.raises(RunHeld) as caught:
                self.perform(message)
            assert caught.value.seconds == min(run.free_from for run in elsewhere) - self.now
            return
        record = self.perform(message)
        seconds = 0.0 if lease is None else lease.seconds
        until = math.inf if lease is None else self.now + seconds
        if free and not anew:
            run = free[0]
            run.turn, run.holder, run.seconds, run.free_from = run.turn + 1, holder, seconds, until
        else:
            self.model.runs = [run for run in self.model.runs if run not in free]
            run = Going(record.run_id, name, 1, holder, seconds, until)
            self.model.runs.append(run)
        assert (record.run_id, record.turn, record.is_held) == (run.run_id, run.turn, True)

    @rule(place=some.integers(0, 3), back=some.integers(0, 1), ends=some.booleans())
    def leave_run(self, place: int, back: int, *, ends: bool) -> None:
        self.settle()
        if place >= len(self.model.runs):
            assert not self.perform(say.EndRun("rn-0", 1))
            return
        run = self.model.runs[place]
        kind = say.EndRun if ends else say.LeaveRun
        assert self.perform(kind(run.run_id, run.turn - back)) == (back == 0)
        if back == 0 and ends:
            del self.model.runs[place]
        elif back == 0:
            run.holder, run.free_from = None, -math.inf

    @invariant()
    def runs_are_what_the_model_says(self) -> None:
        self.check_runs()

    def check_runs(self) -> None:
        """The store knows the runs that the model knows."""
        known = [(run.run_id, run.turn, run.is_free_at(self.now)) for run in self.store._tables.open_runs()]
        assert known == [(run.run_id, run.turn, run.free_from <= self.now) for run in self.model.runs]

    # ── rollouts are changed by hand ──

    @rule(rollout_id=rollouts, status=some.sampled_from(["queuing", "requeuing", "cancelled", "failed", "succeeded"]))
    def set_by_hand(self, rollout_id: str, status: RolloutStatus) -> None:
        self.settle()
        task = self.model.tasks[rollout_id]
        try:
            self.perform(say.UpdateRollout(rollout_id, status=status))
        except InvalidTransition:
            assert task.status in ENDED
            assert status in ENDED
            assert status != task.status
            return
        if status == task.status:
            return
        if task.tries and task.tries[-1].status not in FINAL:
            self.model.close(task.tries[-1], "succeeded" if status == "succeeded" else "failed")
        self.model.become(rollout_id, status)

    @rule(rollout_id=rollouts, config=configs, resources_id=some.none() | resources)
    def change_by_hand(self, rollout_id: str, config: RolloutConfig, resources_id: str | None) -> None:
        self.settle()
        self.perform(say.UpdateRollout(rollout_id, config=config, resources_id=resources_id))
        self.model.tasks[rollout_id].config = config
        self.model.tasks[rollout_id].resources_id = resources_id

    @rule(rollout_id=rollouts)
    def refuse_what_is_unknown(self, rollout_id: str) -> None:
        self.settle()
        for message, error in (
            (say.UpdateRollout("ro-0", status="cancelled"), RolloutNotFound),
            (say.UpdateAttempt(rollout_id, "at-0", status="running"), AttemptNotFound),
            (say.StartAttempt("ro-0"), RolloutNotFound),
            (say.EnqueueRollout("x", resources_id="rs-0"), ResourcesNotFound),
            (say.UpdateRollout(rollout_id, status="cancelled", resources_id="rs-0"), ResourcesNotFound),
            (say.AddManySpans([span_of(rollout_id, "at-0")]), AttemptNotFound),
        ):
            with pytest.raises(error):
                self.perform(message)

    @rule(seconds=some.sampled_from([0.0, 1.0, 4.0]))
    def be_gone_and_come_back(self, seconds: float) -> None:
        self.settle()
        self.come_back_after(seconds)
        self.model.abandon(self.now)

    @rule(seconds=some.sampled_from([0.5, 1.0, 3.0, 10.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.advance(seconds)

    # ── what must always be so ──

    @invariant()
    def the_store_is_what_the_model_says(self) -> None:
        self.settle()
        for rollout_id, task in self.model.tasks.items():
            rollout = self.perform(say.GetRolloutById(rollout_id))
            assert (rollout.status, rollout.resources_id) == (task.status, task.resources_id)
            assert (rollout.end_time is not None) == (task.status in ENDED)
            attempts = self.perform(say.QueryAttempts(rollout_id))
            assert [(a.attempt_id, a.status) for a in attempts] == [(t.attempt_id, t.status) for t in task.tries]
            assert [is_counted(one) for one in attempts] == [one.counted for one in task.tries]
            self.check_leases(task)
            for number, attempt in enumerate(attempts, start=1):
                assert attempt.sequence_id == number
                assert (attempt.end_time is not None) == (attempt.status in {*FINAL, "unresponsive"})
        assert self.queued() == self.model.queue

    @invariant()
    def workers_resources_and_spans_are_what_the_model_says(self) -> None:
        self.settle()
        seen = {one.worker_id: (one.status, one.current_attempt_id) for one in self.perform(say.QueryWorkers())}
        assert seen == {worker: (known.status, known.holds) for worker, known in self.model.workers.items()}
        versions = {one.resources_id: one.version for one in self.perform(say.QueryResources())}
        assert versions == self.model.versions
        latest = self.perform(say.GetLatestResources())
        assert (latest and latest.resources_id) == self.model.latest
        for rollout_id, task in self.model.tasks.items():
            spans = self.perform(say.QuerySpans(rollout_id))
            assert {(one.attempt_id, one.span_id): one.sequence_id for one in spans} == task.spans

    @invariant()
    def pages_and_counts_agree(self) -> None:
        self.settle()
        by_status: dict[str, list[str]] = {}
        for rollout_id, task in self.model.tasks.items():
            by_status.setdefault(task.status, []).append(rollout_id)
        for status in ("queuing", "requeuing", "preparing", "running", "failed", "succeeded", "cancelled"):
            page = self.perform(say.QueryRollouts(status_in=[status]))
            assert [rollout.rollout_id for rollout in page] == by_status.get(status, [])
        counts = self.perform(say.Statistics())
        assert counts.get("total_rollouts") == len(self.model.tasks)
        assert counts.get("total_attempts") == sum(len(task.tries) for task in self.model.tasks.values())
        assert counts.get("total_spans") == sum(len(task.spans) for task in self.model.tasks.values())
        ended = self.perform(say.WaitForRollouts(rollout_ids=list(self.model.tasks), timeout=0))
        assert [rollout.rollout_id for rollout in ended] == [
            i for i, t in self.model.tasks.items() if t.status in ENDED
        ]


TestStoreModel = pytest.mark.timeout(300)(StoreMachine.TestCase)  # a failure takes its time to be made small
TestStoreModel.settings = settings(max_examples=200, stateful_step_count=40)
