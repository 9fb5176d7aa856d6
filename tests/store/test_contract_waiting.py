"""The contract of every store: waiting for rollouts to end."""

from __future__ import annotations

import anyio
import pytest
from store_homes import Later, claim, end, ended, everyone_waits, running

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import RolloutNotFound
from lightning_actors.store import LightningStore
from lightning_actors.types import EnqueueRolloutRequest, Rollout, RolloutConfig

pytestmark = pytest.mark.anyio


async def test_what_has_ended_is_answered_at_once_in_the_order_asked_for(store: LightningStore) -> None:
    ids = [(await ended(store, task=number)).rollout_id for number in range(3)]
    wanted = [ids[2], ids[0], ids[1]]
    answered = await store.wait_for_rollouts(rollout_ids=wanted)
    assert [rollout.rollout_id for rollout in answered] == wanted
    assert {rollout.status for rollout in answered} == {"succeeded"}


async def test_duplicates_are_answered_once(store: LightningStore) -> None:
    first, second = await ended(store), await ended(store)
    ids = [second.rollout_id, first.rollout_id, second.rollout_id]
    answered = await store.wait_for_rollouts(rollout_ids=ids)
    assert [rollout.rollout_id for rollout in answered] == ids[:2]


async def test_waiting_for_nothing_is_answered_at_once(store: LightningStore) -> None:
    assert await store.wait_for_rollouts(rollout_ids=[]) == []


@pytest.mark.parametrize("seconds", [None, 0, 5])
async def test_an_unknown_id_is_refused_at_once(store: LightningStore, seconds: float | None) -> None:
    known = await store.enqueue_rollout(1)
    with pytest.raises(RolloutNotFound) as caught:
        await store.wait_for_rollouts(rollout_ids=[known.rollout_id, "ro-none"], timeout=seconds)
    assert caught.value.rollout_id == "ro-none"


@pytest.mark.parametrize("seconds", [0, -1, -0.5])
async def test_a_timeout_of_zero_or_less_only_looks(store: LightningStore, seconds: float) -> None:
    done, waiting = await ended(store), await store.enqueue_rollout(1)
    answered = await store.wait_for_rollouts(rollout_ids=[waiting.rollout_id, done.rollout_id], timeout=seconds)
    assert [rollout.rollout_id for rollout in answered] == [done.rollout_id]


async def test_a_waiter_is_answered_when_the_last_has_ended(store: LightningStore) -> None:
    claims = [await running(store) for _ in range(3)]
    later, ids = Later(), [claimed.rollout_id for claimed in claims]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=ids))
        for claimed in reversed(claims):
            await everyone_waits(store)
            assert not later.done.is_set()
            await end(store, claimed, "failed" if claimed is claims[1] else "succeeded")
    assert [rollout.status for rollout in later.value] == ["succeeded", "failed", "succeeded"]


async def test_a_cancelled_rollout_answers_its_waiters(store: LightningStore) -> None:
    rollout = await store.enqueue_rollout("never claimed")
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[rollout.rollout_id]))
        await everyone_waits(store)
        await store.update_rollout(rollout.rollout_id, status="cancelled")
    assert [answered.status for answered in later.value] == ["cancelled"]


async def test_a_timeout_answers_the_finished_part_in_order(store: LightningStore, clock: VirtualClock) -> None:
    claims = [await running(store) for _ in range(4)]
    later, ids = Later(), [claimed.rollout_id for claimed in claims]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=ids, timeout=10))
        await everyone_waits(store)
        await end(store, claims[3])
        await end(store, claims[1])
        clock.advance(9)
        await everyone_waits(store)
        assert not later.done.is_set()
        clock.advance(1)
    assert [rollout.rollout_id for rollout in later.value] == [ids[1], ids[3]]


async def test_a_rollout_that_is_requeued_has_not_ended(store: LightningStore) -> None:
    first = await running(store, RolloutConfig(max_attempts=2, retry_condition=["failed"]))
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[first.rollout_id]))
        await everyone_waits(store)
        await end(store, first, "failed")
        await everyone_waits(store)
        assert not later.done.is_set()
        await end(store, await claim(store))
    assert [rollout.status for rollout in later.value] == ["succeeded"]


