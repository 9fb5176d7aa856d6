"""The queue actor: who runs next, and what becomes of claims that nobody takes."""

# pyright: reportPossiblyUnboundVariable=false
# A task group may swallow an exception as far as its types tell; in these tests none comes.

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lightning_actors.actors import Actor, ActorRef, DeadLetter, Message, Supervisor, handles, hosted
from lightning_actors.actors.testkit import VirtualClock, settle
from lightning_actors.errors import ActorStopped, StoreError
from lightning_actors.queue import LostClaims, QueueActor, Take, queue_actor
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.store.actor import ActorStore, store_actor
from lightning_actors.store.messages import GetRolloutById
from lightning_actors.types import AttemptedRollout

pytestmark = pytest.mark.anyio


class CountingStore(InMemoryLightningStore):
    """Counts its claims, and fails as often as it is told to."""

    def __init__(self, *, has_an_actor: bool = False) -> None:
        super().__init__()
        self.has_an_actor = has_an_actor
        self.claims = 0
        self.failing_claims = 0
        self.failing_releases = 0
        self.claimed: Callable[[], None] = lambda: None

    async def dequeue_rollout(self, *args: Any, **kwargs: Any) -> Any:
        self.claims += 1
        if self.failing_claims:
            self.failing_claims -= 1
            raise StoreError("the disk is full")
        claimed = await super().dequeue_rollout(*args, **kwargs)
        if claimed is not None:
            self.claimed()
        return claimed

    async def release_attempt(self, *args: Any, **kwargs: Any) -> Any:
        if self.failing_releases:
            self.failing_releases -= 1
            raise StoreError("the disk is full")
        return await super().release_attempt(*args, **kwargs)


@pytest.fixture(params=[False, True], ids=["awaited", "behind its actor"])
def store(request: pytest.FixtureRequest) -> CountingStore:
    return CountingStore(has_an_actor=request.param)


@asynccontextmanager
async def seen_of(store: CountingStore) -> AsyncGenerator[LightningStore]:
    """The store as a queue sees it."""
    if not store.has_an_actor:
        yield store
        return
    async with hosted(lambda: store_actor(store), name="store") as ref:
        yield ActorStore(ref, store)


@asynccontextmanager
async def queue_of(store: CountingStore) -> AsyncGenerator[ActorRef[QueueActor]]:
    async with seen_of(store) as seen, hosted(lambda: queue_actor(seen), name="queue") as ref:
        yield ref


class Taker:
    """A worker that waits for a rollout."""

    def __init__(self, queue: ActorRef[QueueActor], worker_id: str) -> None:
        self.queue = queue
        self.worker_id = worker_id
        self.given: AttemptedRollout | None = None
        self.error: Exception | None = None
        self.scope = anyio.CancelScope()

    async def take(self) -> None:
        with self.scope:
            try:
                self.given = await self.queue.ask(Take(self.worker_id))
            except (StoreError, ActorStopped) as error:
                self.error = error


async def test_a_take_is_answered_at_once_where_there_is_work(store: CountingStore) -> None:
    rollout = await store.enqueue_rollout("x")
    async with queue_of(store) as queue:
        given = await queue.ask(Take("Worker-7"))
    assert given.rollout_id == rollout.rollout_id
    assert given.attempt.worker_id == "Worker-7"
    assert given.status == "preparing"


async def test_takes_wait_without_a_task_and_are_answered_in_the_order_of_asking(store: CountingStore) -> None:
    async with queue_of(store) as queue, anyio.create_task_group() as tasks:
        takers = [Taker(queue, f"Worker-{number}") for number in range(3)]
        for taker in takers:
            tasks.start_soon(taker.take)
            await anyio.wait_all_tasks_blocked()
        assert queue.inspect().kept_replies == 3
        assert queue.inspect().concurrent == 0
        for number, taker in enumerate(takers):
            assert taker.given is None
            await store.enqueue_rollout(f"task {number}")
            await anyio.wait_all_tasks_blocked()
            assert taker.given is not None
            assert taker.given.input == f"task {number}"


async def test_an_idle_queue_asks_the_store_for_nothing(store: CountingStore) -> None:
    async with queue_of(store) as queue, anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(Taker(queue, f"Worker-{number}").take)
        await anyio.wait_all_tasks_blocked()
        assert store.claims == 1  # the first found nothing, and nothing has come since
        tasks.cancel_scope.cancel()


async def test_many_tasks_at_once_wake_as_many_as_wait(store: CountingStore) -> None:
    async with queue_of(store) as queue, anyio.create_task_group() as tasks:
        takers = [Taker(queue, f"Worker-{number}") for number in range(5)]
        for taker in takers:
            tasks.start_soon(taker.take)
        await anyio.wait_all_tasks_blocked()
        for number in range(3):
            await store.enqueue_rollout(number)
        await anyio.wait_all_tasks_blocked()
        assert sorted(taker.given.input for taker in takers if taker.given is not None) == [0, 1, 2]
        tasks.cancel_scope.cancel()
    assert await store.dequeue_rollout() is None


