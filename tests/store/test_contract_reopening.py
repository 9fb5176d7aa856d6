"""The contract of every store that is kept: opened again, it goes on where it was."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from store_homes import Home, claim, dump, end, ended, get, running, span_in

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import ReplyForgotten, RunHeld
from lightning_actors.store import LightningStore
from lightning_actors.store.messages import DequeueRollout, EnqueueRollout
from lightning_actors.store.once import Once
from lightning_actors.types import Attempt, EnqueueRolloutRequest, Lease, PromptTemplate, RolloutConfig

pytestmark = pytest.mark.anyio

Opened = Callable[[], AbstractAsyncContextManager[LightningStore]]

LEASE = Lease(holder="client-1", seconds=30)
GONE = "the process that ran it is gone"


@pytest.fixture
def opened(kept_home: Home, its_clock: VirtualClock, place: Path) -> Opened:
    """Opens the store, always the same."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[LightningStore]:
        async with kept_home.open(its_clock, place) as store:
            yield store

    return opened


async def latest(store: LightningStore, rollout_id: str) -> Attempt:
    """The newest attempt, which must be there."""
    attempt = await store.get_latest_attempt(rollout_id)
    assert attempt is not None
    return attempt


async def test_what_was_answered_is_there_when_it_is_opened_again(opened: Opened) -> None:
    template = PromptTemplate(template="x", engine="f-string")
    async with opened() as store:
        assert store.capabilities.get("durable") is True
        await store.add_resources({"prompt": template})
        await store.update_resources("mine", {"prompt": template})
        await store.update_resources("mine", {"prompt": template})
        done = await ended(store)
        failed = await running(store, RolloutConfig(max_attempts=2, retry_condition=["failed"], timeout_seconds=9))
        await store.add_many_spans([span_in(failed), span_in(failed, sequence_id=7)])
        await end(store, failed, "failed")
        await store.update_worker("Worker-1", {"load": 1})
        await store.enqueue_rollout({"question": [1, None, "two"]}, mode="val", metadata={"note": 1})
        held = await dump(store)
    async with opened() as store:
        assert await dump(store) == held
        again = await claim(store)
        assert (again.rollout_id, again.attempt.sequence_id) == (failed.rollout_id, 2)
        assert await store.get_next_span_sequence_id(again.rollout_id, again.attempt.attempt_id) == 8
        assert (await get(store, done.rollout_id)).status == "succeeded"
        assert (await store.update_resources("mine", {"prompt": template})).version == 3


async def test_the_queue_is_in_order(opened: Opened) -> None:
    async with opened() as store:
        await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=number) for number in range(6)])
        first = await claim(store)
        await store.update_rollout((await claim(store)).rollout_id, status="queuing")
        await store.release_attempt(first.rollout_id, first.attempt.attempt_id)
    async with opened() as store:
        assert [rollout.input for rollout in await store.dequeue_many_rollouts(limit=9)] == [0, 2, 3, 4, 5, 1]


async def test_a_cursor_goes_on(opened: Opened) -> None:
    async with opened() as store:
        feed = store.completions()
        for task in "abc":
            await ended(store, task=task)
        assert (await anext(feed)).input == "a"
        cursor = feed.cursor
    async with opened() as store:
        await ended(store, task="d")
        feed = store.completions(after=cursor)
        assert [(await anext(feed)).input for _ in range(3)] == ["b", "c", "d"]
        assert await store.next_completion(feed.cursor, timeout=0) is None


async def test_keys_and_replies_are_remembered(opened: Opened) -> None:
    envelope = Once("client-1", 1, message=EnqueueRollout("task"))
    claim_it = Once("client-1", 2, settled_below=1, message=DequeueRollout(lease=LEASE))
    async with opened() as store:
        keyed = await store.enqueue_rollout("keyed", key="k")
        await store.update_rollout(keyed.rollout_id, status="cancelled")
        rollout, claimed = await store.ask(envelope), await store.ask(claim_it)
        assert claimed.rollout_id == rollout.rollout_id
    async with opened() as store:
        assert (await store.enqueue_rollout("again", key="k")).rollout_id == keyed.rollout_id
        assert await store.ask(envelope) == rollout
        assert await store.ask(claim_it) == claimed
        await store.ask(Once("client-1", 3, settled_below=2, message=DequeueRollout()))
    async with opened() as store:
        with pytest.raises(ReplyForgotten):
            await store.ask(envelope)
        assert (await store.query_rollouts()).total == 2


