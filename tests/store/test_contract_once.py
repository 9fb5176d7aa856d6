"""The contract of every store: what comes in an envelope is carried out once, however often it is asked for."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from pydantic import ValidationError
from store_homes import claim, dump, get, span_of

from lightning_actors.errors import NumberReused, ReplyForgotten, ResourcesNotFound, RolloutNotFound
from lightning_actors.store import LightningStore
from lightning_actors.store.messages import (
    AddManySpans,
    AddResources,
    DequeueManyRollouts,
    DequeueRollout,
    EnqueueManyRollouts,
    EnqueueRollout,
    GetRolloutById,
    ReleaseAttempt,
    StartAttempt,
    StartRollout,
    StoreMessage,
    UpdateAttempt,
    UpdateManyWorkers,
    UpdateRollout,
    WaitForRollouts,
)
from lightning_actors.store.once import Once
from lightning_actors.types import EnqueueRolloutRequest, PromptTemplate

pytestmark = pytest.mark.anyio


def once(number: int, message: StoreMessage[Any], *, client: str = "client-1", settled_below: int = 0) -> Once:
    """An envelope."""
    return Once(client, number, settled_below=settled_below, message=message)


async def test_what_is_asked_again_is_answered_from_memory(store: LightningStore) -> None:
    envelope = once(1, EnqueueRollout("task"))
    first = await store.ask(envelope)
    held = await dump(store)
    assert await store.ask(envelope) == first
    assert await dump(store) == held
    assert (await claim(store)).rollout_id == first.rollout_id
    assert await store.dequeue_rollout() is None
    assert await store.ask(envelope) == first, "as it was then, not as it is now"


async def test_every_change_is_made_once(store: LightningStore) -> None:
    rollout = await store.enqueue_rollout("task")
    started = await store.start_rollout("task", worker_id="Worker-1")
    claimed = await claim(store)
    ids = started.rollout_id, started.attempt.attempt_id
    await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=number) for number in range(6)])
    template = PromptTemplate(template="x", engine="f-string")
    messages: list[StoreMessage[Any]] = [
        EnqueueManyRollouts([EnqueueRolloutRequest(input=number) for number in range(2)]),
        DequeueRollout("Worker-2"),
        DequeueManyRollouts(limit=2),
        StartRollout("task", begun=True),
        ReleaseAttempt(rollout.rollout_id, claimed.attempt.attempt_id),
        UpdateRollout(rollout.rollout_id, metadata={"changed": 1}),
        UpdateAttempt(*ids, status="running"),
        AddManySpans([span_of(*ids)]),
        AddResources({"prompt": template}),
        UpdateManyWorkers(["Worker-1"], {"load": 1}),
        StartAttempt(rollout.rollout_id),
    ]
    for number, message in enumerate(messages):
        first = await store.ask(once(number, message))
        held = await dump(store)
        assert await store.ask(once(number, message)) == first
        assert await dump(store) == held


async def test_a_claim_that_is_asked_for_again_is_the_same_claim(store: LightningStore) -> None:
    for task in ("a", "b", "c"):
        await store.enqueue_rollout(task)
    for number, task in enumerate(["a", "b", "c", None]):
        claims = [await store.ask(once(number, DequeueRollout())) for _ in range(2)]
        assert claims[0] == claims[1]
        assert task == (None if claims[0] is None else claims[0].input)


async def test_numbers_and_clients_are_kept_apart(store: LightningStore) -> None:
    envelopes = [once(number, EnqueueRollout(number), client=client) for client in ("a", "b") for number in (1, 2)]
    rollouts = [await store.ask(envelope) for envelope in envelopes]
    assert len({rollout.rollout_id for rollout in rollouts}) == 4
    assert [await store.ask(envelope) for envelope in envelopes] == rollouts


async def test_what_raised_is_tried_again(store: LightningStore) -> None:
    envelope = once(1, UpdateRollout("ro-none", status="cancelled"))
    for _ in range(2):
        with pytest.raises(RolloutNotFound):
            await store.ask(envelope)
    later = once(2, EnqueueRollout("task", resources_id="rs-mine"))
    with pytest.raises(ResourcesNotFound):
        await store.ask(later)
    await store.update_resources("rs-mine", {"prompt": PromptTemplate(template="x", engine="f-string")})
    rollout = await store.ask(later)
    assert (await store.ask(later)).rollout_id == rollout.rollout_id
    assert (await store.query_rollouts()).total == 1


async def test_what_is_settled_is_not_carried_out_again(store: LightningStore) -> None:
    envelopes = [once(number, EnqueueRollout(number)) for number in range(5)]
    for envelope in envelopes:
        await store.ask(envelope)
    await store.ask(once(5, EnqueueRollout(5), settled_below=3))
    for number in range(3):
        with pytest.raises(ReplyForgotten) as caught:
            await store.ask(envelopes[number])
        assert (caught.value.client, caught.value.number) == ("client-1", number)
    assert [(await store.ask(envelope)).input for envelope in envelopes[3:]] == [3, 4]
    assert (await store.query_rollouts()).total == 6
    await store.ask(once(6, EnqueueRollout(6), settled_below=1))
    with pytest.raises(ReplyForgotten):
        await store.ask(envelopes[2])


async def test_the_numbers_of_a_client_may_come_in_any_order(store: LightningStore) -> None:
    envelopes = {number: once(number, EnqueueRollout(number), settled_below=1) for number in (3, 1, 2)}
    rollouts = {number: await store.ask(envelope) for number, envelope in envelopes.items()}
    assert {number: await store.ask(envelope) for number, envelope in envelopes.items()} == rollouts


async def test_more_replies_than_are_remembered_are_refused_not_carried_out_again(store: LightningStore) -> None:
    first = once(0, EnqueueRollout("first"))
    await store.ask(first)
    for number in range(1, 1_024):
        await store.ask(once(number, UpdateManyWorkers([])))
    assert (await store.ask(first)).input == "first"
    await store.ask(once(1_024, UpdateManyWorkers([])))
    with pytest.raises(ReplyForgotten):
        await store.ask(first)
    assert (await store.query_rollouts()).total == 1


async def test_a_number_that_was_another_operation_is_refused(store: LightningStore) -> None:
    await store.enqueue_rollout("task")
    claimed = await store.ask(once(7, DequeueRollout()))
    held = await dump(store)
    with pytest.raises(NumberReused, match=r"number 7 of client 'client-1' was a DequeueRollout") as caught:
        await store.ask(once(7, EnqueueRollout("another")))
    assert isinstance(caught.value, ValueError)
    assert (caught.value.client, caught.value.number) == ("client-1", 7)
    assert caught.value.operation == "DequeueRollout"
    assert await dump(store) == held
    assert await store.ask(once(7, DequeueRollout())) == claimed


async def test_many_who_ask_at_once_under_one_number_get_one_answer(store: LightningStore) -> None:
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await store.ask(once(1, EnqueueRollout("task"))))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
    assert len({rollout.rollout_id for rollout in answers}) == 1
    assert len(answers) == 10


async def test_a_repeat_tells_nobody(store: LightningStore) -> None:
    envelope = once(1, EnqueueRollout("task"))
    await store.ask(envelope)
    told: list[str] = []
    leave = store.watch_queue(lambda: told.append("work"))
    await store.ask(envelope)
    assert not told
    leave()


async def test_an_explanation_knows_of_work_asked_for_in_an_envelope(store: LightningStore) -> None:
    await store.ask(once(1, DequeueRollout("Worker-7")))
    rollout = await store.enqueue_rollout("task")
    assert (await store.explain_rollout(rollout.rollout_id)).last_asked_by == "Worker-7"
    assert (await get(store, rollout.rollout_id)).status == "queuing"


async def test_what_only_reads_has_no_business_in_an_envelope(store: LightningStore) -> None:
    for message in (GetRolloutById("ro-1"), WaitForRollouts(rollout_ids=[]), once(1, EnqueueRollout("task"))):
        with pytest.raises(TypeError, match="without an envelope"):
            once(2, message)
    for client, number in (("", 1), ("client-1", -1)):
        with pytest.raises(ValidationError):
            once(number, EnqueueRollout("task"), client=client)
    assert store.capabilities.get("remembers_replies") is True
