"""`blocking_step`: a step for code in a thread, such as a sync agent that runs another rollout."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

import lightning_actors as agl
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import WrongLoop
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.messages import EnqueueRollout

pytestmark = pytest.mark.anyio

R = TypeVar("R")


@asynccontextmanager
async def bound(
    runner: agl.LitAgentRunner[Any], agent: agl.LitAgent[Any], store: agl.LightningStore, *, resident: bool
) -> AsyncGenerator[None]:
    context = runner.run_context(agent=agent, store=store)
    if resident:
        async with context:
            yield
    else:
        with context:
            yield


class Counting(agl.LitAgent[int]):
    """Steps down to 0, each level within the one above it."""

    def __init__(self) -> None:
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()

    def rollout(self, task: int, resources: agl.NamedResources, rollout: agl.Rollout) -> float:
        with self.lock:
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        agl.emit_message(f"at {task}")
        with self.lock:
            self.busy -= 1  # while it waits, it is not busy
        below = 0.0
        if task:
            inner = self.runner.blocking_step(task - 1, metadata={"above": rollout.rollout_id})
            spans = self.runner.blocking_store.query_spans(inner.rollout_id)
            below = agl.find_final_reward(spans) or 0.0
        return below + task


@pytest.mark.parametrize("resident", [False, True], ids=["with", "async with"])
async def test_a_sync_agent_steps_within_its_step_though_there_is_one_thread(
    store: InMemoryLightningStore, *, resident: bool
) -> None:
    runner, agent = agl.LitAgentRunner[int](agl.OtelTracer(), max_threads=1), Counting()
    async with bound(runner, agent, store, resident=resident):
        with anyio.fail_after(30):
            rollout = await runner.step(4)
    assert agl.find_final_reward(await store.query_spans(rollout.rollout_id)) == 10.0
    assert agent.most_busy == 1, "no more run at once than there are threads"
    rollouts = {one.input: one for one in await store.query_rollouts()}
    assert {one.status for one in rollouts.values()} == {"succeeded"}
    assert [rollouts[n].metadata for n in range(4)] == [{"above": rollouts[n + 1].rollout_id} for n in range(4)]
    for task, one in rollouts.items():
        said = [agl.get_message_value(span) for span in await store.query_spans(one.rollout_id)]
        assert [message for message in said if message] == [f"at {task}"], "each has its own spans"


async def test_many_sync_agents_step_within_their_steps_in_few_threads(store: InMemoryLightningStore) -> None:
    runner, agent = agl.LitAgentRunner[int](agl.DummyTracer(), max_threads=2), Counting()
    with runner.run_context(agent=agent, store=store), anyio.fail_after(50):
        rollouts = [rollout async for rollout in runner.step_many([2] * 20, limit=20)]
    assert [rollout.status for rollout in rollouts] == ["succeeded"] * 20
    assert agent.most_busy <= 2
    assert len(await store.query_rollouts()) == 60


async def test_what_the_inner_agent_raises_is_raised_in_the_outer_one(store: InMemoryLightningStore) -> None:
    class Failing(agl.LitAgent[str]):
        def rollout(self, task: str, resources: agl.NamedResources, rollout: agl.Rollout) -> float:
            if task == "inner":
                raise LookupError("not there")
            with pytest.raises(LookupError, match="not there") as raised:
                self.runner.blocking_step("inner")
            return float(len(raised.value.__notes__))

    runner = agl.LitAgentRunner[str](agl.DummyTracer())
    with runner.run_context(agent=Failing(), store=store):
        rollout = await runner.step("outer")
    assert agl.find_final_reward(await store.query_spans(rollout.rollout_id)) == 1.0


async def test_a_rollout_that_is_ended_ends_the_step_within_it_and_leaves_no_thread_behind(
    store: InMemoryLightningStore,
) -> None:
    inside = anyio.Event()
    ended: list[BaseException] = []

    class Waiting(agl.LitAgent[str]):
        def rollout(self, task: str, resources: agl.NamedResources, rollout: agl.Rollout) -> None:
            try:
                other.blocking_step("inner")
            except BaseException as error:
                ended.append(error)
                raise

    @agl.rollout
    async def waits(task: str) -> None:
        inside.set()
        await anyio.sleep_forever()

    outer = agl.LitAgentRunner[str](agl.DummyTracer(), max_threads=1)
    other = agl.LitAgentRunner[str](agl.DummyTracer())
    with outer.run_context(agent=Waiting(), store=store), other.run_context(agent=waits, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(outer.step, "outer")
            await inside.wait()
            tasks.cancel_scope.cancel()
        assert outer.bound_rig().left_behind == []
    assert [(one.input, one.status) for one in await store.query_rollouts()] == [
        ("outer", "cancelled"),
        ("inner", "cancelled"),
    ]
    (error,) = ended
    assert isinstance(error, agl.RolloutCancelled)
    assert "asked to end" in str(error)


async def test_blocking_step_works_in_a_thread_of_anyio(store: InMemoryLightningStore) -> None:
    runner = agl.LitAgentRunner[int](agl.DummyTracer())
    with runner.run_context(agent=Counting(), store=store):
        rollout = await anyio.to_thread.run_sync(runner.blocking_step, 1)
    assert rollout.status == "succeeded"


@pytest.mark.parametrize("where", ["the event loop", "a thread of nobody"])
async def test_blocking_step_says_where_it_belongs(store: InMemoryLightningStore, where: str) -> None:
    runner, errors = agl.LitAgentRunner[int](agl.DummyTracer()), list[WrongLoop]()

    def step() -> None:
        with pytest.raises(WrongLoop) as raised:
            runner.blocking_step(1)
        errors.append(raised.value)

    with runner.run_context(agent=Counting(), store=store):
        if where == "the event loop":
            step()
        else:
            thread = threading.Thread(target=step)
            thread.start()
            await anyio.to_thread.run_sync(thread.join)
    assert ("await what it stands for" if where == "the event loop" else "belongs to no event loop") in str(errors[0])
    assert len(await store.query_rollouts()) == 0


# ── after the end ──


class LeftBehind(agl.LitAgent[str]):
    """Hangs in the outer rollout until it is let go, and only then turns to its runner."""

    def __init__(self, act: Callable[[LeftBehind], object]) -> None:
        self.act = act
        self.release, self.is_done, self.begun = threading.Event(), threading.Event(), threading.Event()
        self.errors: list[BaseException] = []

    def rollout(self, task: str, resources: agl.NamedResources, rollout: agl.Rollout) -> None:
        if task != "outer":
            return
        self.view = self.runner.blocking_store
        self.begun.set()
        self.release.wait()
        try:
            self.act(self)
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            self.is_done.set()


async def until_waited_for(store: agl.LightningStore) -> None:
    """Let the others run until somebody waits for a rollout."""
    while True:
        for rollout in await store.query_rollouts():
            if (await store.explain_rollout(rollout.rollout_id)).waiters:
                return
        await checkpoint()


AFTERWARDS: dict[str, Callable[[LeftBehind], object]] = {
    "a step": lambda agent: agent.runner.blocking_step("inner"),
    "a step in a thread of its own": lambda agent: in_copied_context(lambda: agent.runner.blocking_step("inner")),
    "a write": lambda agent: agent.runner.blocking_store.enqueue_rollout("late"),
    "a write by the view that it had": lambda agent: agent.view.enqueue_rollout("late"),
    "a write in a thread of its own": lambda agent: in_copied_context(lambda: agent.view.enqueue_rollout("late")),
    "a message": lambda agent: agent.view.ask(EnqueueRollout("late")),
    "a read": lambda agent: agent.view.query_rollouts(),
    "the completions": lambda agent: next(agent.view.completions()),
}


def in_copied_context(work: Callable[[], R]) -> R:
    """Work in a thread that knows where it belongs."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, work).result()


