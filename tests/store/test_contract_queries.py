"""The contract of every store: finding rollouts and attempts."""

from __future__ import annotations

from typing import Literal, get_args

import pytest
from store_homes import claim, end, ended, running

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.store import LightningStore
from lightning_actors.types import (
    AttemptedRollout,
    EnqueueRolloutRequest,
    PaginatedResult,
    Rollout,
    RolloutConfig,
    RolloutStatus,
)

pytestmark = pytest.mark.anyio


async def filled(store: LightningStore, clock: VirtualClock) -> dict[str, RolloutStatus]:
    """Rollouts of every status, in order; two of some, one second apart."""
    retry = RolloutConfig(max_attempts=2, retry_condition=["failed"])
    await end(store, await store.start_rollout("requeuing", config=retry), "failed")
    clock.advance(1)
    await store.enqueue_rollout("queuing")
    clock.advance(1)
    await store.start_rollout("preparing", mode="train")
    clock.advance(1)
    await running(store)
    clock.advance(1)
    await ended(store)
    clock.advance(1)
    await ended(store, "failed")
    clock.advance(1)
    cancelled = await store.start_rollout("cancelled", mode="val")
    await store.update_rollout(cancelled.rollout_id, status="cancelled")
    clock.advance(1)
    await ended(store)
    clock.advance(1)
    await store.enqueue_rollout("queuing too")
    return {rollout.rollout_id: rollout.status for rollout in await store.query_rollouts()}


def ids_of(page: PaginatedResult[Rollout]) -> list[str]:
    return [rollout.rollout_id for rollout in page]


async def test_all_rollouts_are_found_oldest_first(store: LightningStore, clock: VirtualClock) -> None:
    await filled(store, clock)
    page = await store.query_rollouts()
    assert (page.limit, page.offset, page.total, len(page)) == (-1, 0, 9, 9)
    assert [r.start_time for r in page] == [1e9 + number for number in range(9)]


async def test_an_empty_store_has_an_empty_page(store: LightningStore) -> None:
    page = await store.query_rollouts(limit=5)
    assert (page.items, page.total) == ([], 0)


async def test_rollouts_come_with_their_latest_attempt_where_they_have_one(store: LightningStore) -> None:
    await store.enqueue_rollout(1)
    started = await store.start_rollout(2)
    again = await store.start_attempt(started.rollout_id)
    queued, found = await store.query_rollouts()
    assert type(queued) is Rollout
    assert isinstance(found, AttemptedRollout)
    assert found.attempt == again.attempt


@pytest.mark.parametrize("status", get_args(RolloutStatus))
async def test_rollouts_are_found_by_status(store: LightningStore, clock: VirtualClock, status: RolloutStatus) -> None:
    all_of_them = await filled(store, clock)
    wanted = [rollout_id for rollout_id, its in all_of_them.items() if its == status]
    page = await store.query_rollouts(status_in=[status])
    assert (ids_of(page), page.total) == (wanted, len(wanted))
    assert wanted


async def test_pages_of_several_statuses_are_slices_of_the_whole(store: LightningStore, clock: VirtualClock) -> None:
    all_of_them = await filled(store, clock)
    statuses: list[RolloutStatus] = ["succeeded", "queuing", "failed", "succeeded"]
    wanted = [rollout_id for rollout_id, its in all_of_them.items() if its in statuses]
    orders: list[Literal["asc", "desc"]] = ["asc", "desc"]
    for order in orders:
        for offset, limit in [(0, -1), (0, 2), (1, 3), (4, 2), (5, -1), (9, 1), (0, 0), (3, 100)]:
            page = await store.query_rollouts(
                status_in=statuses, sort_by="start_time", sort_order=order, limit=limit, offset=offset
            )
            assert ids_of(page) == (wanted[offset:] if limit < 0 else wanted[offset : offset + limit])
            assert (page.total, page.limit, page.offset) == (5, limit, offset)
        wanted.reverse()


async def test_the_newest_n_are_found(store: LightningStore, clock: VirtualClock) -> None:
    all_of_them = list(await filled(store, clock))
    page = await store.query_rollouts(sort_by="start_time", sort_order="desc", limit=3)
    assert ids_of(page) == all_of_them[:-4:-1]
    assert page.total == 9