async def test_a_rollout_reopened_while_others_are_waited_for_is_waited_for_again(store: LightningStore) -> None:
    reopened, other = await ended(store), await running(store)
    later, ids = Later(), [reopened.rollout_id, other.rollout_id]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=ids))
        await everyone_waits(store)
        await store.update_rollout(reopened.rollout_id, status="queuing")
        await end(store, other)
        await everyone_waits(store)
        assert not later.done.is_set()
        await end(store, await claim(store))
    assert [rollout.rollout_id for rollout in later.value] == ids


async def test_a_waiter_sees_what_was_so_when_the_last_ended(store: LightningStore) -> None:
    claimed = await running(store)
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[claimed.rollout_id]))
        await everyone_waits(store)
        await end(store, claimed)
        await store.update_rollout(claimed.rollout_id, status="queuing")
    assert [rollout.status for rollout in later.value] == ["succeeded"]


async def test_many_waiters_for_one_rollout_are_all_answered(store: LightningStore) -> None:
    claimed = await running(store)
    waiters = [Later() for _ in range(20)]
    async with anyio.create_task_group() as tasks:
        for later in waiters:
            tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[claimed.rollout_id]))
        await everyone_waits(store)
        await end(store, claimed)
    assert [len(later.value) for later in waiters] == [1] * 20


async def test_a_waiter_that_is_cancelled_disturbs_nobody(store: LightningStore) -> None:
    claimed = await running(store)
    later = Later()
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[claimed.rollout_id]))
            await everyone_waits(store)
            scope.cancel()
            await store.wait_for_rollouts(rollout_ids=[claimed.rollout_id])
        assert scope.cancelled_caught
        await end(store, claimed)
    assert [rollout.status for rollout in later.value] == ["succeeded"]


async def test_a_thousand_rollouts_are_waited_for_at_once(store: LightningStore) -> None:
    requests = [EnqueueRolloutRequest(input=number) for number in range(1_000)]
    ids = [rollout.rollout_id for rollout in await store.enqueue_many_rollouts(requests)]
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=ids))
        claims = await store.dequeue_many_rollouts(limit=1_000)
        for claimed in claims[:-1]:
            await store.update_rollout(claimed.rollout_id, status="cancelled")
        part = await store.wait_for_rollouts(rollout_ids=ids, timeout=0)
        assert len(part) == 999
        assert not later.done.is_set()
        await end(store, claims[-1])
    answered: list[Rollout] = later.value
    assert [rollout.rollout_id for rollout in answered] == ids


async def test_a_deadline_answers_a_waiter_with_nobody_else_there(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await running(store, RolloutConfig(timeout_seconds=5))
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[claimed.rollout_id]))
        await everyone_waits(store)
        clock.advance(5)
    assert [rollout.status for rollout in later.value] == ["failed"]


async def test_a_deadline_that_appears_while_someone_waits_is_kept(store: LightningStore, clock: VirtualClock) -> None:
    rollout = await store.enqueue_rollout("task", config=RolloutConfig(timeout_seconds=5))
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[rollout.rollout_id]))
        await everyone_waits(store)
        await claim(store)
        await everyone_waits(store)
        clock.advance(5)
    assert [rollout.status for rollout in later.value] == ["failed"]


async def test_a_deadline_before_the_timeout_does_not_end_the_wait(store: LightningStore, clock: VirtualClock) -> None:
    config = RolloutConfig(timeout_seconds=5, max_attempts=2, retry_condition=["timeout"])
    rollout = await running(store, config)
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[rollout.rollout_id], timeout=8))
        await everyone_waits(store)
        clock.advance(5)
        await everyone_waits(store)
        assert not later.done.is_set()
        clock.advance(3)
    assert later.value == []


async def test_the_first_of_two_waiters_hands_the_deadlines_over(store: LightningStore, clock: VirtualClock) -> None:
    first = await running(store)
    second = await running(store, RolloutConfig(timeout_seconds=5))
    waiters = [Later(), Later()]
    async with anyio.create_task_group() as tasks:
        for later, rollout_id in zip(waiters, [first.rollout_id, second.rollout_id], strict=True):
            tasks.start_soon(later.run, lambda r=rollout_id: store.wait_for_rollouts(rollout_ids=[r]))
            await everyone_waits(store)
        await end(store, first)
        await waiters[0].done.wait()
        await everyone_waits(store)
        clock.advance(5)
    assert [rollout.status for rollout in waiters[1].value] == ["failed"]
