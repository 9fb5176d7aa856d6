"""`FileLock`: one writer for each file, and who that is.

```
run.db        the store
run.db.lock   locked by the process that has it open; says which process that is, and stays behind
```

The operating system lets go of the lock with the process that holds it, however that ends. It is a lock between
processes: within one, a register knows the files that are open.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from lightning_actors.errors import StoreFileError, StoreInUse

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock", "Holder"]


class Holder(NamedTuple):
    """Who holds a file.

    Attributes:
        pid: The process.
        host: The machine that it runs on.
        since: When it opened the file, in seconds since the epoch.
    """

    pid: int | None = None
    host: str | None = None
    since: float | None = None

    def __str__(self) -> str:
        if self.pid is None or self.since is None:
            return "a process that has not said who it is"
        here = " of this process" if (self.pid, self.host) == (os.getpid(), socket.gethostname()) else ""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"a store{here}, process {self.pid} on {self.host}, since {when}"


_FAR_OFF: Final = 1 << 30
"""The byte that is locked where a lock keeps others from reading: what is written stays readable."""

_held: dict[str, Holder] = {}
"""The files that this process has open. A process's locks are all its own, so it has to know by itself."""


class FileLock:
    """Holds a store's file for this process until `release`.

    Args:
        path: The store's file.

    Raises:
        StoreInUse: It is held already.
        StoreFileError: The lock cannot be written beside the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = os.path.realpath(path)
        self._file: IO[bytes] | None = None
        self._pid = os.getpid()
        holder = _held.get(self._name)
        if holder is not None and holder.pid == self._pid:
            raise self._in_use(holder)
        place = path.with_name(f"{path.name}.lock")
        try:
            self._file = place.open("a+b", buffering=0)
        except OSError as error:
            raise StoreFileError(
                f"cannot open {path}: a store writes {place} beside its file, and that failed ({error.strerror}): give "
                f"it a folder that it may write to",
                path=str(path),
            ) from error
        try:
            _lock(self._file)
        except OSError:
            holder = _read(self._file)
            self._file.close()
            raise self._in_use(holder) from None
        _held[self._name] = Holder(self._pid, socket.gethostname(), time.time())
        self._file.truncate(0)
        self._file.write(json.dumps(_held[self._name]._asdict()).encode())

    def _in_use(self, holder: Holder) -> StoreInUse:
        return StoreInUse(
            f"{self._path} is in use by {holder}: a file has one writer. Close that store first, or reach it over a "
            f"network: a LightningStoreServer gives it to as many as want it",
            path=str(self._path),
            **holder._asdict(),
        )

    def release(self) -> None:
        """Let go of the file; a second time changes nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None
            if os.getpid() == self._pid:  # a forked child never held it
                _held.pop(self._name, None)


def _lock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        file.seek(_FAR_OFF)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _read(file: IO[bytes]) -> Holder:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        file.seek(0)
        said: dict[str, Any] = json.loads(file.read(4096))
        return Holder(int(said["pid"]), str(said["host"]), float(said["since"]))
    return Holder()