async def test_no_status_wanted_finds_nothing(store: LightningStore) -> None:
    await store.enqueue_rollout(1)
    assert (await store.query_rollouts(status_in=[])).total == 0
    assert (await store.query_rollouts(rollout_id_in=[])).total == 0


async def test_rollouts_are_found_by_ids_each_once_and_oldest_first(store: LightningStore, clock: VirtualClock) -> None:
    a, b, *_ = await filled(store, clock)
    page = await store.query_rollouts(rollout_id_in=[b, a, b, "ro-none"])
    assert (ids_of(page), page.total) == ([a, b], 2)
    assert ids_of(await store.query_rollouts(rollout_id_in=[b, a], limit=1, offset=1)) == [b]


async def test_conditions_are_joined_by_and_unless_or_is_asked_for(store: LightningStore, clock: VirtualClock) -> None:
    all_of_them = await filled(store, clock)
    succeeded = [rollout_id for rollout_id, status in all_of_them.items() if status == "succeeded"]
    queuing = [rollout_id for rollout_id, status in all_of_them.items() if status == "queuing"]
    wanted = [succeeded[0], queuing[1]]
    both = await store.query_rollouts(status_in=["succeeded"], rollout_id_in=wanted)
    assert (ids_of(both), both.total) == ([succeeded[0]], 1)
    either = await store.query_rollouts(status_in=["succeeded"], rollout_id_in=wanted, filter_logic="or")
    assert (ids_of(either), either.total) == ([*succeeded, queuing[1]], 3)
    page = await store.query_rollouts(
        status_in=["succeeded"], rollout_id_in=wanted, filter_logic="or", limit=1, offset=1
    )
    assert (ids_of(page), page.total) == ([succeeded[1]], 3)
    alone = await store.query_rollouts(rollout_id_in=wanted, filter_logic="or")
    assert ids_of(alone) == sorted(wanted, key=list(all_of_them).index)


async def test_rollouts_are_found_by_a_part_of_their_id(store: LightningStore, clock: VirtualClock) -> None:
    all_of_them = await filled(store, clock)
    succeeded = [rollout_id for rollout_id, status in all_of_them.items() if status == "succeeded"]
    part = succeeded[1][4:]
    assert ids_of(await store.query_rollouts(rollout_id_contains=part)) == [succeeded[1]]
    assert ids_of(await store.query_rollouts(rollout_id_contains=part, status_in=["failed"])) == []
    either = await store.query_rollouts(rollout_id_contains=part, status_in=["cancelled"], filter_logic="or")
    assert either.total == 2
    assert (await store.query_rollouts(rollout_id_contains="ro-", limit=2)).total == 9
    assert (await store.query_rollouts(rollout_id_contains="nothing")).total == 0


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_rollouts_are_sorted_by_any_field(
    store: LightningStore, clock: VirtualClock, order: Literal["asc", "desc"]
) -> None:
    await filled(store, clock)
    for sort_by in ("rollout_id", "status", "mode", "end_time", "input", "metadata", "config"):
        page = await store.query_rollouts(sort_by=sort_by, sort_order=order)
        assert page.total == len(page) == 9
        values = [getattr(rollout, sort_by) for rollout in page]
        if order == "desc":
            values.reverse()
        if sort_by == "end_time":
            assert values == sorted(values, key=lambda time: float("inf") if time is None else time)
        elif sort_by == "mode":
            assert values == [None] * 7 + ["train", "val"]
        elif sort_by in {"rollout_id", "status", "input"}:
            assert values == sorted(values)
        part = await store.query_rollouts(sort_by=sort_by, sort_order=order, limit=4, offset=3)
        assert part.items == page.items[3:7]


async def test_sorting_goes_together_with_conditions(store: LightningStore, clock: VirtualClock) -> None:
    await filled(store, clock)
    page = await store.query_rollouts(status_in=["succeeded", "failed"], sort_by="end_time", sort_order="desc")
    assert [rollout.end_time for rollout in page] == [1e9 + 7, 1e9 + 5, 1e9 + 4]


