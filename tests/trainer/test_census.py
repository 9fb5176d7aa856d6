"""Which rollouts a run counts, apart from any run; test_runs_share_a_store.py has it with runs."""

from __future__ import annotations

from contextlib import suppress

import pytest

import lightning_actors as agl
from lightning_actors.actors import SystemClock
from lightning_actors.errors import RunnerError
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.trainer.census import Census

pytestmark = pytest.mark.anyio


class SetBack(SystemClock):
    """A wall clock that somebody sets."""

    now = 1000.0

    def time(self) -> float:
        return self.now


async def recorded(census: Census, store: agl.LightningStore, task: str) -> None:
    rollout = await store.enqueue_rollout(task)
    census.page.record([rollout.rollout_id])


async def taken(census: Census) -> list[tuple[str, str]]:
    return [(rollout.input, rollout.status) for rollout in await census.take()]


async def test_what_is_counted_stays_counted_when_the_result_is_made_again() -> None:
    store = InMemoryLightningStore()
    with Census(store) as census:
        await census.begin()
        await recorded(census, store, "own")
        await store.enqueue_rollout("of nobody")
        for _ in range(2):
            assert await taken(census) == [("own", "queuing"), ("of nobody", "queuing")]


async def test_a_run_counts_what_it_recorded_also_where_the_wall_clock_was_set_back() -> None:
    clock = SetBack()
    store = InMemoryLightningStore(clock=clock)
    rollout = await store.enqueue_rollout("before")
    await store.update_rollout(rollout.rollout_id, status="cancelled")
    await store.start_rollout("a step before")
    with Census(store) as census:
        await census.begin()
        clock.now = 500.0
        await recorded(census, store, "own")
        assert ("own", "queuing") in await taken(census)


async def test_more_rollouts_than_are_read_at_once_are_all_counted_in_order() -> None:
    store = InMemoryLightningStore()
    await store.enqueue_rollout("before")
    with Census(store) as census:
        await census.begin()
        requests = [agl.EnqueueRolloutRequest(input=str(number)) for number in range(1234)]
        rollouts = await store.enqueue_many_rollouts(requests)
        census.page.record(rollout.rollout_id for rollout in rollouts)
        assert await taken(census) == [(str(number), "queuing") for number in range(1234)]


async def test_a_run_whose_result_nobody_sees_gives_up_what_it_recorded() -> None:
    store = InMemoryLightningStore()
    with Census(store) as other:
        await other.begin()
        with suppress(ZeroDivisionError), Census(store) as census:
            await census.begin()
            await recorded(census, store, "x")
            assert await taken(other) == []
            raise ZeroDivisionError
        assert await taken(other) == [("x", "queuing")]


async def test_a_ledger_forgets_when_the_last_run_has_ended() -> None:
    store = InMemoryLightningStore()
    with Census(store) as census:
        await census.begin()
        await recorded(census, store, "left over")
        claimed = await store.start_rollout("by hand")
        census.page.claim(claimed)
        await census.take()
        assert census.page.is_left_over((await store.query_rollouts())[0].rollout_id)
    ledger = store.run_ledger
    assert (ledger.owners, ledger.claims, ledger.left_over) == ({}, {}, {})


async def test_counting_before_the_run_is_an_error_that_says_where_it_belongs() -> None:
    with pytest.raises(RunnerError, match=r"with run\.census"):
        await Census(InMemoryLightningStore()).take()


async def test_what_another_run_is_just_recording_is_not_taken_for_nobodys() -> None:
    store = InMemoryLightningStore()
    with Census(store) as census, Census(store) as other:
        await census.begin()
        await other.begin()
        with other.page.recording():
            rollout = await store.enqueue_rollout("of the other")
            assert await taken(census) == []
            other.page.record([rollout.rollout_id])
        assert await taken(census) == []
        assert await taken(other) == [("of the other", "queuing")]


async def test_what_was_run_to_its_end_before_its_run_heard_of_it_is_counted_once() -> None:
    store = InMemoryLightningStore()
    with Census(store) as census, Census(store) as other:
        await census.begin()
        await other.begin()
        with other.page.recording():
            rollout = await store.enqueue_rollout("of the other")
            claimed = await store.dequeue_rollout()
            assert claimed is not None
            census.page.claim(claimed)
            await store.update_attempt(rollout.rollout_id, "latest", status="succeeded")
            assert await taken(census) == [("of the other", "succeeded")]
            other.page.record([rollout.rollout_id])
        assert await taken(other) == []


async def test_what_another_run_has_in_hand_when_its_own_ends_is_counted_there_with_its_outcome() -> None:
    store = InMemoryLightningStore()
    with Census(store) as census:
        await census.begin()
        with Census(store) as other:
            await other.begin()
            await recorded(other, store, "of the other")
            claimed = await store.dequeue_rollout()
            assert claimed is not None
            census.page.claim(claimed)
            assert await taken(other) == [("of the other", "preparing")]
        await store.update_attempt(claimed.rollout_id, "latest", status="succeeded")
        assert await taken(census) == [("of the other", "succeeded")]
