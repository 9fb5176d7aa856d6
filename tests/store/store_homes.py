"""The homes that are put through the store contract, one line each in HOMES, and what its tests share."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from lightning_actors.actors import Clock, hosted
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.store.actor import ActorStore, ForwardingStoreActor, store_actor
from lightning_actors.types import AttemptedRollout, AttemptStatus, Rollout, RolloutConfig, Span

Home = Callable[[Clock], AbstractAsyncContextManager[LightningStore]]


@asynccontextmanager
async def in_memory(clock: Clock) -> AsyncGenerator[LightningStore]:
    """The bare store in memory."""
    yield InMemoryLightningStore(clock=clock)


@asynccontextmanager
async def behind_its_actor(clock: Clock) -> AsyncGenerator[LightningStore]:
    """The store in memory, spoken to through its actor."""
    store = InMemoryLightningStore(clock=clock)
    async with hosted(lambda: store_actor(store)) as ref:
        yield ActorStore(ref, store, clock=clock)


@asynccontextmanager
async def behind_a_forwarding_actor(clock: Clock) -> AsyncGenerator[LightningStore]:
    """The store in memory, behind the actor that any other store gets."""
    store = InMemoryLightningStore(clock=clock)
    async with hosted(lambda: ForwardingStoreActor(store)) as ref:
        yield ActorStore(ref, store, clock=clock)


HOMES: dict[str, Home] = {
    "memory": in_memory,
    "actor": behind_its_actor,
    "forwarding": behind_a_forwarding_actor,
}
ON_ONE_LOOP = frozenset({"forwarding"})
"""Homes made of parts that other homes put through the contract on every loop."""

_numbers = itertools.count(1)


def span_of(rollout_id: str, attempt_id: str, **changes: Any) -> Span:
    """A span with an id of its own."""
    number = next(_numbers)
    fields: dict[str, Any] = {
        "rollout_id": rollout_id,
        "attempt_id": attempt_id,
        "sequence_id": 0,
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "name": "step",
    }
    return Span(**{**fields, **changes})


def span_in(claimed: AttemptedRollout, **changes: Any) -> Span:
    """A span of the attempt that was claimed."""
    return span_of(claimed.rollout_id, claimed.attempt.attempt_id, **changes)


async def claim(store: LightningStore, worker_id: str | None = None) -> AttemptedRollout:
    """Claim what must be there."""
    claimed = await store.dequeue_rollout(worker_id)
    assert claimed is not None
    return claimed


async def running(store: LightningStore, config: RolloutConfig | None = None) -> AttemptedRollout:
    """A rollout whose first attempt is running."""
    claimed = await store.start_rollout("task", config=config)
    await store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="running")
    return claimed


async def ended(store: LightningStore, status: AttemptStatus = "succeeded", task: Any = "task") -> Rollout:
    """A rollout that has ended after one attempt."""
    claimed = await store.start_rollout(task)
    await store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status=status)
    return await get(store, claimed.rollout_id)


async def get(store: LightningStore, rollout_id: str) -> Rollout:
    """The rollout, which must be there."""
    rollout = await store.get_rollout_by_id(rollout_id)
    assert rollout is not None
    return rollout


async def end(store: LightningStore, claimed: AttemptedRollout, status: AttemptStatus = "succeeded") -> None:
    """Report how the attempt ended."""
    await store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status=status)


async def dump(store: LightningStore) -> dict[str, Any]:
    """All that a store holds, as far as its queries show it."""
    rollouts = await store.query_rollouts()
    statistics = dict(await store.statistics())
    statistics.pop("uptime")
    return {
        "rollouts": [rollout.model_dump() for rollout in rollouts],
        "attempts": [(await store.query_attempts(r.rollout_id)).items for r in rollouts],
        "spans": [(await store.query_spans(r.rollout_id)).items for r in rollouts],
        "resources": (await store.query_resources()).items,
        "latest": await store.get_latest_resources(),
        "workers": (await store.query_workers()).items,
        "statistics": statistics,
    }


async def everyone_waits() -> None:
    """Let all tasks run until each waits for something; the turns first, for a task that is new costs a long look."""
    for _ in range(8):
        await checkpoint()
    await wait_all_tasks_blocked()


class Later:
    """The result of something that is waited for in the background."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.value: Any = None
        self.error: Exception | None = None

    async def run(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Wait for it and keep what comes."""
        try:
            self.value = await work()
        except Exception as error:  # noqa: BLE001 - kept for the test to look at
            self.error = error
        self.done.set()


class Told:
    """What a watcher was told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.times = 0

    def stop(self, reason: str) -> None:
        """For `watch_attempt`."""
        self.reasons.append(reason)

    def ready(self) -> None:
        """For `watch_queue`."""
        self.times += 1

    def taken(self) -> bool:
        """Whether it was told since last asked."""
        times, self.times = self.times, 0
        return times > 0
