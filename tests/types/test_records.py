"""Rollouts, attempts, workers and configs: frozen, checked, short to read, and whole after pickling."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from lightning_actors.types import (
    LLM,
    Attempt,
    AttemptedRollout,
    EnqueueRolloutRequest,
    Event,
    Link,
    OtelResource,
    PaginatedResult,
    PromptTemplate,
    ProxyLLM,
    ResourcesUpdate,
    Rollout,
    RolloutConfig,
    Span,
    SpanContext,
    SpanCoreFields,
    TraceStatus,
    Worker,
)
from lightning_actors.types.core import Record

ATTEMPT = Attempt(rollout_id="ro-1", attempt_id="at-1", sequence_id=1, start_time=1.0)
ROLLOUT = Rollout(rollout_id="ro-1", input={"question": [1, 2]}, start_time=1.0, mode="train")
CONTEXT = SpanContext(trace_id="a" * 32, span_id="b" * 16, trace_state={"k": "v"})
RECORDS: list[Any] = [
    ROLLOUT,
    ATTEMPT,
    AttemptedRollout(rollout_id="ro-1", input=1, start_time=1.0, attempt=ATTEMPT),
    RolloutConfig(timeout_seconds=3, max_attempts=2, retry_condition=["failed"]),
    EnqueueRolloutRequest(input="task", metadata={"a": 1}),
    Worker(worker_id="Worker-1", heartbeat_stats={"cpu": 1}),
    LLM(endpoint="http://x/v1", model="m", api_key="secret", sampling_parameters={"temperature": 0}),
    ProxyLLM(endpoint="http://x/v1", model="m"),
    PromptTemplate(template="{a}", engine="f-string"),
    ResourcesUpdate(
        resources_id="rs-1",
        create_time=1,
        update_time=2,
        version=3,
        resources={"prompt": PromptTemplate(template="{a}", engine="f-string")},
    ),
    Span(
        rollout_id="ro-1",
        attempt_id="at-1",
        sequence_id=1,
        trace_id="a" * 32,
        span_id="b" * 16,
        name="step",
        attributes={"n": 1, "texts": ["a", "b"]},
        events=[Event(name="e", timestamp=1.0)],
        links=[Link(context=CONTEXT)],
        context=CONTEXT,
        resource=OtelResource(attributes={"service.name": "s"}),
    ),
    SpanCoreFields(name="s", start_time=None, end_time=None),
    TraceStatus(status_code="ERROR", description="why"),
    PaginatedResult([ROLLOUT], 1, 0, 1),
]
every_record = pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)


@every_record
def test_a_record_is_the_same_after_pickling_and_copying(record: Any) -> None:
    for twin in (pickle.loads(pickle.dumps(record)), copy.copy(record), copy.deepcopy(record)):  # noqa: S301 - our own bytes
        assert type(twin) is type(record)
        assert twin == record
        assert repr(twin) == repr(record)


@every_record
def test_a_record_is_frozen(record: Any) -> None:
    name = next(iter(dict(record))) if isinstance(record, BaseModel) else "items"
    with pytest.raises((ValidationError, AttributeError)):
        setattr(record, name, "changed")


@every_record
def test_a_record_is_short_to_read(record: Any) -> None:
    assert len(repr(record)) < 160
    assert "\n" not in repr(record)


@every_record
def test_a_record_is_the_same_after_a_trip_through_json(record: Any) -> None:
    if isinstance(record, BaseModel):
        assert type(record).model_validate_json(record.model_dump_json()) == record


def test_reprs_name_what_matters() -> None:
    assert repr(ROLLOUT) == "<Rollout ro-1 queuing train>"
    assert repr(ATTEMPT) == "<Attempt at-1 #1 of ro-1 preparing>"
    assert repr(RECORDS[2]) == "<AttemptedRollout ro-1 queuing attempt 1 preparing>"
    assert repr(Worker(worker_id="W", status="busy", current_rollout_id="ro-1")) == "<Worker W busy ro-1>"
    assert repr(RECORDS[9]) == "<ResourcesUpdate rs-1 v3 ['prompt']>"
    assert "secret" not in repr(RECORDS[6])
    assert f"{ROLLOUT}" == repr(ROLLOUT)


def test_large_values_do_not_make_long_reprs() -> None:
    big = {"text": "x" * 100_000, "list": list(range(100_000))}
    assert len(repr(EnqueueRolloutRequest(input=big, metadata=big))) < 500
    assert len(repr(PromptTemplate(template="x" * 100_000, engine="f-string"))) < 160
    assert len(repr(Rollout(rollout_id="ro-1", input=big, start_time=1.0, metadata=big))) < 160


def test_defaults_are_those_that_users_know() -> None:
    assert ROLLOUT.model_dump() == {
        "rollout_id": "ro-1",
        "input": {"question": [1, 2]},
        "start_time": 1.0,
        "end_time": None,
        "mode": "train",
        "resources_id": None,
        "status": "queuing",
        "config": {
            "timeout_seconds": None,
            "unresponsive_seconds": None,
            "max_attempts": 1,
            "retry_condition": [],
        },
        "metadata": None,
    }
    assert (ATTEMPT.status, ATTEMPT.worker_id, ATTEMPT.last_heartbeat_time) == ("preparing", None, None)
    assert Worker(worker_id="W").status == "unknown"


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_seconds": 0},
        {"timeout_seconds": -1},
        {"timeout_seconds": float("nan")},
        {"unresponsive_seconds": 0},
        {"unresponsive_seconds": float("nan")},
        {"max_attempts": 0},
        {"retry_condition": ["bored"]},
        {"retries": 3},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RolloutConfig(**options)


def test_an_attempt_belongs_to_its_rollout() -> None:
    stray = ATTEMPT.evolve(rollout_id="ro-2")
    with pytest.raises(ValueError, match="ro-2"):
        AttemptedRollout(rollout_id="ro-1", input=1, start_time=1.0, attempt=stray)


def test_an_unknown_status_or_field_is_refused() -> None:
    with pytest.raises(ValidationError):
        Rollout(rollout_id="ro-1", input=1, start_time=1.0, status="bored")  # pyright: ignore[reportArgumentType]  # the point of the test
    with pytest.raises(ValidationError):
        Attempt.model_validate({**ATTEMPT.model_dump(), "colour": "red"})


def test_an_evolved_record_is_a_new_one_with_those_fields_changed() -> None:
    running = ATTEMPT.evolve(status="running", worker_id="W")
    assert running == Attempt(
        rollout_id="ro-1", attempt_id="at-1", sequence_id=1, start_time=1.0, status="running", worker_id="W"
    )
    assert (ATTEMPT.status, ATTEMPT.worker_id) == ("preparing", None)
    assert type(running) is Attempt
    assert ATTEMPT.evolve() == ATTEMPT
    with pytest.raises(ValidationError):
        running.status = "failed"


def test_an_evolved_record_dumps_and_copies_as_one_made_by_its_class() -> None:
    running = ATTEMPT.evolve(status="running", worker_id="W")
    made = Attempt(**running.model_dump())
    assert list(running.model_dump()) == list(made.model_dump())
    assert running.model_dump_json() == made.model_dump_json()
    assert running.model_dump(exclude_unset=True)["worker_id"] == "W"
    assert ATTEMPT.model_fields_set == {"rollout_id", "attempt_id", "sequence_id", "start_time"}
    assert running.model_copy(update={"status": "failed"}).status == "failed"
    assert pickle.loads(pickle.dumps(running)) == made  # noqa: S301 - our own bytes


def test_an_evolved_subclass_stays_one_with_its_extras() -> None:
    class Mine(Record, extra="allow"):
        a: int = 1

    mine = Mine(a=2, more=3).evolve(a=5)  # pyright: ignore[reportCallIssue]  # extras are allowed here
    assert type(mine) is Mine
    assert mine.model_dump() == {"a": 5, "more": 3}


def test_a_rollout_and_its_attempt_are_one_record() -> None:
    both = AttemptedRollout.of(ROLLOUT, ATTEMPT, status="preparing")
    made = AttemptedRollout.model_validate({**ROLLOUT.model_dump(), "status": "preparing", "attempt": ATTEMPT})
    assert both == made
    assert list(both.model_dump()) == list(made.model_dump())
    assert both.model_dump_json() == made.model_dump_json()
    assert isinstance(both, Rollout)
    assert pickle.loads(pickle.dumps(both)) == both  # noqa: S301 - our own bytes
    assert ROLLOUT.status == "queuing"
