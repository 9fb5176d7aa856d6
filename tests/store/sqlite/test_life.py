"""A durable store from opening to its end: loops, cancellation, closing, and what is left behind."""

# pyright: reportPossiblyUnboundVariable=false
# A task group may swallow an exception as far as its types tell; in these tests none comes.

from __future__ import annotations

import functools
import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint
from store_homes import claim, end, running

from lightning_actors.actors import hosted
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import StoreClosed, WrongLoop
from lightning_actors.store import LightningStore, SqliteLightningStore
from lightning_actors.store.actor import ActorStore, ForwardingStoreActor, SubmittingStoreActor, store_actor
from lightning_actors.types import Rollout, RolloutConfig

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("store ")}


# ── loops ──


def test_one_loop_after_another_may_use_it(path: Path, anyio_backend: tuple[str, dict[str, Any]]) -> None:
    backend, options = anyio_backend

    def run(work: Callable[..., Any], *args: Any) -> Any:
        return anyio.run(work, *args, backend=backend, backend_options=options)

    with SqliteLightningStore(path) as store:
        for number in range(3):
            assert run(store.enqueue_rollout, number).input == number
        assert run(store.query_rollouts).total == 3


def test_a_loop_that_ended_in_the_middle_keeps_nobody_from_going_on(
    path: Path, anyio_backend: tuple[str, dict[str, Any]]
) -> None:
    backend, options = anyio_backend

    async def leave_in_the_middle() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(store.enqueue_rollout, number)
            tasks.start_soon(store.dequeue_rollout)
            tasks.start_soon(store.next_completion)
            await checkpoint()
            await checkpoint()
            raise KeyError

    with SqliteLightningStore(path) as store:
        for _ in range(5):
            with pytest.raises(ExceptionGroup):
                anyio.run(leave_in_the_middle, backend=backend, backend_options=options)
            assert anyio.run(store.enqueue_rollout, "x", backend=backend, backend_options=options).status == "queuing"


async def test_another_loop_is_refused_while_an_operation_is_under_way(path: Path) -> None:
    async with SqliteLightningStore(path) as store:

        def elsewhere() -> None:
            anyio.run(store.enqueue_rollout, "elsewhere")

        leave = store.watch_queue(lambda: None)
        with pytest.raises(WrongLoop, match=r"anyio\.from_thread"):
            await to_thread.run_sync(elsewhere)
        leave()
        await store.enqueue_rollout("here")
        await to_thread.run_sync(elsewhere)
        assert [one.input for one in await store.query_rollouts()] == ["here", "elsewhere"]


async def test_the_loop_goes_on_while_the_writer_works(path: Path) -> None:
    async with SqliteLightningStore(path) as store:
        turns, done = 0, anyio.Event()

        async def turn() -> None:
            nonlocal turns
            while not done.is_set():
                turns += 1
                await checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn)
            for number in range(20):
                await store.enqueue_rollout(number)
            done.set()
    assert turns > 20


# ── cancellation ──


async def behind_nothing(store: SqliteLightningStore) -> LightningStore:
    return store


@pytest.mark.parametrize("moments", range(6))
@pytest.mark.parametrize("way", ["bare", "actor"])
async def test_a_claim_whose_asker_went_away_is_undone(path: Path, way: str, moments: int) -> None:
    async with (
        SqliteLightningStore(path) as store,
        hosted(lambda: store_actor(store)) as ref,
    ):
        seen = ActorStore(ref, store) if way == "actor" else store
        for task in ("a", "b", "c"):
            await store.enqueue_rollout(task)
        for many in (False, True):
            taken: list[Any] = []

            async def claiming(*, many: bool, taken: list[Any]) -> None:
                taken += await seen.dequeue_many_rollouts(limit=2) if many else [await seen.dequeue_rollout()]

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(functools.partial(claiming, many=many, taken=taken))
                for _ in range(moments):
                    await checkpoint()
                tasks.cancel_scope.cancel()
            for claimed in reversed(taken):
                await store.release_attempt(claimed.rollout_id, claimed.attempt.attempt_id)
            await anyio.wait_all_tasks_blocked()
            await seen.statistics()  # behind whatever was on its way
            await seen.statistics()
            assert {one.status for one in await store.query_rollouts()} == {"queuing"}
        assert [claimed.input for claimed in await seen.dequeue_many_rollouts(limit=9)] == ["a", "b", "c"]


