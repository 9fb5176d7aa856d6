"""The contract of every store: spans stored, numbered and found."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from store_homes import claim, dump, end, get, running, span_in, span_of

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import AttemptNotFound, RolloutNotFound
from lightning_actors.store import LightningStore
from lightning_actors.types import RolloutConfig, Span

pytestmark = pytest.mark.anyio


async def names(store: LightningStore, rollout_id: str, attempt_id: str | None = None, **query: Any) -> list[str]:
    return [span.name for span in await store.query_spans(rollout_id, attempt_id, **query)]


async def test_the_first_span_makes_its_attempt_running(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await store.start_rollout("task", worker_id="Worker-1")
    clock.advance(2)
    stored = await store.add_span(span_in(claimed))
    assert stored is not None
    assert stored.sequence_id == 1
    attempt = await store.get_latest_attempt(claimed.rollout_id)
    assert attempt is not None
    assert (attempt.status, attempt.last_heartbeat_time) == ("running", clock.time())
    assert (await get(store, claimed.rollout_id)).status == "running"
    assert (await store.query_spans(claimed.rollout_id)).items == [stored]


async def test_every_span_is_a_sign_of_life(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await running(store)
    clock.advance(7)
    await store.add_many_spans([span_in(claimed), span_in(claimed)])
    attempt = await store.get_latest_attempt(claimed.rollout_id)
    assert attempt is not None
    assert attempt.last_heartbeat_time == clock.time()


async def test_a_span_id_counts_once_for_each_attempt(store: LightningStore) -> None:
    claimed = await running(store, RolloutConfig(max_attempts=2, retry_condition=["failed"]))
    span = span_in(claimed, name="first")
    assert await store.add_span(span) is not None
    assert await store.add_span(span.model_copy(update={"name": "again"})) is None
    await end(store, claimed, "failed")
    second = await claim(store)
    same_id = span_in(second, span_id=span.span_id, name="other attempt")
    assert await store.add_span(same_id) is not None
    assert await names(store, claimed.rollout_id) == ["first", "other attempt"]


async def test_a_batch_answers_the_spans_that_were_new_in_order(store: LightningStore) -> None:
    claimed = await running(store)
    known, *new = (span_in(claimed, name=name) for name in ("known", "a", "b"))
    await store.add_span(known)
    stored = await store.add_many_spans([new[1], known, new[0], new[1]])
    assert [span.name for span in stored] == ["b", "a"]
    assert [span.sequence_id for span in stored] == [2, 3]
    assert await store.add_many_spans([]) == []


async def test_a_batch_may_hold_spans_of_many_rollouts(store: LightningStore) -> None:
    claims = [await store.start_rollout(number) for number in range(3)]
    stored = await store.add_many_spans([span_in(claimed) for claimed in claims for _ in range(2)])
    assert [span.sequence_id for span in stored] == [1, 2, 1, 2, 1, 2]
    assert {rollout.status for rollout in await store.query_rollouts()} == {"running"}


async def test_a_batch_with_one_stray_span_stores_none(store: LightningStore) -> None:
    claimed = await store.start_rollout("task")
    held = await dump(store)
    with pytest.raises(RolloutNotFound):
        await store.add_many_spans([span_in(claimed), span_of("ro-none", "at-none")])
    with pytest.raises(AttemptNotFound):
        await store.add_many_spans([span_in(claimed), span_of(claimed.rollout_id, "at-none")])
    assert await dump(store) == held


async def test_spans_of_what_is_unknown_are_refused(store: LightningStore) -> None:
    with pytest.raises(RolloutNotFound):
        await store.add_span(span_of("ro-none", "at-none"))
    rollout = await store.enqueue_rollout(1)
    with pytest.raises(AttemptNotFound):
        await store.add_span(span_of(rollout.rollout_id, "at-none"))


async def test_a_given_sequence_id_is_kept_and_moves_the_counter(store: LightningStore) -> None:
    claimed = await running(store)
    given = await store.add_span(span_in(claimed, sequence_id=10))
    earlier = await store.add_span(span_in(claimed, sequence_id=4))
    following = await store.add_span(span_in(claimed))
    assert [span.sequence_id for span in (given, earlier, following) if span] == [10, 4, 11]


async def test_after_the_greatest_sequence_id_that_may_be_given_the_counter_goes_on(store: LightningStore) -> None:
    claimed = await running(store)
    greatest = 2**62 - 1
    with pytest.raises(ValueError, match=f"sequence_id {greatest + 1} .* give 0"):
        await store.add_span(span_in(claimed, sequence_id=greatest + 1))
    given = await store.add_span(span_in(claimed, sequence_id=greatest))
    following = await store.add_span(span_in(claimed))
    assert [span.sequence_id for span in (given, following) if span] == [greatest, greatest + 1]
    assert await store.get_next_span_sequence_id(claimed.rollout_id, claimed.attempt.attempt_id) == greatest + 2


async def test_sequence_ids_are_counted_for_the_rollout_whichever_the_attempt(store: LightningStore) -> None:
    first = await running(store, RolloutConfig(max_attempts=2, retry_condition=["failed"]))
    rollout_id = first.rollout_id
    assert await store.get_next_span_sequence_id(rollout_id, first.attempt.attempt_id) == 1
    await store.add_span(span_in(first))
    await end(store, first, "failed")
    second = await claim(store)
    assert await store.get_next_span_sequence_id(rollout_id, second.attempt.attempt_id) == 3
    assert await store.get_next_span_sequence_id(rollout_id, "latest") == 4


async def test_many_sequence_ids_come_in_order(store: LightningStore) -> None:
    a, b = await store.start_rollout("a"), await store.start_rollout("b")
    pairs = [(claimed.rollout_id, claimed.attempt.attempt_id) for claimed in (a, b, a, a, b)]
    assert await store.get_many_span_sequence_ids(pairs) == [1, 1, 2, 3, 2]
    assert await store.get_many_span_sequence_ids([]) == []


async def test_sequence_ids_of_what_is_unknown_are_refused_and_none_is_taken(store: LightningStore) -> None:
    claimed = await store.start_rollout("task")
    pair = (claimed.rollout_id, claimed.attempt.attempt_id)
    with pytest.raises(RolloutNotFound):
        await store.get_next_span_sequence_id("ro-none", "at-none")
    with pytest.raises(AttemptNotFound):
        await store.get_next_span_sequence_id(claimed.rollout_id, "at-none")
    with pytest.raises(RolloutNotFound):
        await store.get_many_span_sequence_ids([pair, ("ro-none", "at-none")])
    assert await store.get_next_span_sequence_id(*pair) == 1


async def test_a_taken_sequence_id_is_no_sign_of_life(store: LightningStore) -> None:
    claimed = await store.start_rollout("task")
    await store.get_next_span_sequence_id(claimed.rollout_id, claimed.attempt.attempt_id)
    assert await store.get_rollout_by_id(claimed.rollout_id) == claimed


async def test_a_span_of_the_sdk_is_stored(store: LightningStore) -> None:
    claimed = await store.start_rollout("task")
    rollout_id, attempt_id = claimed.rollout_id, claimed.attempt.attempt_id
    provider = TracerProvider()
    with provider.get_tracer("test").start_as_current_span("outer", attributes={"n": 1}) as outer:
        pass
    provider.shutdown()
    stored = await store.add_otel_span(rollout_id, attempt_id, outer)  # pyright: ignore[reportArgumentType]  # the SDK's spans are readable
    assert stored is not None
    assert (stored.name, stored.attributes, stored.sequence_id) == ("outer", {"n": 1}, 1)
    assert await store.add_otel_span(rollout_id, attempt_id, outer, sequence_id=9) is None  # pyright: ignore[reportArgumentType]  # the SDK's spans are readable
    with pytest.raises(AttemptNotFound):
        await store.add_otel_span(rollout_id, "at-none", outer)  # pyright: ignore[reportArgumentType]  # the SDK's spans are readable


async def two_attempts(store: LightningStore) -> tuple[str, str, str]:
    """A rollout with spans a, b, c of its first attempt and b, d of its second."""
    first = await running(store, RolloutConfig(max_attempts=2, retry_condition=["failed"]))
    root = span_in(first, name="a", trace_id="f" * 32)
    await store.add_many_spans([root])
    await store.add_many_spans([span_in(first, name=n, parent_id=root.span_id, trace_id="f" * 32) for n in "bc"])
    await end(store, first, "failed")
    second = await claim(store)
    await store.add_many_spans([span_in(second, name="b"), span_in(second, name="d")])
    return first.rollout_id, first.attempt.attempt_id, second.attempt.attempt_id


async def test_spans_are_found_by_attempt(store: LightningStore) -> None:
    rollout_id, first, second = await two_attempts(store)
    assert await names(store, rollout_id) == ["a", "b", "c", "b", "d"]
    assert await names(store, rollout_id, first) == ["a", "b", "c"]
    assert await names(store, rollout_id, second) == ["b", "d"]
    assert await names(store, rollout_id, "latest") == ["b", "d"]
    assert await names(store, rollout_id, "at-none") == []


async def test_spans_of_the_latest_attempt_of_a_rollout_without_one_are_none(store: LightningStore) -> None:
    rollout = await store.enqueue_rollout(1)
    assert await names(store, rollout.rollout_id, "latest") == []


async def test_spans_are_found_by_their_fields(store: LightningStore) -> None:
    rollout_id, first, _ = await two_attempts(store)
    root: Span = (await store.query_spans(rollout_id))[0]
    assert await names(store, rollout_id, name="b") == ["b", "b"]
    assert await names(store, rollout_id, first, name="b") == ["b"]
    assert await names(store, rollout_id, trace_id="f" * 32) == ["a", "b", "c"]
    assert await names(store, rollout_id, trace_id_contains="fff") == ["a", "b", "c"]
    assert await names(store, rollout_id, span_id=root.span_id) == ["a"]
    assert await names(store, rollout_id, span_id_contains=root.span_id[4:]) == ["a"]
    assert await names(store, rollout_id, parent_id=root.span_id) == ["b", "c"]
    assert await names(store, rollout_id, parent_id_contains=root.span_id[-6:]) == ["b", "c"]
    assert await names(store, rollout_id, name_contains="", parent_id=root.span_id) == ["b", "c"]
    assert await names(store, rollout_id, name="a", parent_id=root.span_id) == []
    assert await names(store, rollout_id, name="a", parent_id=root.span_id, filter_logic="or") == ["a", "b", "c"]
    assert await names(store, rollout_id, first, name="d", span_id=root.span_id, filter_logic="or") == ["a"]


async def test_spans_are_sorted_and_paged(store: LightningStore) -> None:
    rollout_id, _, _ = await two_attempts(store)
    assert await names(store, rollout_id, sort_order="desc", limit=2, offset=1) == ["b", "c"]
    assert await names(store, rollout_id, sort_by="name", limit=3) == ["a", "b", "b"]
    assert await names(store, rollout_id, sort_by=None, limit=2) == ["a", "b"]
    page = await store.query_spans(rollout_id, limit=0)
    assert (list(page), page.total) == ([], 5)


async def test_spans_are_found_by_sequence_id_whatever_their_order_of_arrival(store: LightningStore) -> None:
    claimed = await running(store)
    for number in (3, 1, 2):
        await store.add_span(span_in(claimed, name=str(number), sequence_id=number))
    assert await names(store, claimed.rollout_id) == ["1", "2", "3"]
