"""Claims over a link are held under leases: renewed while the client lives, given back when it does not."""

from __future__ import annotations

import anyio
import pytest
from linked import Linked, LinkedStore, linked
from store_homes import Later, Told, span_in

from lightning_actors.http.link.limits import LinkOptions
from lightning_actors.types import AttemptedRollout

pytestmark = pytest.mark.anyio


async def claimed_by(it: Linked, *, begun: bool = True) -> AttemptedRollout:
    """A rollout that the client has claimed from the queue."""
    await it.home.enqueue_rollout("task")
    claimed = await it.store.dequeue_rollout("Worker-1")
    assert claimed is not None
    if begun:
        await it.store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="running")
    return claimed


async def status_of(it: Linked, claimed: AttemptedRollout) -> tuple[str, str]:
    """The rollout's status and that of its latest attempt, as the store has them."""
    await it.home.statistics()
    rollout = await it.home.get_rollout_by_id(claimed.rollout_id)
    attempt = await it.home.get_latest_attempt(claimed.rollout_id)
    return (rollout.status if rollout else "gone"), (attempt.status if attempt else "gone")


async def test_a_claim_is_held_for_as_long_as_its_client_lives() -> None:
    async with linked() as it, it.clock.autojump():
        claimed = await claimed_by(it)
        explained = await it.home.explain_rollout(claimed.rollout_id)
        assert explained.held_by == "client-1"
        await it.clock.sleep(1000)
        assert await status_of(it, claimed) == ("running", "running")
        await it.store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="succeeded")
        assert await status_of(it, claimed) == ("succeeded", "succeeded")


async def test_all_claims_are_renewed_in_one_message_a_third_of_the_lease_apart() -> None:
    async with linked(LinkOptions(lease_seconds=30)) as it, it.clock.autojump():
        for _ in range(5):
            await claimed_by(it)
        end = it.wire.connections[-1][0]
        end.sent.clear()
        await it.clock.sleep(61)
        renewals = [line for message in end.sent for line in message.split(b"\n") if b" RenewLeases " in line]
        assert len(renewals) in {6, 7}
        assert renewals[0].count(b"at-") == 5


async def test_a_client_with_nothing_to_renew_only_says_that_it_is_there() -> None:
    async with linked() as it, it.clock.autojump():
        await it.store.start_rollout("task", worker_id="Worker-1")
        claimed = await claimed_by(it)
        end = it.wire.connections[-1][0]
        await it.store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="failed")
        for rollout in await it.home.query_rollouts(status_in=["preparing"]):
            await it.home.update_rollout(rollout.rollout_id, status="cancelled")
        await it.clock.sleep(20)
        end.sent.clear()
        await it.clock.sleep(60)
        said = b"\n".join(end.sent)
        assert b"ping" in said
        assert b"RenewLeases" not in said


@pytest.mark.parametrize(
    ("begun", "state", "reason"),
    [(True, ("failed", "unresponsive"), "lease lapsed"), (False, ("queuing", "gone"), "released")],
)
async def test_claims_of_a_client_that_is_gone_for_longer_are_taken_from_it(
    begun: bool,  # noqa: FBT001 - from the table above
    state: tuple[str, str],
    reason: str,
) -> None:
    async with linked(LinkOptions(patience=600)) as it, it.clock.autojump():
        claimed, told = await claimed_by(it, begun=begun), Told()
        it.store.watch_attempt(claimed.attempt.attempt_id, told.stop)
        await it.store.statistics()
        it.wire.is_down = True
        it.wire.cut()
        await it.clock.sleep(29)
        assert (await status_of(it, claimed))[0] in {"running", "preparing"}
        await it.clock.sleep(2)
        assert await status_of(it, claimed) == state
        assert told.reasons == []
        it.wire.is_down = False
        await it.store.statistics()
        await it.clock.sleep(1)
        assert told.reasons == [reason]


async def test_a_short_absence_loses_nothing() -> None:
    async with linked() as it, it.clock.autojump():
        claimed, told = await claimed_by(it), Told()
        it.store.watch_attempt(claimed.attempt.attempt_id, told.stop)
        for _ in range(10):
            it.wire.is_down = True
            it.wire.cut()
            await it.clock.sleep(15)
            it.wire.is_down = False
            await it.store.add_span(span_in(claimed))
        assert await status_of(it, claimed) == ("running", "running")
        assert told.reasons == []


async def test_a_result_that_is_told_late_is_no_loss_to_be_told_of() -> None:
    async with linked(LinkOptions(patience=600)) as it, it.clock.autojump(), anyio.create_task_group() as tasks:
        claimed, told, later = await claimed_by(it), Told(), Later()
        it.store.watch_attempt(claimed.attempt.attempt_id, told.stop)
        await it.store.statistics()
        attempt = claimed.attempt
        tasks.start_soon(
            later.run, lambda: it.store.update_attempt(attempt.rollout_id, attempt.attempt_id, status="succeeded")
        )
        it.wire.lose_the_next_answer()
        await later.done.wait()
        await it.clock.sleep(40)
        assert later.error is None
        assert told.reasons == []
        assert await status_of(it, claimed) == ("succeeded", "succeeded")


async def test_a_claim_whose_asker_left_before_the_answer_is_given_back() -> None:
    async with linked() as it, it.clock.autojump():
        rollout = await it.home.enqueue_rollout("task")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.store.dequeue_rollout, "Worker-1")
            while not any(b"DequeueRollout" in message for message in it.wire.connections[-1][0].sent):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await it.store.statistics()
        await it.store.statistics()
        found = await it.home.get_rollout_by_id(rollout.rollout_id)
        assert found is not None
        assert found.status == "queuing"
        claimed = await it.store.dequeue_rollout("Worker-2")
        assert claimed is not None
        assert claimed.attempt.sequence_id == 1


async def test_claims_of_another_client_are_its_own() -> None:
    async with linked() as it, it.clock.autojump():
        other = LinkedStore(it.wire, it.clock, client="client-2")
        async with other.opened():
            claimed = await claimed_by(it)
            await it.home.enqueue_rollout("another")
            theirs = await other.dequeue_rollout("Worker-2")
            assert theirs is not None
        await it.clock.sleep(31)
        assert await status_of(it, claimed) == ("running", "running")
        assert await status_of(it, theirs) == ("queuing", "gone")