async def test_a_claim_of_a_process_that_is_gone_is_undone(opened: Opened) -> None:
    async with opened() as store:
        rollout = await store.enqueue_rollout("task")
        await claim(store, "Worker-1")
    async with opened() as store:
        assert (await get(store, rollout.rollout_id)).status == "queuing"
        assert (await store.query_attempts(rollout.rollout_id)).total == 0
        worker = await store.get_worker_by_id("Worker-1")
        assert worker is not None
        assert (worker.status, worker.current_attempt_id) == ("idle", None)
        assert (await claim(store)).attempt.sequence_id == 1


async def test_an_attempt_of_a_process_that_is_gone_is_tried_again(opened: Opened) -> None:
    """Also where the config allows no retry: it was not the attempt that failed."""
    async with opened() as store:
        started = await store.start_rollout("task", worker_id="Worker-1", begun=True)
    async with opened() as store:
        attempt = await latest(store, started.rollout_id)
        assert attempt.status == "unresponsive"
        assert attempt.end_time is not None
        assert attempt.metadata == {"reason": GONE, "counted": False}
        worker = await store.get_worker_by_id("Worker-1")
        assert worker is not None
        assert (worker.status, worker.current_attempt_id) == ("unknown", None)
        assert (await get(store, started.rollout_id)).status == "requeuing"
        again = await claim(store)
        assert (again.rollout_id, again.attempt.sequence_id) == (started.rollout_id, 2)
        await end(store, again, "failed")
        assert (await get(store, started.rollout_id)).status == "failed"


async def test_what_is_not_counted_leaves_the_other_attempts_that_are_allowed(opened: Opened) -> None:
    config = RolloutConfig(max_attempts=2, retry_condition=["failed"])
    async with opened() as store:
        rollout_id = (await running(store, config)).rollout_id
    for _ in range(2):
        async with opened() as store:
            claimed = await claim(store)
            await store.update_attempt(rollout_id, claimed.attempt.attempt_id, status="running")
    async with opened() as store:
        first_id = (await store.query_attempts(rollout_id))[0].attempt_id
        await store.update_attempt(rollout_id, first_id, metadata={"note": "of mine"})
        assert (await store.query_attempts(rollout_id))[0].metadata == {"note": "of mine", "counted": False}
        await end(store, await claim(store), "failed")
        assert (await get(store, rollout_id)).status == "requeuing"
        await end(store, await claim(store), "failed")
        assert (await get(store, rollout_id)).status == "failed"
        assert (await store.query_attempts(rollout_id)).total == 5


async def test_an_explanation_says_what_was_not_counted(opened: Opened, clock: VirtualClock) -> None:
    config = RolloutConfig(max_attempts=2, retry_condition=["failed"])
    async with opened() as store:
        rollout_id = (await running(store, config)).rollout_id
        clock.advance(3)
    async with opened() as store:
        explained = await store.explain_rollout(rollout_id)
        assert (explained.n_attempts, explained.n_uncounted, explained.max_attempts) == (1, 1, 2)
        assert [one.is_counted for one in explained.attempts] == [False]
        assert "queued for attempt 2 of 3" in str(explained)
        assert f"became unresponsive after 3.0 s: {GONE} (not counted)." in str(explained)


async def test_what_was_under_way_stands_before_what_was_queued(opened: Opened, clock: VirtualClock) -> None:
    async with opened() as store:
        await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=number) for number in range(5)])
        for number in range(3):
            claimed = await claim(store)
            clock.advance(1)
            if number != 1:
                await store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="running")
    async with opened() as store:
        assert [rollout.input for rollout in await store.dequeue_many_rollouts(limit=9)] == [0, 1, 2, 3, 4]


async def test_a_late_result_of_the_process_that_is_gone_counts_before_a_newer_attempt(opened: Opened) -> None:
    async with opened() as store:
        started = await running(store)
    async with opened() as store:
        await store.add_span(span_in(started))
        assert (await latest(store, started.rollout_id)).status == "unresponsive", "spans on their way revive nothing"
        await end(store, started)
        assert (await get(store, started.rollout_id)).status == "succeeded"
        assert (await latest(store, started.rollout_id)).metadata in ({}, None)