async def test_sorting_by_what_is_no_field_is_refused(store: LightningStore) -> None:
    rollout = await store.enqueue_rollout(1)
    with pytest.raises(ValueError, match="start_time"):
        await store.query_rollouts(sort_by="colour")
    with pytest.raises(ValueError, match="colour"):
        await store.query_attempts(rollout.rollout_id, sort_by="colour")
    with pytest.raises(ValueError, match="colour"):
        await store.query_spans(rollout.rollout_id, sort_by="colour")
    with pytest.raises(ValueError, match="colour"):
        await store.query_workers(sort_by="colour")
    with pytest.raises(ValueError, match="colour"):
        await store.query_resources(sort_by="colour")


async def test_the_older_argument_names_work_and_warn_and_the_newer_win(
    store: LightningStore, clock: VirtualClock
) -> None:
    first, second, *_ = await filled(store, clock)
    with pytest.warns(DeprecationWarning, match="status_in"):
        assert (await store.query_rollouts(status=["succeeded"])).total == 2
    with pytest.warns(DeprecationWarning, match="rollout_id_in"):
        assert ids_of(await store.query_rollouts(rollout_ids=[first])) == [first]
    with pytest.warns(DeprecationWarning, match="rollout_ids"):
        assert ids_of(await store.query_rollouts(rollout_ids=[first], rollout_id_in=[second])) == [second]


async def test_a_page_is_a_sequence_of_its_items(store: LightningStore) -> None:
    await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=number) for number in range(5)])
    page = await store.query_rollouts(limit=3, offset=1)
    assert isinstance(page, PaginatedResult)
    assert [rollout.input for rollout in page] == [1, 2, 3]
    assert (page[0].input, page[-1].input, len(page[1:])) == (1, 3, 2)
    assert repr(page).startswith("<PaginatedResult (1:4 of 5) [")


async def test_unknown_ids_are_answered_by_none_or_an_empty_page(store: LightningStore) -> None:
    assert await store.get_rollout_by_id("ro-none") is None
    assert await store.get_latest_attempt("ro-none") is None
    assert await store.get_resources_by_id("rs-none") is None
    assert await store.get_latest_resources() is None
    assert await store.get_worker_by_id("nobody") is None
    for page in (
        await store.query_attempts("ro-none"),
        await store.query_spans("ro-none"),
        await store.query_spans("ro-none", "latest"),
        await store.query_resources(resources_id="rs-none"),
    ):
        assert (list(page), page.total) == ([], 0)


async def test_attempts_are_found_in_order_and_paged(store: LightningStore, clock: VirtualClock) -> None:
    rollout = await store.enqueue_rollout("task")
    for _ in range(5):
        clock.advance(1)
        await store.start_attempt(rollout.rollout_id)
    await claim_nothing(store)
    page = await store.query_attempts(rollout.rollout_id)
    assert [attempt.sequence_id for attempt in page] == [1, 2, 3, 4, 5]
    newest = await store.query_attempts(rollout.rollout_id, sort_order="desc", limit=2, offset=1)
    assert ([attempt.sequence_id for attempt in newest], newest.total) == ([4, 3], 5)
    by_end = await store.query_attempts(rollout.rollout_id, sort_by="end_time", sort_order="desc")
    assert [attempt.sequence_id for attempt in by_end] == [5, 4, 3, 2, 1]


async def claim_nothing(store: LightningStore) -> None:
    assert await store.dequeue_rollout() is None


async def test_a_rollout_is_found_under_its_new_status_after_every_change(store: LightningStore) -> None:
    rollout = await store.enqueue_rollout("task")

    async def found_as() -> list[str]:
        return [s for s in get_args(RolloutStatus) if (await store.query_rollouts(status_in=[s])).total]

    assert await found_as() == ["queuing"]
    claimed = await claim(store)
    assert await found_as() == ["preparing"]
    await store.update_attempt(rollout.rollout_id, "latest", status="running")
    assert await found_as() == ["running"]
    await end(store, claimed)
    assert await found_as() == ["succeeded"]
    await store.update_rollout(rollout.rollout_id, status="requeuing")
    assert await found_as() == ["requeuing"]
