"""What travels over a link: messages, replies and errors come back as they were, what there are many of as items."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_actors.errors import NotJson, OperationUnavailable
from lightning_actors.http.link.payloads import (
    Payload,
    item_kind,
    read_items,
    read_message,
    read_reply,
    reply_item_kind,
    write_message,
    write_reply,
)
from lightning_actors.store.messages import (
    AddManySpans,
    AddSpan,
    DequeueRollout,
    EnqueueManyRollouts,
    EnqueueRollout,
    GetRolloutById,
    QueryRollouts,
    QuerySpans,
    StoreMessage,
    UpdateRollout,
)
from lightning_actors.store.once import Once
from lightning_actors.types import (
    Attempt,
    AttemptedRollout,
    EnqueueRolloutRequest,
    PaginatedResult,
    Rollout,
    Span,
)


def span(number: int, **changes: Any) -> Span:
    fields: dict[str, Any] = {
        "rollout_id": "ro-1",
        "attempt_id": "at-1",
        "sequence_id": 0,
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "name": "step",
        "attributes": {"text": "x" * 100, "number": number},
    }
    return Span(**{**fields, **changes})


def rollout(number: int) -> Rollout:
    return Rollout(rollout_id=f"ro-{number}", input={"number": number}, start_time=1.0)


SPANS = [span(number) for number in range(1000)]
NUMBERED = [span(number, sequence_id=number + 1) for number in range(1000)]


def travelled(message: StoreMessage[Any]) -> Any:
    payload = write_message(message)
    items = [thing for some in payload.items for thing in read_items(item_kind(type(message)), some)]
    return read_message(type(message), payload.body, items)


def answered(message: StoreMessage[Any], reply: Any) -> Any:
    payload = write_reply(message, reply)
    items = [thing for some in payload.items for thing in read_items(reply_item_kind(message), some)]
    return read_reply(message, payload.body, items)


@pytest.mark.parametrize(
    "message",
    [
        EnqueueRollout({"nested": [1, None, "é\n"]}, key="a"),
        UpdateRollout("ro-1", status="cancelled"),
        EnqueueManyRollouts([EnqueueRolloutRequest(input=number) for number in range(3)]),
        EnqueueManyRollouts([EnqueueRolloutRequest(input=number) for number in range(300)]),
        AddManySpans(SPANS),
        Once("client-2", 7, settled_below=3, message=EnqueueRollout("task")),
    ],
    ids=lambda message: type(message).__name__,
)
def test_messages_come_back_as_they_were(message: StoreMessage[Any]) -> None:
    assert travelled(message) == message


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (GetRolloutById("ro-1"), None),
        (GetRolloutById("ro-1"), rollout(1)),
        (
            DequeueRollout("Worker-1"),
            AttemptedRollout(
                **rollout(1).model_dump(),
                attempt=Attempt(rollout_id="ro-1", attempt_id="at-1", sequence_id=1, start_time=1.0),
            ),
        ),
        (QueryRollouts(), PaginatedResult([rollout(number) for number in range(500)], -1, 0, 500)),
        (QuerySpans("ro-1"), PaginatedResult(NUMBERED[:20], 20, 5, 1000)),
        (QuerySpans("ro-1"), PaginatedResult(NUMBERED, -1, 0, 1000)),
        (EnqueueManyRollouts([]), [rollout(number) for number in range(200)]),
        (Once("client-2", 7, message=AddManySpans(SPANS)), NUMBERED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_replies_come_back_as_they_were(message: StoreMessage[Any], reply: Any) -> None:
    back = answered(message, reply)
    assert back == reply
    assert type(back) is type(reply)


def test_many_things_travel_as_items_of_about_the_same_size() -> None:
    for payload in (
        write_message(AddManySpans(SPANS)),
        write_reply(QuerySpans("ro-1"), PaginatedResult(SPANS, -1, 0, 1)),
    ):
        assert len(payload.body) < 100
        assert len(payload.items) > 10
        assert max(map(len, payload.items)) < 64 * 1024


def test_of_spans_that_were_stored_as_given_only_their_numbers_travel_back() -> None:
    payload = write_reply(AddManySpans(SPANS), NUMBERED)
    assert payload == Payload(payload.body)
    assert payload.body.startswith(b'{"receipts":[[0,1],[1,2],')
    assert answered(AddManySpans(SPANS), NUMBERED) == NUMBERED
    assert answered(AddManySpans(SPANS), NUMBERED[5:7]) == NUMBERED[5:7]
    assert answered(AddManySpans([*SPANS[:3], *SPANS[:3]]), NUMBERED[:3]) == NUMBERED[:3]
    assert answered(AddManySpans(SPANS), []) == []
    assert answered(AddSpan(SPANS[0]), NUMBERED[0]) == NUMBERED[0]
    assert answered(AddSpan(SPANS[0]), None) is None


def test_of_spans_that_a_store_has_changed_all_travels_back() -> None:
    changed = [one.model_copy(update={"name": "other"}) for one in NUMBERED[:50]]
    assert answered(AddManySpans(SPANS[:50]), changed) == changed
    assert answered(AddSpan(SPANS[0]), changed[0]) == changed[0]


def test_what_json_cannot_hold_is_refused_by_its_place() -> None:
    with pytest.raises(NotJson, match=r"input\['when'\] is a set"):
        write_message(EnqueueRollout({"when": {1, 2}}))


def test_an_envelope_of_something_unknown_is_refused() -> None:
    with pytest.raises(OperationUnavailable, match="'Fly'"):
        read_message(Once, b'{"around":["client-2",7,3,"Fly"],"message":{}}', [])
