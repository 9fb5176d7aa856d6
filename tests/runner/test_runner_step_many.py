"""`step_many`: many steps at once, handed out as they finish."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import lightning_actors as agl
from lightning_actors.errors import ConfigError
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio


def runner_of(**options: Any) -> agl.LitAgentRunner[Any]:
    return agl.LitAgentRunner[Any](agl.DummyTracer(), **options)


class Gated:
    """An agent whose rollouts end when the test lets them, task by task."""

    def __init__(self) -> None:
        self.gates: dict[Any, anyio.Event] = {}
        self.running: set[Any] = set()
        self.begun: list[Any] = []

        @agl.rollout
        async def agent(task: Any) -> float:
            self.begun.append(task)
            self.running.add(task)
            try:
                await self.gate(task).wait()
            finally:
                self.running.discard(task)
            if task == "bad":
                raise ValueError("no")
            return 1.0

        self.agent = agent

    def gate(self, task: Any) -> anyio.Event:
        return self.gates.setdefault(task, anyio.Event())


@agl.rollout
async def quick(task: Any) -> float:
    await checkpoint()
    if task == "bad":
        raise ValueError("no")
    return 1.0


@pytest.mark.parametrize("resident", [False, True])
async def test_all_inputs_are_run_and_failures_are_among_the_rollouts(
    store: InMemoryLightningStore, *, resident: bool
) -> None:
    tasks = ["a", "bad", "c", "bad", "e"]

    async def collect() -> list[agl.Rollout]:
        return [rollout async for rollout in runner.step_many(tasks, limit=2, mode="test", metadata={"m": 1})]

    runner = runner_of()
    if resident:
        async with runner.run_context(agent=quick, store=store):
            rollouts = await collect()
    else:
        with runner.run_context(agent=quick, store=store):
            rollouts = await collect()
    assert sorted((r.input, r.status) for r in rollouts) == [
        *[("a", "succeeded"), ("bad", "failed"), ("bad", "failed"), ("c", "succeeded"), ("e", "succeeded")]
    ]
    assert {(r.mode, (r.metadata or {})["m"]) for r in rollouts} == {("test", 1)}
    assert len({r.rollout_id for r in rollouts}) == 5


async def test_rollouts_come_as_they_finish_not_in_the_order_of_the_inputs(store: InMemoryLightningStore) -> None:
    gated, runner = Gated(), runner_of()
    with runner.run_context(agent=gated.agent, store=store):
        rollouts = runner.step_many(["a", "b", "c"], limit=3)
        order: list[Any] = []
        for task in ("c", "a", "b"):
            gated.gate(task).set()
            order.append((await anext(rollouts)).input)
        with pytest.raises(StopAsyncIteration):
            await anext(rollouts)
    assert order == ["c", "a", "b"]


async def test_no_more_than_limit_run_at_once_and_the_next_begins_when_one_is_asked_for(
    store: InMemoryLightningStore,
) -> None:
    gated, runner = Gated(), runner_of()
    with runner.run_context(agent=gated.agent, store=store):
        async with runner.step_many(range(5), limit=2) as rollouts:
            gated.gate(0).set()
            assert (await anext(rollouts)).input == 0
            await anyio.wait_all_tasks_blocked()
            assert sorted(gated.begun) == [0, 1]
            gated.gate(1).set()
            assert (await anext(rollouts)).input == 1
            await anyio.wait_all_tasks_blocked()
            assert sorted(gated.begun) == [0, 1, 2]


async def test_with_a_limit_of_one_nothing_runs_while_a_rollout_is_looked_at(store: InMemoryLightningStore) -> None:
    gated, runner = Gated(), runner_of()
    with runner.run_context(agent=gated.agent, store=store):
        async for rollout in runner.step_many(released(gated), limit=1):
            await anyio.wait_all_tasks_blocked()
            assert gated.begun[-1] == rollout.input
            if rollout.input == 2:
                break
    assert gated.begun == [0, 1, 2]


def released(gated: Gated) -> Iterator[int]:
    for task in range(10):
        gated.gate(task).set()
        yield task


async def test_hundreds_of_inputs_with_the_default_limit(store: InMemoryLightningStore) -> None:
    most = 0
    running = 0

    @agl.rollout
    async def agent(task: int) -> float:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await checkpoint()
        running -= 1
        return float(task)

    runner = runner_of()
    async with runner.run_context(agent=agent, store=store):
        found = {rollout.input async for rollout in runner.step_many(range(400))}
    assert found == set(range(400))
    assert 1 < most <= 64


async def test_an_async_input_is_read_as_there_is_room(store: InMemoryLightningStore) -> None:
    asked: list[int] = []

    async def inputs() -> AsyncGenerator[int]:
        for number in range(4):
            asked.append(number)
            await checkpoint()
            yield number

    gated, runner = Gated(), runner_of()
    with runner.run_context(agent=gated.agent, store=store):
        async with aclosing(inputs()) as tasks, runner.step_many(tasks, limit=2) as rollouts:
            gated.gate(0).set()
            await anext(rollouts)
            await anyio.wait_all_tasks_blocked()
            assert asked == [0, 1]
            for number in (1, 2, 3):
                gated.gate(number).set()
            assert sorted([rollout.input async for rollout in rollouts]) == [1, 2, 3]


async def test_an_async_input_that_is_slow_holds_up_no_rollout_that_has_finished(
    store: InMemoryLightningStore,
) -> None:
    more = anyio.Event()

    async def inputs() -> AsyncGenerator[str]:
        yield "first"
        await more.wait()
        yield "second"

    runner = runner_of()
    with runner.run_context(agent=quick, store=store):
        async with aclosing(inputs()) as tasks:
            rollouts = runner.step_many(tasks, limit=8)
            assert (await anext(rollouts)).input == "first"
            more.set()
            assert [rollout.input async for rollout in rollouts] == ["second"]


@pytest.mark.parametrize("as_async", [False, True])
async def test_an_input_that_raises_half_way_loses_no_rollout(store: InMemoryLightningStore, *, as_async: bool) -> None:
    def inputs() -> Iterator[str]:
        yield "a"
        yield "b"
        raise OSError("the file ends here")

    async def async_inputs() -> AsyncGenerator[str]:
        for task in inputs():
            yield task

    gated, runner = Gated(), runner_of()
    with runner.run_context(agent=gated.agent, store=store):
        for task in ("a", "b"):
            gated.gate(task).set()
        rollouts = runner.step_many(async_inputs() if as_async else inputs())
        assert sorted([(await anext(rollouts)).input for _ in range(2)]) == ["a", "b"]
        with pytest.raises(OSError, match="the file ends here"):
            await anext(rollouts)
    assert (await store.query_rollouts(status_in=["succeeded"])).total == 2


async def test_an_input_that_raises_at_once_raises_at_the_first_rollout(store: InMemoryLightningStore) -> None:
    def inputs() -> Iterator[str]:
        raise OSError("nothing here")
        yield "never"  # pragma: no cover - makes it a generator

    runner = runner_of()
    with runner.run_context(agent=quick, store=store), pytest.raises(OSError, match="nothing here"):
        await anext(runner.step_many(inputs()))
    assert (await store.query_rollouts()).total == 0


async def test_no_inputs_are_no_rollouts(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    with runner.run_context(agent=quick, store=store):
        assert [rollout async for rollout in runner.step_many([])] == []


async def test_leaving_the_block_cancels_what_runs_and_waits_for_it(store: InMemoryLightningStore) -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    gated, runner = Gated(), runner_of()
    with runner.run_context(agent=gated.agent, store=store):
        gated.gate(1).set()
        async with runner.step_many(range(5), limit=3) as rollouts:
            async for rollout in rollouts:
                assert rollout.input == 1
                break
        assert gated.running == set()
        assert {task.id for task in anyio.get_running_tasks()} == before
        assert [rollout async for rollout in rollouts] == []
    by_task = {rollout.input: rollout.status for rollout in await store.query_rollouts()}
    assert by_task == {0: "cancelled", 1: "succeeded", 2: "cancelled"}


async def test_a_loop_that_is_left_early_cancels_what_runs(store: InMemoryLightningStore) -> None:
    gated, runner = Gated(), runner_of()
    with runner.run_context(agent=gated.agent, store=store):
        gated.gate(1).set()
        async for rollout in runner.step_many(range(5), limit=3):
            assert rollout.input == 1
            break
        gc.collect()  # it is the end of the iterator that cancels; elsewhere than in CPython that takes a collection
        await anyio.wait_all_tasks_blocked()
        assert gated.running == set()
    by_task = {rollout.input: rollout.status for rollout in await store.query_rollouts()}
    assert by_task == {0: "cancelled", 1: "succeeded", 2: "cancelled"}


async def test_cancelling_the_loop_cancels_what_runs(store: InMemoryLightningStore) -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    gated, runner = Gated(), runner_of()
    with runner.run_context(agent=gated.agent, store=store):
        async with anyio.create_task_group() as tasks:

            async def loop() -> None:
                async for _ in runner.step_many(range(5), limit=3):
                    raise AssertionError

            tasks.start_soon(loop)
            await anyio.wait_all_tasks_blocked()
            assert gated.running == {0, 1, 2}
            tasks.cancel_scope.cancel()
        assert gated.running == set()
        assert {task.id for task in anyio.get_running_tasks()} == before
    assert {rollout.status for rollout in await store.query_rollouts()} == {"cancelled"}


async def test_a_store_that_fails_ends_the_loop_with_its_error() -> None:
    others_run = anyio.Event()

    class Failing(InMemoryLightningStore):
        async def start_rollout(self, *args: Any, **kwargs: Any) -> Any:
            if args[0] == "third":
                await others_run.wait()
                raise agl.StoreError("the disk is full")
            return await super().start_rollout(*args, **kwargs)

    class Starting(agl.Hook):
        async def on_trace_start(self, **_: Any) -> None:
            started.append(None)
            if len(started) == 2:
                others_run.set()

    started: list[None] = []
    store, gated, runner = Failing(), Gated(), runner_of()
    with runner.run_context(agent=gated.agent, store=store, hooks=[Starting()]):
        with pytest.raises(agl.StoreError, match="the disk is full"):
            await anext(runner.step_many(["first", "second", "third"]))
        assert gated.running == set()
    assert [rollout.status for rollout in await store.query_rollouts()] == ["cancelled"] * 2


async def test_get_last_trace_is_that_of_the_rollout_in_hand(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    with runner.run_context(agent=quick, store=store):
        async for rollout in runner.step_many(range(5), limit=2):
            assert {span.rollout_id for span in runner.tracer.get_last_trace()} == {rollout.rollout_id}


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_below_one_is_refused(store: InMemoryLightningStore, limit: int) -> None:
    runner = runner_of()
    with runner.run_context(agent=quick, store=store), pytest.raises(ConfigError, match=f"limit is {limit}"):
        runner.step_many([1], limit=limit)
    gc.collect()


async def test_what_cannot_be_iterated_is_refused(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    with runner.run_context(agent=quick, store=store), pytest.raises(TypeError, match="not iterable"):
        runner.step_many(3)  # pyright: ignore[reportArgumentType]  # callers without a type checker
    gc.collect()


async def test_several_may_take_from_one_iterator_and_each_rollout_goes_to_one_of_them(
    store: InMemoryLightningStore,
) -> None:
    gated, runner, taken = Gated(), runner_of(), list[list[Any]]([[], []])
    with runner.run_context(agent=gated.agent, store=store):
        rollouts = runner.step_many(range(4), limit=4)

        async def take(into: list[Any]) -> None:
            into.extend([rollout.input async for rollout in rollouts])

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for into in taken:
                    tasks.start_soon(take, into)
                for task in range(4):
                    await anyio.wait_all_tasks_blocked()
                    gated.gate(task).set()
    assert sorted(taken[0] + taken[1]) == [0, 1, 2, 3]


@pytest.mark.parametrize("limit", [1, 2])
async def test_whoever_waits_is_served_though_another_keeps_what_it_took(
    store: InMemoryLightningStore, limit: int
) -> None:
    runner, taken = runner_of(), list[int]()

    @agl.rollout
    async def agent(task: int) -> float:
        await checkpoint()
        return float(task)

    with runner.run_context(agent=agent, store=store):
        rollouts = runner.step_many(range(3), limit=limit)

        async def take_one() -> None:
            taken.append((await anext(rollouts)).input)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(take_one)
        await rollouts.aclose()
    assert sorted(taken) == [0, 1, 2]


async def test_an_iterator_that_is_closed_beside_who_waits_ends_without_an_error(store: InMemoryLightningStore) -> None:
    gated, runner, ended = Gated(), runner_of(), list[str]()
    with runner.run_context(agent=gated.agent, store=store):
        rollouts = runner.step_many(["a", "b"])

        async def take() -> None:
            async for _ in rollouts:
                ended.append("a rollout")
            ended.append("the end")

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take)
                await anyio.wait_all_tasks_blocked()
                await rollouts.aclose()
    assert ended == ["the end"]
    assert [rollout.status for rollout in await store.query_rollouts()] == ["cancelled", "cancelled"]
