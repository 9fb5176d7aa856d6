"""What the store in memory promises besides the contract: its bound, its options, ids and tasks."""

from __future__ import annotations

import os
from typing import Any

import pytest
from store_homes import claim, dump, end, get, running, span_in

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import ConfigError, SpansEvicted
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.memory_tables import memory_capacity_bytes
from lightning_actors.types import AttemptedRollout, EnqueueRolloutRequest, RolloutConfig, Span

pytestmark = pytest.mark.anyio


def bounded(evict_at: int = 10, safe: int = 6) -> InMemoryLightningStore:
    """A store in which each span takes one byte."""
    return InMemoryLightningStore(
        eviction_memory_threshold=evict_at,
        safe_memory_threshold=safe,
        span_size_estimator=lambda _: 1,
        clock=VirtualClock(),
    )


async def with_spans(store: InMemoryLightningStore, count: int) -> AttemptedRollout:
    claimed = await running(store)
    await store.add_many_spans([span_in(claimed) for _ in range(count)])
    return claimed


async def is_evicted(store: InMemoryLightningStore, claimed: AttemptedRollout) -> bool:
    try:
        await store.query_spans(claimed.rollout_id)
    except SpansEvicted:
        return True
    return False


async def test_the_spans_of_what_ended_first_are_dropped_down_to_the_safe_size() -> None:
    store = bounded()
    first, second, third = [await with_spans(store, 3) for _ in range(3)]
    for claimed in (second, first, third):
        await end(store, claimed)
    last = await with_spans(store, 1)
    assert (await store.statistics()).get("total_span_bytes") == 10
    await store.add_span(span_in(last))
    assert [await is_evicted(store, claimed) for claimed in (first, second, third, last)] == [True, True, False, False]
    statistics = await store.statistics()
    assert (statistics.get("total_spans"), statistics.get("total_span_bytes")) == (5, 5)


async def test_a_rollout_that_has_not_ended_keeps_its_spans() -> None:
    store = bounded()
    claimed = await with_spans(store, 30)
    over = await with_spans(store, 5)
    await end(store, over)
    await store.add_span(span_in(claimed))
    assert await is_evicted(store, over)
    assert (await store.query_spans(claimed.rollout_id)).total == 31


async def test_what_is_reopened_is_safe_until_it_ends_again() -> None:
    store = bounded()
    reopened, other = await with_spans(store, 4), await with_spans(store, 4)
    for claimed in (reopened, other):
        await end(store, claimed)
    await store.update_rollout(reopened.rollout_id, status="queuing")
    await with_spans(store, 3)
    assert [await is_evicted(store, claimed) for claimed in (reopened, other)] == [False, True]


async def test_an_evicted_rollout_that_runs_again_keeps_its_new_spans() -> None:
    store = bounded()
    first = await with_spans(store, 4)
    await end(store, first)
    await with_spans(store, 7)
    assert await is_evicted(store, first)
    await store.update_rollout(first.rollout_id, status="queuing")
    second = await claim(store)
    span = await store.add_span(span_in(second, name="new"))
    assert span is not None
    assert span.sequence_id == 5
    assert (await store.query_spans(first.rollout_id, second.attempt.attempt_id)).items == [span]
    assert (await store.query_spans(first.rollout_id, "latest")).items == [span]
    for attempt_id in (first.attempt.attempt_id, None):
        with pytest.raises(SpansEvicted) as caught:
            await store.query_spans(first.rollout_id, attempt_id)
        assert caught.value.rollout_id == first.rollout_id
        assert isinstance(caught.value, RuntimeError)


async def test_a_late_span_of_an_evicted_attempt_is_not_counted() -> None:
    store = bounded()
    first = await with_spans(store, 4)
    await end(store, first)
    await with_spans(store, 7)
    before = await store.statistics()
    await store.add_span(span_in(first))
    assert (await store.statistics()).get("total_spans") == before.get("total_spans")


async def test_a_late_span_makes_an_ended_rollout_evictable() -> None:
    store = bounded()
    over = await running(store)
    await end(store, over)
    await store.add_many_spans([span_in(over) for _ in range(11)])
    assert await is_evicted(store, over)
    assert (await store.statistics()).get("total_spans") == 0


async def test_an_estimator_that_raises_leaves_the_store_as_it_was() -> None:
    def estimate(span: Span) -> int:
        return {"good": 1}[span.name]

    store = InMemoryLightningStore(span_size_estimator=estimate, clock=VirtualClock())
    claimed = await store.start_rollout("task")
    held = await dump(store)
    with pytest.raises(KeyError):
        await store.add_many_spans([span_in(claimed, name="good"), span_in(claimed, name="bad")])
    assert await dump(store) == held
    await store.add_span(span_in(claimed, name="good"))
    assert (await get(store, claimed.rollout_id)).status == "running"


