"""The operations as messages: checked when built, frozen, picklable, each carried out by someone."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from lightning_actors.actors.message import Message
from lightning_actors.store import UNSET, InMemoryLightningStore, LightningStore, Unset, messages
from lightning_actors.store.handlers import HANDLERS, handle
from lightning_actors.store.messages import (
    AddManySpans,
    EnqueueManyRollouts,
    EnqueueRollout,
    QueryRollouts,
    QuerySpans,
    UpdateAttempt,
    UpdateRollout,
    WaitForRollouts,
)
from lightning_actors.store.once import Once, Recall, RememberReply
from lightning_actors.types import EnqueueRolloutRequest, PaginatedResult, RolloutConfig, Span


def test_there_is_one_unset() -> None:
    twins: list[Any] = [
        Unset(),
        copy.copy(UNSET),
        copy.deepcopy(UNSET),
        pickle.loads(pickle.dumps(UNSET)),  # noqa: S301 - our own bytes
        pickle.loads(pickle.dumps({"deep": [UNSET]}))["deep"][0],  # noqa: S301 - our own bytes
    ]
    assert all(twin is UNSET for twin in twins)
    assert not UNSET
    assert UNSET is not None
    assert repr(UNSET) == "UNSET"


def test_what_is_not_given_in_an_update_is_unset_and_none_is_given() -> None:
    message = UpdateRollout("ro-1", mode=None, input=None)
    assert (message.mode, message.input) == (None, None)
    assert message.metadata is message.status is message.config is message.resources_id is UNSET
    assert UpdateAttempt("ro-1", "at-1").status is UNSET


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (EnqueueRollout, {}),
        (EnqueueRollout, {"input": 1, "mode": "holiday"}),
        (EnqueueRollout, {"input": 1, "colour": "red"}),
        (EnqueueRollout, {"input": 1, "metadata": "text"}),
        (EnqueueRollout, {"input": 1, "config": {"max_attempts": 0}}),
        (EnqueueManyRollouts, {"requests": [{"mode": "train"}]}),
        (UpdateRollout, {"rollout_id": "ro-1", "status": None}),
        (UpdateRollout, {"rollout_id": "ro-1", "status": "timeout"}),
        (UpdateAttempt, {"rollout_id": "ro-1", "attempt_id": "at-1", "status": "cancelled"}),
        (UpdateAttempt, {"rollout_id": "ro-1", "attempt_id": "at-1", "last_heartbeat_time": "soon"}),
        (QueryRollouts, {"status_in": "queuing"}),
        (QueryRollouts, {"sort_order": "up"}),
        (QueryRollouts, {"filter_logic": "xor"}),
        (QuerySpans, {"rollout_id": "ro-1", "limit": -2}),
        (WaitForRollouts, {"rollout_ids": "ro-1"}),
        (WaitForRollouts, {"rollout_ids": ["ro-1"], "timeout": float("nan")}),
        (AddManySpans, {"spans": ["text"]}),
    ],
)
def test_arguments_are_checked_when_a_message_is_built(message: type[Message[Any]], arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        message(**arguments)


def test_any_sequence_but_a_text_is_taken_and_kept_as_a_list() -> None:
    span = Span.from_attributes(attributes={})
    assert AddManySpans(PaginatedResult([span], 1, 0, 1)).spans == [span]
    assert WaitForRollouts(rollout_ids=("ro-1", "ro-2")).rollout_ids == ["ro-1", "ro-2"]
    given = ["ro-1"]
    message = QueryRollouts(rollout_id_in=given)
    given.clear()
    assert message.rollout_id_in == ["ro-1"]
    requests: list[Any] = [{"input": 1}]
    assert EnqueueManyRollouts(requests).requests == [EnqueueRolloutRequest(input=1)]


def test_a_message_is_frozen_compared_by_value_and_picklable() -> None:
    message = EnqueueRollout({"a": 1}, mode="val", config=RolloutConfig(max_attempts=2), metadata={"n": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.mode = "train"  # pyright: ignore[reportAttributeAccessIssue]  # the point of the test
    assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301 - our own bytes
    update = pickle.loads(pickle.dumps(UpdateRollout("ro-1", status="queuing")))  # noqa: S301 - our own bytes
    assert update.metadata is UNSET


def test_the_task_of_a_message_is_the_one_that_was_given() -> None:
    task = {"list": [object()]}
    assert EnqueueRollout(task).input is task
    assert EnqueueManyRollouts([EnqueueRolloutRequest(input=task)]).requests[0].input is task


def test_every_message_is_an_operation_and_is_carried_out() -> None:
    defined: set[type[Message[Any]]] = {
        member
        for name, member in vars(messages).items()
        if inspect.isclass(member)
        and issubclass(member, messages.StoreMessage)
        and name not in {"StoreMessage", "StoreRead", "StoreWait"}
    }
    assert set(LightningStore.operations.values()) == defined == set(HANDLERS) - {Once, Recall, RememberReply}
    for message in defined:
        assert message.__doc__
        assert message.reply_type() is not Any


def test_what_only_reads_is_marked_and_writes_nothing() -> None:
    store = InMemoryLightningStore()
    rollout_id = store.perform(messages.StartRollout("task")).rollout_id
    arguments: dict[type[Message[Any]], dict[str, Any]] = {
        messages.ExplainRollout: {"rollout_id": rollout_id},
        messages.GetLatestAttempt: {"rollout_id": rollout_id},
        messages.GetResourcesById: {"resources_id": "rs-1"},
        messages.GetRolloutById: {"rollout_id": rollout_id},
        messages.GetWorkerById: {"worker_id": "Worker-1"},
        messages.QueryAttempts: {"rollout_id": rollout_id},
        messages.QuerySpans: {"rollout_id": rollout_id},
        messages.WaitForRollouts: {"rollout_ids": [rollout_id]},
    }
    reads = {message for message in LightningStore.operations.values() if issubclass(message, messages.StoreRead)}
    by_name = {name for name, message in LightningStore.operations.items() if message in reads}
    assert by_name == {
        *(name for name in LightningStore.operations if name.startswith(("query", "wait", "explain", "statistics"))),
        *(name for name in LightningStore.operations if name.startswith("get") and "sequence" not in name),
        "next_completion",
    }
    for message in reads:
        assert not handle(store._tables, message(**arguments.get(message, {})), 0.0).writes
