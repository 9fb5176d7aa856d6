"""Opening a store's file: what it may be, how SQLite is to treat it, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final, Literal

from lightning_actors.errors import ConfigError, StoreDamaged, StoreError, StoreFileError, StoreNotWritten, StoreTooNew
from lightning_actors.log import get_logger
from lightning_actors.store.sqlite.file_lock import FileLock
from lightning_actors.store.sqlite.schema import LATEST, migrate, version_of
from lightning_actors.store.sqlite.tables import SqlTables

__all__ = ["StoreFile", "Synchronous", "explained", "is_of_the_file"]

log = get_logger("lightning_actors.store")

Synchronous = Literal["normal", "full"]

_OLDEST: Final = (3, 35, 0)
_BUSY_SECONDS: Final = 10.0
_STATEMENTS: Final = 256
_LOG_PAGES: Final = 4_000
"""After so many pages, of 4 KiB, what is in the write-ahead log is taken over into the file."""
_LOG_BYTES: Final = 64 * 1024**2
"""To this size the log's file is cut back, if it ever grew beyond it."""
_TIDY_MILLISECONDS: Final = 500
_CACHE_KIB: Final = 32 * 1024
_CHECKED_BYTES: Final = 16 * 1024**2
"""A file up to this size is checked whole when it is opened."""


def _checked_path(path: str | os.PathLike[str]) -> Path:
    """The path of a store's file, if there may be one.

    Raises:
        ConfigError: It is no path of a file.
        StoreFileError: There can be no file there.
    """
    name = os.fspath(path)
    if name in {"", ":memory:"} or name.startswith("file:"):
        raise ConfigError(
            f"{name!r} is no path of a file: give the name of one, as in 'run.db', and for a store that ends with "
            f"its process use InMemoryLightningStore()"
        )
    place = Path(name)
    if place.is_dir():
        raise StoreFileError(f"{place} is a folder: give the name of a file in it, as in {place / 'run.db'}", path=name)
    if not place.parent.is_dir():
        raise StoreFileError(f"there is no folder {place.parent}: make it first, or correct {name!r}", path=name)
    if place.exists() and not os.access(place, os.R_OK | os.W_OK):
        raise StoreFileError(f"{place} may not be written by this user: a store has to read and write it", path=name)
    return place


def _connect(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """A connection to a store's file, which is made if there is none and brought to the latest version.

    Raises:
        StoreTooNew: A newer version of this library has written it; it is left as it is.
        StoreDamaged: It is no store's, or broken; it is left as it is.
        StoreFileError: It cannot be used otherwise.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StoreError(
            f"SqliteLightningStore needs SQLite {'.'.join(map(str, _OLDEST))} or later, and this Python has "
            f"{sqlite3.sqlite_version}"
        )
    connection: sqlite3.Connection | None = None
    try:
        connection = _plain(path)
        _prepare(connection, path, synchronous)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise explained(error, path) from error
        raise
    return connection


def _plain(path: Path) -> sqlite3.Connection:
    """A connection that begins no transaction by itself, for one thread at a time."""
    return sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
    )


def _prepare(connection: sqlite3.Connection, path: Path, synchronous: Synchronous) -> None:
    version = version_of(connection)
    if version is None:
        raise StoreDamaged(
            f"{path} is a database of another application: give the store a file of its own", path=str(path)
        )
    if version > LATEST:
        raise StoreTooNew(
            f"{path} was written by a newer version of lightning-actors (form {version}; this one knows up to "
            f"{LATEST}): update lightning-actors, or give the store another file",
            path=str(path),
            version=version,
            known=LATEST,
        )
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreFileError(
            f"{path} lies where SQLite cannot keep a write-ahead log (it answers {mode!r}): use a local disk",
            path=str(path),
        )
    for pragma in (
        f"synchronous = {synchronous}",
        f"wal_autocheckpoint = {_LOG_PAGES}",
        f"journal_size_limit = {_LOG_BYTES}",
        f"cache_size = -{_CACHE_KIB}",
        "secure_delete = OFF",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")
    if version and path.stat().st_size <= _CHECKED_BYTES:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"quick_check: {found}")
    if version < LATEST:
        migrate(connection, version)
        if version:
            log.info("store_migrated", path=str(path), before=version, after=LATEST)


def is_of_the_file(error: BaseException) -> bool:
    """Whether an error speaks of the file, and not of what was asked."""
    return isinstance(error, (sqlite3.Error, OverflowError, UnicodeError))


def explained(error: BaseException, path: Path) -> StoreFileError:
    """What an error of SQLite means for a store."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}:
        return StoreFileError(
            f"{path} cannot be written ({error}): a store has to write its file and beside it, in {path.parent}",
            path=str(path),
        )
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY}:
        return StoreNotWritten(
            f"{path} could not be written ({error}), and nothing has changed: make room, or mend what keeps it from "
            f"being written, and try again",
            path=str(path),
        )
    if isinstance(error, sqlite3.Error):
        return StoreDamaged(
            f"{path} is no store, or it is damaged ({error}). It is left as it is: keep a copy of it together with "
            f"{path.name}-wal, and go on with a backup or with what `sqlite3 {path.name} .recover` can save",
            path=str(path),
        )
    return StoreNotWritten(
        f"{path} cannot hold what was asked for ({type(error).__name__}: {error}), and nothing has changed: numbers "
        f"have at most 64 bits, and texts are Unicode",
        path=str(path),
    )


class StoreFile:
    """A store's file, open and locked, with its tables.

    Args:
        path: Where it is; it is made if there is none.
        synchronous: When the disk has to have what was written.

    Raises:
        ConfigError: The path is none of a file.
        StoreFileError: It cannot be opened; what is there is left as it is.
    """

    def __init__(self, path: str | os.PathLike[str], synchronous: Synchronous) -> None:
        self.path = _checked_path(path)
        self._log = self.path.with_name(f"{self.path.name}-wal")
        self._tidy_at = _LOG_BYTES
        self._lock = FileLock(self.path)
        try:
            self._connection = _connect(self.path, synchronous)
            try:
                self.tables = SqlTables(self._connection)
            except BaseException:
                self._connection.close()
                raise
        except BaseException as error:
            self._lock.release()
            if isinstance(error, sqlite3.Error):
                raise explained(error, self.path) from error
            raise

    def connect_to_read(self) -> sqlite3.Connection:
        """A second connection, by which nothing can be written; for whoever is in another thread."""
        connection = _plain(self.path)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def tidy(self) -> None:
        """Cut the write-ahead log back where it has grown because somebody always reads, and so would grow for ever.

        Whoever reads is waited for, but not for long; where they read on, the log grows by as much again before it is
        tried again.
        """
        try:
            size = self._log.stat().st_size
        except OSError:  # there is none yet
            return
        if size < self._tidy_at:
            return
        self._connection.execute(f"PRAGMA busy_timeout = {_TIDY_MILLISECONDS}")
        try:
            (is_busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
        if is_busy:
            log.warning("store_log_grows", path=str(self._log), bytes=size)
        self._tidy_at = _LOG_BYTES + (size if is_busy else 0)

    def close(self) -> None:
        """Close it and let others have it; what was committed is taken over from the write-ahead log."""
        try:
            self._connection.close()
        except sqlite3.Error as error:  # it is all there, in the log
            log.warning("store_not_tidied", path=str(self.path), error=str(error))
        finally:
            self._lock.release()
