"""Operations of a store in a file cost the same however much it holds: steps are counted, of Python and of SQLite."""

from __future__ import annotations

import functools
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from store_homes import span_of
from test_memory_flat import LARGE, OPERATIONS, SMALL, StampClock, Steps, running_one

from lightning_actors.actors.message import Message
from lightning_actors.store.local import LocalStore
from lightning_actors.store.messages import (
    AddManySpans,
    EnqueueManyRollouts,
    EnqueueRollout,
    ExplainRollout,
    GetCompletionCursor,
    NextCompletion,
    QueryRollouts,
    RenewLeases,
    StartRollout,
    UpdateAttempt,
    UpdateResources,
    UpdateRollout,
)
from lightning_actors.store.once import Once
from lightning_actors.store.sqlite import completed, folders, kept_records, line, spans, tally
from lightning_actors.store.sqlite.schema import migrate
from lightning_actors.store.sqlite.tables import SqlTables
from lightning_actors.types import AttemptedRollout, AttemptStatus, EnqueueRolloutRequest, Lease, RolloutConfig

AT_HAND: Final = ((folders, "_KEPT"), (line, "_HEAD"), (completed, "_TAIL"), (kept_records, "_KEPT"))
"""What is at hand is bounded; here by so little that most of what is asked for has to be read from the file."""


class InFile(LocalStore):
    """A store whose tables are in a file, on the caller's thread."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.connection = sqlite3.connect(Path(self.folder.name) / "store.db", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = OFF")
        migrate(self.connection, 0)
        self.tables = SqlTables(self.connection)
        super().__init__(self.tables, clock=StampClock())
        self.vm_steps = 0

    def do(self, message: Message[Any]) -> Any:
        """Carry an operation out in a transaction of its own."""
        reply = self.perform(message)
        self.tables.commit()
        return reply

    def count_steps_of_sqlite(self, message: Message[Any]) -> int:
        """How many instructions of SQLite's machine an operation takes."""
        steps = 0

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        self.connection.set_progress_handler(step, 1)
        self.do(message)
        self.connection.set_progress_handler(None, 1)
        return steps


@functools.cache
def filled(size: int) -> tuple[InFile, list[AttemptedRollout]]:
    """A store with so many rollouts in every status, spans, workers and resources, and the claims made in it."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in AT_HAND:
            patch.setattr(module, name, 16)
        patch.setattr(tally, "_FULL", 64)
        patch.setattr(line, "_STRETCH_BITS", 5)
        patch.setattr(spans, "_ATTEMPTS_KEPT", 16)
        return _fill(size)


def _fill(size: int) -> tuple[InFile, list[AttemptedRollout]]:
    store = InFile()
    ends: list[AttemptStatus] = ["succeeded", "failed", "running", "running"]
    claims: list[AttemptedRollout] = []
    for number in range(size // 5):
        config = RolloutConfig(timeout_seconds=1e9 + number)
        store.do(EnqueueRollout(number, key=f"key-{number}"))
        for status in ends:
            lease = Lease(holder=f"client-{number}", seconds=1e9)
            claimed = store.perform(StartRollout(number, config=config, worker_id=f"Worker-{number}", lease=lease))
            claims.append(claimed)
            rollout_id, attempt_id = claimed.rollout_id, claimed.attempt.attempt_id
            store.perform(AddManySpans([span_of(rollout_id, attempt_id)]))
            store.do(UpdateAttempt(rollout_id, attempt_id, status=status))
        store.do(UpdateResources(f"rs-{number}", {}))
        store.do(Once(f"client-{number}", number, message=EnqueueRollout(number)))
    return store, claims


def cost(size: int, ask: Callable[[int, list[AttemptedRollout]], Message[Any]]) -> tuple[int, int]:
    """The steps of Python and of SQLite that an operation takes."""
    store, claims = filled(size)
    with pytest.MonkeyPatch.context() as patch:
        for module, name in AT_HAND:
            patch.setattr(module, name, 16)
        patch.setattr(tally, "_FULL", 64)
        patch.setattr(line, "_STRETCH_BITS", 5)
        store.do(QueryRollouts(limit=1))
        with Steps() as steps:
            store.do(ask(size, claims))
        store.do(QueryRollouts(limit=20))  # other folders come to hand
        return steps.count, store.count_steps_of_sqlite(ask(size, claims))


def in_the_middle(size: int) -> str:
    """A rollout with many before it in the queue."""
    store, _ = filled(size)
    return store.do(QueryRollouts(status_in=["queuing"], limit=1, offset=size // 5))[0].rollout_id


Ask = Callable[[int, list[AttemptedRollout]], Message[Any]]
ALL: dict[str, Ask] = {
    **OPERATIONS,
    "explain_queued": lambda n, _claims: ExplainRollout(in_the_middle(n)),
    "known_key": lambda n, _claims: EnqueueRollout("task", key=f"key-{n // 10}"),
    "new_key": lambda n, _claims: EnqueueRollout("task", key=f"new-{n}-{id(object())}"),
    "many": lambda _n, _claims: EnqueueManyRollouts([EnqueueRolloutRequest(input=number) for number in range(20)]),
    "renew": lambda n, _claims: RenewLeases(f"client-{n // 10}"),
    "once": lambda n, _claims: Once(f"client-{n // 10}", 10**6 + n, message=EnqueueRollout(1)),
    "next_completion": lambda n, _claims: NextCompletion(f"co-{n // 10:08x}", timeout=0),
    "completion_cursor": lambda _n, _claims: GetCompletionCursor(),
    "cancel_in_the_middle": lambda n, _claims: UpdateRollout(in_the_middle(n), status="cancelled"),
    "keep_alive": lambda _n, claims: UpdateAttempt(running_one(claims).rollout_id, "latest", last_heartbeat_time=2e9),
}


@pytest.mark.timeout(300)  # the large store is filled by whichever comes first
@pytest.mark.parametrize("ask", ALL.values(), ids=ALL.keys())
def test_an_operation_costs_the_same_in_a_file_ten_times_as_large(ask: Ask) -> None:
    python_small, sqlite_small = cost(SMALL, ask)
    python_large, sqlite_large = cost(LARGE, ask)
    assert python_large <= 2 * python_small + 300
    assert sqlite_large <= 2 * sqlite_small + 200


def test_a_scan_is_noticed() -> None:
    def scan(_size: int, _claims: list[AttemptedRollout]) -> Message[Any]:
        return QueryRollouts(rollout_id_contains="nowhere")

    python_small, sqlite_small = cost(SMALL, scan)
    python_large, sqlite_large = cost(LARGE, scan)
    assert python_large > 5 * python_small
    assert sqlite_large > 5 * sqlite_small


def test_what_is_at_hand_is_bounded_whatever_the_store_holds() -> None:
    store, _ = filled(LARGE)
    parts = store.tables._parts
    store.do(QueryRollouts())
    store.do(QueryRollouts(limit=1))
    assert len(parts.folders._at_hand) <= 8192
    with pytest.MonkeyPatch.context() as patch:
        for module, name in AT_HAND:
            patch.setattr(module, name, 16)
        store.do(QueryRollouts(limit=1))
    assert len(parts.folders._at_hand) <= 16
    assert len(parts.folders._of_attempt) <= 16
    assert len(parts.line._head) <= 64
    assert len(parts.completed._tail) <= 32
    assert len(parts.workers._at_hand) <= 16
    assert len(parts.spans._known) <= 1024
    assert parts.folders._bytes <= 32 * 1024**2
