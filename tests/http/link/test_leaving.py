"""Whoever is about to leave a store that is gone does not wait for it as long as others do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from linked import Linked, LinkedStore, linked
from memory_wire import MemoryWire, memory_wire
from store_homes import Later

import lightning_actors as agl
from lightning_actors.actors import Clock
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import StoreUnreachable
from lightning_actors.http.link.limits import LinkOptions
from lightning_actors.runner.pool import RunnerPool

pytestmark = pytest.mark.anyio

GRACE, LAST_WORDS = 10.0, 5.0


def go_down(wire: MemoryWire) -> None:
    wire.is_down = True
    wire.cut()


@pytest.mark.parametrize(("patience", "ends"), [(0, LAST_WORDS), (3, LAST_WORDS), (20, 20)])
async def test_it_has_the_patience_that_it_says_but_at_least_five_seconds(patience: float, ends: float) -> None:
    async with linked(LinkOptions(patience=600)) as it, it.clock.autojump():
        began = await _asked_of_a_store_that_is_gone(it, patience)
        assert it.clock.monotonic() - began == pytest.approx(ends, abs=0.1)


async def test_less_patience_is_kept_and_more_is_not() -> None:
    async with linked(LinkOptions(patience=600)) as it, it.clock.autojump():
        it.store.leave_within(8)
        assert await _seconds_of_an_ask(it) == pytest.approx(8, abs=0.1)
        it.store.leave_within(300)
        assert await _seconds_of_an_ask(it) < 0.1


async def test_a_store_that_comes_back_in_time_is_told_everything() -> None:
    async with linked(LinkOptions(patience=600)) as it, it.clock.autojump(), anyio.create_task_group() as tasks:
        go_down(it.wire)
        it.store.leave_within(GRACE)
        later = Later()
        tasks.start_soon(later.run, lambda: it.store.enqueue_rollout("task"))
        await it.clock.sleep(4)
        it.wire.is_down = False
        await later.done.wait()
        assert later.error is None


async def test_others_who_have_it_open_keep_their_patience() -> None:
    async with linked(LinkOptions(patience=60)) as it, it.clock.autojump():
        async with it.store.opened():
            it.store.leave_within(0)
            assert await _seconds_of_an_ask(it) == pytest.approx(60, abs=1)
        it.wire.is_down = False
        await it.store.query_rollouts()
        it.store.leave_within(0)
        async with it.store.opened():  # somebody else comes to need it
            assert await _seconds_of_an_ask(it) == pytest.approx(60, abs=1)


async def _asked_of_a_store_that_is_gone(it: Linked, patience: float) -> float:
    began, later = it.clock.monotonic(), Later()
    async with anyio.create_task_group() as tasks:
        go_down(it.wire)
        tasks.start_soon(later.run, lambda: it.store.enqueue_rollout("task"))
        await it.clock.sleep(0.01)
        it.store.leave_within(patience)
        await later.done.wait()
        assert isinstance(later.error, StoreUnreachable)
        assert f"no connection for {max(patience, LAST_WORDS):g} s" in str(later.error)
    return began


async def _seconds_of_an_ask(it: Linked) -> float:
    go_down(it.wire)
    began = it.clock.monotonic()
    with pytest.raises(StoreUnreachable):
        await it.store.enqueue_rollout("task")
    return it.clock.monotonic() - began


# ── what is run over it ──


Use = Callable[[LinkedStore, Clock, agl.LitAgent[str], anyio.Event], Awaitable[None]]


async def _pool_interrupted(store: LinkedStore, clock: Clock, agent: agl.LitAgent[str], stop: anyio.Event) -> None:
    runner = agl.LitAgentRunner[str](agl.OtelTracer(), clock=clock)
    with runner.run_context(agent=agent, store=store):
        pool = RunnerPool(runner.bound_rig(), ["one", "two"], grace=GRACE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.run)
            await stop.wait()
            pool.interrupt()


async def _pool_cancelled(store: LinkedStore, clock: Clock, agent: agl.LitAgent[str], stop: anyio.Event) -> None:
    runner = agl.LitAgentRunner[str](agl.OtelTracer(), clock=clock)
    with runner.run_context(agent=agent, store=store):
        await _cancelled(RunnerPool(runner.bound_rig(), ["one", "two"], grace=GRACE).run, stop)


async def _iter_cancelled(store: LinkedStore, clock: Clock, agent: agl.LitAgent[str], stop: anyio.Event) -> None:
    runner = agl.LitAgentRunner[str](agl.OtelTracer(), clock=clock)
    with runner.run_context(agent=agent, store=store):
        await _cancelled(runner.iter, stop)


async def _step_cancelled(store: LinkedStore, clock: Clock, agent: agl.LitAgent[str], stop: anyio.Event) -> None:
    async def step() -> None:
        runner = agl.LitAgentRunner[str](agl.OtelTracer(), clock=clock)
        async with runner.run_context(agent=agent, store=store):
            await runner.step("task")

    await _cancelled(step, stop)


async def _trainer_cancelled(store: LinkedStore, clock: Clock, agent: agl.LitAgent[str], stop: anyio.Event) -> None:
    trainer = agl.Trainer(store=store, algorithm=agl.Baseline(), clock=clock, n_workers=2, grace=GRACE)
    await _cancelled(lambda: trainer.fit_async(agent, train_dataset=["task"] * 2), stop)


async def _cancelled(use: Callable[[], Awaitable[object]], stop: anyio.Event) -> None:
    async def when_told() -> None:
        await stop.wait()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(when_told)
        await use()


@pytest.mark.parametrize(
    ("use", "most_seconds"),
    [
        (_pool_interrupted, GRACE + 2),
        (_pool_cancelled, LAST_WORDS + 2),
        (_iter_cancelled, LAST_WORDS + 2),
        (_step_cancelled, LAST_WORDS + 2),
        (_trainer_cancelled, LAST_WORDS + 2),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
async def test_a_run_that_is_to_end_is_not_held_up_by_a_store_that_is_gone(use: Use, most_seconds: float) -> None:
    clock, begun, stop = VirtualClock(), anyio.Event(), anyio.Event()

    @agl.rollout
    async def endless(task: str) -> None:
        with agl.operation(name="thinking"):
            begun.set()
        await anyio.sleep_forever()

    async with memory_wire() as wire:
        home = agl.InMemoryLightningStore(clock=clock)
        await wire.start(home)
        if use in {_pool_interrupted, _pool_cancelled, _iter_cancelled}:
            await home.enqueue_rollout("task")
        store = LinkedStore(wire, clock)
        later, began = Later(), clock.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(later.run, lambda: use(store, clock, endless, stop))
            await begun.wait()
            async with clock.autojump():
                go_down(wire)
                stop.set()
                await later.done.wait()
        assert later.error is None
        assert clock.monotonic() - began <= most_seconds
