"""What a whole pool needs once: heartbeat, span flush, and a watch over the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

import lightning_actors as agl
from lightning_actors.actors import hosted
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.runner.keeper import KeeperActor
from lightning_actors.runner.rig import Rig
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.messages import UpdateManyWorkers

pytestmark = pytest.mark.anyio

Logged = Callable[[str], list[dict[str, Any]]]
WORKERS = [f"Worker-{number}" for number in range(5)]


class NotedStore(InMemoryLightningStore):
    """Notes the heartbeats, and fails as often as it is told to."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.beats: list[UpdateManyWorkers] = []
        self.failures = 0

    async def deliver(self, message: Any, /) -> Any:
        if isinstance(message, UpdateManyWorkers):
            if self.failures:
                self.failures -= 1
                raise OSError("the network is down")
            self.beats.append(message)
        return await super().deliver(message)


@agl.rollout
async def agent(task: str) -> float:
    return 1.0


class BrokenTracer(agl.DummyTracer):
    """Cannot write meanwhile."""

    async def flush(self) -> None:
        raise OSError("the network is down")


def rig_of(store: agl.LightningStore, clock: VirtualClock, tracer: agl.Tracer | None = None) -> Rig:
    return Rig(agent=agent, tracer=tracer or agl.DummyTracer(), store=store, runner=None, clock=clock)


async def test_one_message_carries_the_heartbeat_of_the_whole_pool(clock: VirtualClock) -> None:
    store = NotedStore(clock)
    rig = rig_of(store, clock)
    async with hosted(lambda: KeeperActor(rig, WORKERS, heartbeat_interval=10.0), clock=clock):
        await anyio.wait_all_tasks_blocked()
        assert len(store.beats) == 1
        claimed = await store.start_rollout("x", worker_id="Worker-3")
        attempt_id = claimed.attempt.attempt_id
        await store.update_attempt(claimed.rollout_id, attempt_id, status="running")
        rig.running[attempt_id] = claimed.rollout_id
        for _ in range(3):
            clock.advance(10.0)
            await anyio.wait_all_tasks_blocked()
    assert len(store.beats) == 4
    assert list(store.beats[-1].worker_ids) == WORKERS
    assert list(store.beats[-1].attempts) == [(claimed.rollout_id, attempt_id)]
    attempt = await store.get_latest_attempt(claimed.rollout_id)
    assert attempt is not None
    assert attempt.last_heartbeat_time == clock.time()
    assert {worker.last_heartbeat_time for worker in await store.query_workers()} == {clock.time()}


async def test_an_interval_of_zero_is_no_heartbeat(clock: VirtualClock) -> None:
    store = NotedStore(clock)
    async with hosted(lambda: KeeperActor(rig_of(store, clock), WORKERS, heartbeat_interval=0), clock=clock):
        await anyio.wait_all_tasks_blocked()
        clock.advance(100.0)
        await anyio.wait_all_tasks_blocked()
    assert store.beats == []


async def test_a_heartbeat_that_fails_is_logged_and_sent_again(clock: VirtualClock, logged: Logged) -> None:
    store = NotedStore(clock)
    store.failures = 2
    async with hosted(lambda: KeeperActor(rig_of(store, clock), WORKERS, heartbeat_interval=10.0), clock=clock) as ref:
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()
            clock.advance(10.0)
        await anyio.wait_all_tasks_blocked()
        assert ref.inspect().state == "running"
    assert len(logged("heartbeat_failed")) == 2
    assert len(store.beats) == 2


async def test_a_flush_that_fails_is_logged_and_tried_again(clock: VirtualClock, logged: Logged) -> None:
    store = InMemoryLightningStore(clock=clock)
    rig = rig_of(store, clock, BrokenTracer())
    async with hosted(lambda: KeeperActor(rig, WORKERS, heartbeat_interval=0), clock=clock) as ref:
        for _ in range(10):
            await anyio.wait_all_tasks_blocked()
            clock.advance(1.0)
        await anyio.wait_all_tasks_blocked()
        assert ref.inspect().state == "running"
    assert len(logged("flush_failed")) == 10


@pytest.mark.parametrize(("late", "running", "said"), [(1.9, True, 0), (2.5, True, 1), (2.5, False, 0)])
async def test_a_loop_that_was_held_up_is_reported_where_something_runs(
    clock: VirtualClock, logged: Logged, late: float, said: int, *, running: bool
) -> None:
    rig = rig_of(InMemoryLightningStore(clock=clock), clock)
    if running:
        rig.running["at-1"] = "ro-1"
    async with hosted(lambda: KeeperActor(rig, WORKERS, heartbeat_interval=0), clock=clock):
        await anyio.wait_all_tasks_blocked()
        clock.advance(1.0 + late)
        await anyio.wait_all_tasks_blocked()
    assert len(logged("event_loop_blocked")) == said


async def test_a_pool_has_one_keeper(clock: VirtualClock) -> None:
    store = NotedStore(clock)
    gate = anyio.Event()

    @agl.rollout
    async def waiting(task: str) -> float:
        await gate.wait()
        return 1.0

    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        rollouts = [await store.enqueue_rollout(task) for task in range(3)]
        await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id for rollout in rollouts])

    runner = agl.LitAgentRunner[Any](agl.DummyTracer(), clock=clock)
    trainer = agl.Trainer(algorithm=algorithm, store=store, tracer=agl.DummyTracer(), runner=runner, n_workers=3)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trainer.fit_async, waiting)
        await anyio.wait_all_tasks_blocked()
        clock.advance(10.0)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert len(store.beats) == 2
    assert list(store.beats[-1].worker_ids) == WORKERS[:3]
    assert len(store.beats[-1].attempts) == 3
