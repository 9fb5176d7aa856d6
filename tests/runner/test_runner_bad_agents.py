"""Agents that misbehave: each gets a clear error or a stated outcome, and the others go on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import lightning_actors as agl
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import RunnerError
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio

Logged = Callable[[str], list[dict[str, Any]]]

# Trio has no way to leave a task behind: one that swallows its cancellation is cancelled again at each checkpoint, for
# as long as it goes on, and trio.run does not return before it has ended.
ASYNCIO_ALONE = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)


def runner_of(**options: Any) -> agl.LitAgentRunner[Any]:
    return agl.LitAgentRunner[Any](agl.DummyTracer(), patience=0.05, **options)


async def status_of(store: agl.LightningStore) -> tuple[str, str]:
    (rollout,) = await store.query_rollouts()
    assert isinstance(rollout, agl.AttemptedRollout)
    return rollout.status, rollout.attempt.status


class OwnBaseError(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), OwnBaseError("x"), GeneratorExit()], ids=repr)
async def test_a_base_exception_is_the_agents_failure_and_reaches_the_caller(
    store: InMemoryLightningStore, error: BaseException, *, sync: bool
) -> None:
    @agl.rollout
    async def agent(task: str) -> float:
        if task == "bad":
            raise error
        return 1.0

    @agl.rollout
    def sync_agent(task: str) -> float:
        if task == "bad":
            raise error
        return 1.0

    runner = runner_of()
    async with runner.run_context(agent=sync_agent if sync else agent, store=store):
        with pytest.raises(type(error)) as caught:
            await runner.step("bad")
        assert caught.value is error
        assert await status_of(store) == ("failed", "failed")
        assert (await runner.step("good")).status == "succeeded"


async def test_a_cancellation_from_elsewhere_is_the_agents_failure(
    store: InMemoryLightningStore, anyio_backend_name: str
) -> None:
    @agl.rollout
    async def agent(task: str) -> float:
        if anyio_backend_name == "trio":
            raise asyncio.CancelledError  # as any other BaseException here
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    expected = asyncio.CancelledError if anyio_backend_name == "trio" else RunnerError
    runner = runner_of()
    with runner.run_context(agent=agent, store=store), pytest.raises(expected) as caught:
        await runner.step("x")
    if anyio_backend_name != "trio":
        assert "nobody cancelled this rollout" in str(caught.value)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert await status_of(store) == ("failed", "failed")


async def test_an_agent_that_cancels_its_own_scope_goes_on(store: InMemoryLightningStore) -> None:
    @agl.rollout
    async def agent(task: str) -> float:
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await checkpoint()
        return 1.0

    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        assert (await runner.step("x")).status == "succeeded"


@pytest.mark.parametrize("error", [StopIteration("x"), StopAsyncIteration("x")], ids=repr)
async def test_an_iterators_end_that_an_agent_lets_out_is_its_failure(
    store: InMemoryLightningStore, error: Exception
) -> None:
    @agl.rollout
    def agent(task: str) -> float:
        raise error

    runner = runner_of()
    with runner.run_context(agent=agent, store=store), pytest.raises((RuntimeError, StopAsyncIteration)):
        await runner.step("x")
    assert await status_of(store) == ("failed", "failed")


async def test_an_agent_that_blocks_the_loop_is_reported_and_the_others_go_on_after_it(
    timed_store: InMemoryLightningStore, clock: VirtualClock, logged: Logged
) -> None:
    begun = anyio.Event()

    @agl.rollout
    async def agent(task: str) -> float:
        if task == "blocks":
            clock.advance(7.0)  # time passes, and nobody else is let in: what time.sleep does
        else:
            begun.set()
            await clock.sleep(5.0)
        return 1.0

    finished: list[agl.Rollout] = []
    runner = runner_of(clock=clock)

    async def one(task: str) -> None:
        finished.append(await runner.step(task))

    async with runner.run_context(agent=agent, store=timed_store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, "waits")
            await begun.wait()
            await anyio.wait_all_tasks_blocked()
            await one("blocks")
        await anyio.wait_all_tasks_blocked()  # whoever watches the loop has had its turn too
    assert sorted(rollout.input for rollout in finished) == ["blocks", "waits"]
    assert {rollout.status for rollout in finished} == {"succeeded"}
    (blocked,) = logged("event_loop_blocked")
    assert blocked["seconds"] == 6.0
    assert "make it a sync agent" in blocked["hint"]


async def test_a_deadline_that_passes_while_the_loop_is_blocked_still_counts(
    timed_store: InMemoryLightningStore, clock: VirtualClock
) -> None:
    @agl.rollout
    async def agent(task: str) -> float:
        clock.advance(7.0)
        return 1.0

    runner = runner_of(clock=clock)
    with runner.run_context(agent=agent, store=timed_store), pytest.raises(agl.RolloutTimeout):
        await runner.step("x", config=agl.RolloutConfig(timeout_seconds=5.0))
    assert await status_of(timed_store) == ("failed", "timeout")


async def test_a_sync_agent_does_not_block_the_loop(store: InMemoryLightningStore) -> None:
    both = threading.Barrier(3, timeout=30)

    @agl.rollout
    def agent(task: str) -> float:
        both.wait()
        return 1.0

    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        async with anyio.create_task_group() as tasks:
            for task in ("a", "b"):
                tasks.start_soon(runner.step, task)
            await anyio.to_thread.run_sync(both.wait)
    assert (await store.query_rollouts(status_in=["succeeded"])).total == 2


async def test_a_sync_agent_sees_the_callers_context_and_its_own_trace(store: InMemoryLightningStore) -> None:
    @agl.rollout
    def agent(task: str) -> float:
        agl.emit_message(f"{task} in {threading.current_thread().name}")
        return 1.0

    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        rollout = await runner.step("x")
    messages = [agl.get_message_value(span) for span in await store.query_spans(rollout.rollout_id)]
    assert messages[0] == "x in lightning-actors agent thread"


# ── agents that do not end ──


class Stubborn:
    """An agent that swallows every cancellation until the test lets it go."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.gate = anyio.Event()
        self.swallowed = 0
        self.ended = anyio.Event()

        @agl.rollout
        async def agent(task: str) -> float:
            if task != "stubborn":
                return 1.0
            self.begun.set()
            while not self.gate.is_set():
                try:
                    await self.gate.wait()
                except asyncio.CancelledError:
                    self.swallowed += 1
            agl.emit_message("too late")
            self.ended.set()
            return 1.0

        self.agent = agent


