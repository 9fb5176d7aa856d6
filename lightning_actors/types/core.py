"""Rollouts, attempts and workers: what the store remembers about a run.

```
rollout   queuing → preparing → running → succeeded | failed | cancelled
             ↑___________ requeuing _________|            (a retry, where the config allows one)
attempt             preparing → running → succeeded | failed | timeout | unresponsive
```

All records are frozen: a change is a new record. Times are float seconds since the epoch.

Source: names, fields, defaults and statuses are those of Agent Lightning 0.3.
"""

from __future__ import annotations

import reprlib
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lightning_actors.types.trusted import evolved, trusted

__all__ = [
    "Attempt",
    "AttemptStatus",
    "AttemptedRollout",
    "Completion",
    "EnqueueRolloutRequest",
    "Record",
    "Rollout",
    "RolloutConfig",
    "RolloutMode",
    "RolloutStatus",
    "TaskInput",
    "Triplet",
    "Worker",
    "WorkerStatus",
]

RolloutStatus = Literal["queuing", "preparing", "running", "failed", "succeeded", "cancelled", "requeuing"]
"""Where a rollout stands. failed, succeeded and cancelled are its ends."""

AttemptStatus = Literal["preparing", "running", "failed", "succeeded", "unresponsive", "timeout"]
"""Where one attempt stands. failed, succeeded and timeout are final; unresponsive is so once a newer attempt exists."""

RolloutMode = Literal["train", "val", "test"]
"""Which split a task belongs to."""

WorkerStatus = Literal["idle", "busy", "unknown"]
"""What a worker was last known to do."""

TaskInput = Any
"""What an agent is given: any object. Only what JSON can hold crosses a network."""


class Record(BaseModel):
    """A frozen model whose repr fits on one line."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def _summary(self) -> str:
        """What stands between the angle brackets after the class name."""
        return " ".join(f"{name}={reprlib.repr(value)}" for name, value in self.__repr_args__())

    evolve = evolved

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._summary()}>"

    __str__ = __repr__


class RolloutConfig(Record):
    """How long a rollout may take and when it is tried again.

    Attributes:
        timeout_seconds: Longest time one attempt may take, from its start; None for no limit.
        unresponsive_seconds: Longest silence (no span, no heartbeat) of one attempt; None for no limit.
        max_attempts: How many attempts a rollout may have in all, at least 1.
        retry_condition: The attempt statuses after which another attempt is made.
    """

    timeout_seconds: float | None = Field(default=None, gt=0)
    unresponsive_seconds: float | None = Field(default=None, gt=0)
    max_attempts: int = Field(default=1, ge=1)
    retry_condition: list[AttemptStatus] = Field(default_factory=list[AttemptStatus])

    def _summary(self) -> str:
        return f"attempts≤{self.max_attempts} timeout={self.timeout_seconds} retry={self.retry_condition}"


class Rollout(Record):
    """One task on its way through an agent.

    Attributes:
        rollout_id: ``ro-`` and 12 hex digits.
        input: The task as it was given.
        start_time: When the rollout was recorded.
        end_time: When it ended; None while it has not.
        mode: The split that the task belongs to, if any.
        resources_id: The resources it runs with; None for the latest at the time it runs.
        status: Where it stands.
        config: Deadlines and retries.
        metadata: Whatever the caller attached.
    """

    rollout_id: str
    input: TaskInput
    start_time: float
    end_time: float | None = None
    mode: RolloutMode | None = None
    resources_id: str | None = None
    status: RolloutStatus = "queuing"
    config: RolloutConfig = Field(default_factory=RolloutConfig)
    metadata: dict[str, Any] | None = None

    def _summary(self) -> str:
        return f"{self.rollout_id} {self.status}" + (f" {self.mode}" if self.mode else "")


class Attempt(Record):
    """One try at a rollout by one worker.

    Attributes:
        rollout_id: The rollout that is tried.
        attempt_id: ``at-`` and 8 hex digits.
        sequence_id: 1 for the first attempt at a rollout, 2 for the next.
        start_time: When it was claimed.
        end_time: When it ended; None while it has not.
        status: Where it stands.
        worker_id: Who makes it.
        last_heartbeat_time: When it last gave a sign of life (a span or a heartbeat).
        metadata: Notes about the attempt; ``reason`` says why it ended other than by its agent's return.
    """

    rollout_id: str
    attempt_id: str
    sequence_id: int
    start_time: float
    end_time: float | None = None
    status: AttemptStatus = "preparing"
    worker_id: str | None = None
    last_heartbeat_time: float | None = None
    metadata: dict[str, Any] | None = None

    def _summary(self) -> str:
        return f"{self.attempt_id} #{self.sequence_id} of {self.rollout_id} {self.status}"


class AttemptedRollout(Rollout):
    """A rollout together with its latest attempt."""

    attempt: Attempt

    @classmethod
    def of(cls, rollout: Rollout, attempt: Attempt, **changes: Any) -> AttemptedRollout:
        """A stored rollout and its attempt, with some fields changed; trusted, not checked."""
        return trusted(cls, _ATTEMPTED_FIELDS, {**rollout.__dict__, **changes, "attempt": attempt})

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.attempt.rollout_id != self.rollout_id:
            raise ValueError(f"attempt of rollout {self.attempt.rollout_id!r} given to rollout {self.rollout_id!r}")
        return self

    def _summary(self) -> str:
        return f"{super()._summary()} attempt {self.attempt.sequence_id} {self.attempt.status}"


_ATTEMPTED_FIELDS = set(AttemptedRollout.model_fields)


class Completion(Record):
    """An ended rollout, and its place in the order in which rollouts ended.

    Attributes:
        cursor: Stands after this completion; opaque.
        rollout: The rollout, with its attempt where it has one.
    """

    cursor: str
    rollout: AttemptedRollout | Rollout

    def _summary(self) -> str:
        return f"{self.cursor} {self.rollout!r}"


class EnqueueRolloutRequest(Record):
    """One task of a batch for ``enqueue_many_rollouts``; the fields are those of ``enqueue_rollout``."""

    input: TaskInput
    mode: RolloutMode | None = None
    resources_id: str | None = None
    config: RolloutConfig | None = None
    metadata: dict[str, Any] | None = None
    key: str | None = Field(default=None, min_length=1)


class Triplet(Record):
    """One step to learn from: what a model was given, what it said, and what that was worth.

    Attributes:
        prompt: What the model was given; its form is the adapter's.
        response: What it said; its form is the adapter's.
        reward: What that was worth; None where no reward belongs to it.
        metadata: What else is known of the call, by name.
    """

    prompt: Any
    response: Any
    reward: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])


class Worker(Record):
    """What is known of one runner.

    Attributes:
        worker_id: ``Worker-`` and its number, where the runner chose no other name.
        status: idle, busy, or unknown when its last attempt ended without it.
        heartbeat_stats: What its last heartbeat reported.
        last_heartbeat_time: When it last sent one.
        last_dequeue_time: When it last asked for work and got some.
        last_busy_time: When it last became busy.
        last_idle_time: When it last became idle.
        current_rollout_id: What it is running.
        current_attempt_id: The attempt it is running.
    """

    worker_id: str
    status: WorkerStatus = "unknown"
    heartbeat_stats: dict[str, Any] | None = None
    last_heartbeat_time: float | None = None
    last_dequeue_time: float | None = None
    last_busy_time: float | None = None
    last_idle_time: float | None = None
    current_rollout_id: str | None = None
    current_attempt_id: str | None = None

    def _summary(self) -> str:
        return f"{self.worker_id} {self.status}" + (f" {self.current_rollout_id}" if self.current_rollout_id else "")
