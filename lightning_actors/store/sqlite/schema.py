"""The form of the file: numbered steps, each of which takes a file from the version before to its own.

```
new file ──1──▶ ──2──▶ … ──LATEST──▶ what this code reads and writes
```

A step is never changed once it is out: what comes later is a step of its own.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

__all__ = ["APPLICATION_ID", "LATEST", "STEPS", "Step", "migrate", "version_of"]

APPLICATION_ID: Final = 0x4C416374
"""Stands in the header of each file of ours, so that no other database is taken for one."""


class Step(NamedTuple):
    """What leads from one version to the next.

    Attributes:
        version: The version that a file has after it.
        what: What it brings, for the log.
        statements: The SQL, one statement each.
    """

    version: int
    what: str
    statements: tuple[str, ...]


STEPS: Final = (
    Step(
        1,
        "rollouts, attempts, spans, resources and workers",
        (
            # What changes while a rollout runs; small, for each change writes the row anew.
            """CREATE TABLE rollouts (
                number INTEGER PRIMARY KEY,
                rollout_id TEXT NOT NULL UNIQUE,
                start_time REAL NOT NULL,
                end_time REAL,
                status TEXT NOT NULL,
                mode TEXT,
                resources_id TEXT,
                place INTEGER,
                completion INTEGER,
                sequence INTEGER NOT NULL
            )""",
            "CREATE INDEX rollouts_by_time ON rollouts (start_time, number)",
            "CREATE INDEX rollouts_by_status ON rollouts (status, start_time, number)",
            "CREATE INDEX rollouts_queued ON rollouts (place) WHERE place IS NOT NULL",
            "CREATE INDEX rollouts_completed ON rollouts (completion) WHERE completion IS NOT NULL",
            # What hardly ever changes, and may be large. JSON, but for the number.
            """CREATE TABLE tasks (
                number INTEGER PRIMARY KEY,
                input TEXT NOT NULL,
                config TEXT NOT NULL,
                metadata TEXT
            )""",
            """CREATE TABLE attempts (
                number INTEGER PRIMARY KEY,
                attempt_id TEXT NOT NULL UNIQUE,
                rollout INTEGER NOT NULL,
                sequence_id INTEGER NOT NULL,
                start_time REAL NOT NULL,
                end_time REAL,
                status TEXT NOT NULL,
                worker_id TEXT,
                last_heartbeat_time REAL,
                metadata TEXT,
                due REAL
            )""",
            "CREATE INDEX attempts_of_rollout ON attempts (rollout, number)",
            "CREATE INDEX attempts_due ON attempts (due, number) WHERE due IS NOT NULL",
            "CREATE INDEX attempts_open ON attempts (number) WHERE status IN ('preparing', 'running')",
            """CREATE TABLE spans (
                number INTEGER PRIMARY KEY,
                rollout INTEGER NOT NULL,
                attempt INTEGER NOT NULL,
                span_id TEXT NOT NULL,
                record TEXT NOT NULL
            )""",
            "CREATE UNIQUE INDEX spans_of_attempt ON spans (rollout, attempt, span_id)",
            """CREATE TABLE resources (
                number INTEGER PRIMARY KEY,
                resources_id TEXT NOT NULL UNIQUE,
                create_time REAL NOT NULL,
                update_time REAL NOT NULL,
                version INTEGER NOT NULL,
                resources TEXT NOT NULL
            )""",
            """CREATE TABLE workers (
                number INTEGER PRIMARY KEY,
                worker_id TEXT NOT NULL UNIQUE,
                status TEXT NOT NULL,
                heartbeat_stats TEXT,
                last_heartbeat_time REAL,
                last_dequeue_time REAL,
                last_busy_time REAL,
                last_idle_time REAL,
                current_rollout_id TEXT,
                current_attempt_id TEXT
            )""",
            # How many rollouts of each status there are in each stretch of time: pages are found without counting.
            """CREATE TABLE tally (
                low_time REAL NOT NULL,
                low_number INTEGER NOT NULL,
                queuing INTEGER NOT NULL,
                preparing INTEGER NOT NULL,
                running INTEGER NOT NULL,
                failed INTEGER NOT NULL,
                succeeded INTEGER NOT NULL,
                cancelled INTEGER NOT NULL,
                requeuing INTEGER NOT NULL,
                PRIMARY KEY (low_time, low_number)
            ) WITHOUT ROWID""",
            "CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
        ),
    ),
    Step(
        2,
        "keys of rollouts",
        ("CREATE TABLE keys (key TEXT PRIMARY KEY, rollout_id TEXT NOT NULL) WITHOUT ROWID",),
    ),
    Step(
        3,
        "leases on attempts",
        (
            "ALTER TABLE attempts ADD COLUMN lease_holder TEXT",
            "ALTER TABLE attempts ADD COLUMN lease_seconds REAL",
            "ALTER TABLE attempts ADD COLUMN lease_until REAL",
            "CREATE INDEX attempts_leased ON attempts (lease_holder, number) WHERE lease_holder IS NOT NULL",
        ),
    ),
    Step(
        4,
        "replies that clients may ask for again",
        (
            """CREATE TABLE clients (
                client TEXT PRIMARY KEY,
                settled_below INTEGER NOT NULL,
                heard INTEGER NOT NULL
            ) WITHOUT ROWID""",
            """CREATE TABLE replies (
                client TEXT NOT NULL,
                number INTEGER NOT NULL,
                settled_below INTEGER NOT NULL,
                operation TEXT NOT NULL,
                reply TEXT NOT NULL,
                PRIMARY KEY (client, number)
            ) WITHOUT ROWID""",
        ),
    ),
    Step(
        5,
        "runs of algorithms",
        ("CREATE TABLE runs (number INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, record TEXT NOT NULL)",),
    ),
)
"""All steps, in order."""

LATEST: Final = STEPS[-1].version
"""The version of a file that this code reads and writes."""


def version_of(connection: sqlite3.Connection) -> int | None:
    """The version of a file; 0 for one that is empty, None for one of another application."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == APPLICATION_ID:
        return int(version)
    return None if version or application or objects else 0


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Take a file of this version to the latest one: all of it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for step in STEPS:
            if step.version > version:
                for statement in step.statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {step.version}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
