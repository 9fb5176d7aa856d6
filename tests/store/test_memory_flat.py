"""Operations of the store in memory cost the same however much it holds: steps and bytes counted, not time."""

from __future__ import annotations

import functools
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import pytest
from store_homes import span_of

from lightning_actors.actors.message import Message
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.messages import (
    AddManySpans,
    DequeueRollout,
    EnqueueRollout,
    ExplainRollout,
    GetLatestAttempt,
    GetLatestResources,
    GetResourcesById,
    GetRolloutById,
    GetWorkerById,
    PublishResources,
    QueryAttempts,
    QueryResources,
    QueryRollouts,
    QuerySpans,
    QueryWorkers,
    StartRollout,
    Statistics,
    UpdateAttempt,
    UpdateManyWorkers,
    UpdateResources,
    UpdateRollout,
    UpdateWorker,
    WaitForRollouts,
)
from lightning_actors.types import AttemptedRollout, AttemptStatus, PromptTemplate, RolloutConfig

SMALL, LARGE = 300, 3_000


class Stamp(float):
    """A time whose comparisons are steps of Python, so that they are counted."""

    __slots__ = ()

    def __lt__(self, other: float) -> bool:
        return float(self) < float(other)

    def __gt__(self, other: float) -> bool:
        return float(self) > float(other)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and float(self) == float(other)

    __hash__ = float.__hash__


class StampClock(VirtualClock):
    """Goes on by one second with each look."""

    def time(self) -> float:
        self.advance(1)
        return Stamp(super().time())


@functools.cache
def filled(size: int) -> tuple[InMemoryLightningStore, list[AttemptedRollout]]:
    """A store with so many rollouts in every status, spans, workers and resources, and the claims made in it."""
    store = InMemoryLightningStore(clock=StampClock())
    ends: list[AttemptStatus] = ["succeeded", "failed", "running", "running"]
    claims: list[AttemptedRollout] = []
    for number in range(size // 5):
        config = RolloutConfig(timeout_seconds=1e9 + number)
        store.perform(EnqueueRollout(number))
        for status in ends:
            claimed = store.perform(StartRollout(number, config=config, worker_id=f"Worker-{number}"))
            claims.append(claimed)
            rollout_id, attempt_id = claimed.rollout_id, claimed.attempt.attempt_id
            store.perform(AddManySpans([span_of(rollout_id, attempt_id)]))
            store.perform(UpdateAttempt(rollout_id, attempt_id, status=status))
        store.perform(UpdateResources(f"rs-{number}", {}))
    return store, claims


class Steps:
    """Counts the instructions of Python that run while it is open."""

    def __init__(self) -> None:
        self.count = 0

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            self.count += 1
        return self._trace

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)


