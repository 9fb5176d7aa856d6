"""`iter`: what is in the queue, and what comes, told and not polled."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import lightning_actors as agl
from lightning_actors.actors import current_actor
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.messages import DequeueRollout, UpdateAttempt

pytestmark = pytest.mark.anyio

Logged = Callable[[str], list[dict[str, Any]]]


def runner_of(**options: Any) -> agl.LitAgentRunner[Any]:
    return agl.LitAgentRunner[Any](agl.DummyTracer(), **options)


@agl.rollout
async def quick(task: Any) -> float:
    await checkpoint()
    if task == "bad":
        raise ValueError("no")
    return 1.0


class CountingStore(InMemoryLightningStore):
    """Counts its operations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.counts: Counter[str] = Counter()

    async def deliver(self, message: Any, /) -> Any:
        self.counts[type(message).__name__] += 1
        return await super().deliver(message)


async def test_iter_runs_what_is_queued_and_what_comes_until_its_event(store: InMemoryLightningStore) -> None:
    event = anyio.Event()
    runner = runner_of()
    before = await store.enqueue_rollout("before")
    with runner.run_context(agent=quick, store=store, worker_id=4):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: runner.iter(event=event))
            await store.wait_for_rollouts(rollout_ids=[before.rollout_id])
            meanwhile = await store.enqueue_rollout("meanwhile")
            (done,) = await store.wait_for_rollouts(rollout_ids=[meanwhile.rollout_id])
            assert done.status == "succeeded"
            event.set()
    attempt = await store.get_latest_attempt((await store.query_rollouts())[1].rollout_id)
    assert attempt is not None
    assert attempt.worker_id == "Worker-4"


async def test_iter_is_told_of_work_and_never_polls(clock: VirtualClock) -> None:
    store, event = CountingStore(clock=clock), anyio.Event()
    runner = runner_of(clock=clock, heartbeat_interval=0)
    with runner.run_context(agent=quick, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: runner.iter(event=event))
            await anyio.wait_all_tasks_blocked()
            idle = store.counts.copy()
            assert idle["DequeueRollout"] == 1
            for _ in range(100):
                clock.advance(10.0)
                await anyio.wait_all_tasks_blocked()
            assert store.counts == idle
            # No time passes between the task and its end: the runner is told.
            rollout = await store.enqueue_rollout("work")
            (done,) = await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])
            assert done.status == "succeeded"
            assert done.end_time == rollout.start_time
            assert store.counts["DequeueRollout"] <= 4
            event.set()


async def test_iter_runs_one_rollout_at_a_time_in_order(store: InMemoryLightningStore) -> None:
    running, order = 0, list[int]()

    @agl.rollout
    async def agent(task: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        order.append(task)
        await checkpoint()
        running -= 1

    for task in range(10):
        await store.enqueue_rollout(task)
    runner = runner_of(max_rollouts=10)
    with runner.run_context(agent=agent, store=store):
        await runner.iter()
    assert order == list(range(10))


async def test_iter_ends_after_max_rollouts_failed_ones_included(store: InMemoryLightningStore) -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    for task in ("a", "bad", "c", "d"):
        await store.enqueue_rollout(task)
    runner = runner_of(max_rollouts=3)
    with runner.run_context(agent=quick, store=store):
        await runner.iter()
    statuses = [rollout.status for rollout in await store.query_rollouts()]
    assert statuses == ["succeeded", "failed", "succeeded", "queuing"]
    assert {task.id for task in anyio.get_running_tasks()} == before


async def test_iter_works_where_the_runner_resides_and_more_than_once(store: InMemoryLightningStore) -> None:
    runner = runner_of(max_rollouts=1)
    async with runner.run_context(agent=quick, store=store):
        for task in ("a", "b"):
            await store.enqueue_rollout(task)
            await runner.iter()
        assert (await runner.step("c")).status == "succeeded"
    assert (await store.query_rollouts(status_in=["succeeded"])).total == 3


@pytest.mark.parametrize("make", [anyio.Event, threading.Event], ids=["anyio", "threading"])
async def test_iter_lets_the_rollout_in_hand_finish_when_its_event_is_set(
    store: InMemoryLightningStore, make: Callable[[], Any]
) -> None:
    event = make()

    @agl.rollout
    async def agent(task: str) -> float:
        event.set()
        runner_actor: Any = current_actor()
        await runner_actor._life.status.until("stopping")
        return 1.0

    for task in ("in hand", "next"):
        await store.enqueue_rollout(task)
    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        await runner.iter(event=event)
    by_task = {rollout.input: rollout.status for rollout in await store.query_rollouts()}
    assert by_task == {"in hand": "succeeded", "next": "queuing"}


@pytest.mark.parametrize("make", [anyio.Event, threading.Event], ids=["anyio", "threading"])
async def test_iter_claims_nothing_when_its_event_is_set_already(
    store: InMemoryLightningStore, make: Callable[[], Any]
) -> None:
    event = make()
    event.set()
    rollout = await store.enqueue_rollout("x")
    runner = runner_of()
    with runner.run_context(agent=quick, store=store):
        await runner.iter(event=event)
    assert await store.get_rollout_by_id(rollout.rollout_id) == rollout


async def test_iter_that_is_cancelled_cancels_the_rollout_in_hand_and_leaves_the_rest_queued(
    store: InMemoryLightningStore,
) -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    begun = anyio.Event()

    @agl.rollout
    async def agent(task: str) -> None:
        begun.set()
        await anyio.sleep_forever()

    for task in ("in hand", "next"):
        await store.enqueue_rollout(task)
    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.iter)
            await begun.wait()
            tasks.cancel_scope.cancel()
    by_task = {rollout.input: rollout.status for rollout in await store.query_rollouts()}
    assert by_task == {"in hand": "cancelled", "next": "queuing"}
    assert {task.id for task in anyio.get_running_tasks()} == before


