"""A query of very many rollouts is answered beside whatever else is asked."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from lightning_actors.errors import StoreClosed, StoreFileError
from lightning_actors.store import SqliteLightningStore
from lightning_actors.store.sqlite.letter import Letter
from lightning_actors.store.sqlite.long_reads import LongReads
from lightning_actors.types import EnqueueRolloutRequest, RolloutConfig

pytestmark = pytest.mark.anyio

MANY = 300


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[SqliteLightningStore]:
    """A store with more rollouts than are read in passing."""
    monkeypatch.setattr("lightning_actors.store.sqlite.long_reads._MANY", 50)
    async with SqliteLightningStore(tmp_path / "run.db") as store:
        await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=number) for number in range(MANY)])
        yield store


class Reading:
    """Holds long reads up, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.gate = threading.Event()
        self.gate.set()
        self.has_begun = threading.Event()
        read = LongReads._read

        def held(reads: LongReads, letter: Letter) -> None:
            self.count += 1
            self.has_begun.set()
            assert self.gate.wait(30)
            read(reads, letter)

        monkeypatch.setattr(LongReads, "_read", held)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    return Reading(monkeypatch)


async def test_others_do_not_wait_for_a_long_read(store: SqliteLightningStore, reading: Reading) -> None:
    pages: list[Any] = []

    async def read() -> None:
        pages.append(await store.query_rollouts())

    reading.gate.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        for number in range(20):
            await store.enqueue_rollout(number)
        assert (await store.query_rollouts(limit=5)).total == MANY + 20
        assert pages == []
        reading.gate.set()
    assert MANY <= len(pages[0]) <= MANY + 20


@pytest.mark.parametrize(
    ("query", "is_long"),
    [
        ({}, True),
        ({"limit": 10}, False),
        ({"limit": 100}, True),
        ({"offset": 10}, True),
        ({"status_in": ["queuing"]}, True),
        ({"status_in": ["running"]}, False),
        ({"rollout_id_in": ["ro-none"] * 3}, False),
        ({"rollout_id_in": ["ro-none"], "status_in": ["queuing"]}, False),
        ({"rollout_id_in": ["ro-none"], "status_in": ["queuing"], "filter_logic": "or"}, True),
        ({"rollout_id_contains": "ro-"}, True),
        ({"rollout_id_contains": "ro-", "status_in": ["running"]}, False),
        ({"rollout_id_contains": "ro-", "status_in": ["running"], "filter_logic": "or"}, True),
        ({"sort_by": "end_time", "limit": 3}, True),
        ({"sort_by": "start_time", "sort_order": "desc", "limit": 3}, False),
    ],
)
async def test_it_is_known_what_is_long(
    store: SqliteLightningStore, reading: Reading, query: dict[str, Any], *, is_long: bool
) -> None:
    page = await store.query_rollouts(**query)
    assert reading.count == is_long
    if "ro-none" not in str(query) and "running" not in str(query):
        assert page.total == MANY


async def test_a_long_read_sees_all_that_was_answered_before(store: SqliteLightningStore, reading: Reading) -> None:
    for number in range(20):
        claimed = await store.dequeue_rollout()
        assert claimed is not None
        await store.update_attempt(claimed.rollout_id, "latest", status="failed")
        page = await store.query_rollouts()
        assert [rollout.status for rollout in page][: number + 1] == ["failed"] * (number + 1)
    assert reading.count == 20


async def test_a_long_read_settles_what_is_due_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_actors.actors.testkit import VirtualClock  # noqa: PLC0415 - one use

    monkeypatch.setattr("lightning_actors.store.sqlite.long_reads._MANY", 5)
    clock = VirtualClock()
    async with SqliteLightningStore(tmp_path / "run.db", clock=clock) as store:
        for number in range(10):
            await store.start_rollout(number, config=RolloutConfig(timeout_seconds=5))
        clock.advance(5)
        assert {rollout.status for rollout in await store.query_rollouts()} == {"failed"}


async def test_an_error_of_the_query_reaches_whoever_asked(store: SqliteLightningStore, reading: Reading) -> None:
    with pytest.raises(ValueError, match="colour"):
        await store.query_rollouts(sort_by="colour")
    assert reading.count == 1
    assert len(await store.query_rollouts()) == MANY


async def test_nothing_can_be_written_where_it_is_read(store: SqliteLightningStore) -> None:
    await store.query_rollouts()
    connection = store._reception._writer._long_reads._connection
    assert connection is not None
    with pytest.raises(Exception, match="readonly"):
        connection.execute("DELETE FROM rollouts")


async def test_a_read_that_fails_is_told_to_whoever_asked(
    store: SqliteLightningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_reads: LongReads, _letter: Letter) -> None:
        import sqlite3  # noqa: PLC0415 - one use

        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(LongReads, "_read", broken)
    with pytest.raises(StoreFileError, match="disk I/O error"):
        await store.query_rollouts()
    assert (await store.query_rollouts(limit=1)).total == MANY


async def test_a_read_that_is_cancelled_disturbs_nobody(store: SqliteLightningStore, reading: Reading) -> None:
    reading.gate.clear()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(store.query_rollouts)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    reading.gate.set()
    assert len(await store.query_rollouts()) == MANY
    assert reading.count <= 2
    assert store._reception._in_flight == 0


async def test_whoever_reads_when_the_store_is_closed_is_told(tmp_path: Path, reading: Reading) -> None:
    store = SqliteLightningStore(tmp_path / "run.db")
    await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=number) for number in range(2_100)])
    errors: list[StoreClosed] = []

    async def read() -> None:
        try:
            await store.query_rollouts()
        except StoreClosed as error:
            errors.append(error)

    reading.gate.clear()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(reading.has_begun.wait)
            tasks.start_soon(store.aclose)
            await anyio.wait_all_tasks_blocked()
            reading.gate.set()
    assert len(errors) == 3
    gc.collect()
    assert not [one for one in threading.enumerate() if one.name.startswith("store run.db")]
    async with SqliteLightningStore(tmp_path / "run.db") as again:
        assert (await again.query_rollouts(limit=1)).total == 2_100