async def cancel_the_step(runner: agl.LitAgentRunner[str], agent: LeftBehind) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.step, "outer")
        await anyio.to_thread.run_sync(agent.begun.wait)
        tasks.cancel_scope.cancel()


async def cancel_in_the_store(runner: agl.LitAgentRunner[str], agent: LeftBehind) -> None:
    async with anyio.create_task_group() as tasks:

        async def step() -> None:
            with pytest.raises(agl.RolloutCancelled):
                await runner.step("outer")

        tasks.start_soon(step)
        await anyio.to_thread.run_sync(agent.begun.wait)
        (rollout,) = await runner.store.query_rollouts()
        await runner.store.update_rollout(rollout.rollout_id, status="cancelled")


async def let_its_deadline_pass(runner: agl.LitAgentRunner[str], agent: LeftBehind) -> None:
    async with anyio.create_task_group() as tasks:

        async def step() -> None:
            with pytest.raises(agl.RolloutTimeout):
                await runner.step("outer", config=agl.RolloutConfig(timeout_seconds=60))

        tasks.start_soon(step)
        await anyio.to_thread.run_sync(agent.begun.wait)
        assert isinstance(runner.store.clock, VirtualClock)
        runner.store.clock.advance(60)


End = Callable[[agl.LitAgentRunner[str], LeftBehind], Awaitable[None]]


