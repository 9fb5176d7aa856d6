"""Trainers in an application's own event loop: side by side, cancellable, and nothing left running."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import lightning_actors as agl
from lightning_actors.errors import RunnerNotReady, WrongLoop
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio

Logged = Callable[[str], list[dict[str, Any]]]


def trainer_of(algorithm: Any, **options: Any) -> agl.Trainer:
    defaults: dict[str, Any] = {
        "algorithm": algorithm,
        "tracer": agl.DummyTracer(),
        "runner": {"type": agl.LitAgentRunner, "patience": 0.05},
    }
    return agl.Trainer(**(defaults | options))


@agl.rollout
async def agent(task: Any) -> float:
    agl.emit_message(f"about {task}")
    await checkpoint()
    return 1.0


class AllAtOnce(agl.Algorithm):
    """Runs every task once."""

    async def run(self, train_dataset: agl.Dataset[Any] | None = None, val_dataset: Any = None) -> None:
        tasks = [] if train_dataset is None else [train_dataset[i] for i in range(len(train_dataset))]
        rollouts = await self.store.enqueue_many_rollouts([agl.EnqueueRolloutRequest(input=task) for task in tasks])
        await self.store.wait_for_rollouts(rollout_ids=[rollout.rollout_id for rollout in rollouts])


async def until(store: agl.LightningStore, rollout_id: str, status: str) -> None:
    """Let the others run until the rollout has this status."""
    while True:
        rollout = await store.get_rollout_by_id(rollout_id)
        if rollout is not None and rollout.status == status:
            return
        await checkpoint()


def task_ids() -> set[int]:
    return {task.id for task in anyio.get_running_tasks()}


async def test_fit_async_runs_in_the_callers_loop_and_leaves_nothing_running() -> None:
    before = task_ids()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    @agl.rollout
    async def looking(task: str) -> float:
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        return 1.0

    result = await trainer_of(AllAtOnce, n_workers=4).fit_async(looking, [str(n) for n in range(20)])
    assert result.status_counts == {"succeeded": 20}
    assert task_ids() == before


async def test_several_trainers_run_side_by_side_and_do_not_mix() -> None:
    before = task_ids()
    results: dict[str, agl.RunResult] = {}
    meeting: set[str] = set()
    all_here = anyio.Event()

    def agent_of(name: str) -> agl.LitAgent[str]:
        @agl.rollout
        async def agent(task: str) -> float:
            meeting.add(name)
            if len(meeting) == 5:
                all_here.set()
            await all_here.wait()  # each of them runs while the others do
            agl.emit_message(f"{name} on {task}")
            return float(name)

        return agent

    trainers = {str(number): trainer_of(AllAtOnce, n_workers=3) for number in range(5)}

    async def fit(name: str) -> None:
        results[name] = await trainers[name].fit_async(agent_of(name), ["a", "b", "c"])

    async with anyio.create_task_group() as tasks:
        for name in trainers:
            tasks.start_soon(fit, name)
    for name, result in results.items():
        assert result.status_counts == {"succeeded": 3}
        assert set(result.rewards.values()) == {float(name)}
        for rollout in result.rollouts:
            spans = await trainers[name].store.query_spans(rollout.rollout_id)
            assert agl.get_message_value(spans[0]) == f"{name} on {rollout.input}"
    assert task_ids() == before


async def test_trainers_may_share_a_tracer_an_agent_and_a_store() -> None:
    tracer, store = agl.OtelTracer(), InMemoryLightningStore()
    results: list[agl.RunResult] = []

    async def fit() -> None:
        trainer = trainer_of(AllAtOnce, tracer=tracer, store=store)
        results.append(await trainer.fit_async(agent, ["a", "b"]))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(fit)
    rollouts = list(await store.query_rollouts())
    assert [rollout.status for rollout in rollouts] == ["succeeded"] * 6
    for rollout in rollouts:
        assert len(await store.query_attempts(rollout.rollout_id)) == 1
        spans = list(await store.query_spans(rollout.rollout_id))
        assert [agl.get_message_value(span) for span in spans].count(f"about {rollout.input}") == 1
    for result in results:
        assert [rollout.input for rollout in result.rollouts] == ["a", "b"], "each counts what its algorithm recorded"
        assert len(result.rewards) == 2
    assert {one.rollout_id for result in results for one in result.rollouts} == {one.rollout_id for one in rollouts}


async def test_a_rollout_is_counted_by_the_run_that_recorded_it_whoever_ran_it() -> None:
    store, begun, late = InMemoryLightningStore(), anyio.Event(), anyio.Event()
    results: dict[str, agl.RunResult] = {}

    @agl.algo
    async def records_alone(store: agl.LightningStore) -> None:
        good, bad = [await store.enqueue_rollout(task) for task in ("good", "bad")]
        await store.wait_for_rollouts(rollout_ids=[good.rollout_id, bad.rollout_id])
        late.set()

    @agl.algo
    async def runs_alone(store: agl.LightningStore) -> None:
        begun.set()
        await late.wait()

    @agl.rollout
    async def never_ends(task: str) -> None:
        await anyio.sleep_forever()

    @agl.rollout
    async def judge(task: str) -> float:
        if task == "bad":
            raise ValueError("bad task")
        return 0.25

    async def fit(name: str, algorithm: Any, agent: agl.LitAgent[str], n_workers: int) -> None:
        results[name] = await trainer_of(algorithm, store=store, n_workers=n_workers).fit_async(agent)

    busy = await store.enqueue_rollout("keeps the recorder's only runner busy")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fit, "recorder", records_alone, never_ends, 1)
        await until(store, busy.rollout_id, "running")
        tasks.start_soon(fit, "runner", runs_alone, judge, 2)
    assert begun.is_set()
    recorder, runner = results["recorder"], results["runner"]
    assert [rollout.input for rollout in recorder.rollouts] == [busy.input, "good", "bad"]
    assert list(recorder.rewards.values()) == [0.25]
    assert "ValueError: bad task" in str(recorder.errors[recorder.rollouts[2].rollout_id])
    assert list(runner.rollouts) == []
    assert (dict(runner.rewards), dict(runner.errors)) == ({}, {})


async def test_what_a_cancelled_run_left_in_the_queue_is_counted_by_the_run_that_runs_it() -> None:
    store, enqueued, over = InMemoryLightningStore(), anyio.Event(), anyio.Event()
    results: list[agl.RunResult] = []

    @agl.algo
    async def leaves_work(store: agl.LightningStore) -> None:
        await store.enqueue_rollout("first")
        await store.enqueue_rollout("left over")
        enqueued.set()
        await anyio.sleep_forever()

    @agl.algo
    async def takes_over(store: agl.LightningStore) -> None:
        await over.wait()

    @agl.rollout
    async def agent(task: str) -> float:
        if task == "first":
            await anyio.sleep_forever()
        return 1.0

    async def take_over() -> None:
        results.append(await trainer_of(takes_over, store=store).fit_async(agent))

    async with anyio.create_task_group() as second:
        async with anyio.create_task_group() as first:
            first.start_soon(trainer_of(leaves_work, store=store, grace=0.0).fit_async, agent)
            await enqueued.wait()
            await until(store, (await store.query_rollouts(sort_by="start_time"))[0].rollout_id, "running")
            second.start_soon(take_over)
            first.cancel_scope.cancel()
        left = (await store.query_rollouts(sort_by="start_time"))[1]
        await until(store, left.rollout_id, "succeeded")
        over.set()
    (result,) = results
    assert [rollout.input for rollout in result.rollouts] == ["left over"]


async def test_one_trainer_runs_one_thing_at_a_time() -> None:
    gate = anyio.Event()

    @agl.rollout
    async def waiting(task: str) -> float:
        await gate.wait()
        return 1.0

    trainer = trainer_of(AllAtOnce)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trainer.fit_async, waiting, ["x"])
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RunnerNotReady, match="bound to"):
            await trainer.fit_async(agent, ["y"])
        gate.set()
    result = await trainer.fit_async(agent, ["z"])
    assert result.status_counts == {"succeeded": 1}


async def test_one_algorithm_cannot_serve_two_trainers_at_a_time() -> None:
    gate, algorithm = anyio.Event(), AllAtOnce()

    @agl.rollout
    async def waiting(task: str) -> float:
        await gate.wait()
        return 1.0

    first, second = trainer_of(algorithm), trainer_of(algorithm)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.fit_async, waiting, ["x"])
        await anyio.wait_all_tasks_blocked()
        assert first.is_running
        with pytest.raises(agl.ConfigError, match="give each trainer an algorithm of its own"):
            await second.fit_async(agent, ["y"])
        gate.set()
    assert not first.is_running
    assert (await second.fit_async(agent, ["y"])).status_counts == {"succeeded": 1}
    assert (await first.fit_async(agent, ["y"])).status_counts == {"succeeded": 1}


async def test_a_cancelled_run_leaves_nothing_running_and_no_rollout_open() -> None:
    before = task_ids()
    running: set[str] = set()

    @agl.rollout
    async def waiting(task: str) -> None:
        running.add(task)
        try:
            await anyio.sleep_forever()
        finally:
            running.discard(task)

    trainer = trainer_of(AllAtOnce, n_workers=3)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trainer.fit_async, waiting, ["a", "b", "c", "d", "e"])
        await anyio.wait_all_tasks_blocked()
        assert len(running) == 3
        tasks.cancel_scope.cancel()
    assert not running
    assert task_ids() == before
    statuses = [rollout.status for rollout in await trainer.store.query_rollouts()]
    assert statuses == ["cancelled"] * 3 + ["queuing"] * 2


class SlowStore(InMemoryLightningStore):
    """Lets others run in the middle of what it does, as a store behind a network does."""

    async def dequeue_rollout(self, *args: Any, **kwargs: Any) -> Any:
        claimed = await super().dequeue_rollout(*args, **kwargs)
        await checkpoint()
        return claimed

    async def update_attempt(self, *args: Any, **kwargs: Any) -> Any:
        await checkpoint()
        attempt = await super().update_attempt(*args, **kwargs)
        await checkpoint()
        return attempt

    async def release_attempt(self, *args: Any, **kwargs: Any) -> Any:
        await checkpoint()
        return await super().release_attempt(*args, **kwargs)


@pytest.mark.parametrize(
    ("make", "moments"),
    [(InMemoryLightningStore, range(6, 40)), (SlowStore, range(10, 130, 5))],
    ids=["fast", "slow"],
)
async def test_a_run_cancelled_at_any_moment_leaves_every_rollout_queued_or_ended(
    make: type[InMemoryLightningStore], moments: range, logged: Logged
) -> None:
    before = task_ids()
    seen: set[tuple[str, ...]] = set()
    for steps in moments:
        store = make()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(trainer_of(AllAtOnce, n_workers=3, store=store).fit_async, agent, list("abcdefgh"))
            for _ in range(steps):
                await checkpoint()
            tasks.cancel_scope.cancel()
        rollouts = list(await store.query_rollouts())
        seen.add(tuple(sorted(rollout.status for rollout in rollouts)))
        for rollout in rollouts:
            assert rollout.status in {"queuing", "succeeded", "cancelled"}
            attempts = await store.query_attempts(rollout.rollout_id)
            assert len(attempts) == (rollout.status != "queuing")
            assert all(attempt.end_time is not None for attempt in attempts)
        assert [worker for worker in await store.query_workers() if worker.current_rollout_id] == []
        assert task_ids() == before
    assert len(seen) > 5  # the moments are different ones


# Trio has no way to leave a task behind: what swallows its cancellation there keeps trio.run from returning.
ASYNCIO_ALONE = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)


@ASYNCIO_ALONE
async def test_what_refuses_to_be_cancelled_is_named_and_nothing_else_is_left(logged: Logged) -> None:
    before = task_ids()
    gate, ended = anyio.Event(), anyio.Event()

    @agl.rollout
    async def stubborn(task: str) -> float:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        return 1.0

    trainer = trainer_of(AllAtOnce)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(trainer.fit_async, stubborn, ["x"])
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        (rollout,) = await trainer.store.query_rollouts()
        assert [entry["rollout_id"] for entry in logged("agent_left_behind")] == [rollout.rollout_id]
        (left,) = [task for task in anyio.get_running_tasks() if task.id not in before]
        assert left.name == f"agent of {rollout.rollout_id}"
    finally:
        gate.set()
    await ended.wait()
    await anyio.wait_all_tasks_blocked()
    assert task_ids() == before


@ASYNCIO_ALONE
async def test_an_agent_left_behind_at_its_deadline_is_in_the_result_and_the_run_goes_on() -> None:
    gate = anyio.Event()

    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        stubborn = await store.enqueue_rollout("stubborn", config=agl.RolloutConfig(timeout_seconds=0.05))
        good = await store.enqueue_rollout("good")
        await store.wait_for_rollouts(rollout_ids=[stubborn.rollout_id, good.rollout_id])

    @agl.rollout
    async def agent(task: str) -> float:
        while task == "stubborn" and not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return 1.0

    try:
        result = await trainer_of(algorithm).fit_async(agent)
    finally:
        gate.set()
    by_task = {rollout.input: rollout for rollout in result.rollouts}
    assert {task: rollout.status for task, rollout in by_task.items()} == {"stubborn": "failed", "good": "succeeded"}
    assert result.left_behind == (f"agent of {by_task['stubborn'].rollout_id}",)
    assert isinstance(result.errors[by_task["stubborn"].rollout_id], agl.RolloutTimeout)
    await anyio.wait_all_tasks_blocked()


async def test_a_sync_algorithm_is_interrupted_in_its_wait_when_the_run_is_cancelled(logged: Logged) -> None:
    told: list[str] = []
    waiting = threading.Event()

    @agl.algo
    def algorithm(store: Any) -> None:
        rollout = store.enqueue_rollout("x")
        waiting.set()
        try:
            store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])
        except agl.StoreError as error:
            told.append(str(error))
            raise

    @agl.rollout
    async def waits(task: str) -> None:
        await anyio.sleep_forever()

    before = task_ids()
    trainer = trainer_of(algorithm, runner={"type": agl.LitAgentRunner, "patience": 5.0})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trainer.fit_async, waits)
        await anyio.to_thread.run_sync(waiting.wait)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert "the run that this store belonged to has ended" in told[0]
    assert not logged("algorithm_left_behind")
    assert task_ids() == before


async def test_a_sync_algorithm_that_hangs_is_named_and_the_run_ends(logged: Logged) -> None:
    release, begun = threading.Event(), threading.Event()

    @agl.algo
    def algorithm(store: Any) -> None:
        begun.set()
        release.wait()

    before = task_ids()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(trainer_of(algorithm).fit_async, agent)
            await anyio.to_thread.run_sync(begun.wait)
            tasks.cancel_scope.cancel()
        assert len(logged("algorithm_left_behind")) == 1
        assert task_ids() == before
    finally:
        release.set()


async def test_an_algorithm_that_picks_up_a_cancellation_from_elsewhere_fails_the_run(
    anyio_backend_name: str,
) -> None:
    @agl.algo
    async def algorithm() -> None:
        if anyio_backend_name == "trio":
            raise asyncio.CancelledError  # as any other BaseException here
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    expected = asyncio.CancelledError if anyio_backend_name == "trio" else agl.RunnerError
    with pytest.raises(expected):
        await trainer_of(algorithm).fit_async(agent)


async def test_a_store_in_use_by_a_run_cannot_be_used_from_another_loop() -> None:
    errors: list[BaseException] = []

    def other_loop(store: agl.LightningStore) -> None:
        async def use() -> None:
            await store.enqueue_rollout("from elsewhere")

        try:
            anyio.run(use)
        except WrongLoop as error:
            errors.append(error)

    @agl.rollout
    async def asking(task: str) -> float:
        await anyio.to_thread.run_sync(other_loop, trainer.store)
        return 1.0

    trainer = trainer_of(AllAtOnce)
    result = await trainer.fit_async(asking, ["x"])
    assert result.status_counts == {"succeeded": 1}
    assert "anyio.from_thread" in str(errors[0])


async def test_an_agent_of_a_run_may_step_by_its_runner() -> None:
    class Nesting(agl.LitAgent[int]):
        async def rollout_async(self, task: int, resources: agl.NamedResources, rollout: agl.Rollout) -> float:
            if task:
                await self.runner.step(task - 1)
            return float(task)

    trainer = trainer_of(AllAtOnce, n_workers=2)
    result = await trainer.fit_async(Nesting(), [2, 3])
    assert [rollout.input for rollout in result.rollouts] == [2, 3], "an agent's own steps are no tasks of the run"
    recorded = await trainer.store.query_rollouts()
    assert sorted(rollout.input for rollout in recorded) == [0, 0, 1, 1, 2, 2, 3]
    assert {rollout.status for rollout in recorded} == {"succeeded"}


async def test_a_cancelled_rollout_of_a_run_is_counted_and_the_run_goes_on() -> None:
    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        first, second = [await store.enqueue_rollout(task) for task in ("waits", "good")]
        await begun.wait()
        await store.update_rollout(first.rollout_id, status="cancelled")
        await store.wait_for_rollouts(rollout_ids=[first.rollout_id, second.rollout_id])

    @agl.rollout
    async def waits(task: str) -> float:
        if task == "waits":
            begun.set()
            await anyio.sleep_forever()
        return 1.0

    begun = anyio.Event()
    result = await trainer_of(algorithm).fit_async(waits)
    assert result.status_counts == {"cancelled": 1, "succeeded": 1}
    (error,) = result.errors.values()
    assert isinstance(error, agl.RolloutCancelled)


async def test_a_store_that_fails_for_good_ends_the_run_with_its_error() -> None:
    class Failing(InMemoryLightningStore):
        async def dequeue_rollout(self, *args: Any, **kwargs: Any) -> Any:
            raise agl.StoreError("the disk is full")

    before = task_ids()
    store = Failing()
    with pytest.raises(agl.RestartLimitExceeded, match="the disk is full"):
        await trainer_of(AllAtOnce, store=store).fit_async(agent, ["x"])
    assert (await store.query_rollouts(status_in=["queuing"])).total == 1
    assert task_ids() == before


async def test_many_more_tasks_than_workers_and_room_in_mailboxes() -> None:
    """Mailboxes that wait for each other would: with few workers and many tasks every one of them is full."""
    result = await trainer_of(AllAtOnce, n_workers=16).fit_async(agent, list(range(200)))
    assert result.status_counts == {"succeeded": 200}
