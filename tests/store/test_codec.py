"""Records and messages as JSON: what was dumped comes back, and what JSON cannot hold is refused by its place."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from collections import OrderedDict
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lightning_actors import NotJson, OpaqueResource, StoreError
from lightning_actors.store import LightningStore
from lightning_actors.store.codec import as_data, dump, load
from lightning_actors.store.messages import (
    AddOtelSpan,
    AddResources,
    AddSpan,
    EnqueueManyRollouts,
    EnqueueRollout,
    GetRolloutById,
    LightningStoreStatistics,
    StoreMessage,
    UpdateAttempt,
    UpdateManyWorkers,
    UpdateRollout,
    UpdateWorker,
    WaitForRollouts,
)
from lightning_actors.types import (
    LLM,
    Attempt,
    AttemptedRollout,
    Completion,
    EnqueueRolloutRequest,
    Event,
    Link,
    NamedResources,
    PaginatedResult,
    PromptTemplate,
    ProxyLLM,
    Resource,
    ResourcesUpdate,
    Rollout,
    RolloutConfig,
    Span,
    SpanContext,
    Worker,
)

CONFIG = RolloutConfig(timeout_seconds=1.5, max_attempts=3, retry_condition=["failed", "timeout"])
ROLLOUT = Rollout(
    rollout_id="ro-1", input={"q": [1, 2.5, None, "é"]}, start_time=1.25, config=CONFIG, metadata={"a": 1}
)
ATTEMPT = Attempt(rollout_id="ro-1", attempt_id="at-1", sequence_id=1, start_time=2.0, metadata={"reason": "x"})
ATTEMPTED = AttemptedRollout(**dict(ROLLOUT), attempt=ATTEMPT)
SPAN = Span(
    rollout_id="ro-1",
    attempt_id="at-1",
    sequence_id=3,
    trace_id="0" * 32,
    span_id="1" * 16,
    name="call",
    attributes={"n": 1, "f": 1.0, "b": True, "t": ["a", "b"], "lost": math.inf},
    events=[Event(name="e", attributes={"x": 1}, timestamp=3.5)],
    links=[Link(context=SpanContext(trace_id="0" * 32, span_id="2" * 16, trace_state={"k": "v"}))],
    context=SpanContext(trace_id="0" * 32, span_id="1" * 16, is_remote=True),
    **{"what.else": {"was": ["said"]}},  # pyright: ignore[reportArgumentType]  # a span keeps what it does not know
)
RESOURCES: dict[str, Resource] = {
    "llm": LLM(endpoint="http://e/v1", model="m", sampling_parameters={"t": 0.5}),
    "proxy": ProxyLLM(endpoint="http://e/v1", model="m", api_key="k"),
    "prompt": PromptTemplate(template="{x}", engine="f-string"),
}
UPDATE = ResourcesUpdate(resources_id="rs-1", create_time=1, update_time=2, version=2, resources=RESOURCES)


class Policy(Resource):
    """A user's own resource, with types that JSON lacks and the class vouches for."""

    resource_type: Literal["codec-policy"] = "codec-policy"
    weights: tuple[float, ...] = ()
    made: dt.date = dt.date(2026, 1, 2)
    notes: dict[str, Any] = Field(default_factory=dict[str, Any])


class Strict(Resource):
    """One that takes a tuple for a list from JSON only."""

    model_config = ConfigDict(strict=True)

    resource_type: Literal["codec-strict"] = "codec-strict"
    weights: tuple[float, ...] = ()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Rollout, ROLLOUT),
        (Rollout, ATTEMPTED),
        (AttemptedRollout | None, ATTEMPTED),
        (AttemptedRollout | None, None),
        (list[Rollout], [ROLLOUT, ATTEMPTED]),
        (PaginatedResult[Rollout], PaginatedResult([ATTEMPTED, ROLLOUT], 2, 1, 7)),
        (PaginatedResult[Span], PaginatedResult([SPAN], -1, 0, 1)),
        (Completion, Completion(cursor="3", rollout=ATTEMPTED)),
        (Completion | None, Completion(cursor="3", rollout=ROLLOUT)),
        (Attempt, ATTEMPT),
        (Span | None, SPAN),
        (Worker, Worker(worker_id="w", heartbeat_stats={"cpu": [0.5]})),
        (ResourcesUpdate, UPDATE),
        (NamedResources, RESOURCES),
        (LightningStoreStatistics, {"name": "x", "uptime": 1.5, "total_spans": 3}),
        (None, None),
        (bool, True),
        (str, "7"),
        (list[int], [1, 2]),
        (dict[str, Any], {"a": [None]}),
        (GetRolloutById, GetRolloutById("ro-1")),
        (EnqueueRollout, EnqueueRollout([1, {"a": None}], mode="val", config=CONFIG)),
        (EnqueueManyRollouts, EnqueueManyRollouts([EnqueueRolloutRequest(input=1, config=CONFIG)])),
        (UpdateRollout, UpdateRollout("ro-1", mode=None, input=None)),
        (UpdateRollout, UpdateRollout("ro-1", status="failed", metadata={"a": 1})),
        (UpdateAttempt, UpdateAttempt("ro-1", "latest", last_heartbeat_time=3.5)),
        (UpdateWorker, UpdateWorker("w")),
        (UpdateManyWorkers, UpdateManyWorkers(["w"], attempts=[("ro-1", "at-1")])),
        (WaitForRollouts, WaitForRollouts(rollout_ids=["ro-1"], timeout=-math.inf)),
        (AddResources, AddResources(RESOURCES, publish=False)),
        (AddSpan, AddSpan(SPAN)),
    ],
)
def test_what_was_dumped_comes_back_equal_and_of_its_class(kind: Any, value: Any) -> None:
    twin = load(kind, dump(kind, value))
    assert twin == value
    assert type(twin) is type(value)


