"""What `benchmark_agent.py` keeps: results in a file that survives a kill and has one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

__all__ = ["Result", "ResultsFile", "ResultsInUse"]

_BEGINNING: Final = b'{"task_id":'
_BOM: Final = b"\xef\xbb\xbf"


class Result(BaseModel):
    """How one task went: one line of the results.

    Attributes:
        task_id: The task's ``id``, or the number of its line.
        task_digest: Tells whether the task is still the same.
        agent: What ran it, as it was named on the command line.
        resources_digest: The same for the resources; None if there were none.
        rollout_id: The rollout, as logs and errors name it.
        status: How the rollout ended: succeeded, failed or cancelled.
        reward: Its final reward; None if there was none.
        seconds: How long the agent ran. Waiting for a place among those that run at once does not count; waiting for
            the event loop does, which async agents share.
        error: The class of what it failed with; None if it succeeded.
        message: What that error said.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: int | str
    task_digest: str
    agent: str
    resources_digest: str | None = None
    rollout_id: str
    status: str
    reward: FiniteFloat | None
    seconds: FiniteFloat
    error: str | None = None
    message: str | None = None


class ResultsInUse(OSError):
    """Another process writes these results."""


class ResultsFile:
    """A file of results that is only ever added to, a line at a time, by one process at a time.

    A process that is killed leaves at most its last line cut off. Opening mends that: what is not a whole line is taken
    away, and its task counts as not run. A pipe or a device is written to, and had no results before.

    Args:
        path: The file; it need not exist.

    Attributes:
        path: The file.
        before: The results that were there.

    Raises:
        ResultsInUse: Another process has it open.
        ValueError: A line is no result, nor the beginning of one. Nothing has been changed then.
        OSError: The file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before: list[Result] = []
        _check_place(path)
        is_file = path.is_file() or not path.exists()
        self._lock = _FileLock(path) if is_file else None
        try:
            kept = self._read_before() if is_file else b""
            self._file = path.open("ab", buffering=0)
            if is_file:
                self._file.truncate(len(kept))
            if kept and not kept.endswith(b"\n"):
                self._write(b"\n")
        except BaseException:
            self._unlock()
            raise

    def _read_before(self) -> bytes:
        """Read the results that are there; returns the bytes that hold them."""
        content = self.path.read_bytes() if self.path.exists() else b""
        lines = content.removeprefix(_BOM).split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                self.before += [self._read(number, line)] if line.strip() else []
            except ValueError:
                is_cut_off = number == len(lines) and (line.startswith(_BEGINNING) or _BEGINNING.startswith(line))
                if not is_cut_off:
                    raise
                return content.removesuffix(line)
        return content

    def _read(self, number: int, line: bytes) -> Result:
        try:
            return Result.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise ValueError(
                f"{self.path}:{number}: no result of this program ({problem}): name another --out"
            ) from None

    def refuse_others(self, tasks: Mapping[int | str, str], agent: str, resources_digest: str | None) -> None:
        """See to it that the results before can be counted together with those of this benchmark.

        Args:
            tasks: The digest of each task by its id.
            agent: The agent's name.
            resources_digest: That of the resources.

        Raises:
            ValueError: They belong to something else.
        """
        before = {result.task_id: result.task_digest for result in self.before}
        others = [result for result in self.before if result.agent != agent]
        changed = [id_ for id_, digest in before.items() if digest != tasks.get(id_)]
        problem = ""
        if len(before) < len(self.before):
            problem = "there are several results of one task, as if two had written them: name another --out"
        elif strange := [id_ for id_ in before if id_ not in tasks]:
            problem = f"there are results of other tasks, such as {strange[0]!r}: name another --out"
        elif others:
            problem = f"there are results of the agent {others[0].agent}, not {agent}: name another --out"
        elif any(result.resources_digest != resources_digest for result in self.before):
            problem = "there are results with other resources: name another --out"
        elif changed:
            problem = (
                f"of the tasks with a result {len(changed)} changed since, such as {changed[0]!r}: take the lines of "
                f"these results away to run them again, or name another --out"
            )
        if problem:
            raise ValueError(f"{self.path}: {problem}")

    def add(self, result: Result) -> None:
        """Write a line and hand it to the operating system, which keeps it whatever becomes of this process.

        Raises:
            OSError: It cannot be written, whole or in part.
        """
        self._write(result.model_dump_json().encode() + b"\n")

    def _write(self, line: bytes) -> None:
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise OSError(
                f"{self.path}: {error.strerror}: the results before are kept, and the same command goes on from there"
            ) from error

    def close(self) -> None:
        """Let others write to it."""
        self._file.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"--out: {path} is a directory: name a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--out: there is no directory {path.parent}: make it first, or name another file")


class _FileLock:
    """A lock beside a file, in which its holder is named.

    The operating system gives it back when the process ends, however it ends, and a child that lives on does not have
    it. A lock file that is left behind is nobody's.
    """

    def __init__(self, path: Path) -> None:
        target = path.resolve()  # one file has one lock, by whatever link it is named
        self._path = target.with_name(f"{target.name}.lock")
        while not self._take(path):
            pass

    def _take(self, path: Path) -> bool:
        """Take the lock; False if the file was removed by its last holder meanwhile, so that it excludes nobody."""
        self._file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with self._file:
                if error.errno not in {errno.EACCES, errno.EAGAIN}:
                    raise
                self._file.seek(0)
                holder = self._file.read() or "another process"
            raise ResultsInUse(
                f"{path} is being written by {holder}: wait until that has ended, or name another --out"
            ) from None
        if not (self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))):
            self._file.close()
            return False
        self._file.truncate(0)
        now = datetime.now().astimezone()
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}, since {now:%Y-%m-%d %H:%M:%S}")
        self._file.flush()
        return True

    def release(self) -> None:
        """Give it back."""
        self._path.unlink(missing_ok=True)
        self._file.close()
