"""The contract of every store: a task that is enqueued under a key is recorded once."""

from __future__ import annotations

import anyio
import pytest
from pydantic import ValidationError
from store_homes import Told, claim, dump, end, get

from lightning_actors.errors import ConfigError, ResourcesNotFound
from lightning_actors.store import LightningStore
from lightning_actors.types import AttemptedRollout, EnqueueRolloutRequest, PromptTemplate, RolloutConfig

pytestmark = pytest.mark.anyio


def requested(*keys: str | None) -> list[EnqueueRolloutRequest]:
    """A request for each key; its task is its place."""
    return [EnqueueRolloutRequest(input=place, key=key) for place, key in enumerate(keys)]


async def test_a_known_key_answers_the_rollout_that_exists(store: LightningStore) -> None:
    first = await store.enqueue_rollout("task", mode="train", key="a")
    held = await dump(store)
    assert await store.enqueue_rollout("another", mode="val", metadata={"more": 1}, key="a") == first
    assert await dump(store) == held
    assert (await claim(store)).rollout_id == first.rollout_id
    assert await store.dequeue_rollout() is None


async def test_other_keys_and_none_record_rollouts_of_their_own(store: LightningStore) -> None:
    rollouts = [await store.enqueue_rollout("task", key=key) for key in ("a", "b", None, None)]
    assert len({rollout.rollout_id for rollout in rollouts}) == 4


async def test_the_rollout_of_a_key_is_answered_as_it_is_now(store: LightningStore) -> None:
    config = RolloutConfig(max_attempts=2, retry_condition=["failed"])
    first = await store.enqueue_rollout("task", config=config, key="a")
    for status in ("failed", "succeeded"):
        claimed = await claim(store)
        known = await store.enqueue_rollout("task", key="a")
        assert isinstance(known, AttemptedRollout)
        assert (known.status, known.attempt.attempt_id) == ("preparing", claimed.attempt.attempt_id)
        await end(store, claimed, status)
        assert await store.enqueue_rollout("task", key="a") == await get(store, first.rollout_id)
    assert (await store.enqueue_rollout("task", key="a")).status == "succeeded"
    await store.update_rollout(first.rollout_id, status="queuing")
    assert (await store.enqueue_rollout("task", key="a")).status == "queuing"
    await store.update_rollout(first.rollout_id, status="cancelled")
    assert (await store.enqueue_rollout("task", key="a")).status == "cancelled"
    assert (await store.query_rollouts()).total == 1


async def test_the_keys_of_a_batch_are_known_to_single_tasks_and_the_other_way_round(store: LightningStore) -> None:
    single = await store.enqueue_rollout("single", key="s")
    batch = await store.enqueue_many_rollouts(requested("a", "s", None, "b"))
    assert [rollout.input for rollout in batch] == [0, "single", 2, 3]
    assert batch[1] == single
    assert await store.enqueue_rollout("again", key="b") == batch[3]
    again = await store.enqueue_many_rollouts(requested("b", "a", None))
    assert [rollout.rollout_id for rollout in again[:2]] == [batch[3].rollout_id, batch[0].rollout_id]
    assert (await store.query_rollouts()).total == 5


async def test_equal_keys_in_one_batch_give_the_same_rollout(store: LightningStore) -> None:
    rollouts = await store.enqueue_many_rollouts(requested("a", "b", "a", None, "a"))
    assert [rollout.input for rollout in rollouts] == [0, 1, 0, 3, 0]
    assert len({rollout.rollout_id for rollout in rollouts}) == 3
    assert [(await claim(store)).input for _ in range(3)] == [0, 1, 3]
    assert await store.dequeue_rollout() is None


async def test_a_refused_batch_leaves_its_keys_unknown(store: LightningStore) -> None:
    bad = EnqueueRolloutRequest(input="bad", resources_id="rs-none", key="bad")
    with pytest.raises(ResourcesNotFound):
        await store.enqueue_many_rollouts([*requested("a"), bad])
    with pytest.raises(ResourcesNotFound):
        await store.enqueue_rollout("bad", resources_id="rs-none", key="b")
    assert (await store.query_rollouts()).total == 0
    for key in ("a", "bad", "b"):
        assert (await store.enqueue_rollout("good", key=key)).input == "good"


async def test_nobody_is_told_of_a_rollout_that_was_known(store: LightningStore) -> None:
    await store.enqueue_rollout("task", key="a")
    told = Told()
    leave = store.watch_queue(told.ready)
    await store.enqueue_rollout("task", key="a")
    await store.enqueue_many_rollouts(requested("a", "a"))
    assert not told.taken()
    leave()


async def test_a_known_rollout_keeps_its_resources(store: LightningStore) -> None:
    old = await store.add_resources({"prompt": PromptTemplate(template="old", engine="f-string")})
    await store.enqueue_rollout("task", key="a")
    await store.add_resources({"prompt": PromptTemplate(template="new", engine="f-string")})
    assert (await store.enqueue_rollout("task", key="a")).resources_id == old.resources_id


async def test_many_who_ask_at_once_under_one_key_get_one_rollout(store: LightningStore) -> None:
    ids: list[str] = []

    async def enqueue() -> None:
        ids.append((await store.enqueue_rollout("task", key="a")).rollout_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(enqueue)
    assert len(ids) == 20
    assert len(set(ids)) == 1


async def test_an_empty_key_is_refused(store: LightningStore) -> None:
    with pytest.raises(ConfigError, match="key"):
        await store.enqueue_rollout("task", key="")
    with pytest.raises(ValidationError, match="key"):
        EnqueueRolloutRequest(input="task", key="")
