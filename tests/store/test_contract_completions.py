"""The contract of every store: completions, ended rollouts in the order in which they ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from store_homes import Later, claim, end, ended, everyone_waits, running, span_in

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.store import LightningStore
from lightning_actors.types import AttemptedRollout, Rollout, RolloutConfig

pytestmark = pytest.mark.anyio


async def take(feed: AsyncIterator[Rollout], count: int) -> list[Any]:
    """The tasks of the next few."""
    return [(await anext(feed)).input for _ in range(count)]


async def test_ended_rollouts_come_once_each_in_the_order_in_which_they_ended(store: LightningStore) -> None:
    claims = {task: await store.start_rollout(task) for task in "abcd"}
    await store.enqueue_rollout("queued")
    await end(store, claims["c"])
    await end(store, claims["a"], "failed")
    await store.update_rollout(claims["d"].rollout_id, status="cancelled")
    await end(store, claims["b"])
    feed = store.completions()
    rollouts = [await anext(feed) for _ in range(4)]
    assert [(rollout.input, rollout.status) for rollout in rollouts] == [
        ("c", "succeeded"),
        ("a", "failed"),
        ("d", "cancelled"),
        ("b", "succeeded"),
    ]
    assert all(isinstance(rollout, AttemptedRollout) for rollout in rollouts)
    assert await store.next_completion(feed.cursor, timeout=0) is None


async def test_a_cursor_goes_on_where_it_stands(store: LightningStore) -> None:
    for task in "abcde":
        await ended(store, task=task)
    feed = store.completions()
    assert feed.cursor is None
    assert await take(feed, 2) == ["a", "b"]
    assert await take(store.completions(after=feed.cursor), 3) == ["c", "d", "e"]
    assert await take(store.completions(after=feed.cursor), 1) == ["c"], "a cursor can be used again"
    assert await take(feed, 3) == ["c", "d", "e"]


async def test_from_the_cursor_of_now_only_what_ends_from_now_on_comes(store: LightningStore) -> None:
    start = await store.get_completion_cursor()
    await ended(store, task="before")
    now = await store.get_completion_cursor()
    await ended(store, task="after")
    assert await take(store.completions(after=now), 1) == ["after"]
    assert await take(store.completions(after=start), 2) == ["before", "after"]


async def test_a_reader_is_told_when_a_rollout_ends_and_of_nothing_else(store: LightningStore) -> None:
    feed, claimed = store.completions(), await running(store)
    done = await ended(store, task="done")
    await anext(feed)
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: anext(feed))
        await everyone_waits(store)
        await store.update_rollout(done.rollout_id, metadata={"note": "late"})
        await store.add_span(span_in(claimed))
        await store.enqueue_rollout("another")
        await everyone_waits(store)
        assert not later.done.is_set()
        await end(store, claimed)
    assert later.value.rollout_id == claimed.rollout_id
    assert later.value.status == "succeeded"


async def test_a_deadline_that_nobody_settles_wakes_the_reader(store: LightningStore, clock: VirtualClock) -> None:
    claimed, later = await running(store, RolloutConfig(timeout_seconds=5.0)), Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: anext(store.completions()))
        await everyone_waits(store)
        clock.advance(5.0)
    assert (later.value.rollout_id, later.value.status) == (claimed.rollout_id, "failed")


async def test_slow_readers_lose_nothing_and_hold_nobody_up(store: LightningStore) -> None:
    fast, slow = store.completions(), store.completions()
    for number in range(50):
        await ended(store, task=number)
        assert await take(fast, 1) == [number]
    assert await take(slow, 50) == list(range(50))


async def test_many_readers_are_all_told(store: LightningStore) -> None:
    laters = [Later() for _ in range(20)]
    async with anyio.create_task_group() as tasks:
        for later in laters:
            feed = store.completions()
            tasks.start_soon(later.run, lambda feed=feed: anext(feed))
        await everyone_waits(store)
        await ended(store, task="seen by all")
    assert [later.value.input for later in laters] == ["seen by all"] * 20


async def test_a_reader_that_is_cancelled_loses_nothing(store: LightningStore) -> None:
    feed = store.completions()
    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed.__anext__)
            await everyone_waits(store)
            tasks.cancel_scope.cancel()
    await ended(store, task="a")
    assert await take(feed, 1) == ["a"]


async def test_a_retry_that_follows_is_no_completion(store: LightningStore) -> None:
    await store.enqueue_rollout("x", config=RolloutConfig(max_attempts=2, retry_condition=["failed"]))
    await end(store, await claim(store), "failed")
    assert await store.next_completion(timeout=0) is None
    await end(store, await claim(store))
    assert await take(store.completions(), 1) == ["x"]


async def test_a_rollout_that_is_run_again_stands_where_it_ended_last(store: LightningStore) -> None:
    feed, again = store.completions(), await ended(store, task="again")
    assert await take(feed, 1) == ["again"]
    await ended(store, task="other")
    await store.update_rollout(again.rollout_id, status="queuing")
    assert await take(store.completions(), 1) == ["other"], "what goes on has not ended"
    await end(store, await claim(store))
    assert await take(feed, 2) == ["other", "again"], "who has seen its first end sees its second too"
    assert await take(store.completions(), 2) == ["other", "again"]
    assert await store.next_completion(feed.cursor, timeout=0) is None


async def test_a_wait_for_the_next_ends_with_its_timeout(store: LightningStore, clock: VirtualClock) -> None:
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.next_completion(timeout=3.0))
        await everyone_waits(store)
        assert not later.done.is_set()
        clock.advance(3.0)
    assert (later.value, later.error) == (None, None)


@pytest.mark.parametrize("cursor", ["", "latest", "co-", "co-xyz", "ro-1", "co-00000001 "])
async def test_what_is_no_cursor_is_refused(store: LightningStore, cursor: str) -> None:
    with pytest.raises(ValueError, match="is no cursor"):
        await anext(store.completions(after=cursor))


async def test_a_cursor_of_another_store_is_refused_where_that_can_be_told(store: LightningStore) -> None:
    await ended(store)
    feed = store.completions()
    await anext(feed)
    ahead = str(feed.cursor)[:-1] + "2"
    for seconds in (None, 0, 5):
        with pytest.raises(ValueError, match="another store"):
            await store.next_completion(ahead, timeout=seconds)
