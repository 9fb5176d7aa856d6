"""The tables in SQL beside those in memory and a model, through whatever comes, roll-backs and new starts included."""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant, rule
from test_store_model import StoreMachine

from lightning_actors.errors import StoreError
from lightning_actors.store import InMemoryLightningStore, rules
from lightning_actors.store import messages as say
from lightning_actors.store.local import LocalStore
from lightning_actors.store.once import Once
from lightning_actors.store.sqlite import completed, folders, kept_records, line, replies, spans, tally
from lightning_actors.store.sqlite.schema import migrate
from lightning_actors.store.sqlite.tables import SqlTables
from lightning_actors.types import Attempt, Lease, RolloutConfig, SortOrder

SMALL: list[tuple[ModuleType, str, int]] = [
    (folders, "_KEPT", 2),
    (folders, "_AT_ONCE", 2),
    (line, "_HEAD", 1),
    (line, "_STRETCH_BITS", 1),
    (completed, "_TAIL", 1),
    (tally, "_FULL", 2),
    (kept_records, "_KEPT", 1),
    (kept_records, "_FEW", 1),
    (kept_records, "_MANY", 2),
    (spans, "_ATTEMPTS_KEPT", 1),
    (spans, "_IDS_KEPT", 1),
    (replies, "_SPARE", 3),
]
"""So little is at hand that nearly everything is read from the file, and every bound is passed."""


Due = Callable[[float], list[Attempt]]


