"""The contract of every store: a claim under a lease holds for as long as its holder gives word."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from store_homes import Later, Told, claim, end, everyone_waits, get, span_in

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import ConfigError, InvalidTransition
from lightning_actors.store import LightningStore
from lightning_actors.types import Attempt, AttemptedRollout, AttemptStatus, EnqueueRolloutRequest, Lease, RolloutConfig

pytestmark = pytest.mark.anyio

LEASE = Lease(holder="client-1", seconds=30)
RETRIED = RolloutConfig(max_attempts=2, retry_condition=["unresponsive"])


async def held(store: LightningStore, lease: Lease = LEASE, worker_id: str | None = None) -> AttemptedRollout:
    """Claim what must be there, under a lease."""
    claimed = await store.dequeue_rollout(worker_id, lease)
    assert claimed is not None
    return claimed


async def begun(store: LightningStore, lease: Lease = LEASE, config: RolloutConfig | None = None) -> AttemptedRollout:
    """A rollout whose attempt is running under a lease."""
    return await store.start_rollout("task", config=config, worker_id="Worker-1", begun=True, lease=lease)


async def last(store: LightningStore, claimed: AttemptedRollout) -> Attempt | None:
    """The newest attempt at the same rollout."""
    return await store.get_latest_attempt(claimed.rollout_id)


async def test_a_claim_whose_lease_lapses_is_undone(store: LightningStore, clock: VirtualClock) -> None:
    first, second = await store.enqueue_rollout("first"), await store.enqueue_rollout("second")
    lost = await held(store, worker_id="Worker-1")
    clock.advance(29)
    assert (await get(store, first.rollout_id)).status == "preparing"
    clock.advance(1)
    assert (await get(store, first.rollout_id)).status == "queuing"
    assert await last(store, lost) is None
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert (worker.status, worker.current_attempt_id) == ("idle", None)
    again = await claim(store)
    assert (again.rollout_id, again.attempt.sequence_id) == (first.rollout_id, 1), "no attempt is counted"
    assert (await claim(store)).rollout_id == second.rollout_id


async def test_what_lapses_in_one_go_stands_in_the_queue_as_before(store: LightningStore, clock: VirtualClock) -> None:
    await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=number) for number in range(6)])
    await store.dequeue_many_rollouts(limit=2, lease=LEASE)
    await held(store)
    clock.advance(5)
    await store.dequeue_many_rollouts(limit=2, lease=LEASE)
    clock.advance(30)
    assert [rollout.input for rollout in await store.dequeue_many_rollouts(limit=6)] == [0, 1, 2, 3, 4, 5]


async def test_a_second_attempt_that_never_began_is_put_back_as_one(store: LightningStore, clock: VirtualClock) -> None:
    config = RolloutConfig(max_attempts=2, retry_condition=["failed"])
    rollout = await store.enqueue_rollout("task", config=config)
    await end(store, await claim(store), "failed")
    await held(store)
    clock.advance(30)
    assert (await get(store, rollout.rollout_id)).status == "requeuing"
    assert (await claim(store)).attempt.sequence_id == 2


@pytest.mark.parametrize(("config", "status"), [(None, "failed"), (RETRIED, "requeuing")])
async def test_an_attempt_under_way_whose_lease_lapses_is_unresponsive(
    store: LightningStore, clock: VirtualClock, config: RolloutConfig | None, status: str
) -> None:
    lost = await begun(store, config=config)
    clock.advance(30)
    attempt = await last(store, lost)
    assert attempt is not None
    assert (attempt.status, attempt.end_time) == ("unresponsive", clock.time())
    assert attempt.metadata == {"reason": "lease lapsed"}
    assert (await get(store, lost.rollout_id)).status == status
    worker = await store.get_worker_by_id("Worker-1")
    assert worker is not None
    assert (worker.status, worker.current_attempt_id) == ("unknown", None)


async def test_late_spans_do_not_bring_back_what_its_holder_lost(store: LightningStore, clock: VirtualClock) -> None:
    lost = await begun(store, config=RETRIED)
    clock.advance(30)
    await store.add_span(span_in(lost))
    attempt = await last(store, lost)
    assert attempt is not None
    assert attempt.status == "unresponsive"
    assert (await store.query_spans(lost.rollout_id)).total == 1


async def test_a_result_that_comes_before_a_newer_attempt_counts(store: LightningStore, clock: VirtualClock) -> None:
    late, too_late = await begun(store, config=RETRIED), await begun(store, config=RETRIED)
    clock.advance(30)
    await end(store, late)
    assert (await get(store, late.rollout_id)).status == "succeeded"
    assert (await claim(store)).rollout_id == too_late.rollout_id
    with pytest.raises(InvalidTransition):
        await end(store, too_late)


async def test_a_lease_holds_for_its_seconds_from_each_renewal_on(store: LightningStore, clock: VirtualClock) -> None:
    short = await begun(store, Lease(holder="client-1", seconds=10))
    long, other = await begun(store), await begun(store, Lease(holder="client-2", seconds=10))
    for _ in range(3):
        clock.advance(9)
        assert await store.renew_leases("client-1") == []
    statuses = [attempt and attempt.status for attempt in [await last(store, one) for one in (short, long, other)]]
    assert statuses == ["running", "running", "unresponsive"]
    clock.advance(10)
    assert (await get(store, short.rollout_id)).status == "failed"
    clock.advance(19)
    assert (await get(store, long.rollout_id)).status == "running"
    clock.advance(1)
    assert (await get(store, long.rollout_id)).status == "failed"


async def test_only_those_that_are_named_are_renewed(store: LightningStore, clock: VirtualClock) -> None:
    await store.enqueue_rollout("lost on its way")
    known, unheard_of = await begun(store), await held(store)
    clock.advance(20)
    assert await store.renew_leases("client-1", [known.attempt.attempt_id]) == []
    clock.advance(10)
    assert (await get(store, known.rollout_id)).status == "running"
    assert (await get(store, unheard_of.rollout_id)).status == "queuing"


async def test_a_holder_is_told_what_it_does_not_hold(store: LightningStore, clock: VirtualClock) -> None:
    lost = await begun(store)
    clock.advance(10)
    kept, done = await begun(store), await begun(store)
    without, of_another = await claim_anew(store), await begun(store, Lease(holder="client-2", seconds=30))
    await end(store, done)
    clock.advance(20)
    named = [one.attempt.attempt_id for one in (lost, kept, done, without, of_another)]
    assert await store.renew_leases("client-1", [*named, "at-none"]) == [named[0], *named[2:], "at-none"]
    assert await store.renew_leases("client-3") == []
    assert await store.renew_leases("client-3", [named[1]]) == [named[1]]


async def claim_anew(store: LightningStore) -> AttemptedRollout:
    """A claim under no lease."""
    await store.enqueue_rollout("without a lease")
    return await claim(store)


async def test_without_a_lease_a_claim_holds(store: LightningStore, clock: VirtualClock) -> None:
    claimed, started = await claim_anew(store), await store.start_rollout("task", begun=True)
    clock.advance(1_000_000)
    assert (await get(store, claimed.rollout_id)).status == "preparing"
    assert (await get(store, started.rollout_id)).status == "running"


@pytest.mark.parametrize("status", ["succeeded", "failed", "timeout", "unresponsive"])
async def test_an_ended_attempt_has_no_lease(store: LightningStore, clock: VirtualClock, status: AttemptStatus) -> None:
    done = await begun(store)
    await end(store, done, status)
    assert (await store.explain_rollout(done.rollout_id)).held_by is None
    assert await store.renew_leases("client-1", [done.attempt.attempt_id]) == [done.attempt.attempt_id]
    before = await last(store, done)
    clock.advance(100)
    assert await last(store, done) == before


async def test_an_attempt_that_was_thought_gone_goes_on_without_its_lease(
    store: LightningStore, clock: VirtualClock
) -> None:
    back = await begun(store, config=RETRIED)
    await end(store, back, "unresponsive")
    await store.add_span(span_in(back))
    clock.advance(100)
    attempt = await last(store, back)
    assert attempt is not None
    assert attempt.status == "running"


async def test_release_cancel_and_another_attempt_end_a_lease(store: LightningStore, clock: VirtualClock) -> None:
    await store.enqueue_rollout("released")
    released = await held(store)
    assert await store.release_attempt(released.rollout_id, released.attempt.attempt_id)
    cancelled, replaced = await begun(store), await begun(store)
    await store.update_rollout(cancelled.rollout_id, status="cancelled")
    by_hand = await store.start_attempt(replaced.rollout_id)
    ids = [one.attempt.attempt_id for one in (released, cancelled, replaced, by_hand)]
    assert await store.renew_leases("client-1", ids) == ids
    clock.advance(100)
    assert (await get(store, replaced.rollout_id)).status == "preparing"


@pytest.mark.parametrize("is_begun", [False, True])
@pytest.mark.parametrize(
    ("config", "status"),
    [
        (RolloutConfig(timeout_seconds=29), "timeout"),
        (RolloutConfig(timeout_seconds=30), "timeout"),
        (RolloutConfig(unresponsive_seconds=30), "unresponsive"),
        (RolloutConfig(timeout_seconds=31, unresponsive_seconds=40), None),
    ],
)
async def test_the_earlier_decides_whenever_one_looks_and_a_deadline_goes_before_a_lease(
    store: LightningStore, clock: VirtualClock, config: RolloutConfig, status: AttemptStatus | None, *, is_begun: bool
) -> None:
    claimed = await store.start_rollout("task", config=config, begun=is_begun, lease=LEASE)
    clock.advance(1_000)
    attempt = await last(store, claimed)
    if status is not None:
        assert attempt is not None
        assert (attempt.status, attempt.metadata) == (status, {"reason": status})
    elif is_begun:
        assert attempt is not None
        assert (attempt.status, attempt.metadata) == ("unresponsive", {"reason": "lease lapsed"})
    else:
        assert attempt is None


async def test_a_renewal_is_no_sign_of_life_of_the_attempts(store: LightningStore, clock: VirtualClock) -> None:
    silent = await begun(store, config=RolloutConfig(unresponsive_seconds=40))
    for _ in range(2):
        clock.advance(20)
        await store.renew_leases("client-1")
    attempt = await last(store, silent)
    assert attempt is not None
    assert attempt.metadata == {"reason": "unresponsive"}


async def test_who_watches_is_told_that_a_lease_has_lapsed(store: LightningStore, clock: VirtualClock) -> None:
    await store.enqueue_rollout("never begun")
    claimed, under_way = await held(store), await begun(store)
    of_claimed, of_running, of_queue = Told(), Told(), Told()
    leaves = [
        store.watch_attempt(claimed.attempt.attempt_id, of_claimed.stop),
        store.watch_attempt(under_way.attempt.attempt_id, of_running.stop),
        store.watch_queue(of_queue.ready),
    ]
    await store.statistics()  # a store that is elsewhere has heard of the watches by now
    clock.advance(30)
    await store.statistics()
    assert (of_claimed.reasons, of_running.reasons) == (["released"], ["lease lapsed"])
    assert of_queue.taken()
    for leave in leaves:
        leave()


async def test_a_waiter_hears_of_a_lease_that_lapses_with_nobody_calling(
    store: LightningStore, clock: VirtualClock
) -> None:
    lost = await begun(store)
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[lost.rollout_id]))
        await everyone_waits(store)
        clock.advance(20)
        await store.renew_leases("client-1")
        clock.advance(20)
        await everyone_waits(store)
        assert not later.done.is_set()
        clock.advance(10)
        await later.done.wait()
    assert [rollout.status for rollout in later.value] == ["failed"]


async def test_an_explanation_says_who_holds_an_attempt_and_for_how_long(
    store: LightningStore, clock: VirtualClock
) -> None:
    leased, without = await begun(store), await store.start_rollout("task", begun=True)
    clock.advance(12)
    explained = await store.explain_rollout(leased.rollout_id)
    assert (explained.held_by, explained.held_until, explained.deadline) == ("client-1", clock.time() + 18, None)
    assert "client-1 holds it for 18.0 s more, unless it renews its lease." in str(explained)
    await store.renew_leases("client-1")
    assert (await store.explain_rollout(leased.rollout_id)).held_until == clock.time() + 30
    explained = await store.explain_rollout(without.rollout_id)
    assert (explained.held_by, explained.held_until) == (None, None)
    clock.advance(30)
    assert "unresponsive after 42.0 s: lease lapsed." in str(await store.explain_rollout(leased.rollout_id))


@pytest.mark.parametrize("fields", [{"seconds": 0}, {"seconds": -1}, {"seconds": math.inf}, {"holder": ""}])
async def test_a_lease_that_makes_no_sense_is_refused(store: LightningStore, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="lease"):
        await store.dequeue_rollout(lease={"holder": "client-1", "seconds": 30, **fields})  # pyright: ignore[reportArgumentType]  # a dict is taken, as for a config
