"""Hooks are told of each rollout, in order, and change nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import lightning_actors as agl
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio

Logged = Callable[[str], list[dict[str, Any]]]
METHODS = ["on_rollout_start", "on_trace_start", "on_trace_end", "on_rollout_end"]


class Notes(agl.Hook):
    """Writes down every call."""

    def __init__(self, calls: list[str], name: str = "") -> None:
        self.calls = calls
        self.name = name
        self.given: list[dict[str, Any]] = []
        self.spans: Sequence[agl.Span] = ()

    async def _note(self, method: str, given: dict[str, Any]) -> None:
        self.calls.append(self.name + method)
        self.given.append(given)
        await checkpoint()

    async def on_rollout_start(self, **given: Any) -> None:
        await self._note("on_rollout_start", given)

    async def on_trace_start(self, **given: Any) -> None:
        await self._note("on_trace_start", given)

    async def on_trace_end(self, **given: Any) -> None:
        agl.emit_message("seen by on_trace_end")
        await self._note("on_trace_end", given)

    async def on_rollout_end(self, **given: Any) -> None:
        self.spans = given["spans"]
        await self._note("on_rollout_end", given)


def runner_of(**options: Any) -> agl.LitAgentRunner[Any]:
    return agl.LitAgentRunner[Any](agl.DummyTracer(), **options)


def agent_noting(calls: list[str], error: BaseException | None = None) -> agl.LitAgent[str]:
    @agl.rollout
    async def agent(task: str) -> float:
        calls.append("agent")
        if error is not None:
            raise error
        return 0.25

    return agent


async def test_hooks_are_called_in_order_around_the_agent(store: InMemoryLightningStore) -> None:
    calls: list[str] = []
    notes = Notes(calls)
    runner, agent = runner_of(), agent_noting(calls)
    with runner.run_context(agent=agent, store=store, hooks=[notes]):
        rollout = await runner.step("x")
    assert calls == ["on_rollout_start", "on_trace_start", "agent", "on_trace_end", "on_rollout_end"]
    for given in notes.given:
        assert given["agent"] is agent
        assert given["runner"] is runner
        assert given["rollout"].rollout_id == rollout.rollout_id
    tracers = [given.get("tracer") for given in notes.given]
    assert tracers == [None, runner.tracer, runner.tracer, None]


async def test_on_rollout_end_sees_all_spans_with_the_returned_reward(store: InMemoryLightningStore) -> None:
    notes = Notes([])
    runner = runner_of()
    with runner.run_context(agent=agent_noting([]), store=store, hooks=[notes]):
        rollout = await runner.step("x")
    assert agl.find_final_reward(notes.spans) == 0.25
    assert [agl.get_message_value(span) for span in notes.spans].count("seen by on_trace_end") == 1
    stored = await store.query_spans(rollout.rollout_id)
    assert [span.span_id for span in notes.spans] == [span.span_id for span in stored]
    assert [span.sequence_id for span in notes.spans] == [1, 2, 3]


async def test_all_hooks_are_called_also_when_the_agent_fails(store: InMemoryLightningStore) -> None:
    calls: list[str] = []
    runner = runner_of()
    agent = agent_noting(calls, ValueError("no"))
    with (
        runner.run_context(agent=agent, store=store, hooks=[Notes(calls)]),
        pytest.raises(ValueError, match="no"),
    ):
        await runner.step("x")
    assert calls == ["on_rollout_start", "on_trace_start", "agent", "on_trace_end", "on_rollout_end"]


async def test_several_hooks_are_called_one_after_another(store: InMemoryLightningStore) -> None:
    calls: list[str] = []
    hooks = [Notes(calls, "a."), Notes(calls, "b.")]
    runner = runner_of()
    with runner.run_context(agent=agent_noting(calls), store=store, hooks=hooks):
        await runner.step("x")
    assert calls == [
        *["a.on_rollout_start", "b.on_rollout_start", "a.on_trace_start", "b.on_trace_start", "agent"],
        *["a.on_trace_end", "b.on_trace_end", "a.on_rollout_end", "b.on_rollout_end"],
    ]


def raising(method: str, error: BaseException) -> agl.Hook:
    async def fail(self: agl.Hook, **_: Any) -> None:
        raise error

    hook: agl.Hook = type("Raising", (agl.Hook,), {method: fail})()
    return hook


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("method", METHODS)
async def test_a_hook_that_raises_is_logged_and_changes_nothing(
    store: InMemoryLightningStore, logged: Logged, method: str, error: BaseException
) -> None:
    calls: list[str] = []
    runner = runner_of()
    hooks = [raising(method, error), Notes(calls)]
    with runner.run_context(agent=agent_noting(calls), store=store, hooks=hooks):
        rollout = await runner.step("x")
    assert rollout.status == "succeeded"
    assert calls == ["on_rollout_start", "on_trace_start", "agent", "on_trace_end", "on_rollout_end"]
    assert logged("hook_failed") == [{"hook": "Raising", "method": method}]


async def test_a_hook_that_raises_does_not_hide_what_the_agent_raised(store: InMemoryLightningStore) -> None:
    runner = runner_of()
    hooks = [raising(method, RuntimeError("from a hook")) for method in METHODS]
    with (
        runner.run_context(agent=agent_noting([], ValueError("from the agent")), store=store, hooks=hooks),
        pytest.raises(ValueError, match="from the agent"),
    ):
        await runner.step("x")


async def test_hooks_are_told_of_the_end_of_a_cancelled_rollout(store: InMemoryLightningStore) -> None:
    calls: list[str] = []
    begun = anyio.Event()

    @agl.rollout
    async def agent(task: str) -> None:
        begun.set()
        await anyio.sleep_forever()

    runner = runner_of()
    with runner.run_context(agent=agent, store=store, hooks=[Notes(calls, "a."), Notes(calls, "b.")]):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "x")
            await begun.wait()
            tasks.cancel_scope.cancel()
    assert calls[4:] == ["a.on_trace_end", "b.on_trace_end", "a.on_rollout_end", "b.on_rollout_end"]
    (rollout,) = await store.query_rollouts()
    assert rollout.status == "cancelled"


async def test_a_hook_cannot_hold_up_a_cancellation_for_more_than_five_seconds(
    store: InMemoryLightningStore, clock: VirtualClock, logged: Logged
) -> None:
    calls: list[str] = []
    begun, hanging = anyio.Event(), anyio.Event()

    class Hanging(agl.Hook):
        async def on_trace_end(self, **_: Any) -> None:
            hanging.set()
            await anyio.sleep_forever()

    @agl.rollout
    async def agent(task: str) -> None:
        begun.set()
        await anyio.sleep_forever()

    runner = runner_of(clock=clock)
    with runner.run_context(agent=agent, store=store, hooks=[Hanging(), Notes(calls)]):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "x")
            await begun.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await hanging.wait()
                await anyio.wait_all_tasks_blocked()
                assert calls == ["on_rollout_start", "on_trace_start"]
                clock.advance(5.0)
    assert calls[2:] == ["on_trace_end", "on_rollout_end"]
    assert logged("hook_too_slow") == [{"hook": "Hanging", "method": "on_trace_end", "seconds": 5.0}]


@pytest.mark.parametrize("method", METHODS)
async def test_a_hook_that_hangs_is_cancelled_with_its_rollout_and_the_others_still_hear_of_the_end(
    store: InMemoryLightningStore, method: str
) -> None:
    calls: list[str] = []
    hanging = anyio.Event()

    async def hang(self: agl.Hook, **_: Any) -> None:
        hanging.set()
        await anyio.sleep_forever()

    hook: agl.Hook = type("Hanging", (agl.Hook,), {method: hang})()
    runner = runner_of()
    with runner.run_context(agent=agent_noting([]), store=store, hooks=[hook, Notes(calls)]):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "x")
            await hanging.wait()
            tasks.cancel_scope.cancel()
    assert calls[-1] == "on_rollout_end"
    assert ("on_trace_end" in calls) is (method != "on_rollout_start")
    (rollout,) = await store.query_rollouts()
    # Whoever hangs after the agent has returned holds up the report, not the result.
    assert rollout.status == "cancelled"


async def test_a_deadline_cuts_a_hanging_hook_short(timed_store: InMemoryLightningStore, clock: VirtualClock) -> None:
    hanging = anyio.Event()

    class Hanging(agl.Hook):
        async def on_rollout_start(self, **_: Any) -> None:
            hanging.set()
            await anyio.sleep_forever()

    async def advance() -> None:
        await hanging.wait()
        await anyio.wait_all_tasks_blocked()
        clock.advance(3.0)

    runner = runner_of(clock=clock)
    with runner.run_context(agent=agent_noting([]), store=timed_store, hooks=[Hanging()]):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(advance)
            with pytest.raises(agl.RolloutTimeout):
                await runner.step("x", config=agl.RolloutConfig(timeout_seconds=3.0))


async def test_a_hook_may_cancel_the_rollout_in_the_store(store: InMemoryLightningStore) -> None:
    calls: list[str] = []

    class Refusing(agl.Hook):
        async def on_trace_start(self, *, rollout: agl.Rollout, **_: Any) -> None:
            await store.update_rollout(rollout.rollout_id, status="cancelled")

    runner = runner_of()
    with (
        runner.run_context(agent=agent_noting(calls), store=store, hooks=[Refusing(), Notes(calls)]),
        pytest.raises(agl.RolloutCancelled),
    ):
        await runner.step("x")
    assert "agent" not in calls
    assert calls[-1] == "on_rollout_end"
