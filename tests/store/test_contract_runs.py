"""The contract of every store: runs of algorithms, which may be interrupted and gone on with."""

from __future__ import annotations

import re

import pytest

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import RunHeld
from lightning_actors.store import LightningStore
from lightning_actors.types import Lease, RunRecord

pytestmark = pytest.mark.anyio

LEASE = Lease(holder="client-1", seconds=30)
OTHERS = Lease(holder="client-2", seconds=30)


async def begun(store: LightningStore, lease: Lease | None = None, *, anew: bool = False) -> RunRecord:
    """Begin the run that all tests speak of, or go on with it."""
    return await store.begin_run("baseline", "f", lease, anew=anew)


async def test_a_run_is_begun(store: LightningStore, clock: VirtualClock) -> None:
    run = await begun(store)
    assert re.fullmatch("rn-[0-9a-f]{12}", run.run_id)
    assert run == RunRecord(run_id=run.run_id, name="baseline", fingerprint="f", start_time=clock.time())


async def test_a_run_that_was_left_is_gone_on_with(store: LightningStore, clock: VirtualClock) -> None:
    first = await begun(store)
    clock.advance(5)
    for turn in (2, 3):
        assert await store.leave_run(first.run_id, turn - 1)
        again = await begun(store)
        assert again == first.evolve(turn=turn)


async def test_a_run_that_has_ended_is_not_gone_on_with(store: LightningStore) -> None:
    first = await begun(store)
    assert await store.end_run(first.run_id, 1)
    second = await begun(store)
    assert (second.turn, second.run_id == first.run_id) == (1, False)


async def test_two_at_once_do_not_take_each_others_run(store: LightningStore) -> None:
    first, second = await begun(store), await begun(store)
    assert first.run_id != second.run_id
    await store.leave_run(second.run_id, 1)
    assert (await begun(store)).run_id == second.run_id
    await store.leave_run(first.run_id, 1)
    await store.leave_run(second.run_id, 2)
    assert (await begun(store)).run_id == first.run_id, "the oldest first"


async def test_another_name_or_fingerprint_is_another_run(store: LightningStore) -> None:
    run = await begun(store)
    await store.leave_run(run.run_id, 1)
    for name, fingerprint in (("baseline", "g"), ("search", "f")):
        assert (await store.begin_run(name, fingerprint)).run_id != run.run_id
    assert (await begun(store)).run_id == run.run_id


async def test_whoever_had_an_earlier_turn_has_no_say(store: LightningStore) -> None:
    run = await begun(store)
    await store.leave_run(run.run_id, 1)
    await begun(store)
    assert not await store.end_run(run.run_id, 1)
    assert not await store.leave_run(run.run_id, 1)
    assert (await begun(store)).run_id != run.run_id, "it is still held"
    assert await store.end_run(run.run_id, 2)
    for over in (run.run_id, "rn-none"):
        assert not await store.end_run(over, 2)
        assert not await store.leave_run(over, 2)


async def test_anew_forgets_what_nobody_holds_and_leaves_the_rest(store: LightningStore) -> None:
    held, left = await begun(store), await begun(store)
    await store.leave_run(left.run_id, 1)
    fresh = await begun(store, anew=True)
    assert fresh.run_id not in {held.run_id, left.run_id}
    assert not await store.end_run(left.run_id, 1)
    assert await store.leave_run(held.run_id, 1)
    assert (await begun(store)).run_id == held.run_id


async def test_a_run_that_is_held_elsewhere_is_refused_until_its_lease_lapses(
    store: LightningStore, clock: VirtualClock
) -> None:
    run = await begun(store, LEASE)
    assert (run.holder, run.lease_seconds, run.held_until) == ("client-1", 30, clock.time() + 30)
    clock.advance(10)
    for lease in (OTHERS, None):
        with pytest.raises(RunHeld) as caught:
            await begun(store, lease)
        assert (caught.value.name, caught.value.seconds) == ("baseline", 20)
    assert (await begun(store, OTHERS, anew=True)).run_id != run.run_id
    clock.advance(20)
    again = await begun(store, OTHERS)
    assert (again.run_id, again.turn, again.holder) == (run.run_id, 2, "client-2")


async def test_a_holder_that_gives_word_holds_its_runs(store: LightningStore, clock: VirtualClock) -> None:
    run = await begun(store, LEASE)
    for named in (None, [], ["at-none"]):
        clock.advance(29)
        await store.renew_leases("client-1", named)
        await store.renew_leases("client-2", named)
    clock.advance(29)
    with pytest.raises(RunHeld):
        await begun(store, OTHERS)
    clock.advance(1)
    assert (await begun(store, OTHERS)).run_id == run.run_id


async def test_a_holder_may_be_at_two_runs(store: LightningStore) -> None:
    first, second = await begun(store, LEASE), await begun(store, LEASE)
    assert first.run_id != second.run_id
    await store.leave_run(first.run_id, 1)
    again = await begun(store)
    assert (again.run_id, again.holder, again.held_until) == (first.run_id, None, None)