async def test_what_was_enqueued_is_either_there_or_was_never_begun(path: Path) -> None:
    async with SqliteLightningStore(path) as store:
        for moments in range(8):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.enqueue_rollout, moments)
                for _ in range(moments):
                    await checkpoint()
                tasks.cancel_scope.cancel()
        kept = [rollout.input for rollout in await store.query_rollouts()]
        assert len(set(kept)) == len(kept)
        assert store._reception._in_flight == 0
        assert store._reception.guard.users == 0


@pytest.mark.parametrize("how", ["answered", "cancelled", "timeout"])
async def test_a_wait_leaves_nothing_behind(path: Path, how: str) -> None:
    clock = VirtualClock()
    async with SqliteLightningStore(path, clock=clock) as store:
        claimed = await running(store)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: store.wait_for_rollouts(rollout_ids=[claimed.rollout_id], timeout=10))
            tasks.start_soon(lambda: store.next_completion(timeout=10))
            await anyio.wait_all_tasks_blocked()
            await store.statistics()
            assert len(store._reception._writer.clerk.waiters) == 2
            if how == "cancelled":
                tasks.cancel_scope.cancel()
            elif how == "timeout":
                clock.advance(10)
            else:
                await end(store, claimed)
        await store.statistics()
        writer = store._reception._writer
        assert (len(writer.clerk.waiters), writer._waiting, store._reception.guard.users) == (0, {}, 0)


async def test_no_deadline_makes_anyone_spin(path: Path) -> None:
    class CountingClock(VirtualClock):
        naps = 0

        def move_on_after(self, seconds: float | None) -> Any:
            self.naps += 1
            return super().move_on_after(seconds)

    clock = CountingClock()
    async with SqliteLightningStore(path, clock=clock) as store:
        for number in range(3):
            await running(store, RolloutConfig(timeout_seconds=5 + number))
        kept = await running(store)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(lambda: store.wait_for_rollouts(rollout_ids=[kept.rollout_id]))
            await anyio.wait_all_tasks_blocked()
            for _ in range(7):
                clock.advance(1)
                await anyio.wait_all_tasks_blocked()
                await store.statistics()
            await end(store, kept)
        assert (await store.query_rollouts(status_in=["failed"])).total == 3
        assert clock.naps < 60


# ── the end ──


async def test_after_its_end_every_use_says_so(path: Path) -> None:
    store = SqliteLightningStore(path)
    await store.enqueue_rollout(1)
    await store.aclose()
    await store.aclose()
    store.close()
    for use in (
        lambda: store.enqueue_rollout(2),
        store.query_rollouts,
        store.next_completion,
        store.keep_time,
    ):
        with pytest.raises(StoreClosed, match="was closed"):
            await use()
    assert threads() == set()


@pytest.mark.parametrize("blocking", [True, False])
async def test_who_waits_at_the_end_is_told_and_what_was_asked_is_done(path: Path, *, blocking: bool) -> None:
    store = SqliteLightningStore(path)
    claimed = await running(store)
    errors: list[Exception] = []
    enqueued: list[Rollout] = []

    async def wait(work: Callable[[], Any]) -> None:
        try:
            await work()
        except StoreClosed as error:
            errors.append(error)

    async def enqueue() -> None:
        enqueued.append(await store.enqueue_rollout("last"))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, lambda: store.wait_for_rollouts(rollout_ids=[claimed.rollout_id]))
            tasks.start_soon(wait, lambda: store.next_completion(timeout=1000))
            tasks.start_soon(wait, store.keep_time)
            await anyio.wait_all_tasks_blocked()
            for _ in range(20):
                tasks.start_soon(enqueue)
            await checkpoint()
            await checkpoint()
            if blocking:
                store.close()
            else:
                await store.aclose()
    assert [type(error) for error in errors] == [StoreClosed] * 3
    async with SqliteLightningStore(path) as again:
        kept = {one.rollout_id for one in await again.query_rollouts()}
        assert {one.rollout_id for one in enqueued} <= kept
        assert len(enqueued) == 20


async def test_a_store_that_nobody_has_any_more_leaves_no_thread_and_no_lock(path: Path) -> None:
    store = SqliteLightningStore(path)
    await store.enqueue_rollout("task")
    leave = store.watch_queue(lambda: None)
    leave()
    assert threads() == {"store run.db"}
    del store, leave
    gc.collect()
    assert threads() == set()
    async with SqliteLightningStore(path) as again:
        assert (await again.query_rollouts()).total == 1


