"""What waits is one transaction, answered after its commit; what fails fails alone, and a full disk loses nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from store_homes import Told, dump, end, running, span_in, span_of

from lightning_actors.actors import hosted
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import NotJson, RolloutNotFound, StoreFileError, StoreNotWritten
from lightning_actors.store import SqliteLightningStore
from lightning_actors.store.actor import store_actor
from lightning_actors.store.in_one_go import InOneGo
from lightning_actors.store.messages import AddManySpans, EnqueueRollout, UpdateAttempt
from lightning_actors.store.sqlite.tables import SqlTables
from lightning_actors.types import PromptTemplate, Rollout, RolloutConfig

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SqliteLightningStore]:
    async with SqliteLightningStore(path) as store:
        yield store


def tables_of(store: SqliteLightningStore) -> SqlTables:
    return store._reception._writer._tables


def connection_of(store: SqliteLightningStore) -> sqlite3.Connection:
    return tables_of(store)._parts.connection


class Gate:
    """Holds the writer up before its next commits, so that what comes meanwhile is one transaction.

    Attributes:
        commits: How many there were.
    """

    def __init__(self, store: SqliteLightningStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits = 0
        self._open = threading.Event()
        self._open.set()
        tables, commit = tables_of(store), tables_of(store).commit

        def counted() -> None:
            assert self._open.wait(30)
            self.commits += 1
            commit()

        monkeypatch.setattr(tables, "commit", counted)

    @contextmanager
    def shut(self) -> Generator[None]:
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()


async def test_what_comes_together_is_one_transaction(
    store: SqliteLightningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(store, monkeypatch)
    async with anyio.create_task_group() as tasks:
        with gate.shut():
            tasks.start_soon(store.enqueue_rollout, "first")
            await anyio.wait_all_tasks_blocked()
            for number in range(100):
                tasks.start_soon(store.enqueue_rollout, number)
            await anyio.wait_all_tasks_blocked()
    assert gate.commits <= 3
    assert (await store.query_rollouts()).total == 101


async def test_what_is_asked_in_one_go_is_one_transaction_up_to_what_fails(
    store: SqliteLightningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await running(store)
    ids = claimed.rollout_id, claimed.attempt.attempt_id
    gate = Gate(store, monkeypatch)
    async with hosted(lambda: store_actor(store)) as ref:
        before = gate.commits
        spans, ended = await ref.ask(
            InOneGo([AddManySpans([span_in(claimed)]), UpdateAttempt(*ids, status="succeeded")])
        )
        assert (len(spans.value), ended.value.status, gate.commits - before) == (1, "succeeded", 1)
        outcomes = await ref.ask(
            InOneGo([EnqueueRollout("next"), AddManySpans([span_of("ro-none", "at-none")]), EnqueueRollout("never")])
        )
    assert [type(outcome.error) for outcome in outcomes] == [type(None), RolloutNotFound]
    assert [rollout.input for rollout in await store.query_rollouts(status_in=["queuing"])] == ["next"]


async def test_what_the_file_fails_in_one_go_is_failed_whole(store: SqliteLightningStore) -> None:
    claimed, disk = await running(store), Disk(store)
    ids = claimed.rollout_id, claimed.attempt.attempt_id
    both = [AddManySpans([span_in(claimed)]), UpdateAttempt(*ids, status="succeeded", metadata={"note": LONG})]
    async with hosted(lambda: store_actor(store)) as ref:
        disk.fill()
        with pytest.raises(StoreNotWritten):
            await ref.ask(InOneGo(both))
        assert (await store.query_spans(claimed.rollout_id)).total == 0
        disk.make_room()
        assert [outcome.error for outcome in await ref.ask(InOneGo(both))] == [None, None]
    assert (await store.query_spans(claimed.rollout_id)).total == 1


async def test_nothing_is_answered_or_told_before_the_commit(
    store: SqliteLightningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, told, answered = Gate(store, monkeypatch), Told(), anyio.Event()
    leave = store.watch_queue(told.ready)

    async def enqueue() -> None:
        await store.enqueue_rollout("task")
        answered.set()

    async with anyio.create_task_group() as tasks:
        with gate.shut():
            tasks.start_soon(enqueue)
            for _ in range(50):
                await checkpoint()
            assert (answered.is_set(), told.times) == (False, 0)
        await answered.wait()
        assert told.times == 1
    leave()


async def test_an_operation_that_is_refused_disturbs_no_other_in_its_transaction(
    store: SqliteLightningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, errors, done = Gate(store, monkeypatch), list[Exception](), list[str]()

    async def attempt(work: Callable[[], Awaitable[Rollout]]) -> None:
        try:
            done.append((await work()).input)
        except (NotJson, RolloutNotFound) as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        with gate.shut():
            for number in range(5):
                tasks.start_soon(attempt, lambda number=number: store.enqueue_rollout(f"good {number}"))
                tasks.start_soon(attempt, lambda: store.enqueue_rollout({"bad": {1, 2}}))
                tasks.start_soon(attempt, lambda: store.update_rollout("ro-none", status="cancelled"))
            await anyio.wait_all_tasks_blocked()
    assert sorted(done) == [f"good {number}" for number in range(5)]
    assert sorted(type(error).__name__ for error in errors) == ["NotJson"] * 5 + ["RolloutNotFound"] * 5
    assert (await store.query_rollouts()).total == 5


Attempt = Callable[[SqliteLightningStore, Any], Awaitable[Any]]
"""Asks a store for something, given a claim."""

NOT_JSON: dict[str, Attempt] = {
    "input['when']": lambda store, _: store.enqueue_rollout({"when": object()}),
    "input": lambda store, _: store.start_rollout({1, 2}),
    "metadata['note'][0]": lambda store, _: store.enqueue_rollout(1, metadata={"note": [b"bytes"]}),
    "input[0]": lambda store, claimed: store.update_rollout(claimed.rollout_id, input=[b"bytes"]),
    "metadata['set']": lambda store, claimed: store.update_attempt(claimed.rollout_id, "latest", metadata={"set": {1}}),
    "heartbeat_stats['load']": lambda store, _: store.update_worker("Worker-1", {"load": object()}),
}


@pytest.mark.parametrize(("place", "attempt"), NOT_JSON.items())
async def test_what_json_cannot_hold_is_refused_by_its_place(
    store: SqliteLightningStore, place: str, attempt: Attempt
) -> None:
    claimed = await running(store)
    held = await dump(store)
    with pytest.raises(NotJson) as caught:
        await attempt(store, claimed)
    assert caught.value.place == place
    assert str(caught.value).startswith((f"{place} is a ", f"{place} is an "))
    assert await dump(store) == held


class Disk:
    """A disk that is full when it is told to be: SQLite may take no further page."""

    def __init__(self, store: SqliteLightningStore) -> None:
        self._connection = connection_of(store)

    def fill(self) -> None:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        self._connection.execute(f"PRAGMA max_page_count = {pages}")

    def make_room(self) -> None:
        self._connection.execute("PRAGMA max_page_count = 1073741823")


LONG = "x" * 20_000


async def test_a_full_disk_is_told_to_whoever_writes_and_loses_nothing(store: SqliteLightningStore) -> None:
    disk, answered, refused = Disk(store), list[str](), list[Exception]()
    claimed = await running(store)
    await store.add_resources({"prompt": PromptTemplate(template="t", engine="f-string")})

    async def enqueue(number: int) -> None:
        try:
            answered.append((await store.enqueue_rollout({"number": number, "text": LONG})).rollout_id)
        except StoreNotWritten as error:
            refused.append(error)

    for round_ in range(3):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(enqueue, number)
        held = await dump(store)
        disk.fill()
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(enqueue, number)
        assert len(refused) == 20 * (round_ + 1)
        assert await dump(store) == held
        disk.make_room()
    assert "full" in str(refused[0])
    assert {rollout.rollout_id for rollout in await store.query_rollouts()} == {*answered, claimed.rollout_id}
    assert len(answered) == 60
    await end(store, claimed)
    claims = await store.dequeue_many_rollouts(limit=99)
    assert sorted(claim.rollout_id for claim in claims) == sorted(answered)


async def test_of_a_transaction_that_does_not_fit_what_fits_is_written(
    store: SqliteLightningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of many needs more room than there is; it fails alone."""
    disk, gate = Disk(store), Gate(store, monkeypatch)
    small, refused = list[str](), list[Exception]()
    for number in range(50):
        await store.enqueue_rollout(number)
    claimed = await running(store)

    async def heartbeat(number: int) -> None:
        small.append((await store.update_worker("Worker-1", {"beat": number})).worker_id)

    async def enqueue() -> None:
        try:
            await store.enqueue_rollout(LONG)
        except StoreNotWritten as error:
            refused.append(error)

    await store.update_worker("Worker-1", {"beat": 0})
    disk.fill()
    async with anyio.create_task_group() as tasks:
        with gate.shut():
            for number in range(5):
                tasks.start_soon(heartbeat, number)
            tasks.start_soon(enqueue)
            tasks.start_soon(end, store, claimed)
            await anyio.wait_all_tasks_blocked()
    assert (len(small), len(refused)) == (5, 1)
    assert (await store.query_rollouts(status_in=["succeeded"])).total == 1


