"""What a store in this process promises besides the contract: loops, cancellation, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import anyio
import pytest
from anyio import to_thread
from store_homes import Later, end, everyone_waits, running

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import ConfigError, RolloutNotFound, StoreError, WrongLoop
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.blocking import BlockingStore
from lightning_actors.types import EnqueueRolloutRequest, RolloutConfig

pytestmark = pytest.mark.anyio


@pytest.fixture
def memory(clock: VirtualClock) -> InMemoryLightningStore:
    return InMemoryLightningStore(clock=clock)


def nothing_is_left(store: InMemoryLightningStore) -> bool:
    return not (store._clerk.waiters or store._sleepers or store._guard.users or store._watchers)


def in_a_loop_of_its_own(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run this in another thread, in a loop begun there, and give its result or error."""
    outcome: list[Any] = []

    async def main() -> None:
        try:
            outcome.append(await work())
        except Exception as error:  # noqa: BLE001 - handed over to the test
            outcome.append(error)

    thread = threading.Thread(target=lambda: anyio.run(main))
    thread.start()
    thread.join()
    return outcome[0]


async def test_use_from_another_loop_while_someone_waits_is_refused(memory: InMemoryLightningStore) -> None:
    claimed = await running(memory)
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: memory.wait_for_rollouts(rollout_ids=[claimed.rollout_id]))
        await everyone_waits()
        error = await to_thread.run_sync(in_a_loop_of_its_own, lambda: memory.enqueue_rollout(1))
        assert isinstance(error, WrongLoop)
        assert isinstance(error, StoreError)
        assert "anyio.from_thread" in str(error)
        assert (await memory.query_rollouts()).total == 1
        await end(memory, claimed)
    assert (await to_thread.run_sync(in_a_loop_of_its_own, lambda: memory.enqueue_rollout(1))).status == "queuing"
    assert nothing_is_left(memory)


async def test_use_from_another_loop_while_someone_watches_is_refused(memory: InMemoryLightningStore) -> None:
    claimed = await running(memory)
    watches: list[Callable[[], Callable[[], None]]] = [
        lambda: memory.watch_queue(lambda: None),
        lambda: memory.watch_attempt(claimed.attempt.attempt_id, lambda _: None),
    ]
    for watch in watches:
        leave = watch()
        error = await to_thread.run_sync(in_a_loop_of_its_own, memory.statistics)
        assert isinstance(error, WrongLoop)
        leave()
        leave()
        assert nothing_is_left(memory)
        assert (await to_thread.run_sync(in_a_loop_of_its_own, memory.statistics))["total_rollouts"] == 1
    assert nothing_is_left(memory)


async def test_watching_from_a_thread_without_a_loop_is_refused(memory: InMemoryLightningStore) -> None:
    leave = memory.watch_queue(lambda: None)
    with pytest.raises(WrongLoop):
        await to_thread.run_sync(memory.watch_queue, lambda: None)
    leave()


def test_a_store_is_used_from_one_run_after_another() -> None:
    store = InMemoryLightningStore()

    async def enqueue_and_watch() -> str:
        leave = store.watch_queue(lambda: None)
        rollout = await store.enqueue_rollout("task")
        with anyio.move_on_after(0):
            await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])
        leave()
        return rollout.rollout_id

    async def claim() -> str:
        claimed = await store.dequeue_rollout()
        assert claimed is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: store.wait_for_rollouts(rollout_ids=[claimed.rollout_id]))
            await everyone_waits()
            await end(store, claimed)
        return claimed.rollout_id

    for first, second in [("asyncio", "trio"), ("trio", "asyncio"), ("asyncio", "asyncio")]:
        assert anyio.run(enqueue_and_watch, backend=first) == anyio.run(claim, backend=second)
    assert nothing_is_left(store)


def test_a_run_that_is_cut_short_while_someone_waits_leaves_the_store_usable() -> None:
    store = InMemoryLightningStore()

    async def cut_short() -> None:
        rollout = await store.enqueue_rollout("task")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: store.wait_for_rollouts(rollout_ids=[rollout.rollout_id]))
            tasks.start_soon(store.keep_time)
            await everyone_waits()
            raise KeyError

    for backend in ("asyncio", "trio"):
        with pytest.raises(ExceptionGroup):
            anyio.run(cut_short, backend=backend)
    assert nothing_is_left(store)
    assert anyio.run(store.statistics).get("total_rollouts") == 2


async def test_a_cancelled_caller_changes_nothing(memory: InMemoryLightningStore) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await memory.enqueue_rollout(1)
    assert scope.cancelled_caught
    assert (await memory.query_rollouts()).total == 0


async def test_a_busy_caller_lets_others_run_now_and_then(memory: InMemoryLightningStore) -> None:
    turns = 0
    done = anyio.Event()

    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        for _ in range(1_000):
            await memory.get_latest_resources()
        done.set()
    assert turns > 5


@pytest.mark.parametrize("how", ["answered", "cancelled", "timeout", "unknown"])
async def test_a_wait_leaves_nothing_behind(memory: InMemoryLightningStore, clock: VirtualClock, how: str) -> None:
    claims = [await running(memory) for _ in range(3)]
    ids = [claimed.rollout_id for claimed in claims]
    if how == "unknown":
        with pytest.raises(RolloutNotFound):
            await memory.wait_for_rollouts(rollout_ids=[*ids, "ro-none"])
        assert nothing_is_left(memory)
        return
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: memory.wait_for_rollouts(rollout_ids=ids, timeout=10))
        await everyone_waits()
        assert not nothing_is_left(memory)
        await end(memory, claims[1])
        if how == "cancelled":
            tasks.cancel_scope.cancel()
        elif how == "timeout":
            clock.advance(10)
        else:
            await end(memory, claims[0])
            await end(memory, claims[2])
    assert nothing_is_left(memory)