def test_every_operation_has_a_reply_that_can_be_written() -> None:
    for message in LightningStore.operations.values():
        assert issubclass(message, StoreMessage)
        with pytest.raises(ValidationError):
            load(message.reply_type(), b"{")


def test_records_are_written_in_agent_lightnings_form() -> None:
    assert json.loads(dump(Rollout, ATTEMPTED)) == {
        "rollout_id": "ro-1",
        "input": {"q": [1, 2.5, None, "é"]},
        "start_time": 1.25,
        "end_time": None,
        "mode": None,
        "resources_id": None,
        "status": "queuing",
        "config": {
            "timeout_seconds": 1.5,
            "unresponsive_seconds": None,
            "max_attempts": 3,
            "retry_condition": ["failed", "timeout"],
        },
        "metadata": {"a": 1},
        "attempt": {
            "rollout_id": "ro-1",
            "attempt_id": "at-1",
            "sequence_id": 1,
            "start_time": 2.0,
            "end_time": None,
            "status": "preparing",
            "worker_id": None,
            "last_heartbeat_time": None,
            "metadata": {"reason": "x"},
        },
    }
    page = json.loads(dump(PaginatedResult[Attempt], PaginatedResult([ATTEMPT], -1, 0, 1)))
    assert set(page) == {"items", "limit", "offset", "total"}


def test_what_an_update_leaves_alone_is_left_out() -> None:
    assert json.loads(dump(UpdateRollout, UpdateRollout("ro-1", mode=None))) == {"rollout_id": "ro-1", "mode": None}


def test_numbers_that_json_lacks_are_written_as_pythons_json_writes_them() -> None:
    rollout = ROLLOUT.evolve(input={"up": math.inf, "down": -math.inf, "lost": math.nan})
    data = dump(Rollout, rollout)
    assert json.loads(data)["input"]["up"] == math.inf
    twin = load(Rollout, data)
    assert math.isnan(twin.input["lost"])
    assert (twin.input["up"], twin.input["down"]) == (math.inf, -math.inf)
    page = PaginatedResult([rollout], -1, 0, 1)
    for kind, value in ((PaginatedResult[Rollout], page), (list[Rollout], [rollout])):
        assert load(kind, dump(kind, value))[0].input["up"] == math.inf
    message = load(EnqueueRollout, dump(EnqueueRollout, EnqueueRollout(math.nan, metadata={"a": [math.inf]})))
    assert math.isnan(message.input)
    assert message.metadata == {"a": [math.inf]}


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
DATA = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(DATA)
def test_any_json_comes_back_as_it_was(task: Any) -> None:
    message = EnqueueRollout(task, metadata={"task": task})
    assert repr(load(EnqueueRollout, dump(EnqueueRollout, message))) == repr(message)


class Point(NamedTuple):
    """A tuple of a class of its own."""

    x: int
    y: int


class Colour(str, enum.Enum):  # noqa: UP042 - the older spelling, which is everywhere
    """A text of a class of its own."""

    RED = "red"


LIKE_JSON: list[tuple[Any, Any]] = [
    ((1, (2,)), [1, [2]]),
    (Point(1, 2), [1, 2]),
    (OrderedDict[str, int](a=1), {"a": 1}),
    ({"c": Colour.RED, Colour.RED: 1}, {"c": "red", "red": 1}),
    ([enum.IntEnum("Level", ["LOW"]).LOW], [1]),  # pyright: ignore[reportAttributeAccessIssue]  # made by name
]


@pytest.mark.parametrize(("task", "read"), LIKE_JSON)
def test_what_is_as_good_as_json_is_written_as_it(task: Any, read: Any) -> None:
    assert load(Rollout, dump(Rollout, ROLLOUT.evolve(input=task))).input == read