async def test_who_waits_goes_on_waiting_through_a_write_that_failed(store: SqliteLightningStore) -> None:
    claimed, disk = await running(store), Disk(store)
    replies: list[Any] = []

    async def wait() -> None:
        replies.append(await store.wait_for_rollouts(rollout_ids=[claimed.rollout_id]))
        replies.append(await store.next_completion())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        disk.fill()
        with pytest.raises(StoreNotWritten):
            await store.update_attempt(claimed.rollout_id, "latest", status="succeeded", metadata={"note": LONG})
        assert replies == []
        disk.make_room()
        await end(store, claimed)
    assert [one.status for one in replies[0]] == ["succeeded"]


async def test_a_full_disk_can_still_be_read_though_a_deadline_cannot_be_settled(path: Path) -> None:
    clock = VirtualClock()
    async with SqliteLightningStore(path, clock=clock) as store:
        claimed = await running(store, RolloutConfig(timeout_seconds=5))
        await store.update_attempt(claimed.rollout_id, "latest", metadata={"note": "x" * 3_000})
        disk = Disk(store)
        for number in range(40):  # no page has room for more
            await store.enqueue_rollout(number)
        disk.fill()
        connection_of(store).execute("PRAGMA query_only = ON")
        clock.advance(10)
        attempt = await store.get_latest_attempt(claimed.rollout_id)
        assert attempt is not None
        assert attempt.status == "running"
        with pytest.raises(StoreFileError):
            await store.add_span(span_in(claimed))
        connection_of(store).execute("PRAGMA query_only = OFF")
        disk.make_room()
        attempt = await store.get_latest_attempt(claimed.rollout_id)
        assert attempt is not None
        assert attempt.status == "timeout"


async def test_what_the_file_cannot_hold_is_refused_alone(store: SqliteLightningStore) -> None:
    answered: list[str] = []

    async def enqueue() -> None:
        answered.append((await store.enqueue_rollout("good")).rollout_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(enqueue)
        with pytest.raises(StoreNotWritten, match="cannot hold"):
            await store.update_worker("Worker-\ud800")
    assert len(answered) == 5
    assert (await store.query_rollouts()).total == 5