@pytest.mark.parametrize(
    "end_of_it", ["", "store.close()", "del store", "import os; os._exit(0)", "raise SystemExit(0)"]
)
def test_a_store_never_keeps_its_process_from_exiting(path: Path, end_of_it: str) -> None:
    program = (
        "import anyio, sys\nfrom lightning_actors import SqliteLightningStore\n"
        "store = SqliteLightningStore(sys.argv[1])\nanyio.run(store.enqueue_rollout, 'task')\n" + end_of_it
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM rollouts").fetchone() == (1,)


async def test_a_closed_store_has_all_of_it_in_one_file(path: Path) -> None:
    async with SqliteLightningStore(path) as store:
        for number in range(10):
            await store.enqueue_rollout(number)
        assert path.with_name("run.db-wal").stat().st_size > 0
    assert sorted(one.name for one in path.parent.iterdir()) == ["run.db", "run.db.lock"]


# ── its actor ──


async def test_it_gets_the_actor_that_fits_it(path: Path) -> None:
    class Overridden(SqliteLightningStore):
        async def enqueue_rollout(self, *args: Any, **kwargs: Any) -> Any:
            kwargs["metadata"] = {"mine": True}
            return await super().enqueue_rollout(*args, **kwargs)

    async with SqliteLightningStore(path) as plain:
        assert isinstance(store_actor(plain), SubmittingStoreActor)
    async with Overridden(path) as mine:
        assert isinstance(store_actor(mine), ForwardingStoreActor)
        async with hosted(lambda: store_actor(mine)) as ref:
            rollout = await ActorStore(ref, mine).enqueue_rollout("task")
    assert rollout.metadata == {"mine": True}


async def test_its_actor_takes_no_task_for_those_who_wait_and_ends_them_when_it_stops(path: Path) -> None:
    errors: list[Exception] = []
    async with SqliteLightningStore(path) as store:

        async def wait(seen: ActorStore) -> None:
            try:
                await seen.next_completion()
            except Exception as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks, hosted(lambda: store_actor(store), grace=3600.0) as ref:
                seen = ActorStore(ref, store)
                for _ in range(10):
                    tasks.start_soon(wait, seen)
                await anyio.wait_all_tasks_blocked()
                assert (ref.inspect().kept_replies, ref.inspect().concurrent) == (10, 0)
        assert len(errors) == 10
        assert {type(error).__name__ for error in errors} == {"ActorStopped"}
        await store.statistics()
        assert len(store._reception._writer.clerk.waiters) == 0


async def test_what_its_actor_was_asked_before_it_stops_is_answered(path: Path) -> None:
    answered: list[Rollout] = []
    async with SqliteLightningStore(path) as store, anyio.create_task_group() as tasks:
        async with hosted(lambda: store_actor(store)) as ref:
            seen = ActorStore(ref, store)

            async def enqueue(number: int) -> None:
                answered.append(await seen.enqueue_rollout(number))

            for number in range(30):
                tasks.start_soon(enqueue, number)
            for _ in range(3):
                await checkpoint()
            assert (await seen.enqueue_rollout("last")).input == "last"
        assert (await claim(store)).status == "preparing"
    assert len(answered) == 30


# ── the write-ahead log ──


READ = """
import sqlite3, sys
readers = [sqlite3.connect(sys.argv[1], isolation_level=None) for _ in range(2)]
while True:  # one of the two is in a transaction at any time, and none for ever
    for reader in readers:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM rollouts").fetchone()
        print("read", flush=True)
        other = readers[reader is readers[0]]
        if other.in_transaction:
            other.execute("COMMIT")
"""


async def test_the_log_stays_small_though_others_read_all_the_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_actors.store.sqlite.opening._LOG_PAGES", 20)
    monkeypatch.setattr("lightning_actors.store.sqlite.opening._LOG_BYTES", 400_000)
    async with SqliteLightningStore(path) as store:
        await store.enqueue_rollout("first")
        sizes: list[int] = []
        async with await anyio.open_process([sys.executable, "-c", READ, str(path)], stderr=None) as reader:
            assert reader.stdout is not None
            for _ in range(200):
                await reader.stdout.receive()
                await store.enqueue_rollout("x" * 2_000)
                sizes.append((await anyio.Path(path.with_name("run.db-wal")).stat()).st_size)
            reader.kill()
        assert max(sizes) < 2_500_000
        assert (await store.query_rollouts(limit=0)).total == 201
