"""A file has one writer: who holds it is said, and it is let go however its holder ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from lightning_actors.errors import StoreError, StoreInUse
from lightning_actors.store import SqliteLightningStore
from lightning_actors.store.sqlite.file_lock import FileLock

HOLD = """
import sys
from lightning_actors import SqliteLightningStore
store = SqliteLightningStore(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def holder_of(path: Path) -> subprocess.Popen[bytes]:
    """A process that has the store open until its input ends."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"open"
    return process


def finish(process: subprocess.Popen[bytes]) -> None:
    process.communicate()
    process.wait()


def test_a_second_store_in_the_same_process_is_refused(path: Path) -> None:
    with SqliteLightningStore(path):
        for other in (path, path.parent / "." / "run.db", Path(os.path.relpath(path))):
            with pytest.raises(StoreInUse, match="of this process") as caught:
                SqliteLightningStore(other)
            assert caught.value.pid == os.getpid()
    with SqliteLightningStore(path):
        pass


def test_the_refused_one_does_not_let_go_of_what_the_first_holds(path: Path) -> None:
    with SqliteLightningStore(path):
        with pytest.raises(StoreInUse):
            SqliteLightningStore(path)
        done = subprocess.run([sys.executable, "-c", HOLD, str(path)], capture_output=True, text=True, check=False)  # noqa: S603 - our own program
        assert f"process {os.getpid()} on {socket.gethostname()}" in done.stderr


def test_a_second_process_is_refused_and_told_who_holds_it(path: Path) -> None:
    before = time.time()
    process = holder_of(path)
    with pytest.raises(StoreInUse, match="a file has one writer") as caught:
        SqliteLightningStore(path)
    error = caught.value
    assert (error.path, error.pid, error.host) == (str(path), process.pid, socket.gethostname())
    assert error.since is not None
    assert before - 1 <= error.since <= time.time()
    assert f"process {process.pid} on {socket.gethostname()}" in str(error)
    finish(process)
    with SqliteLightningStore(path):
        pass


def test_a_process_that_is_killed_lets_go(path: Path) -> None:
    process = holder_of(path)
    process.kill()
    finish(process)
    with SqliteLightningStore(path):
        pass


def test_a_holder_that_has_not_said_who_it_is_is_refused_too(path: Path) -> None:
    process = holder_of(path)
    path.with_name("run.db.lock").write_bytes(b"{")
    with pytest.raises(StoreInUse, match="has not said who it is") as caught:
        SqliteLightningStore(path)
    assert caught.value.pid is None
    finish(process)


def test_a_lock_is_let_go_once(path: Path) -> None:
    first = FileLock(path)
    first.release()
    second = FileLock(path)
    first.release()
    with pytest.raises(StoreInUse):
        FileLock(path)
    second.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_can_neither_use_the_store_nor_take_it_from_its_parent(path: Path) -> None:
    with SqliteLightningStore(path) as store:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            said: list[str] = []
            for attempt in (
                lambda: anyio.run(store.enqueue_rollout, "task"),
                lambda: SqliteLightningStore(path),
                store.close,
            ):
                try:
                    attempt()
                except StoreError as error:
                    said.append(f"{type(error).__name__}: {error}")
            store.close()
            os.write(write, "\n".join(said).encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as lines:
            used, opened = lines.read().splitlines()
        assert used.startswith("StoreError: this SqliteLightningStore was opened by process")
        assert opened.startswith(f"StoreInUse: {path} is in use by a store, process {os.getpid()}")
        with pytest.raises(StoreInUse, match="of this process"):
            SqliteLightningStore(path)
    with SqliteLightningStore(path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_that_outlives_its_parent_keeps_the_file_from_nobody(path: Path) -> None:
    program = (
        "import os, sys, time\nfrom lightning_actors import SqliteLightningStore\n"
        "store = SqliteLightningStore(sys.argv[1])\nchild = os.fork()\n"
        "print(child, flush=True) if child else None\ntime.sleep(60)\n"
    )
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    try:
        with SqliteLightningStore(path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()
