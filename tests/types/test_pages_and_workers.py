"""Pages, workers, hooks and datasets."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as some

from lightning_actors.types import Dataset, Hook, PaginatedResult, ParallelWorkerBase, Rollout


@given(some.lists(some.integers()), some.integers(-12, 12), some.none() | some.integers(-12, 12))
def test_a_page_behaves_as_the_sequence_of_its_items(items: list[int], start: int, stop: int | None) -> None:
    page = PaginatedResult(items, -1, 0, len(items))
    assert isinstance(page, Sequence)
    assert list(page) == items
    assert len(page) == len(items)
    assert page[start:stop] == items[start:stop]
    assert page[::-1] == items[::-1]
    assert list(reversed(page)) == items[::-1]
    assert (7 in page) == (7 in items)
    assert page.count(3) == items.count(3)
    for place in range(-len(items), len(items)):
        assert page[place] == items[place]


def test_a_page_is_bounded() -> None:
    page = PaginatedResult([1, 2], 2, 4, 9)
    for place in (2, -3):
        with pytest.raises(IndexError):
            page[place]
    assert page[True] == 2
    assert bool(PaginatedResult[int]([], 2, 0, 9)) is False


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (PaginatedResult([1, 2], 2, 4, 9), "<PaginatedResult (4:6 of 9) [1, 2]>"),
        (PaginatedResult([1, 2, 3, 4], -1, 0, 4), "<PaginatedResult (0: of 4) [1, 2, 3, …]>"),
        (PaginatedResult[int]([], 10, 0, 0), "<PaginatedResult (0:0 of 0) []>"),
    ],
)
def test_a_page_says_where_it_stands(page: PaginatedResult[int], text: str) -> None:
    assert repr(page) == text


def test_pages_are_compared_by_what_they_hold() -> None:
    assert PaginatedResult([1], 1, 0, 2) == PaginatedResult([1], 1, 0, 2)
    assert PaginatedResult([1], 1, 0, 2) != PaginatedResult([1], 1, 1, 2)


def test_a_plain_list_is_a_dataset() -> None:
    def first(dataset: Dataset[str]) -> str:
        return dataset[0] if len(dataset) else "none"

    assert first(["a", "b"]) == "a"
    assert first(()) == "none"


def test_a_worker_knows_its_number_while_it_is_set_up() -> None:
    worker = ParallelWorkerBase()
    worker.init("anything", at="all")
    assert worker.worker_id is None
    worker.init_worker(3, "anything")
    assert worker.worker_id == 3
    worker.teardown_worker(3)
    worker.teardown()
    assert worker.run() is None


def test_a_hook_that_overrides_nothing_does_nothing() -> None:
    hook = Hook()
    rollout = Rollout(rollout_id="ro-1", input=1, start_time=0)

    async def call_all() -> None:
        await hook.on_rollout_start(agent=None, runner=None, rollout=rollout)
        await hook.on_trace_start(agent=None, runner=None, tracer=None, rollout=rollout)
        await hook.on_trace_end(agent=None, runner=None, tracer=None, rollout=rollout)
        await hook.on_rollout_end(agent=None, runner=None, rollout=rollout, spans=[])

    anyio.run(call_all)
