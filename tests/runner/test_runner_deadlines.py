"""Deadlines and cancellation: whatever the agent does, the attempt ends in the store, and whoever waits is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest

import lightning_actors as agl
from lightning_actors.actors import current_actor
from lightning_actors.actors.testkit import VirtualClock, crash
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio

Logged = Callable[[str], list[dict[str, Any]]]


def runner_of(**options: Any) -> agl.LitAgentRunner[Any]:
    return agl.LitAgentRunner[Any](agl.DummyTracer(), **options)


class Waiting:
    """An agent that begins, waits for the test, and notes how it was ended."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.gate = anyio.Event()
        self.ended = ""

        @agl.rollout
        async def agent(task: str) -> float:
            self.begun.set()
            try:
                await self.gate.wait()
            except BaseException as error:
                self.ended = type(error).__name__
                raise
            return 1.0

        self.agent = agent


async def attempt_of(store: agl.LightningStore) -> tuple[agl.Rollout, agl.Attempt]:
    (rollout,) = await store.query_rollouts()
    assert isinstance(rollout, agl.AttemptedRollout)
    return rollout, rollout.attempt


@pytest.mark.parametrize("resident", [False, True])
async def test_a_rollout_that_takes_too_long_raises_rollout_timeout(
    timed_store: InMemoryLightningStore, clock: VirtualClock, *, resident: bool
) -> None:
    waiting = Waiting()

    async def advance() -> None:
        await waiting.begun.wait()
        await anyio.wait_all_tasks_blocked()
        clock.advance(4.9)
        await anyio.wait_all_tasks_blocked()
        assert not waiting.ended
        clock.advance(0.1)

    async def one() -> None:
        with pytest.raises(agl.RolloutTimeout, match=r"took longer than 5.0 s") as caught:
            await runner.step("x", config=agl.RolloutConfig(timeout_seconds=5.0))
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.seconds == 5.0
        rollout, attempt = await attempt_of(timed_store)
        assert caught.value.rollout_id == rollout.rollout_id
        assert (rollout.status, attempt.status) == ("failed", "timeout")
        assert attempt.end_time == attempt.start_time + 5.0

    runner = runner_of(clock=clock, heartbeat_interval=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(advance)
        if resident:
            async with runner.run_context(agent=waiting.agent, store=timed_store):
                await one()
        else:
            with runner.run_context(agent=waiting.agent, store=timed_store):
                await one()
    assert waiting.ended in {"CancelledError", "Cancelled"}


async def test_an_attempt_without_a_sign_of_life_raises_rollout_timeout(
    timed_store: InMemoryLightningStore, clock: VirtualClock
) -> None:
    begun = anyio.Event()

    @agl.rollout
    async def agent(task: str) -> None:
        begun.set()
        await clock.sleep(1.5)
        agl.emit_message("still here")
        await anyio.sleep_forever()

    async def advance() -> None:
        await begun.wait()
        for _ in range(12):  # the span is a sign of life; it is written after 2 seconds
            await anyio.wait_all_tasks_blocked()
            clock.advance(0.5)

    runner = runner_of(clock=clock)
    with runner.run_context(agent=agent, store=timed_store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(advance)
            with pytest.raises(agl.RolloutTimeout, match=r"gave no sign of life for 3.0 s"):
                await runner.step("x", config=agl.RolloutConfig(unresponsive_seconds=3.0))
    rollout, attempt = await attempt_of(timed_store)
    assert (rollout.status, attempt.status) == ("failed", "unresponsive")
    assert attempt.end_time is not None
    assert attempt.end_time - attempt.start_time == 5.0


async def test_a_deadline_ends_the_wait_for_a_thread_too(
    timed_store: InMemoryLightningStore, clock: VirtualClock
) -> None:
    release, calls = threading.Event(), list[str]()

    @agl.rollout
    def agent(task: str) -> None:
        calls.append(task)
        release.wait()

    runner = runner_of(clock=clock, max_threads=1)
    with runner.run_context(agent=agent, store=timed_store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "holds the only thread")
            await anyio.wait_all_tasks_blocked()

            async def second() -> None:
                with pytest.raises(agl.RolloutTimeout):
                    await runner.step("waits", config=agl.RolloutConfig(timeout_seconds=5.0))
                release.set()

            tasks.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            clock.advance(5.0)
    assert calls == ["holds the only thread"]


async def test_a_step_that_is_cancelled_cancels_its_rollout(store: InMemoryLightningStore) -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    waiting = Waiting()
    runner = runner_of()
    with runner.run_context(agent=waiting.agent, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "x")
            await waiting.begun.wait()
            tasks.cancel_scope.cancel()
    rollout, attempt = await attempt_of(store)
    assert rollout.status == "cancelled"
    assert (attempt.status, attempt.metadata) == ("failed", {"reason": "cancelled"})
    assert attempt.end_time is not None
    assert rollout.end_time is not None
    assert waiting.ended
    assert {task.id for task in anyio.get_running_tasks()} == before


async def test_a_resident_step_that_is_cancelled_cancels_its_rollout_and_no_other(
    store: InMemoryLightningStore,
) -> None:
    waiting = Waiting()
    finished: list[agl.Rollout] = []
    runner = runner_of()
    async with runner.run_context(agent=waiting.agent, store=store):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def other() -> None:
                    with anyio.CancelScope(shield=True):
                        finished.append(await runner.step("other"))

                tasks.start_soon(other)
                tasks.start_soon(runner.step, "x")
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    await anyio.wait_all_tasks_blocked()
                    waiting.gate.set()
    by_task = {rollout.input: rollout.status for rollout in await store.query_rollouts()}
    assert by_task == {"other": "succeeded", "x": "cancelled"}
    assert finished[0].status == "succeeded"


async def test_a_callers_timeout_raises_in_the_caller(store: InMemoryLightningStore) -> None:
    waiting = Waiting()
    runner = runner_of()
    with runner.run_context(agent=waiting.agent, store=store), pytest.raises(TimeoutError), anyio.fail_after(0.01):
        await runner.step("x")
    rollout, _ = await attempt_of(store)
    assert rollout.status == "cancelled"


@pytest.mark.parametrize("resident", [False, True])
async def test_a_rollout_cancelled_in_the_store_raises_rollout_cancelled(
    store: InMemoryLightningStore, *, resident: bool
) -> None:
    waiting = Waiting()

    async def cancel() -> None:
        await waiting.begun.wait()
        (rollout,) = await store.query_rollouts()
        await store.update_rollout(rollout.rollout_id, status="cancelled")

    async def one() -> None:
        with pytest.raises(agl.RolloutCancelled, match="cancelled") as caught:
            await runner.step("x")
        rollout, attempt = await attempt_of(store)
        assert caught.value.rollout_id == rollout.rollout_id
        assert rollout.status == "cancelled"
        assert (attempt.status, attempt.metadata) == ("failed", {"reason": "cancelled"})

    runner = runner_of()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        if resident:
            async with runner.run_context(agent=waiting.agent, store=store):
                await one()
        else:
            with runner.run_context(agent=waiting.agent, store=store):
                await one()
    assert waiting.ended


async def test_an_agent_may_cancel_its_own_rollout(store: InMemoryLightningStore) -> None:
    @agl.rollout
    async def agent(task: str, rollout: agl.Rollout) -> float:
        await store.update_rollout(rollout.rollout_id, status="cancelled")
        return 1.0

    runner = runner_of()
    with runner.run_context(agent=agent, store=store), pytest.raises(agl.RolloutCancelled):
        await runner.step("x")
    rollout, _ = await attempt_of(store)
    assert rollout.status == "cancelled"


async def test_the_spans_of_a_cancelled_rollout_are_kept(store: InMemoryLightningStore) -> None:
    begun = anyio.Event()

    @agl.rollout
    async def agent(task: str) -> None:
        agl.emit_message("half-way")
        begun.set()
        await anyio.sleep_forever()

    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "x")
            await begun.wait()
            tasks.cancel_scope.cancel()
    rollout, _ = await attempt_of(store)
    spans = list(await store.query_spans(rollout.rollout_id))
    assert agl.get_message_value(spans[0]) == "half-way"
    assert spans[-1].name == "agentlightning.rollout"
    assert spans[-1].status.status_code == "ERROR"


async def test_clean_up_that_awaits_is_not_cut_short(store: InMemoryLightningStore) -> None:
    begun, cleaned = anyio.Event(), anyio.Event()

    @agl.rollout
    async def agent(task: str) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(20):
                    await anyio.sleep(0.001)
            cleaned.set()

    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "x")
            await begun.wait()
            tasks.cancel_scope.cancel()
    assert cleaned.is_set()