async def test_iter_outlives_failing_agents_and_hooks(store: InMemoryLightningStore, logged: Logged) -> None:
    class Failing(agl.Hook):
        async def on_rollout_end(self, **_: Any) -> None:
            raise RuntimeError("a hook")

    tasks = ["bad", "good", "exit", "bad", "good"]

    @agl.rollout
    async def agent(task: str) -> float:
        if task == "exit":
            raise SystemExit(1)
        if task == "bad":
            raise ValueError("no")
        return 1.0

    for task in tasks:
        await store.enqueue_rollout(task)
    runner = runner_of(max_rollouts=len(tasks))
    with runner.run_context(agent=agent, store=store, hooks=[Failing()]):
        await runner.iter()
    statuses = [rollout.status for rollout in await store.query_rollouts()]
    assert statuses == ["failed", "succeeded", "failed", "failed", "succeeded"]
    assert len(logged("hook_failed")) == 5
    errors = [entry.get("error") for entry in logged("rollout_finished")]
    assert errors == ["ValueError: no", None, "SystemExit: 1", "ValueError: no", None]


async def test_a_failed_attempt_is_tried_again_as_the_rollout_says(store: InMemoryLightningStore) -> None:
    calls: list[int] = []

    @agl.rollout
    async def agent(task: str, rollout: agl.AttemptedRollout) -> float:
        calls.append(rollout.attempt.sequence_id)
        if rollout.attempt.sequence_id < 3:
            raise ValueError("not yet")
        return 1.0

    config = agl.RolloutConfig(max_attempts=3, retry_condition=["failed"])
    rollout = await store.enqueue_rollout("x", config=config)
    runner = runner_of(max_rollouts=3)
    with runner.run_context(agent=agent, store=store):
        await runner.iter()
    assert calls == [1, 2, 3]
    ended = await store.get_rollout_by_id(rollout.rollout_id)
    assert ended is not None
    assert ended.status == "succeeded"
    statuses = [attempt.status for attempt in await store.query_attempts(rollout.rollout_id)]
    assert statuses == ["failed", "failed", "succeeded"]


async def test_iter_runs_a_rollout_that_needs_no_resources_where_there_are_none(
    store: InMemoryLightningStore,
) -> None:
    await store.enqueue_rollout("x")
    runner = runner_of(max_rollouts=1)
    with runner.run_context(agent=quick, store=store):
        await runner.iter()
    assert (await store.query_rollouts(status_in=["succeeded"])).total == 1


class FailsNow(InMemoryLightningStore):
    """Fails the nth of one kind of operation, and every one of it after that as often as it is told to."""

    def __init__(self, message: type[Any], *, skip: int = 0, times: int = 1, status: str | None = None) -> None:
        super().__init__()
        self._message = message
        self._skip = skip
        self._times = times
        self._status = status

    async def deliver(self, message: Any, /) -> Any:
        if isinstance(message, self._message) and self._status in {None, getattr(message, "status", None)}:
            self._skip -= 1
            if self._skip < 0 < self._times:
                self._times -= 1
                raise agl.StoreError("the disk is full")
        return await super().deliver(message)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: FailsNow(DequeueRollout, times=2), id="at the claim"),
        pytest.param(lambda: FailsNow(DequeueRollout, skip=1), id="at a later claim"),
        pytest.param(lambda: FailsNow(UpdateAttempt, status="running"), id="at the beginning"),
        pytest.param(lambda: FailsNow(UpdateAttempt, status="succeeded"), id="at the report"),
    ],
)
async def test_iter_outlives_a_store_that_fails_now_and_then_and_loses_no_rollout(
    make: Callable[[], InMemoryLightningStore],
) -> None:
    runs: Counter[str] = Counter()

    @agl.rollout
    async def agent(task: str) -> float:
        runs[task] += 1
        return 1.0

    failing, event = make(), anyio.Event()
    for task in ("a", "b", "c"):
        await failing.enqueue_rollout(task)
    ids = [rollout.rollout_id for rollout in await failing.query_rollouts()]
    runner = runner_of()
    with runner.run_context(agent=agent, store=failing):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: runner.iter(event=event))
            done = await failing.wait_for_rollouts(rollout_ids=ids)
            assert [rollout.status for rollout in done] == ["succeeded"] * 3
            event.set()
    assert runs == {"a": 1, "b": 1, "c": 1}
    for rollout_id in ids:
        assert len(await failing.query_attempts(rollout_id)) == 1


async def test_iter_raises_when_the_store_fails_for_good() -> None:
    store = FailsNow(DequeueRollout, times=1_000)
    await store.enqueue_rollout("x")
    runner = runner_of()
    with runner.run_context(agent=quick, store=store), pytest.raises(agl.RestartLimitExceeded) as caught:
        await runner.iter()
    assert "the disk is full" in str(caught.value)
    assert (await store.query_rollouts(status_in=["queuing"])).total == 1