def cost(size: int, ask: Callable[[int, list[AttemptedRollout]], Message[Any]]) -> tuple[int, int]:
    """The steps of an operation, and the most memory that it held at once."""
    store, claims = filled(size)
    store.perform(QueryRollouts(status_in=["queuing"], limit=1))  # the indexes are up to date, as after any read
    message = ask(size, claims)
    with Steps() as steps:
        store.perform(message)
    message = ask(size, claims)
    tracemalloc.start()
    store.perform(message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return steps.count, peak


def running_one(claims: list[AttemptedRollout]) -> AttemptedRollout:
    """A claim in the middle that still runs."""
    return claims[len(claims) // 8 * 4 + 2]


def queued_in_the_middle(size: int) -> str:
    """A rollout with many before it in the queue."""
    store, _ = filled(size)
    return store.perform(QueryRollouts(status_in=["queuing"], limit=1, offset=size // 10))[0].rollout_id


OPERATIONS: dict[str, Callable[[int, list[AttemptedRollout]], Message[Any]]] = {
    "by_id": lambda n, claims: GetRolloutById(claims[n // 2].rollout_id),
    "by_ids": lambda n, claims: QueryRollouts(rollout_id_in=[c.rollout_id for c in claims[:: n // 10]]),
    "by_status": lambda _n, _claims: QueryRollouts(status_in=["running"], limit=10),
    "by_status_deep": lambda n, _claims: QueryRollouts(status_in=["running"], limit=10, offset=n // 5),
    "by_statuses_deep": lambda n, _claims: QueryRollouts(
        status_in=["running", "failed", "queuing"], limit=10, offset=n // 3
    ),
    "by_status_or_ids": lambda n, claims: QueryRollouts(
        status_in=["failed"],
        rollout_id_in=[c.rollout_id for c in claims[:: n // 10]],
        filter_logic="or",
        limit=10,
        offset=n // 10,
    ),
    "by_status_and_ids": lambda n, claims: QueryRollouts(
        status_in=["failed"], rollout_id_in=[c.rollout_id for c in claims[:: n // 10]]
    ),
    "newest": lambda _n, _claims: QueryRollouts(sort_by="start_time", sort_order="desc", limit=10),
    "page_deep": lambda n, _claims: QueryRollouts(limit=10, offset=n // 2),
    "page_deep_from_the_end": lambda n, _claims: QueryRollouts(
        sort_by="start_time", sort_order="desc", limit=10, offset=n // 2
    ),
    "explain": lambda n, claims: ExplainRollout(claims[n // 2].rollout_id),
    "explain_queued": lambda n, _claims: ExplainRollout(queued_in_the_middle(n)),
    "attempts": lambda n, claims: QueryAttempts(claims[n // 2].rollout_id),
    "latest_attempt": lambda n, claims: GetLatestAttempt(claims[n // 2].rollout_id),
    "spans": lambda n, claims: QuerySpans(claims[n // 2].rollout_id),
    "worker": lambda _n, _claims: GetWorkerById("Worker-7"),
    "workers_page": lambda _n, _claims: QueryWorkers(limit=10, offset=5),
    "resources": lambda _n, _claims: GetResourcesById("rs-7"),
    "resources_by_query": lambda _n, _claims: QueryResources(resources_id="rs-7"),
    "resources_page": lambda _n, _claims: QueryResources(limit=10, offset=5),
    "publish": lambda _n, _claims: PublishResources({"prompt": PromptTemplate(template="x", engine="f-string")}),
    "latest_resources": lambda _n, _claims: GetLatestResources(),
    "statistics": lambda _n, _claims: Statistics(),
    "poll": lambda n, claims: WaitForRollouts(rollout_ids=[c.rollout_id for c in claims[:: n // 10]], timeout=0),
    "enqueue": lambda _n, _claims: EnqueueRollout("task"),
    "dequeue": lambda _n, _claims: DequeueRollout("Worker-7"),
    "start": lambda _n, _claims: StartRollout("task", config=RolloutConfig(timeout_seconds=5e9)),
    "update_attempt": lambda _n, claims: UpdateAttempt(
        running_one(claims).rollout_id, "latest", last_heartbeat_time=1e9
    ),
    "add_spans": lambda _n, claims: AddManySpans(
        [span_of(running_one(claims).rollout_id, running_one(claims).attempt.attempt_id)]
    ),
    "update_rollout": lambda _n, claims: UpdateRollout(running_one(claims).rollout_id, metadata={}),
    "reopen": lambda n, claims: UpdateRollout(claims[n // 4 * 2].rollout_id, status="requeuing"),
    "heartbeat": lambda _n, _claims: UpdateWorker("Worker-7", {}),
    "pool_heartbeat": lambda _n, claims: UpdateManyWorkers(
        ["Worker-7"], attempts=[(running_one(claims).rollout_id, running_one(claims).attempt.attempt_id)]
    ),
}


@pytest.mark.parametrize("ask", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_an_operation_costs_the_same_in_a_store_ten_times_as_large(
    ask: Callable[[int, list[AttemptedRollout]], Message[Any]],
) -> None:
    steps_small, bytes_small = cost(SMALL, ask)
    steps_large, bytes_large = cost(LARGE, ask)
    assert steps_large <= 2 * steps_small + 100
    assert bytes_large <= 2 * bytes_small + 4_000


def test_a_scan_is_noticed() -> None:
    def scan(_size: int, _claims: list[AttemptedRollout]) -> Message[Any]:
        return QueryRollouts(rollout_id_contains="nowhere")

    steps_small, bytes_small = cost(SMALL, scan)
    steps_large, bytes_large = cost(LARGE, scan)
    assert steps_large > 5 * steps_small
    assert bytes_large > 4 * bytes_small


def test_a_deadline_is_settled_without_a_look_at_the_others() -> None:
    steps: list[int] = []
    for size in (SMALL, LARGE):
        store, _ = filled(size)
        claimed = store.perform(StartRollout("task", config=RolloutConfig(timeout_seconds=1)))
        store.perform(GetRolloutById(claimed.rollout_id))
        with Steps() as counted:
            store.settle()
        found = store.perform(GetRolloutById(claimed.rollout_id))
        assert found is not None
        assert found.status == "failed"
        steps.append(counted.count)
    assert steps[1] <= 2 * steps[0] + 100


def test_statuses_that_changed_between_two_reads_are_caught_up_with_in_bounded_steps() -> None:
    steps: list[int] = []
    for size in (SMALL, LARGE):
        store = InMemoryLightningStore(clock=VirtualClock())
        rollouts = [store.perform(EnqueueRollout(number)) for number in range(size)]
        for rollout in rollouts:
            store.perform(UpdateRollout(rollout.rollout_id, status="cancelled"))
        with Steps() as counted:
            found = store.perform(QueryRollouts(status_in=["cancelled"], limit=10))
        assert found.total == size
        steps.append(counted.count)
    assert steps[1] <= 2 * steps[0] + 30_000
