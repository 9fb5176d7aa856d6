"""`Spans`: the spans in the file, and which span ids are taken there."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from typing import Final

from lightning_actors.store.sqlite.json_text import json_text, read_json
from lightning_actors.store.sqlite.many_rows import ManyRows
from lightning_actors.store.sqlite.state import State
from lightning_actors.types import Span

__all__ = ["Spans"]

_ROWS: Final = ManyRows("spans", ("rollout", "attempt", "span_id", "record"))
_ATTEMPTS_KEPT: Final = 1024
_IDS_KEPT: Final = 2048

SpanRow = tuple[int, int, str, str]
"""Numbers of rollout and attempt, span id, and the span as JSON."""


class Spans:
    """Spans by rollout and attempt, which are given by their numbers; in the order in which they came.

    Args:
        connection: The file.
        state: Keeps their number and size.
    """

    def __init__(self, connection: sqlite3.Connection, state: State) -> None:
        self._connection = connection
        self._state = state
        self.load()

    def load(self) -> None:
        """Begin with none at hand."""
        self._new: list[SpanRow] = []
        self._new_ids: set[tuple[int, str]] = set()
        self._known: OrderedDict[int, set[str]] = OrderedDict()
        """The ids of all spans in the file, of those attempts that were asked for last."""

    def begin(self, attempt: int) -> None:
        """An attempt is new and has none."""
        self._known[attempt] = set()

    def add(self, row: SpanRow) -> None:
        """Take in a span that is new."""
        self._new.append(row)
        self._new_ids.add((row[1], row[2]))
        self._state.add("spans", 1)
        self._state.add("span_bytes", len(row[3]))

    def has(self, rollout: int, attempt: int, span_id: str) -> bool:
        """Whether an attempt has a span with this id."""
        if (attempt, span_id) in self._new_ids:
            return True
        known = self._known.get(attempt)
        if known is None:
            rows = self._connection.execute(
                "SELECT span_id FROM spans WHERE rollout = ? AND attempt = ? LIMIT ?", (rollout, attempt, _IDS_KEPT + 1)
            )
            known = self._known[attempt] = {row[0] for row in rows}
        if len(known) <= _IDS_KEPT:
            return span_id in known
        found = self._connection.execute(
            "SELECT 1 FROM spans WHERE rollout = ? AND attempt = ? AND span_id = ?", (rollout, attempt, span_id)
        )
        return found.fetchone() is not None

    def of(self, rollout: int, attempt: int | None) -> list[Span]:
        """The spans of a rollout, or of one attempt at it; all that are new must be in the file."""
        rows = self._connection.execute(
            "SELECT record FROM spans WHERE rollout = ?1 AND (?2 IS NULL OR attempt = ?2) ORDER BY number",
            (rollout, attempt),
        )
        spans: list[Span] = read_json(list[Span], f"[{','.join(record for (record,) in rows)}]")
        return spans

    def write(self) -> None:
        """Write to the file what is new."""
        _ROWS.write(self._connection, self._new)
        for _, attempt, span_id, _ in self._new:
            known = self._known.get(attempt)
            if known is not None and len(known) <= _IDS_KEPT:
                known.add(span_id)
        self._new = []
        self._new_ids = set()

    def trim(self) -> None:
        """Let go of what was not needed for longest."""
        while len(self._known) > _ATTEMPTS_KEPT:
            self._known.popitem(last=False)


def span_text(span: Span) -> str:
    """A span as JSON."""
    return json_text(Span, span, "span")
