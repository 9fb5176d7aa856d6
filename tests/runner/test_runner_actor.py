"""One worker of a pool: what becomes of its claim when it crashes, at each point of an attempt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

import lightning_actors as agl
from lightning_actors.actors import ActorRef, ChildSpec, Supervisor, current_actor
from lightning_actors.actors.testkit import VirtualClock, crash
from lightning_actors.queue import queue_actor
from lightning_actors.runner import Execution
from lightning_actors.runner.actor import Budget, RunnerActor
from lightning_actors.runner.rig import Rig
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio


class Boom(Exception):
    """Crashes an actor."""


class PointedStore(InMemoryLightningStore):
    """Calls what the test wants called, once, at one point of an attempt, and goes on when that has had its effect."""

    def __init__(self, point: str) -> None:
        super().__init__()
        self.point = point
        self.runner: Any = None
        self.act: Callable[[], None] = lambda: None

    async def reach(self, point: str) -> None:
        if point == self.point:
            self.point = ""
            self.act()
            await self.runner._life.status.until("stopping", "waiting", "stopped")

    async def dequeue_rollout(self, *args: Any, **kwargs: Any) -> Any:
        claimed = await super().dequeue_rollout(*args, **kwargs)
        if claimed is not None:
            await self.reach("claimed")
        return claimed

    async def update_attempt(self, *args: Any, **kwargs: Any) -> Any:
        await self.reach(f"before {kwargs.get('status')}")
        attempt = await super().update_attempt(*args, **kwargs)
        await self.reach(f"after {kwargs.get('status')}")
        return attempt

    async def add_many_spans(self, *args: Any, **kwargs: Any) -> Any:
        await self.reach("spans")
        return await super().add_many_spans(*args, **kwargs)


def rig_of(store: agl.LightningStore, agent: agl.LitAgent[Any], **options: Any) -> Rig:
    return Rig(agent=agent, tracer=agl.DummyTracer(), store=store, runner=None, patience=1.0, **options)


@asynccontextmanager
async def working(
    rig: Rig, budget: Budget, finished: Callable[[Execution], None] | None = None
) -> AsyncGenerator[tuple[Supervisor, ActorRef[RunnerActor]]]:
    async with Supervisor([ChildSpec("queue", lambda: queue_actor(rig.store))], clock=rig.clock) as supervisor:
        queue = supervisor.ref("queue")
        runner = await supervisor.start(
            lambda: RunnerActor(rig, "Worker-0", queue=queue, budget=budget, finished=finished),
            name="runner",
            restart="transient",
            significant=True,
            intensity=5,
        )
        yield supervisor, runner


POINTS = ["claimed", "before running", "after running", "in the agent", "spans", "before succeeded", "after succeeded"]
UNDONE = {"claimed", "before running"}
AGENT_WAS_DONE = {"spans", "before succeeded", "after succeeded"}


@pytest.mark.parametrize("retried", [False, True])
@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_loses_no_rollout_and_counts_none_twice(point: str, *, retried: bool) -> None:
    store = PointedStore(point)
    runs: list[int] = []

    @agl.rollout
    async def agent(task: str, rollout: agl.AttemptedRollout) -> float:
        runs.append(rollout.attempt.sequence_id)
        await store.reach("in the agent")
        agl.emit_message("x")
        return 1.0

    config = agl.RolloutConfig(max_attempts=2, retry_condition=["unresponsive"]) if retried else None
    finished: list[Execution] = []
    async with working(rig_of(store, agent), Budget(), finished.append) as (_, runner):
        store.runner = runner
        store.act = lambda: crash(runner, Boom("from a test"))
        rollout = await store.enqueue_rollout("x", config=config)
        following = await store.enqueue_rollout("following")
        done, after = await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id, following.rollout_id])
        assert [restart.cause.__class__ for restart in runner.inspect().restarts] == [Boom]
        assert after.status == "succeeded"
    attempts = [(a.status, a.metadata) for a in await store.query_attempts(rollout.rollout_id)]
    crashed = ("unresponsive", {"reason": "crashed", "error": "Boom: from a test"})
    if point in UNDONE or point in AGENT_WAS_DONE:  # the claim is undone, and its attempt is not counted
        assert (done.status, attempts) == ("succeeded", [("succeeded", None)])
        assert runs == [1, 1]
    elif retried:
        assert (done.status, attempts) == ("succeeded", [crashed, ("succeeded", None)])
        assert runs == ([1, 1, 2] if point == "in the agent" else [1, 2])
    else:
        assert (done.status, attempts) == ("failed", [crashed])
        assert runs == ([1, 1] if point == "in the agent" else [1])
    told = {execution.rollout.rollout_id: execution.reward for execution in finished}
    assert told == {one.rollout_id: 1.0 for one in (done, after) if one.status == "succeeded"}
    assert len(finished) == len(told)
    for attempt in await store.query_attempts(rollout.rollout_id):
        assert attempt.end_time is not None
    assert (await store.statistics()).get("total_attempts") == len(attempts) + 1


@pytest.mark.parametrize("point", POINTS)
async def test_a_stop_without_grace_loses_no_rollout(point: str) -> None:
    store, reached = PointedStore(point), anyio.Event()

    @agl.rollout
    async def agent(task: str) -> float:
        await store.reach("in the agent")
        agl.emit_message("x")
        await anyio.lowlevel.checkpoint()
        return 1.0

    store.act = reached.set
    async with working(rig_of(store, agent), Budget()) as (_, runner):
        store.runner = runner
        rollout = await store.enqueue_rollout("x")
        await reached.wait()
        await runner.stop(0.0)
    now = await store.get_rollout_by_id(rollout.rollout_id)
    assert now is not None
    attempts = list(await store.query_attempts(rollout.rollout_id))
    assert now.status in {"queuing", "cancelled", "succeeded"}
    assert len(attempts) == (now.status != "queuing")
    assert all(attempt.end_time is not None for attempt in attempts)
    worker = await store.get_worker_by_id("Worker-0")
    assert worker is not None
    assert worker.status == "idle"


async def test_a_budget_outlives_a_crash() -> None:
    store = PointedStore("in the agent")

    @agl.rollout
    async def agent(task: str) -> float:
        await store.reach("in the agent")
        return 1.0

    finished: list[str] = []
    async with working(rig_of(store, agent), Budget(3), lambda e: finished.append(e.status)) as (supervisor, runner):
        store.runner = runner
        store.act = lambda: crash(runner, Boom())
        for task in range(5):
            await store.enqueue_rollout(task)
        await supervisor.wait()
    statuses = [rollout.status for rollout in await store.query_rollouts()]
    assert statuses == ["failed", "succeeded", "succeeded", "queuing", "queuing"]
    assert finished == ["succeeded", "succeeded"]


async def test_a_worker_asks_again_when_the_queue_crashed() -> None:
    store = InMemoryLightningStore()

    @agl.rollout
    async def agent(task: str) -> float:
        return 1.0

    async with working(rig_of(store, agent), Budget()) as (supervisor, runner):
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()
            crash(supervisor.ref("queue"), Boom())
            rollout = await store.enqueue_rollout("x")
            (done,) = await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])
            assert done.status == "succeeded"
        assert len(supervisor.ref("queue").inspect().restarts) == 3
        assert runner.inspect().restarts == ()


async def test_a_worker_that_waits_costs_no_task_and_no_operation() -> None:
    store = InMemoryLightningStore()

    @agl.rollout
    async def agent(task: str) -> float:
        return 1.0

    async with working(rig_of(store, agent), Budget()) as (supervisor, runner):
        await anyio.wait_all_tasks_blocked()
        names = [task.name for task in anyio.get_running_tasks()]
        assert names.count("runner") == 1
        assert not [name for name in names if name is not None and name.startswith("runner:")]
        assert supervisor.ref("queue").inspect().kept_replies == 1
        assert runner.inspect().concurrent == 0


class ReportFails(InMemoryLightningStore):
    """Does not take a report so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def update_attempt(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("status") == "succeeded" and self.times:
            self.times -= 1
            raise OSError("the network is down")
        return await super().update_attempt(*args, **kwargs)


class CrashReportFails(InMemoryLightningStore):
    """Does not take the word on a crash so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def update_attempt(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("status") == "unresponsive" and self.times:
            self.times -= 1
            raise OSError("the network is down")
        return await super().update_attempt(*args, **kwargs)


@pytest.mark.parametrize("times", [1, 2])
async def test_the_word_on_a_crash_that_the_store_does_not_take_is_given_again(times: int) -> None:
    store, clock = CrashReportFails(times), VirtualClock()

    @agl.rollout
    async def agent(task: str) -> None:
        crash(cast("ActorRef[Any]", current_actor()))
        await anyio.sleep_forever()

    rollout = await store.enqueue_rollout("x")
    async with clock.autojump(), working(rig_of(store, agent, clock=clock), Budget(1)):
        (done,) = await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])
    assert done.status == "failed"
    assert store.times == 0


@pytest.mark.parametrize("times", [1, 3])
async def test_a_report_that_the_store_does_not_take_is_made_again(times: int) -> None:
    store = ReportFails(times)

    @agl.rollout
    async def agent(task: str) -> float:
        return 1.0

    rollout = await store.enqueue_rollout("x")
    async with working(rig_of(store, agent), Budget(1)):
        (done,) = await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])
    assert done.status == "succeeded"
    assert store.times == 0
