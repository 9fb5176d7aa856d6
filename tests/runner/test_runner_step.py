"""`step`: one rollout, now, past the queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import lightning_actors as agl
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import ConfigError, MissingResource, WrongLoop
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio

PROMPT = agl.PromptTemplate(template="Be brief. {question}", engine="f-string")
OTHER = agl.PromptTemplate(template="Be long. {question}", engine="f-string")


def runner_of(**options: Any) -> agl.LitAgentRunner[Any]:
    return agl.LitAgentRunner[Any](agl.DummyTracer(), **options)


@agl.rollout
async def echo(task: Any) -> float:
    agl.emit_object({"task": task})
    await checkpoint()
    return 1.0


@agl.rollout
async def prompted(task: str, prompt_template: agl.PromptTemplate) -> None:
    agl.emit_message(prompt_template.format(question=task))


async def message_of(store: agl.LightningStore, rollout: agl.Rollout) -> str | None:
    messages = [agl.get_message_value(span) for span in await store.query_spans(rollout.rollout_id)]
    return next((message for message in messages if message is not None), None)


async def test_step_returns_the_finished_rollout_with_its_attempt(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    with runner.run_context(agent=echo, store=store):
        rollout = await runner.step({"q": 1}, mode="val", metadata={"from": "a test"})
    assert isinstance(rollout, agl.AttemptedRollout)
    assert (rollout.status, rollout.attempt.status, rollout.attempt.sequence_id) == ("succeeded", "succeeded", 1)
    assert (rollout.input, rollout.mode, rollout.metadata) == ({"q": 1}, "val", {"from": "a test"})
    assert rollout.end_time is not None
    assert rollout.attempt.end_time is not None
    assert await store.get_rollout_by_id(rollout.rollout_id) == rollout
    assert await store.dequeue_rollout() is None


async def test_step_works_without_resources(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    with runner.run_context(agent=echo, store=store):
        rollout = await runner.step("x")
    assert rollout.status == "succeeded"
    assert rollout.resources_id is None


@pytest.mark.parametrize("mode", ["train", "val", "test", None])
async def test_mode_train_calls_the_training_entry_and_any_other_the_validation_entry(
    store: InMemoryLightningStore, mode: agl.RolloutMode | None
) -> None:
    class TwoWays(agl.LitAgent[str]):
        async def training_rollout_async(self, task: str, resources: agl.NamedResources, rollout: agl.Rollout) -> float:
            return 1.0

        def validation_rollout(self, task: str, resources: agl.NamedResources, rollout: agl.Rollout) -> float:
            raise AssertionError("an agent with an async entry is async")

        async def validation_rollout_async(
            self, task: str, resources: agl.NamedResources, rollout: agl.Rollout
        ) -> float:
            return 2.0

    runner = runner_of()
    with runner.run_context(agent=TwoWays(), store=store):
        await runner.step("x", mode=mode)
        assert agl.find_final_reward(runner.tracer.get_last_trace()) == (1.0 if mode == "train" else 2.0)


# ── resources ──


async def test_given_resources_do_not_become_the_latest(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    latest = await store.add_resources({"main": OTHER})
    with runner.run_context(agent=prompted, store=store):
        given = await runner.step("Why?", resources={"main": PROMPT})
        without = await runner.step("Why?")
    assert await message_of(store, given) == "Be brief. Why?"
    assert await message_of(store, without) == "Be long. Why?"
    assert await store.get_latest_resources() == latest
    assert without.resources_id == latest.resources_id
    assert given.resources_id is not None
    kept = await store.get_resources_by_id(given.resources_id)
    assert kept is not None
    assert kept.resources == {"main": PROMPT}


async def test_the_same_resources_are_stored_once(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    again = PROMPT.model_copy()
    with runner.run_context(agent=prompted, store=store):
        for resource in (PROMPT, OTHER, again, OTHER, PROMPT):
            await runner.step("Why?", resources={"main": resource})
    assert len(await store.query_resources()) == 2


class YieldingStore(InMemoryLightningStore):
    """Lets others run within each operation, as a store behind a network does."""

    async def deliver(self, message: Any, /) -> Any:
        await checkpoint()
        return await super().deliver(message)


async def test_steps_that_begin_together_store_their_resources_once() -> None:
    store, runner = YieldingStore(), runner_of()
    with runner.run_context(agent=prompted, store=store):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(lambda number=number: runner.step(str(number), resources={"main": PROMPT}))
    assert len(await store.query_resources()) == 1
    assert (await store.query_rollouts(status_in=["succeeded"])).total == 20


@pytest.mark.parametrize(
    ("resources", "named"), [({"main": "a text"}, "main"), (["a text"], "resources"), ({"main": None}, "main")]
)
async def test_resources_of_no_kind_are_refused_before_anything_is_recorded(
    store: InMemoryLightningStore, resources: Any, named: str
) -> None:
    runner = runner_of()
    with runner.run_context(agent=echo, store=store), pytest.raises(TypeError, match=named):
        await runner.step("x", resources=resources)
    assert (await store.query_rollouts()).total == 0


async def test_resources_of_the_wrong_kind_list_what_is_wanted_and_what_there_is(
    store: InMemoryLightningStore,
) -> None:
    runner = runner_of()
    llm = agl.LLM(endpoint="http://localhost:1/v1", model="tiny")
    with runner.run_context(agent=prompted, store=store):
        with pytest.raises(MissingResource) as caught:
            await runner.step("x", resources={"main": llm})
        (rollout,) = await store.query_rollouts()
    assert "prompt_template: PromptTemplate" in str(caught.value)
    assert "main: LLM" in str(caught.value)
    assert rollout.status == "failed"


# ── errors ──


async def test_step_raises_what_the_agent_raised_with_a_note_that_names_the_rollout(
    store: InMemoryLightningStore,
) -> None:
    error = ValueError("no answer")

    @agl.rollout
    async def agent(task: str) -> None:
        agl.emit_message("so far")
        raise error

    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        with pytest.raises(ValueError, match="no answer") as caught:
            await runner.step("x")
        (rollout,) = await store.query_rollouts()
        assert await message_of(store, rollout) == "so far"
        assert [agl.get_message_value(span) for span in runner.tracer.get_last_trace()] == ["so far", None]
    assert caught.value is error
    assert caught.value.__notes__ == [f"in rollout {rollout.rollout_id}"]
    assert isinstance(rollout, agl.AttemptedRollout)
    assert (rollout.status, rollout.attempt.status) == ("failed", "failed")
    assert rollout.attempt.metadata == {"error": "ValueError: no answer"}


async def test_the_traceback_leads_to_the_line_in_the_agent(store: InMemoryLightningStore) -> None:
    @agl.rollout
    async def agent(task: str) -> None:
        raise KeyError(task)

    runner = runner_of()
    with runner.run_context(agent=agent, store=store), pytest.raises(KeyError) as caught:
        await runner.step("x")
    assert caught.traceback[-1].name == "agent"


@pytest.mark.parametrize("resident", [False, True])
async def test_there_is_one_attempt_and_no_retry(store: InMemoryLightningStore, *, resident: bool) -> None:
    calls: list[str] = []

    @agl.rollout
    async def agent(task: str) -> None:
        calls.append(task)
        raise ValueError("no")

    runner = runner_of()
    config = agl.RolloutConfig(max_attempts=5, retry_condition=["failed", "timeout", "unresponsive"])
    context = runner.run_context(agent=agent, store=store)
    if resident:
        async with context:
            with pytest.raises(ValueError, match="no"):
                await runner.step("x", config=config)
    else:
        with context, pytest.raises(ValueError, match="no"):
            await runner.step("x", config=config)
    (rollout,) = await store.query_rollouts()
    assert calls == ["x"]
    assert rollout.status == "failed"
    assert config.max_attempts == 5


async def test_an_exception_group_is_the_agents_own(store: InMemoryLightningStore) -> None:
    @agl.rollout
    async def agent(task: str) -> None:
        raise ExceptionGroup("mine", [ValueError("a")])

    runner = runner_of()
    with runner.run_context(agent=agent, store=store), pytest.raises(ExceptionGroup, match="mine") as caught:
        await runner.step("x")
    assert len(caught.value.exceptions) == 1
    assert isinstance(caught.value.exceptions[0], ValueError)


# ── many at a time ──


@pytest.mark.parametrize(("resident", "count"), [(False, 1_000), (True, 300)])
async def test_a_thousand_steps_run_at_once(store: InMemoryLightningStore, count: int, *, resident: bool) -> None:
    gate, running = anyio.Event(), 0

    @agl.rollout
    async def agent(task: int) -> float:
        nonlocal running
        running += 1
        if running == count:
            gate.set()
        await gate.wait()
        agl.emit_message(f"task {task}")
        return float(task)

    rewards: dict[int, float | None] = {}

    async def one(number: int) -> None:
        rollout = await runner.step(number)
        rewards[number] = agl.find_final_reward(list(await store.query_spans(rollout.rollout_id)))

    runner = runner_of()
    context = runner.run_context(agent=agent, store=store)

    async def all_of_them() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(one, number)

    if resident:
        async with context:
            await all_of_them()
    else:
        with context:
            await all_of_them()
    assert rewards == {number: float(number) for number in range(count)}
    assert (await store.query_rollouts(status_in=["succeeded"])).total == count


@pytest.mark.parametrize("resident", [False, True])
async def test_a_step_inside_an_agents_step(store: InMemoryLightningStore, *, resident: bool) -> None:
    @agl.rollout
    async def agent(task: int, rollout: agl.Rollout) -> float:
        if task == 0:
            return 1.0
        inner = await runner.step(task - 1, metadata={"outer": rollout.rollout_id})
        agl.emit_message(f"{task} asked {inner.rollout_id}")
        return float(task)

    runner = runner_of()
    context = runner.run_context(agent=agent, store=store)
    if resident:
        async with context:
            outer = await runner.step(5)
    else:
        with context:
            outer = await runner.step(5)
    rollouts = list(await store.query_rollouts())
    assert [rollout.input for rollout in rollouts] == [5, 4, 3, 2, 1, 0]
    assert {rollout.status for rollout in rollouts} == {"succeeded"}
    assert (rollouts[1].metadata or {})["outer"] == outer.rollout_id
    for rollout in rollouts[:-1]:
        assert (await message_of(store, rollout) or "").startswith(f"{rollout.input} asked")


async def test_get_last_trace_is_that_of_the_step_just_made(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    with runner.run_context(agent=echo, store=store):
        for task in ("a", "b"):
            rollout = await runner.step(task)
            trace = runner.tracer.get_last_trace()
            assert {span.rollout_id for span in trace} == {rollout.rollout_id}
            assert agl.get_object_value(trace[0]) == {"task": task}


async def test_step_inside_async_with_uses_the_resident_actor_and_leaves_no_task_behind(
    store: InMemoryLightningStore,
) -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    runner = runner_of()
    with runner.run_context(agent=echo, store=store):
        await runner.step("x")
        assert {task.id for task in anyio.get_running_tasks()} == before
    async with runner.run_context(agent=echo, store=store):
        await runner.step("x")
        assert {task.id for task in anyio.get_running_tasks()} > before
    assert {task.id for task in anyio.get_running_tasks()} == before


@pytest.mark.parametrize("resident", [False, True], ids=["with", "async with"])
async def test_a_cancelled_step_is_no_dead_letter(
    store: InMemoryLightningStore, logged: Any, *, resident: bool
) -> None:
    begun = anyio.Event()

    @agl.rollout
    async def waits(task: str) -> None:
        begun.set()
        await anyio.sleep_forever()

    async def cancelled_step() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "x")
            await begun.wait()
            tasks.cancel_scope.cancel()

    runner = runner_of()
    context = runner.run_context(agent=waits, store=store)
    if resident:
        async with context:
            await cancelled_step()
    else:
        with context:
            await cancelled_step()
    assert [rollout.status for rollout in await store.query_rollouts()] == ["cancelled"]
    assert logged("dead_letter") == []


async def test_a_config_may_be_given_as_a_dict(store: InMemoryLightningStore) -> None:
    runner, config = runner_of(), {"timeout_seconds": 60.0, "max_attempts": 3, "retry_condition": ["failed"]}
    with runner.run_context(agent=echo, store=store):
        rollout = await runner.step("x", config=config)  # pyright: ignore[reportArgumentType]  # as in JSON
        assert rollout.config == agl.RolloutConfig(timeout_seconds=60.0)
        with pytest.raises(ValueError, match=r"timeout_second\b"):
            await runner.step("x", config={"timeout_second": 60.0})  # pyright: ignore[reportArgumentType]  # as in JSON
        with pytest.raises(ValueError, match="valid dictionary"):
            await runner.step("x", metadata=[1])  # pyright: ignore[reportArgumentType]  # callers without a type checker
    assert len(await store.query_rollouts()) == 1


async def test_a_resident_runner_sends_heartbeats_and_writes_spans_meanwhile(
    timed_store: InMemoryLightningStore, clock: Any
) -> None:
    begun, gate = anyio.Event(), anyio.Event()

    @agl.rollout
    async def agent(task: str) -> None:
        agl.emit_message("half-way")
        begun.set()
        await gate.wait()

    runner = runner_of(clock=clock, heartbeat_interval=10.0)
    async with runner.run_context(agent=agent, store=timed_store), anyio.create_task_group() as tasks:
        tasks.start_soon(runner.step, "x")
        await begun.wait()
        await anyio.wait_all_tasks_blocked()
        clock.advance(1.0)
        await anyio.wait_all_tasks_blocked()
        (rollout,) = await timed_store.query_rollouts()
        assert await message_of(timed_store, rollout) == "half-way"
        clock.advance(9.0)
        await anyio.wait_all_tasks_blocked()
        worker = await timed_store.get_worker_by_id("Worker-0")
        assert worker is not None
        assert worker.last_heartbeat_time == clock.time()
        assert worker.heartbeat_stats is not None
        assert worker.heartbeat_stats["running"] == 1
        attempt = await timed_store.get_latest_attempt(rollout.rollout_id)
        assert attempt is not None
        assert attempt.last_heartbeat_time == clock.time()
        gate.set()


# ── events ──


async def test_an_event_that_is_set_before_stops_the_step_before_it_begins(store: InMemoryLightningStore) -> None:
    event = anyio.Event()
    event.set()
    runner = runner_of()
    with runner.run_context(agent=echo, store=store), pytest.raises(agl.RolloutCancelled, match="before"):
        await runner.step("x", event=event)
    assert (await store.query_rollouts()).total == 0


@pytest.mark.parametrize("make", [anyio.Event, threading.Event], ids=["anyio", "threading"])
async def test_an_event_that_is_set_meanwhile_cancels_the_rollout(
    store: InMemoryLightningStore, make: Callable[[], Any]
) -> None:
    event = make()

    @agl.rollout
    async def agent(task: str) -> None:
        event.set()
        await anyio.sleep_forever()

    runner = runner_of()
    with runner.run_context(agent=agent, store=store), pytest.raises(agl.RolloutCancelled):
        await runner.step("x", event=event)
    (rollout,) = await store.query_rollouts()
    assert rollout.status == "cancelled"


async def test_an_event_that_nobody_sets_changes_nothing(store: InMemoryLightningStore) -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    runner = runner_of()
    with runner.run_context(agent=echo, store=store):
        for event in (anyio.Event(), threading.Event()):
            assert (await runner.step("x", event=event)).status == "succeeded"
    assert {task.id for task in anyio.get_running_tasks()} == before


async def test_what_is_no_event_is_refused_before_anything_is_recorded(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    with runner.run_context(agent=echo, store=store):
        with pytest.raises(ConfigError, match="is no event"):
            await runner.step("x", event="stop")
        with pytest.raises(ConfigError, match="is no event"):
            await runner.iter(event=3)
    assert (await store.query_rollouts()).total == 0


# ── loops ──


def test_a_store_in_use_from_another_loop_says_so() -> None:
    store = InMemoryLightningStore()
    runner, other = runner_of(), runner_of()
    begun, gate = threading.Event(), threading.Event()

    @agl.rollout
    def waiting(task: str) -> float:
        begun.set()
        gate.wait()
        return 1.0

    finished: list[agl.Rollout] = []
    with (
        runner.run_context(agent=waiting, store=store),
        other.run_context(agent=echo, store=store),
    ):
        thread = threading.Thread(target=lambda: finished.append(anyio.run(runner.step, "x")))
        thread.start()
        begun.wait()
        try:
            with pytest.raises(WrongLoop, match=r"anyio\.from_thread"):
                anyio.run(other.step, "y")
        finally:
            gate.set()
            thread.join()
        # The first loop is over: the store, with its data, can be used from the next.
        assert anyio.run(other.step, "z").status == "succeeded"
    assert finished[0].status == "succeeded"

    async def count() -> int:
        return (await store.query_rollouts()).total

    assert anyio.run(count) == 2


# Trio has no tasks that can be cancelled one by one.
@pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
async def test_a_cancelled_asyncio_task_cancels_its_rollout(store: InMemoryLightningStore) -> None:
    """Cancelled by asyncio itself, not by a scope: an application need not know anyio."""
    begun = anyio.Event()

    @agl.rollout
    async def agent(task: str) -> None:
        begun.set()
        await asyncio.sleep(3600)

    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        task = asyncio.create_task(runner.step("x"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (rollout,) = await store.query_rollouts()
    assert isinstance(rollout, agl.AttemptedRollout)
    assert rollout.status == "cancelled"
    assert (rollout.attempt.status, rollout.attempt.metadata) == ("failed", {"reason": "cancelled"})


async def test_a_step_whose_run_context_is_left_says_so(store: InMemoryLightningStore) -> None:
    begun, errors = anyio.Event(), list[agl.RolloutCancelled]()

    @agl.rollout
    async def waits(task: str) -> None:
        begun.set()
        await anyio.sleep_forever()

    runner = runner_of(clock=(clock := VirtualClock()))

    async def step() -> None:
        with pytest.raises(agl.RolloutCancelled, match=r"run_context .* was left") as caught:
            await runner.step("x")
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks, runner.run_context(agent=waits, store=store):
        tasks.start_soon(step)
        await begun.wait()
        tasks.start_soon(pass_time, clock, errors)
    (rollout,) = await store.query_rollouts()
    assert errors[0].rollout_id == rollout.rollout_id
    assert rollout.status == "cancelled"


async def pass_time(clock: VirtualClock, until: list[Any]) -> None:
    """Let the grace time pass."""
    while not until:
        clock.advance(1.0)
        await checkpoint()


async def test_a_step_that_its_event_ended_says_so(store: InMemoryLightningStore) -> None:
    event = anyio.Event()

    @agl.rollout
    async def waits(task: str) -> None:
        event.set()
        await anyio.sleep_forever()

    runner = runner_of()
    with (
        runner.run_context(agent=waits, store=store),
        pytest.raises(agl.RolloutCancelled, match="the event that the step was given was set"),
    ):
        await runner.step("x", event=event)


async def test_a_wrong_mode_is_named(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    with (
        runner.run_context(agent=echo, store=store),
        pytest.raises(ValueError, match=r"mode\n.*'train', 'val' or 'test'"),
    ):
        await runner.step("x", mode="trian")  # pyright: ignore[reportArgumentType]  # callers without a type checker


@pytest.mark.parametrize("operation", ["update_attempt", "add_many_spans", "get_rollout_by_id"])
async def test_what_the_store_raises_in_a_step_names_the_rollout(clock: VirtualClock, operation: str) -> None:
    async def breaks(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    store: InMemoryLightningStore = type("Broken", (InMemoryLightningStore,), {operation: breaks})()
    runner = runner_of(clock=clock)
    async with clock.autojump():
        with runner.run_context(agent=echo, store=store), pytest.raises(OSError, match="the disk is full") as caught:
            await runner.step("x")
    (rollout,) = await store.query_rollouts()
    assert caught.value.__notes__ == [f"in rollout {rollout.rollout_id}"]
