"""Opening a store's file: what is refused, what is said, and that nothing is touched then."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from lightning_actors import errors
from lightning_actors.store import SqliteLightningStore
from lightning_actors.store.sqlite import schema
from lightning_actors.store.sqlite.opening import Synchronous
from lightning_actors.types import RolloutConfig

VERSION_1 = Path(__file__).with_name("version_1.sql")


@contextlib.contextmanager
def untouched(path: Path) -> Generator[None]:
    """Whatever happens in it, the file stays as it is, and nobody holds it after."""
    before = path.read_bytes()
    yield
    assert path.read_bytes() == before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def fill(path: Path, count: int = 50) -> None:
    """Leave a store with so many rollouts behind."""

    async def main() -> None:
        async with SqliteLightningStore(path) as store:
            for number in range(count):
                await store.enqueue_rollout({"number": number, "text": "x" * 1000})

    anyio.run(main)


def count_in(path: Path) -> int:
    """How many rollouts a store has."""

    async def main() -> int:
        async with SqliteLightningStore(path) as store:
            return (await store.query_rollouts(limit=0)).total

    return anyio.run(main)


@pytest.mark.parametrize("name", [":memory:", "", "file:run.db", "file::memory:?cache=shared"])
def test_what_is_no_file_is_refused_with_a_word_on_memory(name: str) -> None:
    with pytest.raises(errors.ConfigError, match="InMemoryLightningStore"):
        SqliteLightningStore(name)


def test_a_wrong_option_is_refused(path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="synchronous='off'"):
        SqliteLightningStore(path, synchronous="off")  # pyright: ignore[reportArgumentType]  # the point of the test
    assert not path.exists()


@pytest.mark.parametrize(("synchronous", "level"), [("normal", 1), ("full", 2)])
def test_the_disk_is_asked_to_have_it_as_often_as_was_said(path: Path, synchronous: Synchronous, level: int) -> None:
    with SqliteLightningStore(path, synchronous=synchronous) as store:
        connection = store._reception._writer._file._connection
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreFileError, match="there is no folder") as caught:
        SqliteLightningStore(tmp_path / "none" / "run.db")
    assert "none" in str(caught.value)
    assert caught.value.path == str(tmp_path / "none" / "run.db")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreFileError, match="is a folder"):
        SqliteLightningStore(tmp_path)


def refusal_of_somebody_else(path: Path) -> str:
    """What a user who is not root is told; rights do not bind root."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            SqliteLightningStore(path)
        except errors.StoreFileError as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, encoding="utf-8") as said:
        return said.read()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such rights")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_written_is_refused(what: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        fill(path)
        path.with_name("run.db.lock").chmod(0o666)
        path.chmod(0o444 if what == "file" else 0o666)
        path.parent.chmod(0o777 if what == "file" else 0o555)
        with untouched(path):
            said = refusal_of_somebody_else(path)
        path.parent.chmod(0o777)
    assert said.startswith("StoreFileError: ")
    assert str(path) in said
    assert "write" in said


def test_a_new_file_has_the_latest_form(path: Path) -> None:
    fill(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert schema.version_of(connection) == schema.LATEST


def test_a_file_of_a_newer_form_is_refused_by_name(path: Path) -> None:
    fill(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.LATEST + 3}")
    with untouched(path), pytest.raises(errors.StoreTooNew, match="newer version of lightning-actors") as caught:
        SqliteLightningStore(path)
    assert (caught.value.version, caught.value.known) == (schema.LATEST + 3, schema.LATEST)
    assert str(path) in str(caught.value)


@pytest.mark.anyio
async def test_a_file_of_the_first_form_is_taken_over_with_all_that_is_in_it(path: Path) -> None:
    """The file was written by version 1 of the form, and dumped as SQL."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1.read_text(encoding="utf-8"))
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    async with SqliteLightningStore(path) as store:
        rollouts = await store.query_rollouts()
        assert [(one.input, one.status) for one in rollouts] == [
            ({"question": "ended"}, "succeeded"),
            ("under way", "requeuing"),
            ("queued", "queuing"),
        ]
        assert rollouts[2].config == RolloutConfig(timeout_seconds=9.0, max_attempts=2, retry_condition=["failed"])
        assert [span.name for span in await store.query_spans(rollouts[0].rollout_id)] == ["first", "second"]
        assert [worker.worker_id for worker in await store.query_workers()] == ["Worker-1"]
        latest = await store.get_latest_resources()
        assert latest is not None
        assert (latest.resources_id, latest.version) == ("mine", 2)
        assert (await anext(store.completions())).rollout_id == rollouts[0].rollout_id
        claims = await store.dequeue_many_rollouts(limit=9)
        assert [claim.input for claim in claims] == ["under way", "queued"]
        assert (await store.enqueue_rollout("new", key="k")) == await store.enqueue_rollout("new", key="k")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert schema.version_of(connection) == schema.LATEST


def test_a_step_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    step = schema.Step(schema.LATEST + 1, "broken", ("CREATE TABLE more (x)", "CREATE TABLE rollouts (x)"))
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, step))
    for module in (schema, sys.modules["lightning_actors.store.sqlite.opening"]):
        monkeypatch.setattr(module, "LATEST", schema.STEPS[-1].version)
    with pytest.raises(errors.StoreFileError):
        SqliteLightningStore(path)
    monkeypatch.undo()
    assert count_in(path) == 50


def test_a_database_of_another_application_is_refused(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with untouched(path), pytest.raises(errors.StoreDamaged, match="another application"):
        SqliteLightningStore(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_text("a letter to a friend\n" * 300, encoding="utf-8")
    with untouched(path), pytest.raises(errors.StoreDamaged, match="is left as it is"):
        SqliteLightningStore(path)


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with SqliteLightningStore(path):
        pass
    assert path.stat().st_size > 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_reported_and_never_emptied(path: Path, share: float) -> None:
    fill(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with untouched(path), pytest.raises(errors.StoreDamaged, match="recover") as caught:
        SqliteLightningStore(path)
    assert caught.value.path == str(path)


def test_a_file_with_a_broken_page_is_reported(path: Path) -> None:
    fill(path)
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(content)
    with untouched(path), pytest.raises(errors.StoreDamaged, match=r"run\.db"):
        SqliteLightningStore(path)


def test_damage_that_is_found_later_is_reported_to_whoever_meets_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, 500)
    content = bytearray(path.read_bytes())
    for page in range(len(content) // 8192, len(content) // 4096):
        content[page * 4096 : (page + 1) * 4096] = b"\x55" * 4096
    path.write_bytes(content)
    monkeypatch.setattr("lightning_actors.store.sqlite.opening._CHECKED_BYTES", 0)

    async def read_all() -> None:
        async with SqliteLightningStore(path) as store:
            for offset in range(500):
                await store.query_rollouts(offset=offset, limit=1)

    with pytest.raises(errors.StoreDamaged, match="is left as it is"):
        anyio.run(read_all)


def test_what_others_hold_is_not_lost_by_an_opening_that_failed(path: Path) -> None:
    for _ in range(3):
        with pytest.raises(errors.StoreFileError):
            SqliteLightningStore(path.parent / "none" / "run.db")
    path.write_text("no database, but longer than a header of one " * 99, encoding="utf-8")
    for _ in range(3):
        with pytest.raises(errors.StoreDamaged):
            SqliteLightningStore(path)
    path.unlink()
    fill(path)