@pytest.mark.parametrize("end", [cancel_the_step, cancel_in_the_store, let_its_deadline_pass])
@pytest.mark.parametrize("what", AFTERWARDS)
@pytest.mark.parametrize("resident", [False, True], ids=["with", "async with"])
async def test_a_sync_agent_that_was_left_behind_begins_and_writes_nothing(
    timed_store: InMemoryLightningStore, what: str, end: End, *, resident: bool
) -> None:
    store = timed_store
    runner = agl.LitAgentRunner[str](agl.DummyTracer(), patience=0.01)
    agent = LeftBehind(AFTERWARDS[what])
    try:
        async with bound(runner, agent, store, resident=resident):
            await end(runner, agent)
            (outer,) = await store.query_rollouts()
            while (
                not runner.bound_rig().left_behind
            ):  # a resident actor waits for it, and a step that was cancelled not
                await checkpoint()
            assert runner.bound_rig().left_behind == [f"agent of {outer.rollout_id}"]
            agent.release.set()
            await anyio.to_thread.run_sync(agent.is_done.wait)
            assert [rollout.input for rollout in await store.query_rollouts()] == ["outer"]
    finally:
        agent.release.set()
    (error,) = agent.errors
    assert isinstance(error, agl.RolloutCancelled)
    assert f"the agent of {outer.rollout_id} was asked to end" in str(error)


async def test_a_sync_agent_that_was_asked_to_end_between_two_waits_begins_nothing_either(
    store: InMemoryLightningStore,
) -> None:
    """It is not left behind: it ends within its patience, as soon as it turns to its runner."""
    runner = agl.LitAgentRunner[str](agl.DummyTracer(), patience=30.0)
    agent = LeftBehind(AFTERWARDS["a step"])
    with runner.run_context(agent=agent, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "outer")
            await anyio.to_thread.run_sync(agent.begun.wait)
            (call,) = runner.bound_rig().calls
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                while not call.is_asked_to_end:
                    await checkpoint()
                agent.release.set()
        assert runner.bound_rig().left_behind == []
    assert [(one.input, one.status) for one in await store.query_rollouts()] == [("outer", "cancelled")]
    assert "was asked to end" in str(agent.errors[0])


async def test_a_sync_agent_that_waits_for_the_store_is_ended_there_and_leaves_no_thread_behind(
    store: InMemoryLightningStore,
) -> None:
    def wait(agent: LeftBehind) -> None:
        rollout = agent.view.enqueue_rollout("never run")
        agent.view.wait_for_rollouts(rollout_ids=[rollout.rollout_id])

    runner, agent = agl.LitAgentRunner[str](agl.DummyTracer(), patience=30.0), LeftBehind(wait)
    agent.release.set()
    with runner.run_context(agent=agent, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "outer")
            await until_waited_for(store)
            tasks.cancel_scope.cancel()
        assert runner.bound_rig().left_behind == []
    assert isinstance(agent.errors[0], agl.RolloutCancelled)


async def test_all_threads_of_a_sync_agent_that_step_are_ended(store: InMemoryLightningStore) -> None:
    inside: list[str] = []

    def step_twice(agent: LeftBehind) -> None:
        with ThreadPoolExecutor(2) as pool:
            steps = [pool.submit(copy_context().run, other.blocking_step, name) for name in ("one", "two")]
        for step in steps:
            agent.errors.append(step.exception() or AssertionError("it ended well"))

    @agl.rollout
    async def waits(task: str) -> None:
        inside.append(task)
        await anyio.sleep_forever()

    agent = LeftBehind(step_twice)
    agent.release.set()
    runner = agl.LitAgentRunner[str](agl.DummyTracer(), patience=30.0, max_threads=1)
    other = agl.LitAgentRunner[str](agl.DummyTracer())
    with runner.run_context(agent=agent, store=store), other.run_context(agent=waits, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "outer")
            while len(inside) < 2:
                await checkpoint()
            tasks.cancel_scope.cancel()
        assert runner.bound_rig().left_behind == []
    assert [type(error) for error in agent.errors] == [agl.RolloutCancelled] * 2
    assert {one.status for one in await store.query_rollouts()} == {"cancelled"}