async def test_a_take_that_was_withdrawn_gets_nothing(store: CountingStore) -> None:
    async with queue_of(store) as queue, anyio.create_task_group() as tasks:
        left, stayed = Taker(queue, "Worker-0"), Taker(queue, "Worker-1")
        for taker in (left, stayed):
            tasks.start_soon(taker.take)
            await anyio.wait_all_tasks_blocked()
        left.scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert queue.inspect().kept_replies == 1
        await store.enqueue_rollout("x")
        await anyio.wait_all_tasks_blocked()
        assert left.given is None
        assert stayed.given is not None
        assert len(await store.query_attempts(stayed.given.rollout_id)) == 1


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_claim_whose_worker_has_just_gone_is_undone_and_given_to_another(
    store: CountingStore, failures: int
) -> None:
    store.failing_releases = failures
    async with queue_of(store) as queue, anyio.create_task_group() as tasks:
        gone = Taker(queue, "Worker-0")
        tasks.start_soon(gone.take)
        await anyio.wait_all_tasks_blocked()
        store.claimed = gone.scope.cancel  # when the claim is made, and before its worker can go on
        rollout = await store.enqueue_rollout("x")
        other = Taker(queue, "Worker-1")
        await other.take()
        assert gone.given is None
        assert other.given is not None
        assert other.given.rollout_id == rollout.rollout_id
    (attempt,) = await store.query_attempts((await store.query_rollouts())[0].rollout_id)
    assert (attempt.sequence_id, attempt.worker_id) == (1, "Worker-1")
    worker = await store.get_worker_by_id("Worker-0")
    assert worker is not None
    assert worker.status == "idle"


async def test_a_claim_is_undone_also_when_the_queue_is_stopped_at_that_moment(store: CountingStore) -> None:
    for moments in range(12):
        rollout = await store.enqueue_rollout("x")
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                async with queue_of(store) as queue:
                    await Taker(queue, "Worker-0").take()
                    await anyio.sleep_forever()

            tasks.start_soon(run)
            for _ in range(moments):
                await checkpoint()
            tasks.cancel_scope.cancel()
        now = await store.get_rollout_by_id(rollout.rollout_id)
        assert now is not None
        attempts = await store.query_attempts(rollout.rollout_id)
        taken = now.status == "preparing"
        assert len(attempts) == taken
        assert taken or now.status == "queuing"
        if not taken:
            await store.update_rollout(rollout.rollout_id, status="cancelled")


async def test_a_store_that_fails_tells_whoever_asked_and_the_others_wait_on(store: CountingStore) -> None:
    store.failing_claims = 1
    async with queue_of(store) as queue, anyio.create_task_group() as tasks:
        first, second = Taker(queue, "Worker-0"), Taker(queue, "Worker-1")
        tasks.start_soon(first.take)
        await anyio.wait_all_tasks_blocked()
        assert isinstance(first.error, StoreError)
        tasks.start_soon(second.take)
        await anyio.wait_all_tasks_blocked()
        rollout = await store.enqueue_rollout("x")
        await anyio.wait_all_tasks_blocked()
        assert second.given is not None
        assert second.given.rollout_id == rollout.rollout_id


async def test_a_stopped_queue_answers_those_who_wait(store: CountingStore) -> None:
    takers: list[Taker] = []
    async with anyio.create_task_group() as tasks, queue_of(store) as queue:
        takers.append(Taker(queue, "Worker-0"))
        tasks.start_soon(takers[0].take)
        await anyio.wait_all_tasks_blocked()
    assert isinstance(takers[0].error, ActorStopped)
    rollout = await store.enqueue_rollout("x")  # nobody is told any more, and nothing is claimed
    assert (await store.query_attempts(rollout.rollout_id)).total == 0


# ── when the queue is gone as well ──


@dataclass(frozen=True)
class Wait(Message[None]):
    """Keeps a worker busy, so that what it is given lies before it untaken."""


class Worker(Actor):
    """Takes a claim, if it ever comes to it."""

    def __init__(self, queue: ActorRef[QueueActor]) -> None:
        self.queue = queue

    @handles(Wait)
    async def wait(self, message: Wait) -> None:
        self.request(self.queue, Take("Worker-0"), lambda _: None)
        await anyio.sleep_forever()


@pytest.mark.parametrize("failing", [0, 2])
async def test_a_claim_whose_worker_and_queue_are_both_gone_is_undone_at_the_end(
    store: CountingStore, failing: int
) -> None:
    clock = VirtualClock()
    claims = LostClaims(store, clock)
    given = anyio.Event()
    store.claimed = given.set
    async with seen_of(store) as seen, Supervisor(dead_letters=claims) as supervisor:
        queue = await supervisor.start(lambda: queue_actor(seen), name="queue")
        worker = await supervisor.start(lambda: Worker(queue), name="worker")
        await worker.tell(Wait())
        rollout = await store.enqueue_rollout("x")
        await given.wait()
        await settle()
        await supervisor.stop_child("queue")
        await supervisor.stop_child("worker", 0.0)
    assert (await now(store, rollout.rollout_id)) == ("preparing", 1)
    store.failing_releases = failing
    async with clock.autojump():
        await claims.undo()
    assert (await now(store, rollout.rollout_id)) == ("queuing", 0)
    await claims.undo()


async def test_what_is_no_claim_is_logged_as_a_dead_letter(
    store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    claims = LostClaims(store, VirtualClock())
    claimed = await store.start_rollout("x")
    claims(DeadLetter("store", GetRolloutById(claimed.rollout_id), "undelivered", value=claimed))
    claims(DeadLetter("queue", Take("Worker-0"), "stopped"))
    await claims.undo()
    assert (await now(store, claimed.rollout_id)) == ("preparing", 1)
    assert [record.getMessage().partition(" ")[0] for record in caplog.records] == ["dead_letter", "dead_letter"]


async def now(store: CountingStore, rollout_id: str) -> tuple[str, int]:
    """The rollout's status, and how many attempts at it count."""
    rollout = await store.get_rollout_by_id(rollout_id)
    assert rollout is not None
    return rollout.status, (await store.query_attempts(rollout_id)).total