class CountingClock(VirtualClock):
    """Counts how often someone falls asleep."""

    naps = 0

    def move_on_after(self, seconds: float | None) -> AbstractContextManager[anyio.CancelScope]:
        self.naps += 1
        return super().move_on_after(seconds)


async def test_a_deadline_wakes_one_of_many_waiters() -> None:
    clock = CountingClock()
    store = InMemoryLightningStore(clock=clock)
    for number in range(3):
        await running(store, RolloutConfig(timeout_seconds=5 + number))
    kept = await running(store)
    waiters = [Later() for _ in range(50)]
    async with anyio.create_task_group() as tasks:
        for later in waiters:
            tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[kept.rollout_id]))
        await everyone_waits()
        assert clock.naps == 50
        clock.advance(4)
        for _ in range(3):
            clock.advance(1)
            await everyone_waits()
        assert clock.naps == 53
        await end(store, kept)
    assert [rollout.status for rollout in await store.query_rollouts()] == ["failed"] * 3 + ["succeeded"]


async def test_time_is_kept_for_whoever_asks_for_it(memory: InMemoryLightningStore, clock: VirtualClock) -> None:
    stopped: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(memory.keep_time)
        await everyone_waits()
        late = await running(memory, RolloutConfig(timeout_seconds=9))
        soon = await running(memory, RolloutConfig(timeout_seconds=4))
        leaves = [memory.watch_attempt(claimed.attempt.attempt_id, stopped.append) for claimed in (late, soon)]
        await everyone_waits()
        clock.advance(4)
        await everyone_waits()
        assert stopped == ["timeout"]
        assert memory.next_due() == late.attempt.start_time + 9
        clock.advance(5)
        await everyone_waits()
        assert stopped == ["timeout", "timeout"]
        tasks.cancel_scope.cancel()
        for leave in leaves:
            leave()
    assert nothing_is_left(memory)


async def test_ten_thousand_rollouts_are_waited_for_at_once(memory: InMemoryLightningStore) -> None:
    requests = [EnqueueRolloutRequest(input=number) for number in range(10_000)]
    ids = [rollout.rollout_id for rollout in await memory.enqueue_many_rollouts(requests)]
    one, each = Later(), [Later() for _ in ids[:1_000]]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, lambda: memory.wait_for_rollouts(rollout_ids=ids))
        for later, rollout_id in zip(each, ids, strict=False):
            tasks.start_soon(later.run, lambda r=rollout_id: memory.wait_for_rollouts(rollout_ids=[r]))
        await everyone_waits()
        for rollout_id in ids:
            await memory.update_rollout(rollout_id, status="cancelled")
    assert [rollout.rollout_id for rollout in one.value] == ids
    assert [later.value[0].rollout_id for later in each] == ids[:1_000]
    assert nothing_is_left(memory)


WRONG: list[tuple[Callable[[Any], Awaitable[Any]], str]] = [
    (
        lambda store: store.enqueue_rollout("x", "trian"),
        "enqueue_rollout: mode is 'trian': it should be 'train', 'val' or 'test'",
    ),
    (lambda store: store.add_resources({"llm": 1}), "add_resources: resources.llm is 1: it should be a valid dict"),
    (lambda store: store.start_rollout("x", worker_id=3), "start_rollout: worker_id is 3: it should be a valid string"),
    (lambda store: store.explain_rollout(5), "explain_rollout: rollout_id is 5: it should be a valid string"),
    (lambda store: store.explain_rollout(None), "explain_rollout: rollout_id is None: it should be a valid string"),
    (lambda store: store.next_completion(5), "next_completion: after is 5: it should be a valid string"),
    (lambda store: store.explain_rollout(), "explain_rollout: rollout_id is missing"),
    (lambda store: store.explain_rollout("ro-1", colour=2), "explain_rollout: it takes no argument colour"),
    (
        lambda store: store.explain_rollout("ro-1", "ro-2"),
        "explain_rollout: it takes 1 argument by place, and was given 2",
    ),
    (
        lambda store: store.query_spans("ro-1", "latest", "ro-2"),
        "query_spans: it takes 2 arguments by place, and was given 3",
    ),
    (lambda store: store.statistics("x"), "statistics: it takes no arguments, and was given 1"),
    (
        lambda store: store.query_rollouts(limit=-5, status_in=["queuing", "gone"]),
        r"query_rollouts: limit is -5: it should be greater than or equal to -1; status_in\[1\] is 'gone'",
    ),
    (
        lambda store: store.enqueue_many_rollouts([{"input": 1}, {"mode": "train"}]),
        r"enqueue_many_rollouts: requests\[1\].input is missing",
    ),
    (
        lambda store: store.enqueue_rollout(1, config={"max_attempts": 0, "colour": 1}),
        "enqueue_rollout: config.max_attempts is 0: it should be .* 1; config.colour is 1: extra inputs are",
    ),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("call", "told"), WRONG, ids=[told for _, told in WRONG])
async def test_a_wrong_argument_is_named_also_where_it_was_given_by_place(
    call: Callable[[Any], Awaitable[Any]], told: str
) -> None:
    store = InMemoryLightningStore()
    with pytest.raises(ConfigError, match=f"^{told}") as raised:
        await call(store)
    assert "pydantic" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.anyio
@pytest.mark.parametrize("view", [InMemoryLightningStore, lambda: BlockingStore(InMemoryLightningStore())])
async def test_a_wrong_cursor_is_refused_where_it_is_given(view: Any) -> None:
    with pytest.raises(ConfigError, match="after is 5: give a cursor, or None for the beginning"):
        view().completions(after=5)