@ASYNCIO_ALONE
async def test_an_agent_that_swallows_its_cancellation_is_left_behind_and_named(
    store: InMemoryLightningStore, logged: Logged
) -> None:
    stubborn = Stubborn()
    runner = runner_of()
    try:
        async with runner.run_context(agent=stubborn.agent, store=store):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runner.step, "stubborn")
                await stubborn.begun.wait()
                tasks.cancel_scope.cancel()
            (rollout,) = await store.query_rollouts()
            assert rollout.status == "cancelled"
            assert (await runner.step("another")).status == "succeeded"
            rig = runner.bound_rig()
        assert rig.left_behind == [f"agent of {rollout.rollout_id}"]
        (named,) = logged("agent_left_behind")
        assert named["rollout_id"] == rollout.rollout_id
        assert named["kind"] == "task"
        assert stubborn.swallowed == 3
        assert not stubborn.ended.is_set()
    finally:
        stubborn.gate.set()
    await stubborn.ended.wait()
    messages = [agl.get_message_value(span) for span in await store.query_spans(rollout.rollout_id)]
    assert "too late" not in messages


@ASYNCIO_ALONE
async def test_a_deadline_does_not_wait_for_an_agent_that_swallows_its_cancellation(
    timed_store: InMemoryLightningStore, clock: VirtualClock
) -> None:
    stubborn = Stubborn()
    runner = runner_of(clock=clock)
    try:
        with runner.run_context(agent=stubborn.agent, store=timed_store):
            async with clock.autojump():
                with pytest.raises(agl.RolloutTimeout):
                    await runner.step("stubborn", config=agl.RolloutConfig(timeout_seconds=5.0))
            assert clock.monotonic() == pytest.approx(5.0 + 0.05)  # the deadline, and the runner's patience
        assert await status_of(timed_store) == ("failed", "timeout")
        assert not stubborn.ended.is_set()
    finally:
        stubborn.gate.set()
    await stubborn.ended.wait()


# Here the agent ends in time: on trio it is cancelled again at each checkpoint, which it cannot swallow for ever.
async def test_an_agent_that_swallows_one_cancellation_is_cancelled_again(
    store: InMemoryLightningStore, logged: Logged
) -> None:
    begun = anyio.Event()

    @agl.rollout
    async def agent(task: str) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            pass
        await anyio.sleep_forever()

    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "x")
            await begun.wait()
            tasks.cancel_scope.cancel()
    assert await status_of(store) == ("cancelled", "failed")
    assert not logged("agent_left_behind")


async def test_a_sync_agent_that_hangs_is_left_behind_and_its_place_given_to_another(
    timed_store: InMemoryLightningStore, clock: VirtualClock, logged: Logged
) -> None:
    release = threading.Event()

    @agl.rollout
    def agent(task: str) -> float:
        if task == "hangs":
            release.wait()
        return 1.0

    runner = runner_of(clock=clock, max_threads=1)
    try:
        with runner.run_context(agent=agent, store=timed_store):
            async with clock.autojump():
                with pytest.raises(agl.RolloutTimeout):
                    await runner.step("hangs", config=agl.RolloutConfig(timeout_seconds=5.0))
            assert (await runner.step("another")).status == "succeeded"
            (named,) = logged("agent_left_behind")
            assert named["kind"] == "thread"
            assert len(runner.bound_rig().left_behind) == 1
    finally:
        release.set()