async def test_an_attempt_under_a_lease_goes_on_for_a_whole_lease(opened: Opened, clock: VirtualClock) -> None:
    async with opened() as store:
        await store.enqueue_rollout("claimed")
        claimed = await store.dequeue_rollout(lease=LEASE)
        under_way = await store.start_rollout("running", begun=True, lease=LEASE)
        long = await store.start_rollout("long", begun=True, lease=Lease(holder="client-1", seconds=1_000))
        assert claimed is not None
    clock.advance(3_000)
    async with opened() as store:
        ids = [one.attempt.attempt_id for one in (claimed, under_way, long)]
        assert await store.renew_leases("client-1", [ids[2]]) == []
        clock.advance(29)
        for one, status in ((claimed, "preparing"), (under_way, "running"), (long, "running")):
            assert (await get(store, one.rollout_id)).status == status
        await store.renew_leases("client-1", [ids[1]])
        clock.advance(1)
        assert (await get(store, claimed.rollout_id)).status == "queuing"
        assert (await get(store, under_way.rollout_id)).status == "running"
        clock.advance(29)
        assert (await latest(store, under_way.rollout_id)).metadata == {"reason": "lease lapsed"}


async def test_a_lease_that_holds_for_longer_is_left_as_it_is(opened: Opened, clock: VirtualClock) -> None:
    async with opened() as store:
        started = await store.start_rollout("task", begun=True, lease=LEASE)
        until = clock.time() + 30
        clock.advance(10)
    async with opened() as store:
        assert (await store.explain_rollout(started.rollout_id)).held_until == until + 10
    async with opened() as store:
        assert (await store.explain_rollout(started.rollout_id)).held_until == until + 10


async def test_silence_while_the_store_was_away_is_nobodys(opened: Opened, clock: VirtualClock) -> None:
    config = RolloutConfig(unresponsive_seconds=5, timeout_seconds=1_000)
    async with opened() as store:
        leased = await store.start_rollout("task", config=config, begun=True, lease=LEASE)
    clock.advance(100)
    async with opened() as store:
        clock.advance(4)
        assert (await latest(store, leased.rollout_id)).status == "running"
        clock.advance(1)
        assert (await latest(store, leased.rollout_id)).metadata == {"reason": "unresponsive"}


async def test_silence_while_the_store_was_away_is_nobodys_where_it_is_bounded_later_either(
    opened: Opened, clock: VirtualClock
) -> None:
    async with opened() as store:
        leased = await store.start_rollout("task", begun=True, lease=LEASE)
    clock.advance(20)
    async with opened() as store:
        await store.update_rollout(leased.rollout_id, config=RolloutConfig(unresponsive_seconds=10))
        assert (await latest(store, leased.rollout_id)).status == "running"
        clock.advance(10)
        assert (await latest(store, leased.rollout_id)).metadata == {"reason": "unresponsive"}


async def test_a_timeout_that_passed_while_the_store_was_away_is_kept(opened: Opened, clock: VirtualClock) -> None:
    config = RolloutConfig(timeout_seconds=50)
    async with opened() as store:
        leased = await store.start_rollout("task", config=config, begun=True, lease=LEASE)
    clock.advance(100)
    async with opened() as store:
        assert (await latest(store, leased.rollout_id)).status == "timeout"


async def test_deadlines_are_kept_from_one_opening_to_the_next(opened: Opened, clock: VirtualClock) -> None:
    async with opened() as store:
        rollout = await store.enqueue_rollout("task", config=RolloutConfig(timeout_seconds=5))
    async with opened() as store:
        await claim(store)
        clock.advance(5)
        assert (await latest(store, rollout.rollout_id)).status == "timeout"


async def test_a_run_of_a_process_that_is_gone_is_gone_on_with(opened: Opened) -> None:
    async with opened() as store:
        left = await store.begin_run("baseline", "f")
        await store.leave_run(left.run_id, left.turn)
        held, over = await store.begin_run("search", "f"), await store.begin_run("other", "f")
        await store.end_run(over.run_id, over.turn)
    async with opened() as store:
        for before in (left, held):
            after = await store.begin_run(before.name, "f")
            assert (after.run_id, after.turn) == (before.run_id, 2)
        assert (await store.begin_run("other", "f")).turn == 1
        assert not await store.end_run(held.run_id, held.turn), "it was gone on with"


async def test_a_run_under_a_lease_is_held_for_a_whole_lease(opened: Opened, clock: VirtualClock) -> None:
    async with opened() as store:
        run = await store.begin_run("baseline", "f", LEASE)
        clock.advance(1_000)
    async with opened() as store:
        with pytest.raises(RunHeld) as caught:
            await store.begin_run("baseline", "f")
        assert (caught.value.name, caught.value.seconds) == ("baseline", 30)
        clock.advance(30)
        assert (await store.begin_run("baseline", "f")).run_id == run.run_id


async def test_opening_again_and_again_changes_nothing_more(opened: Opened) -> None:
    async with opened() as store:
        await running(store)
        await store.enqueue_rollout("task")
        await claim(store)
        await ended(store)
    async with opened() as store:
        held = await dump(store)
    for _ in range(3):
        async with opened() as store:
            assert await dump(store) == held