class Task(BaseModel):
    """A user's own task."""

    city: str = "Rome"


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("bad", "place", "says"),
    [
        ({"tags": {"a"}}, "['tags']", "set"),
        ([0, {"when": dt.date(2026, 1, 1)}], "[1]['when']", "datetime.date"),
        (b"raw", "", "bytes"),
        ({"task": Task()}, "['task']", "Task"),
        ({1: "one"}, "", "the key 1"),
        ({"deep": [{None: 1}]}, "['deep'][0]", "the key None"),
        ({"o": object()}, "['o']", "object"),
        ({"text": "\ud800"}, "['text']", "surrogates"),
        (CIRCLE, None, "nested more than 100 deep"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(bad: Any, place: str | None, says: str) -> None:
    worker = Worker(worker_id="w").evolve(heartbeat_stats={"x": bad})
    values: list[tuple[Any, Any, str]] = [
        (EnqueueRollout, EnqueueRollout(bad), "input"),
        (EnqueueManyRollouts, EnqueueManyRollouts([EnqueueRolloutRequest(input=bad)]), "requests[0].input"),
        (Rollout, ROLLOUT.evolve(metadata={"x": bad}), "metadata['x']"),
        (list[Rollout], [ATTEMPTED, ATTEMPTED.evolve(attempt=ATTEMPT.evolve(metadata=bad))], "[1].attempt.metadata"),
        (PaginatedResult[Worker], PaginatedResult([worker], -1, 0, 1), "items[0].heartbeat_stats['x']"),
        (
            NamedResources,
            {"llm": LLM(endpoint="", model="", sampling_parameters={"x": bad})},
            "['llm'].sampling_parameters['x']",
        ),
        (NamedResources, {"p": Policy(notes={"x": bad})}, "['p'].notes['x']"),
        (Span, SPAN.model_copy(update={"more": bad}), "more"),
        (Any, bad, ""),
    ]
    for kind, value, before in values:
        with pytest.raises(NotJson) as caught:
            dump(kind, value)
        assert caught.value.place == before + place if place is not None else caught.value.place.startswith(before)
        assert says in str(caught.value)
        assert str(caught.value).startswith(caught.value.place or "it ")
        assert isinstance(caught.value, (StoreError, TypeError))


def test_a_resource_of_the_users_own_comes_back_as_its_class() -> None:
    mine: dict[str, Resource] = {"p": Policy(weights=(1.0, math.inf)), "s": Strict(weights=(2.5,))}
    read = load(NamedResources, dump(NamedResources, mine))
    assert read == mine
    assert {name: type(resource) for name, resource in read.items()} == {"p": Policy, "s": Strict}


def test_a_resource_whose_class_is_not_imported_is_kept_with_all_its_fields() -> None:
    data = b'{"x":{"resource_type":"unheard-of","weights":[1.0,NaN],"api_key":"secret","nested":{"a":null}}}'
    read = load(NamedResources, data)
    assert type(read["x"]) is OpaqueResource
    assert read["x"].nested == {"a": None}
    assert "secret" not in repr(read)
    assert dump(NamedResources, read) == data
    update = ResourcesUpdate(resources_id="rs-1", create_time=1, update_time=2, version=1, resources=read)
    assert dump(NamedResources, load(ResourcesUpdate, dump(ResourcesUpdate, update)).resources) == data
    assert load(AddResources, b'{"resources":%b}' % data).resources["x"].resource_type == "unheard-of"


@pytest.mark.parametrize(
    "data", [b'{"x":{}}', b'{"x":{"resource_type":null}}', b'{"x":{"resource_type":3}}', b'{"x":1}']
)
def test_a_resource_that_says_no_type_is_refused(data: bytes) -> None:
    with pytest.raises(ValidationError):
        load(NamedResources, data)


def test_an_opentelemetry_span_travels_as_one_of_ours() -> None:
    tracer = TracerProvider().get_tracer("t")
    with tracer.start_as_current_span("work") as span:
        span.set_attribute("a", 1)
    message: Any = AddOtelSpan("ro-1", "at-1", span)  # pyright: ignore[reportArgumentType]  # the SDK's span is readable
    plain: Any = as_data(message)
    assert plain.span.name == "work"
    assert plain.span.sequence_id == 0
    assert load(AddSpan, dump(AddSpan, plain)) == plain
    assert as_data(plain) is plain


def test_what_is_no_json_or_not_of_the_kind_says_which_field() -> None:
    with pytest.raises(ValidationError) as caught:
        load(EnqueueRollout, b'{"input": 1, "mode": "holiday"}')
    assert caught.value.errors()[0]["loc"] == ("mode",)
    with pytest.raises(ValidationError):
        load(Rollout, b"\xff{")
