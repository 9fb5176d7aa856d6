"""`Pages`: a page of rollouts, by status and by id, without a look at those outside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence

from lightning_actors.store.sqlite.folder import Folder
from lightning_actors.store.sqlite.folders import Folders
from lightning_actors.store.sqlite.tally import Key, Tally
from lightning_actors.types import RolloutStatus

__all__ = ["Pages"]


class Pages:
    """Finds pages. What was changed must be in the file.

    Args:
        connection: The file.
        folders: The folders of the rollouts.
        tally: How many there are where.
    """

    def __init__(self, connection: sqlite3.Connection, folders: Folders, tally: Tally) -> None:
        self._connection = connection
        self._folders = folders
        self._tally = tally

    def of_ids(
        self,
        rollout_ids: Iterable[str],
        statuses: Collection[RolloutStatus] | None,
        offset: int,
        limit: int,
        *,
        descending: bool,
    ) -> tuple[list[Folder], int]:
        """A page of those with these ids, and with these statuses if some are given; and how many there are in all."""
        members = None if statuses is None else frozenset(statuses)
        found = [
            folder for folder in self._folders.named(rollout_ids) if members is None or folder.rollout.status in members
        ]
        found.sort(key=_key)
        start, end = _slice(len(found), offset, limit, descending=descending)
        page = found[start:end]
        return page[::-1] if descending else page, len(found)

    def of_statuses(
        self,
        statuses: Collection[RolloutStatus] | None,
        besides: Iterable[str],
        offset: int,
        limit: int,
        *,
        descending: bool,
    ) -> tuple[list[Folder], int]:
        """A page of those with these statuses (None for any) and of those with these ids besides."""
        wanted = None if statuses is None else tuple(dict.fromkeys(statuses))
        named: list[Key] = []
        if wanted is not None:
            named = sorted(_key(one) for one in self._folders.named(besides) if one.rollout.status not in wanted)
        total = self._tally.total(wanted) + len(named)
        start, end = _slice(total, offset, limit, descending=descending)
        numbers = [number for _, number in self._keys(wanted, named, start, end - start)] if start < end else []
        page = self._folders.numbered(numbers)
        return page[::-1] if descending else page, total

    def _keys(
        self, statuses: Sequence[RolloutStatus] | None, named: Sequence[Key], start: int, count: int
    ) -> Sequence[Key]:
        """So many keys from this place in the order of time."""
        low, skip = self._tally.find(statuses, named, start)
        if statuses is None or (len(statuses) == 1 and not named):
            return self._read(None if statuses is None else statuses[0], low, skip, count)
        keys = [key for key in named if key >= low]
        for status in statuses:
            keys += self._read(status, low, 0, skip + count)
        return sorted(keys)[skip : skip + count]

    def _read(self, status: RolloutStatus | None, low: Key, skip: int, count: int) -> list[Key]:
        """So many keys of one status, or of any, that follow so many from this one on.

        In two parts, for SQLite searches an index by the first column alone where the second is the row's number.
        """
        execute = self._connection.execute
        which, given = ("", ()) if status is None else ("status = ? AND ", (status,))
        time, number = low
        beside = f"FROM rollouts WHERE {which}start_time = ? AND number >= ?"
        (same,) = execute(
            f"SELECT count(*) FROM (SELECT 1 {beside} LIMIT ?)",  # noqa: S608 - text of ours
            (*given, time, number, skip + count),
        ).fetchone()
        keys: list[Key] = []
        if same > skip:
            keys = execute(
                f"SELECT start_time, number {beside} ORDER BY number LIMIT ? OFFSET ?",
                (*given, time, number, count, skip),
            ).fetchall()
        if len(keys) < count:
            keys += execute(
                f"SELECT start_time, number FROM rollouts WHERE {which}start_time > ?"  # noqa: S608 - text of ours
                " ORDER BY start_time, number LIMIT ? OFFSET ?",
                (*given, time, count - len(keys), max(0, skip - same)),
            ).fetchall()
        return keys


def _key(folder: Folder) -> Key:
    return folder.rollout.start_time, folder.number


def _slice(total: int, offset: int, limit: int, *, descending: bool) -> tuple[int, int]:
    """From where to where a page goes, counted in ascending order."""
    first = min(offset, total)
    last = total if limit < 0 else min(offset + limit, total)
    return (total - last, total - first) if descending else (first, last)
