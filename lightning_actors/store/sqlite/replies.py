"""`Replies`: what was answered to whom, for those who may ask again; bounded as `store.reply_book` says."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from lightning_actors.store.api import LightningStore
from lightning_actors.store.change import Remembered
from lightning_actors.store.messages import StoreMessage
from lightning_actors.store.reply_book import CLIENTS, REPLIES_A_CLIENT
from lightning_actors.store.sqlite.json_text import json_text, read_json
from lightning_actors.store.sqlite.many_rows import ManyRows

__all__ = ["Replies", "reply_text"]

_CLIENTS: Final = ManyRows(
    "clients", ("client", "settled_below", "heard"), key="client", updated=("settled_below", "heard")
)
_REPLIES: Final = ManyRows("replies", ("client", "number", "settled_below", "operation", "reply"))
_SPARE: Final = 64


def reply_text(remembered: Remembered) -> str:
    """A reply as JSON; NotJson where that cannot hold it."""
    return json_text(remembered.operation.reply_type(), remembered.reply, "reply")


class _Client:
    """What is at hand of one client.

    Attributes:
        settled_below: There are no replies below this number any more; they go from the file now and then.
        greatest: The greatest number that was answered.
        count: How many replies are in the file, those that are to go included.
        tidy_at: With how many replies in the file it is time for them to go.
    """

    __slots__ = ("count", "greatest", "settled_below", "tidy_at")

    def __init__(self, settled_below: int = 0, greatest: int = -1, count: int = 0) -> None:
        self.settled_below = settled_below
        self.greatest = greatest
        self.count = count
        self.tidy_at = max(_SPARE, 2 * count)


class Replies:
    """Replies by client and number.

    Args:
        connection: The file.
        flush: Writes to the file what is not in it yet; called before the file is searched.
    """

    def __init__(self, connection: sqlite3.Connection, flush: Callable[[], None]) -> None:
        self._connection = connection
        self._flush = flush
        self.load()

    def load(self) -> None:
        """Read from the file who the clients are, those first that were heard of least recently."""
        rows = self._connection.execute(
            "SELECT client, clients.settled_below, max(number), count(number), heard"
            " FROM clients LEFT JOIN replies USING (client) GROUP BY client ORDER BY heard"
        ).fetchall()
        self._clients = OrderedDict(
            (client, _Client(below, -1 if greatest is None else greatest, count))
            for client, below, greatest, count, _ in rows
        )
        self._heard: int = rows[-1][-1] if rows else 0
        self._changed: dict[str, int] = {}
        self._new: dict[tuple[str, int], tuple[Any, ...]] = {}

    def get(self, client: str, number: int) -> Remembered | None:
        """What was answered to this number of a client."""
        known = self._clients.get(client)
        if known is None or not known.settled_below <= number <= known.greatest:
            return None
        if (client, number) in self._new:
            self._flush()
        row = self._connection.execute(
            "SELECT settled_below, operation, reply FROM replies WHERE client = ? AND number = ?", (client, number)
        ).fetchone()
        if row is None:
            return None
        settled_below, name, text = row
        operation = _operations()[name]
        return Remembered(client, number, settled_below, operation, read_json(operation.reply_type(), text))

    def settled_below(self, client: str) -> int:
        """Below this number a reply may have been forgotten."""
        known = self._clients.get(client)
        return 0 if known is None else known.settled_below

    def put(self, remembered: Remembered, text: str) -> None:
        """Remember one more, and forget what nobody needs."""
        client, number, settled_below, operation, _ = remembered
        known = self._clients.setdefault(client, _Client())
        self._clients.move_to_end(client)
        self._heard += 1
        self._changed[client] = self._heard
        self._new[client, number] = client, number, settled_below, operation.__name__, text
        known.settled_below = max(known.settled_below, settled_below)
        known.greatest = max(known.greatest, number)
        known.count += 1
        if known.count > min(known.tidy_at, REPLIES_A_CLIENT):
            self._tidy(client, known)
        if len(self._clients) > CLIENTS:
            self._forget_the_first()

    def _tidy(self, client: str, known: _Client) -> None:
        """Have those go that are settled, and the lowest where there are too many."""
        self._flush()
        self._delete(client, known)
        if known.count > REPLIES_A_CLIENT:
            (lowest,) = self._connection.execute(
                "SELECT min(number) FROM replies WHERE client = ?", (client,)
            ).fetchone()
            known.settled_below = lowest + 1
            self._delete(client, known)
        known.tidy_at = max(_SPARE, 2 * known.count)

    def _delete(self, client: str, known: _Client) -> None:
        gone = self._connection.execute(
            "DELETE FROM replies WHERE client = ? AND number < ?", (client, known.settled_below)
        )
        known.count -= gone.rowcount

    def _forget_the_first(self) -> None:
        self._flush()
        client, _ = self._clients.popitem(last=False)
        self._connection.execute("DELETE FROM replies WHERE client = ?", (client,))
        self._connection.execute("DELETE FROM clients WHERE client = ?", (client,))

    def write(self) -> None:
        """Write to the file what is new."""
        _REPLIES.write(self._connection, list(self._new.values()))
        rows = [(client, self._clients[client].settled_below, heard) for client, heard in self._changed.items()]
        _CLIENTS.write(self._connection, rows)
        self._new = {}
        self._changed = {}


@cache
def _operations() -> dict[str, type[StoreMessage[Any]]]:
    """The operations by the names of their messages."""
    return {
        message.__name__: message for message in LightningStore.operations.values() if issubclass(message, StoreMessage)
    }