async def test_when_too_many_sync_agents_hang_the_next_one_is_told_so(
    timed_store: InMemoryLightningStore, clock: VirtualClock
) -> None:
    release = threading.Event()

    @agl.rollout
    def agent(task: str) -> float:
        release.wait()
        return 1.0

    runner = runner_of(clock=clock, max_threads=1)
    try:
        with runner.run_context(agent=agent, store=timed_store):
            for _ in range(2):  # one place, and one more in its stead
                async with clock.autojump():
                    await self_timing_out(runner)
            with pytest.raises(RunnerError, match="all 2 threads for sync agents are held by calls that do not end"):
                await runner.step("no place left")
    finally:
        release.set()
    statuses = [rollout.status for rollout in await timed_store.query_rollouts()]
    assert statuses == ["failed", "failed", "failed"]


async def self_timing_out(runner: agl.LitAgentRunner[Any]) -> None:
    with pytest.raises(agl.RolloutTimeout):
        await runner.step("hangs", config=agl.RolloutConfig(timeout_seconds=5.0))


@ASYNCIO_ALONE
async def test_tasks_that_outlive_their_agent_change_nothing_afterwards(
    store: InMemoryLightningStore, logged: Logged
) -> None:
    gate, done = anyio.Event(), anyio.Event()

    async def straggle() -> None:
        await gate.wait()
        agl.emit_message("too late")
        done.set()

    @agl.rollout
    async def agent(task: str) -> float:
        background.append(asyncio.create_task(straggle()))
        return 1.0

    background: list[asyncio.Task[None]] = []
    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        rollout = await runner.step("x")
        assert rollout.status == "succeeded"
        gate.set()
        await done.wait()
        again = await store.get_rollout_by_id(rollout.rollout_id)
    assert again == rollout
    messages = [agl.get_message_value(span) for span in await store.query_spans(rollout.rollout_id)]
    assert "too late" not in messages
    await background[0]


async def test_threads_that_outlive_their_agent_change_nothing_afterwards(store: InMemoryLightningStore) -> None:
    gate = threading.Event()
    threads: list[threading.Thread] = []

    @agl.rollout
    async def agent(task: str) -> float:
        import contextvars  # noqa: PLC0415 - what an agent does to keep its context in a thread of its own

        context = contextvars.copy_context()

        def straggle() -> None:
            gate.wait()
            agl.emit_message("too late")

        threads.append(threading.Thread(target=context.run, args=(straggle,)))
        threads[0].start()
        return 1.0

    runner = runner_of()
    with runner.run_context(agent=agent, store=store):
        rollout = await runner.step("x")
        gate.set()
        await anyio.to_thread.run_sync(threads[0].join)
    messages = [agl.get_message_value(span) for span in await store.query_spans(rollout.rollout_id)]
    assert messages == [None, None]


def test_an_agent_that_hangs_in_its_thread_does_not_keep_the_loop_from_ending() -> None:
    store, release = InMemoryLightningStore(), threading.Event()

    @agl.rollout
    def agent(task: str) -> float:
        release.wait()
        return 1.0

    runner = runner_of()

    async def main() -> None:
        with pytest.raises(TimeoutError), anyio.fail_after(0.01):
            await runner.step("hangs")

    began = time.monotonic()
    try:
        with runner.run_context(agent=agent, store=store):
            for backend in ("asyncio", "trio"):
                anyio.run(main, backend=backend)
    finally:
        release.set()
    assert time.monotonic() - began < 30  # it would be for ever


class Speechless(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise AttributeError("city")


@dataclass(frozen=True)
class Frozen(Exception):
    """It takes no note."""

    code: int


@pytest.mark.parametrize("error", [Speechless(), Frozen(3)], ids=["without a text", "frozen"])
async def test_an_error_of_an_odd_make_is_the_rollouts_error_like_any_other(
    store: InMemoryLightningStore, error: Exception
) -> None:
    @agl.rollout
    async def failing(task: str) -> None:
        raise error

    runner = runner_of()
    with runner.run_context(agent=failing, store=store):
        raised: BaseException | None = None
        try:
            await runner.step("x")
        except Exception as caught:  # noqa: BLE001 - pytest.raises sets attributes, which this one refuses
            raised = caught
        assert raised is error
        rollouts = [rollout async for rollout in runner.step_many(["y", "z"])]
    assert [rollout.status for rollout in rollouts] == ["failed"] * 2
    (first, *_) = await store.query_rollouts()
    assert isinstance(first, agl.AttemptedRollout)
    assert type(error).__name__ in str((first.attempt.metadata or {})["error"])


async def test_agents_whose_errors_have_no_text_do_not_end_a_run() -> None:
    @agl.rollout
    async def failing(task: int) -> float:
        if task % 2:
            raise Speechless
        return 1.0

    trainer = agl.Trainer(tracer=agl.DummyTracer(), algorithm=agl.Baseline(), n_workers=2)
    result = await trainer.fit_async(failing, range(20))
    assert result.status_counts == {"succeeded": 10, "failed": 10}
    assert {type(error) for error in result.errors.values()} == {Speechless}
