"""`Folders`: the folders at hand, read from the file when they are not; a bounded number of them."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from lightning_actors.store.sqlite.folder import ATTEMPT_COLUMNS, FOLDER_COLUMNS, Folder, folder_of, put_in
from lightning_actors.types import Attempt, Rollout

__all__ = ["Folders"]

_KEPT: Final = 8192
_KEPT_BYTES: Final = 32 * 1024**2
_AT_ONCE: Final = 500

_FOLDER: Final = f"SELECT {', '.join(FOLDER_COLUMNS)} FROM rollouts JOIN tasks USING (number)"  # noqa: S608 - names of ours
_WIDTH: Final = len(FOLDER_COLUMNS)
_WHOLE: Final = (
    f"SELECT folder.*, {', '.join(f'attempts.{name}' for name in ATTEMPT_COLUMNS)}"  # noqa: S608 - names of ours
    f" FROM ({_FOLDER} WHERE rollout_id = ?) AS folder LEFT JOIN attempts ON attempts.rollout = folder.number"
    " ORDER BY attempts.number"
)
_ATTEMPTS: Final = f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM attempts"  # noqa: S608 - names of ours
_TAKEN: Final = (
    "SELECT EXISTS (SELECT 1 FROM rollouts WHERE rollout_id = ?1)"
    " OR EXISTS (SELECT 1 FROM attempts WHERE attempt_id = ?1)"
)


class Folders:
    """Folders by rollout and by attempt.

    One that has changes that are not in the file yet is always at hand: `trim` is called when there is none.

    Args:
        connection: The file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.load()

    def load(self) -> None:
        """Begin with none at hand."""
        self._at_hand: OrderedDict[str, Folder] = OrderedDict()
        self._of_attempt: dict[str, Folder] = {}
        self._absent: set[str] = set()
        """Ids that were looked for in vain since the last `trim`: a new id is looked for before it is given."""
        self._bytes = 0

    def get(self, rollout_id: str) -> Folder | None:
        """The folder of a rollout; None if there is no such rollout."""
        folder = self._at_hand.get(rollout_id)
        if folder is not None:
            self._at_hand.move_to_end(rollout_id)
            return folder
        if rollout_id in self._absent:
            return None
        rows = self._connection.execute(_WHOLE, (rollout_id,)).fetchall()
        if not rows:
            self._absent.add(rollout_id)
            return None
        folder = folder_of(rows[0][:_WIDTH])
        for row in rows:
            if row[_WIDTH] is not None:
                put_in(folder, row[_WIDTH:])
        return self.add(folder)

    def existing(self, rollout_id: str) -> Folder:
        """The folder of a rollout that is there."""
        folder = self.get(rollout_id)
        assert folder is not None, rollout_id  # noqa: S101 - whoever asks has looked
        return folder

    def of_attempt(self, attempt_id: str) -> Folder | None:
        """The folder of the rollout that an attempt is at; None if there is no such attempt."""
        folder = self._of_attempt.get(attempt_id)
        if folder is not None or attempt_id in self._absent:
            return folder
        row = self._connection.execute(
            "SELECT rollout_id FROM attempts JOIN rollouts ON rollouts.number = rollout WHERE attempt_id = ?",
            (attempt_id,),
        ).fetchone()
        if row is None:
            self._absent.add(attempt_id)
            return None
        return self.get(row[0])

    def in_order(self, rollout_ids: Sequence[str]) -> list[Folder]:
        """The folders of these rollouts, which exist."""
        if any(rollout_id not in self._at_hand for rollout_id in rollout_ids):
            self.named(rollout_ids)
        return [self._at_hand[rollout_id] for rollout_id in rollout_ids]

    def is_taken(self, name: str) -> bool:
        """Whether a rollout or an attempt has this id."""
        if name in self._absent:
            return False
        if name in self._at_hand or name in self._of_attempt or self._connection.execute(_TAKEN, (name,)).fetchone()[0]:
            return True
        self._absent.add(name)
        return False

    def named(self, rollout_ids: Iterable[str]) -> list[Folder]:
        """The folders of those of these rollouts that exist, each once, in no order."""
        wanted = dict.fromkeys(rollout_ids)
        found = [self._at_hand[rollout_id] for rollout_id in wanted if rollout_id in self._at_hand]
        return found + self._read("rollout_id", [one for one in wanted if one not in self._at_hand], in_passing=False)

    def numbered(self, numbers: Sequence[int]) -> list[Folder]:
        """The folders of the rollouts with these numbers, in this order."""
        by_number = {folder.number: folder for folder in self._read("number", numbers, in_passing=True)}
        return [by_number[number] for number in numbers]

    def _read(self, column: str, keys: Sequence[Any], *, in_passing: bool) -> list[Folder]:
        """Many folders by few statements; those read in passing are the first to go, so that others stay at hand."""
        folders: list[Folder] = []
        for some in _slices(keys):
            condition = f" WHERE {column} IN ({', '.join('?' * len(some))})"
            read = [folder_of(row) for row in self._connection.execute(_FOLDER + condition, some)]
            new = [folder for folder in read if folder.rollout.rollout_id not in self._at_hand]
            self._put_in_attempts(new)
            for folder in new:
                self.add(folder)
                self._at_hand.move_to_end(folder.rollout.rollout_id, last=not in_passing)
            folders += [self._at_hand[folder.rollout.rollout_id] for folder in read]
        return folders

    def _put_in_attempts(self, folders: Sequence[Folder]) -> None:
        if not folders:
            return
        by_number = {folder.number: folder for folder in folders}
        condition = f" WHERE rollout IN ({', '.join('?' * len(folders))}) ORDER BY number"
        for row in self._connection.execute(_ATTEMPTS + condition, tuple(by_number)):
            put_in(by_number[row[2]], row)

    def add(self, folder: Folder) -> Folder:
        """Have a folder at hand: one that was read, or a new one."""
        rollout_id = folder.rollout.rollout_id
        self._at_hand[rollout_id] = folder
        self._absent.discard(rollout_id)
        self._bytes += folder.weight
        for attempt in folder.attempts:
            self._of_attempt[attempt.attempt_id] = folder
        return folder

    def put_rollout(self, folder: Folder, rollout: Rollout, weight: int) -> None:
        """Put a new state of the rollout into its folder."""
        folder.rollout = rollout
        self._bytes += weight - folder.weight
        folder.weight = weight

    def put_attempt(self, folder: Folder, attempt: Attempt, number: int) -> None:
        """Put a new attempt into its folder."""
        folder.attempts.append(attempt)
        folder.numbers.append(number)
        self._of_attempt[attempt.attempt_id] = folder
        self._absent.discard(attempt.attempt_id)

    def take_attempt(self, folder: Folder, place: int) -> int:
        """Take an attempt out of its folder, and return its number."""
        attempt = folder.attempts.pop(place)
        self._of_attempt.pop(attempt.attempt_id, None)
        folder.leases.pop(attempt.attempt_id, None)
        return folder.numbers.pop(place)

    def trim(self) -> None:
        """Let go of those that were not needed for longest, where they are too many."""
        self._absent.clear()
        while len(self._at_hand) > _KEPT or (self._bytes > _KEPT_BYTES and self._at_hand):
            _, folder = self._at_hand.popitem(last=False)
            self._bytes -= folder.weight
            for attempt in folder.attempts:
                self._of_attempt.pop(attempt.attempt_id, None)


def _slices(keys: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for place in range(0, len(keys), _AT_ONCE):
        yield tuple(keys[place : place + _AT_ONCE])