async def test_longer_spans_count_for_more() -> None:
    store = InMemoryLightningStore()
    claimed = await running(store)

    async def size_of(**fields: Any) -> int:
        before = (await store.statistics()).get("total_span_bytes", 0)
        await store.add_span(span_in(claimed, **fields))
        return (await store.statistics()).get("total_span_bytes", 0) - before

    small = await size_of()
    assert small > 500
    assert await size_of(attributes={"text": "x" * 10_000}) >= small + 10_000
    assert await size_of(attributes={"texts": ["x" * 1_000] * 10}) >= small + 10_000
    assert await size_of(attributes={"numbers": list(range(1_000))}) >= small + 8_000
    assert await size_of(events=[{"name": "e", "attributes": {"text": "x" * 5_000}}]) >= small + 5_000


def test_thresholds_are_bytes_or_shares_of_the_machine() -> None:
    capacity = memory_capacity_bytes()
    assert capacity > 2**26

    def thresholds(**options: Any) -> tuple[int, int]:
        counts = InMemoryLightningStore(**options)._tables.statistics()
        return counts.get("eviction_threshold_bytes", 0), counts.get("safe_threshold_bytes", 0)

    evict_at = int(capacity * 0.7)
    assert thresholds() == (evict_at, int(evict_at * 0.8))
    assert thresholds(eviction_memory_threshold=1_000) == (1_000, 800)
    assert thresholds(eviction_memory_threshold=0.5, safe_memory_threshold=0.25) == (
        int(capacity * 0.5),
        int(capacity * 0.25),
    )


@pytest.mark.parametrize(
    "options",
    [
        {"eviction_memory_threshold": 0},
        {"eviction_memory_threshold": -5},
        {"eviction_memory_threshold": 1.5},
        {"eviction_memory_threshold": 0.0},
        {"eviction_memory_threshold": float("nan")},
        {"eviction_memory_threshold": 100, "safe_memory_threshold": 200},
        {"safe_memory_threshold": -0.5},
    ],
)
def test_thresholds_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="memory_threshold"):
        InMemoryLightningStore(**options)


def test_options_without_a_meaning_here_warn_unless_left_at_their_default() -> None:
    InMemoryLightningStore(thread_safe=False, scan_debounce_seconds=10.0)
    with pytest.warns(UserWarning, match="thread_safe"):
        InMemoryLightningStore(thread_safe=True)
    with pytest.warns(UserWarning, match="scan_debounce_seconds"):
        InMemoryLightningStore(scan_debounce_seconds=0)


async def test_ids_that_are_taken_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = InMemoryLightningStore()
    draws = iter([1, *(1, 2), *(2, 1, 3), 3, *(3, 4), *(4, 5), 6, *(6, 6, 7)])

    def urandom(size: int) -> bytes:
        return next(draws).to_bytes(size)

    monkeypatch.setattr(os, "urandom", urandom)
    await store.enqueue_rollout("first")
    await store.enqueue_rollout("second")
    third = await store.start_rollout("third")
    claims = await store.dequeue_many_rollouts(limit=2)
    ids = [rollout.rollout_id for rollout in await store.query_rollouts()]
    attempts = [third.attempt.attempt_id, *(claimed.attempt.attempt_id for claimed in claims)]
    assert len(set(ids)) == len(set(attempts)) == 3
    batch = await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=number) for number in range(2)])
    assert [rollout.rollout_id for rollout in batch] == ["ro-000000000006", "ro-000000000007"]


async def test_a_task_keeps_its_shape_when_it_is_copied() -> None:
    store = InMemoryLightningStore()
    marker = object()
    shared = [marker]
    task: dict[str, Any] = {"a": shared, "b": shared, "tuple": (shared,)}
    task["self"] = task
    claimed = await store.start_rollout(task)
    copy = claimed.input
    assert copy is not task
    assert copy["self"] is copy
    assert copy["a"] is copy["b"]
    assert copy["a"] is not shared
    assert copy["a"][0] is marker
    assert copy["tuple"] is task["tuple"]


async def test_what_is_nested_too_deeply_to_be_copied_goes_by_reference() -> None:
    store = InMemoryLightningStore()
    task: list[Any] = []
    for _ in range(100_000):
        task = [task]
    claimed = await store.start_rollout(task)
    assert claimed.input is task


async def test_a_store_shares_no_config_that_was_given_to_it() -> None:
    store = InMemoryLightningStore()
    config = RolloutConfig()
    rollout = await store.enqueue_rollout(1, config=config)
    assert rollout.config == config
    assert rollout.config is not config