class SqlTablesMachine(StoreMachine):
    """The same operations on tables in a file, and on tables in memory as their twin: all answers are equal."""

    asked: int

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        for module, name, value in SMALL:
            self.patch.setattr(module, name, value)
        self.numbers = random.Random(0)  # noqa: S311 - the same ids for both
        self.patch.setattr(os, "urandom", self.numbers.randbytes)
        super().__init__()
        self.twin = InMemoryLightningStore(clock=self.clock)
        self.due: list[str] = []
        self.patch.setattr(self.twin._tables, "due_attempts", self.due_in_the_twin(self.twin._tables.due_attempts))

    def open(self) -> None:
        self.connection = sqlite3.connect(Path(self.directory.name) / "store.db", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = OFF")
        if not self.connection.execute("PRAGMA user_version").fetchone()[0]:
            migrate(self.connection, 0)
        self.tables = SqlTables(self.connection)
        self.patch.setattr(self.tables, "due_attempts", self.due_in_the_file(self.tables.due_attempts))
        self.store = LocalStore(self.tables, clock=self.clock)

    def due_in_the_twin(self, due_attempts: Due) -> Due:
        """Note what is due, and in which order."""

        def noted(now: float) -> list[Attempt]:
            found = due_attempts(now)
            self.due = [attempt.attempt_id for attempt in found]
            return found

        return noted

    def due_in_the_file(self, due_attempts: Due) -> Due:
        """The same is due there, the earliest first; of those due at once, the order is the twin's from here on."""

        def checked(now: float) -> list[Attempt]:
            found, due, self.due = due_attempts(now), self.due, []  # one of them may ask again, and find no more
            assert sorted(attempt.attempt_id for attempt in found) == sorted(due)
            times = [self.due_time(attempt) for attempt in found]
            assert times == sorted(times)
            return sorted(found, key=lambda attempt: due.index(attempt.attempt_id))

        return checked

    def due_time(self, attempt: Attempt) -> float:
        rollout = self.tables.rollout(attempt.rollout_id)
        assert rollout is not None
        due = rules.attempt_due(attempt, rollout.config, self.tables.lease(attempt.attempt_id))
        assert due is not None
        return due

    def settle(self) -> None:
        self.twin.settle()
        super().settle()

    def reopen(self) -> None:
        surroundings = self.store._surroundings  # who asked last is not in the tables
        self.tables.commit()
        self.connection.close()
        self.open()
        self.store._surroundings = surroundings
        self.twin.take_over()
        self.store.take_over()

    def teardown(self) -> None:
        self.connection.close()
        self.directory.cleanup()
        self.patch.undo()

    def perform(self, message: Any) -> Any:
        """Carry an operation out on both; what changes something comes in an envelope now and then, and comes again."""
        if not isinstance(message, say.StoreRead):
            self.asked += 1
            if self.asked % 3:
                settled_below = max(0, self.asked - 5) if self.asked % 2 else 0
                message = Once(f"client-{self.asked % 2}", self.asked, settled_below=settled_below, message=message)
        reply = self.perform_on_both(message)
        if isinstance(message, Once):
            assert self.perform_on_both(message) == reply
            for number in (self.asked - 2, self.asked - 4, self.asked - 40):
                if number >= 0:
                    self.ask_again(Once(message.client, number, message=say.UpdateWorker("nobody")))
        return reply

    def ask_again(self, once: Once) -> None:
        """What is remembered under an earlier number of a client, if it was one of its own, is the same."""
        known = self.store._tables.remembered(once.client, once.number)
        assert known == self.twin._tables.remembered(once.client, once.number)
        assert self.store._tables.settled_below(once.client) == self.twin._tables.settled_below(once.client)

    def perform_on_both(self, message: Any) -> Any:
        self.twin.settle()
        self.store.settle()
        state = self.numbers.getstate()
        expected, refused = outcome(self.twin, message)
        self.numbers.setstate(state)
        found, error = outcome(self.store, message)
        if not isinstance(message, say.Statistics):
            assert found == expected
        assert repr(error) == repr(refused)
        if error is not None:
            raise error
        return found

    @rule()
    def commit(self) -> None:
        self.tables.commit()

    @rule()
    def undo(self) -> None:
        surroundings, self.store._surroundings = self.store._surroundings, self.twin._surroundings
        self.tables.commit()
        lease = Lease(holder="client-1", seconds=0.1)
        for message in (
            say.EnqueueRollout("undone", key="undone"),
            Once("client-1", 10**6, settled_below=10**6, message=say.EnqueueRollout("undone")),
            say.StartRollout("undone", config=RolloutConfig(timeout_seconds=0.1)),
            say.DequeueManyRollouts(limit=3, worker_id="Worker-undone", lease=lease),
            say.UpdateResources("rs-undone", {}),
        ):
            self.store._clerk.perform(message)
        self.tables.write()
        self.store._clerk.perform(say.EnqueueRollout("undone"))
        self.tables.roll_back()
        self.store._surroundings = surroundings

    @invariant()
    def every_query_has_the_same_answer(self) -> None:
        ids = list(self.model.tasks)
        orders: list[SortOrder] = ["asc", "desc"]
        queries: list[dict[str, Any]] = [
            {},
            {"status_in": ["succeeded", "running", "queuing", "running"]},
            {"status_in": []},
            {"rollout_id_in": [*ids[1::2], "ro-none", *ids[:2]]},
            {"status_in": ["failed", "requeuing"], "rollout_id_in": ids[::2]},
            {"status_in": ["failed", "queuing"], "rollout_id_in": ids[::2], "filter_logic": "or"},
        ]
        for order in orders:
            for offset, limit in ((0, -1), (1, 2), (3, 1), (len(ids) // 2, 3), (len(ids), 1), (0, 0)):
                page: dict[str, Any] = {"sort_by": "start_time", "sort_order": order, "offset": offset, "limit": limit}
                for query in queries:
                    self.perform(say.QueryRollouts(**page, **query))
        for rollout_id in ids:
            self.perform(say.ExplainRollout(rollout_id))
            self.perform(say.QuerySpans(rollout_id, "latest", sort_by=None))
        cursor = None
        while (completion := self.perform(say.NextCompletion(cursor, timeout=0))) is not None:
            cursor = completion.cursor
        self.perform(say.GetCompletionCursor())
        self.perform(say.QueryWorkers(limit=1, offset=1))
        self.perform(say.QueryResources(sort_by="version", sort_order="desc"))
        for holder in ("client-1", "client-2"):
            assert list(self.store._tables.leases_of(holder)) == list(self.twin._tables.leases_of(holder))


def outcome(store: LocalStore, message: Any) -> tuple[Any, StoreError | None]:
    try:
        return store.perform(message), None
    except StoreError as error:
        return None, error


TestSqlTables = pytest.mark.timeout(600)(SqlTablesMachine.TestCase)
TestSqlTables.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
