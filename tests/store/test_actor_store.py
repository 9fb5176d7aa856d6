"""A store behind its actor: what the contract does not say, about claims that nobody takes and waits at the end."""

# pyright: reportPossiblyUnboundVariable=false
# A task group may swallow an exception as far as its types tell; in these tests none comes.

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lightning_actors.actors import ActorRef, Supervisor, hosted
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import ActorStopped, RolloutNotFound, StoreError
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.store.actor import (
    ActorStore,
    ForwardingStoreActor,
    LocalStoreActor,
    StoreActor,
    store_actor,
)
from lightning_actors.types import RolloutConfig

pytestmark = pytest.mark.anyio

Make = Callable[[InMemoryLightningStore], StoreActor]
BOTH = pytest.mark.parametrize("make", [LocalStoreActor, ForwardingStoreActor], ids=["local", "forwarding"])


@asynccontextmanager
async def behind(
    store: InMemoryLightningStore, make: Make, **options: Any
) -> AsyncGenerator[tuple[ActorStore, ActorRef[StoreActor]]]:
    async with hosted(lambda: make(store), name="store", **options) as ref:
        yield ActorStore(ref, store, clock=options.get("clock")), ref


class Overridden(InMemoryLightningStore):
    """A store of a user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.in_claim = anyio.Event()
        self.gate = anyio.Event()

    async def dequeue_rollout(self, *args: Any, **kwargs: Any) -> Any:
        claimed = await super().dequeue_rollout(*args, **kwargs)
        self.in_claim.set()
        await self.gate.wait()
        return claimed


async def test_a_store_gets_the_actor_that_fits_it() -> None:
    class Plain(InMemoryLightningStore):
        pass

    class Counting(InMemoryLightningStore):
        delivered = 0

        async def deliver(self, message: Any, /) -> Any:
            self.delivered += 1
            return await super().deliver(message)

    for short_way in (InMemoryLightningStore(), Plain()):
        assert isinstance(store_actor(short_way), LocalStoreActor)
    counting = Counting()
    for long_way in (Overridden(), counting):
        assert isinstance(store_actor(long_way), ForwardingStoreActor)
    async with behind(counting, store_actor) as (seen, _):
        await seen.enqueue_rollout("x")
    assert counting.delivered == 1


@BOTH
async def test_capabilities_are_those_of_the_store_behind(make: Make) -> None:
    store = InMemoryLightningStore()
    async with behind(store, make) as (seen, _):
        assert seen.capabilities == store.capabilities


@BOTH
async def test_an_error_reaches_whoever_asked_and_the_actor_lives_on(make: Make) -> None:
    async with behind(InMemoryLightningStore(), make) as (seen, _):
        for _attempt in range(5):
            with pytest.raises(RolloutNotFound):
                await seen.update_rollout("ro-none", status="cancelled")
        assert (await seen.enqueue_rollout("x")).status == "queuing"


@BOTH
async def test_the_data_outlives_the_actor(make: Make) -> None:
    store = InMemoryLightningStore()
    for number in range(3):
        async with behind(store, make) as (seen, _):
            await seen.enqueue_rollout(number)
    assert [rollout.input for rollout in await store.query_rollouts()] == [0, 1, 2]


@BOTH
async def test_after_the_end_of_its_actor_the_view_says_so(make: Make) -> None:
    async with behind(InMemoryLightningStore(), make) as (seen, _):
        pass
    with pytest.raises(ActorStopped):
        await seen.enqueue_rollout("x")


@BOTH
async def test_deadlines_are_kept_while_the_actor_lives(make: Make) -> None:
    clock = VirtualClock()
    store = InMemoryLightningStore(clock=clock)
    reasons: list[str] = []
    async with behind(store, make, clock=clock) as (seen, _):
        claimed = await seen.start_rollout("x", config=RolloutConfig(timeout_seconds=5.0))
        unwatch = seen.watch_attempt(claimed.attempt.attempt_id, reasons.append)
        await anyio.wait_all_tasks_blocked()
        clock.advance(5.0)
        await anyio.wait_all_tasks_blocked()
        assert reasons == ["timeout"]
        unwatch()


@BOTH
async def test_a_waiter_is_answered_when_the_actor_stops(make: Make) -> None:
    """At once: a stop leaves time for work to finish, and this wait would never."""
    store = InMemoryLightningStore()
    errors: list[Exception] = []

    async def wait(seen: LightningStore, rollout_id: str) -> None:
        try:
            await seen.wait_for_rollouts(rollout_ids=[rollout_id])
        except ActorStopped as error:
            errors.append(error)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks, behind(store, make, grace=3600.0) as (seen, _):
            rollout = await seen.enqueue_rollout("x")
            tasks.start_soon(wait, seen, rollout.rollout_id)
            await anyio.wait_all_tasks_blocked()
    assert len(errors) == 1
    assert not store._clerk.waiters


@BOTH
async def test_a_waiter_costs_nothing_once_it_went_away(make: Make) -> None:
    store = InMemoryLightningStore()
    async with behind(store, make) as (seen, ref):
        rollout = await seen.enqueue_rollout("x")
        with anyio.move_on_after(0.01):
            await seen.wait_for_rollouts(rollout_ids=[rollout.rollout_id])
        await anyio.wait_all_tasks_blocked()
        assert not store._clerk.waiters
        assert ref.inspect().kept_replies == 0
        assert ref.inspect().concurrent == 0


@pytest.mark.parametrize("many", [False, True])
@BOTH
async def test_a_claim_that_nobody_takes_is_undone_and_stands_first_again(make: Make, *, many: bool) -> None:
    store = InMemoryLightningStore()
    for task in ("a", "b", "c"):
        await store.enqueue_rollout(task)
    seen_claims = 0
    for moments in range(12):
        async with behind(store, make) as (seen, _):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def claim() -> None:
                        nonlocal seen_claims
                        if many:
                            claims = await seen.dequeue_many_rollouts(limit=2, worker_id="Worker-0")
                        else:
                            claims = [await seen.dequeue_rollout("Worker-0")]
                        seen_claims += 1
                        for claimed in reversed(claims):
                            assert claimed is not None
                            await store.release_attempt(claimed.rollout_id, claimed.attempt.attempt_id)

                    tasks.start_soon(claim)
                    for _ in range(moments):
                        await checkpoint()
                    scope.cancel()
        assert {rollout.status for rollout in await store.query_rollouts()} == {"queuing"}
    assert 0 < seen_claims < 12  # some were cancelled before the reply, and some after
    assert [claimed.input for claimed in await store.dequeue_many_rollouts(limit=3)] == ["a", "b", "c"]


async def test_a_claim_in_a_store_of_ones_own_is_carried_to_its_end_and_undone() -> None:
    store = Overridden()
    await store.enqueue_rollout("x")
    async with behind(store, ForwardingStoreActor) as (seen, _), anyio.create_task_group() as tasks:
        tasks.start_soon(seen.dequeue_rollout, "Worker-0")
        await store.in_claim.wait()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.wait_all_tasks_blocked()
            store.gate.set()
            await anyio.wait_all_tasks_blocked()
            (rollout,) = await store.query_rollouts()
            assert rollout.status == "queuing"
            assert (await store.query_attempts(rollout.rollout_id)).total == 0


async def test_a_claim_that_a_store_of_ones_own_never_answers_is_given_up() -> None:
    clock, store = VirtualClock(), Overridden()
    await store.enqueue_rollout("x")
    errors: list[StoreError] = []

    async def claim(seen: LightningStore) -> None:
        try:
            await seen.dequeue_rollout("Worker-0")
        except StoreError as error:
            errors.append(error)

    async with behind(store, ForwardingStoreActor, clock=clock) as (seen, _), anyio.create_task_group() as tasks:
        tasks.start_soon(claim, seen)
        await anyio.wait_all_tasks_blocked()
        clock.advance(30.0)
    assert "DequeueRollout was not answered within 30 s" in str(errors[0])


async def test_what_was_enqueued_stays_though_nobody_took_the_reply() -> None:
    store = InMemoryLightningStore()
    async with behind(store, LocalStoreActor) as (seen, _):
        for moments in range(8):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(seen.enqueue_rollout, moments)
                    for _ in range(moments):
                        await checkpoint()
                    scope.cancel()
    tasks_kept = [rollout.input for rollout in await store.query_rollouts()]
    assert 7 in tasks_kept  # where there was time for it
    assert len(set(tasks_kept)) == len(tasks_kept)


async def test_the_death_of_the_store_actor_ends_the_tree_with_its_cause() -> None:
    class Dying(InMemoryLightningStore):
        async def keep_time(self) -> None:
            await gate.wait()
            raise OSError("the disk is gone")

    async def until_it_ends() -> None:
        async with Supervisor() as supervisor:
            await supervisor.start(lambda: store_actor(Dying()), name="store", restart="temporary", significant=True)
            gate.set()
            await supervisor.wait()

    gate = anyio.Event()
    with pytest.raises(OSError, match="the disk is gone"):
        await until_it_ends()