async def test_an_error_raised_while_being_cancelled_is_not_the_callers(store: InMemoryLightningStore) -> None:
    begun = anyio.Event()

    @agl.rollout
    async def agent(task: str) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("in clean-up")

    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "x")
            await begun.wait()
            tasks.cancel_scope.cancel()
    rollout, _ = await attempt_of(store)
    assert rollout.status == "cancelled"


@pytest.mark.parametrize("ends", ["at once", "late", "by a crash"])
async def test_an_attempt_that_fell_silent_is_not_revived_by_the_spans_of_its_own_end(
    timed_store: InMemoryLightningStore, clock: VirtualClock, ends: str
) -> None:
    began: list[float] = []

    @agl.rollout
    async def agent(task: str, rollout: agl.AttemptedRollout) -> float:
        began.append(clock.monotonic())
        if rollout.attempt.sequence_id > 1:
            return 1.0
        try:
            await anyio.sleep_forever()
        finally:
            agl.emit_message("written when it has been given up")
            if ends == "late":
                with anyio.CancelScope(shield=True):
                    await clock.sleep(1.5)  # past a flush
            elif ends == "by a crash":
                crash(cast("Any", current_actor()))
        return 0.0

    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        config = agl.RolloutConfig(unresponsive_seconds=3.0, max_attempts=2, retry_condition=["unresponsive"])
        rollout = await store.enqueue_rollout("x", config=config)
        await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])

    runner = {"type": agl.LitAgentRunner, "heartbeat_interval": 0.0, "patience": 10.0}
    trainer = agl.Trainer(algorithm=algorithm, store=timed_store, tracer=agl.DummyTracer(), clock=clock, runner=runner)
    async with clock.autojump():
        result = await trainer.fit_async(agent)
    assert result.status_counts == {"succeeded": 1}
    attempts = await timed_store.query_attempts(result.rollouts[0].rollout_id)
    assert [attempt.status for attempt in attempts] == ["unresponsive", "succeeded"]
    reason = {
        "reason": "stopped",
        "error": f"RolloutTimeout: rollout {attempts[0].rollout_id} gave no sign of life for 3.0 s",
    }
    assert attempts[0].metadata == reason
    assert began[1] == pytest.approx(4.5 if ends == "late" else 3.0, abs=0.1)
