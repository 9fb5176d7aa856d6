"""The contract of every store: resources, workers and statistics."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from store_homes import Home, ended, running, span_in

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.store import LightningStore
from lightning_actors.types import LLM, PromptTemplate, Resource

pytestmark = pytest.mark.anyio


def prompt(text: str) -> PromptTemplate:
    return PromptTemplate(template=text, engine="f-string")


async def test_added_resources_are_the_latest(store: LightningStore, clock: VirtualClock) -> None:
    first = await store.add_resources({"prompt": prompt("one")})
    assert re.fullmatch(r"rs-[0-9a-f]{12}", first.resources_id)
    assert (first.version, first.create_time, first.update_time) == (1, clock.time(), clock.time())
    assert await store.get_latest_resources() == first
    clock.advance(1)
    second = await store.add_resources({"prompt": prompt("two")})
    assert second.resources_id != first.resources_id
    assert await store.get_latest_resources() == second
    assert await store.get_resources_by_id(first.resources_id) == first


async def test_resources_that_are_not_published_are_not_the_latest(store: LightningStore) -> None:
    private = await store.add_resources({"prompt": prompt("mine")}, publish=False)
    assert await store.get_latest_resources() is None
    assert await store.get_resources_by_id(private.resources_id) == private
    public = await store.add_resources({"prompt": prompt("ours")})
    await store.add_resources({"prompt": prompt("mine too")}, publish=False)
    assert await store.get_latest_resources() == public
    assert (await store.start_rollout(1)).resources_id == public.resources_id
    assert (await store.start_rollout(1, resources_id=private.resources_id)).resources_id == private.resources_id


async def test_an_update_replaces_the_whole_set_one_version_up(store: LightningStore, clock: VirtualClock) -> None:
    old = await store.add_resources({"a": prompt("a"), "b": prompt("b")})
    await store.add_resources({"prompt": prompt("later")})
    clock.advance(2)
    new = await store.update_resources(old.resources_id, {"a": prompt("a2")})
    assert (new.version, new.create_time, new.update_time) == (2, old.create_time, clock.time())
    assert new.resources == {"a": prompt("a2")}
    assert await store.get_latest_resources() == new
    assert await store.get_resources_by_id(old.resources_id) == new


async def test_an_update_of_a_new_id_makes_it(store: LightningStore) -> None:
    made = await store.update_resources("default", {"prompt": prompt("one")})
    assert (made.resources_id, made.version) == ("default", 1)
    assert await store.get_latest_resources() == made


class Lexicon(Resource):
    """A resource of a user's own, defined once: what travels is read as the class of its ``resource_type``."""

    resource_type: Literal["lexicon of a contract"] = "lexicon of a contract"
    words: tuple[str, ...]


async def test_a_users_own_resource_is_kept_as_it_is(store: LightningStore) -> None:
    mine = Lexicon(words=("a", "b"))
    update = await store.add_resources({"words": mine, "llm": LLM(endpoint="http://x/v1", model="m")})
    found = await store.get_resources_by_id(update.resources_id)
    assert found is not None
    assert found.resources["words"] == mine
    assert type(found.resources["words"]) is Lexicon


async def test_the_given_mapping_is_copied(store: LightningStore) -> None:
    resources: dict[str, Resource] = {"prompt": prompt("one")}
    update = await store.add_resources(resources)
    resources["prompt"] = prompt("changed")
    found = await store.get_resources_by_id(update.resources_id)
    assert found is not None
    assert found.resources == {"prompt": prompt("one")}


async def test_resources_are_queried(store: LightningStore, clock: VirtualClock) -> None:
    ids = ["beta", "alpha", "gamma"]
    for resources_id in ids:
        clock.advance(1)
        await store.update_resources(resources_id, {})
    clock.advance(1)
    await store.update_resources("beta", {})
    assert [update.resources_id for update in await store.query_resources()] == ids
    page = await store.query_resources(limit=1, offset=1)
    assert ([update.resources_id for update in page], page.total) == (["alpha"], 3)
    newest = await store.query_resources(sort_by="update_time", sort_order="desc")
    assert [update.resources_id for update in newest] == ["beta", "gamma", "alpha"]
    assert [u.resources_id for u in await store.query_resources(sort_by="resources_id")] == sorted(ids)
    assert [u.resources_id for u in await store.query_resources(resources_id="gamma")] == ["gamma"]
    assert [u.resources_id for u in await store.query_resources(resources_id_contains="ta")] == ["beta"]
    assert (await store.query_resources(resources_id="gamma", resources_id_contains="ta")).total == 0


async def test_a_heartbeat_makes_a_worker_known(store: LightningStore, clock: VirtualClock) -> None:
    worker = await store.update_worker("Worker-1", {"cpu": 0.5})
    assert (worker.status, worker.heartbeat_stats, worker.last_heartbeat_time) == (
        "unknown",
        {"cpu": 0.5},
        clock.time(),
    )
    clock.advance(1)
    again = await store.update_worker("Worker-1")
    assert (again.heartbeat_stats, again.last_heartbeat_time) == ({"cpu": 0.5}, clock.time())
    replaced = await store.update_worker("Worker-1", {"mem": 2})
    assert replaced.heartbeat_stats == {"mem": 2}
    assert await store.get_worker_by_id("Worker-1") == replaced


async def test_a_heartbeat_does_not_change_what_a_worker_does(store: LightningStore) -> None:
    claimed = await store.start_rollout("task", worker_id="Worker-1")
    worker = await store.update_worker("Worker-1", {})
    assert (worker.status, worker.current_attempt_id) == ("busy", claimed.attempt.attempt_id)


async def test_an_update_that_is_not_published_is_not_the_latest(store: LightningStore) -> None:
    template = PromptTemplate(template="x", engine="f-string")
    published = await store.add_resources({"prompt": template})
    for version in (1, 2):
        update = await store.update_resources("rs-mine", {"prompt": template}, publish=False)
        assert (update.version, await store.get_resources_by_id("rs-mine")) == (version, update)
    assert await store.get_latest_resources() == published
    assert (await store.enqueue_rollout("task")).resources_id == published.resources_id


async def test_a_pool_beats_at_once(store: LightningStore, clock: VirtualClock) -> None:
    claimed = await running(store)
    clock.advance(1)
    await store.update_many_workers(
        ["Worker-1", "Worker-2"],
        heartbeat_stats={"cpu": 1},
        attempts=[(claimed.rollout_id, claimed.attempt.attempt_id)],
    )
    for worker in await store.query_workers():
        assert (worker.heartbeat_stats, worker.last_heartbeat_time) == ({"cpu": 1}, clock.time())
    attempt = await store.get_latest_attempt(claimed.rollout_id)
    assert attempt is not None
    assert (attempt.status, attempt.last_heartbeat_time) == ("running", clock.time())


async def test_a_pool_beats_for_running_attempts_alone(store: LightningStore) -> None:
    claimed = await store.start_rollout("not begun")
    over = await ended(store)
    before = [await store.get_latest_attempt(r.rollout_id) for r in (claimed, over)]
    attempts = [(attempt.rollout_id, attempt.attempt_id) for attempt in before if attempt is not None]
    await store.update_many_workers([], attempts=[*attempts, ("ro-none", "at-none")])
    assert [await store.get_latest_attempt(r.rollout_id) for r in (claimed, over)] == before


async def test_workers_are_queried(store: LightningStore) -> None:
    await store.update_many_workers(["Worker-2", "Worker-1", "other"])
    await store.start_rollout(1, worker_id="Worker-1")
    await store.dequeue_rollout("other")
    assert [worker.worker_id for worker in await store.query_workers()] == ["Worker-2", "Worker-1", "other"]
    page = await store.query_workers(limit=1, offset=1)
    assert ([worker.worker_id for worker in page], page.total) == (["Worker-1"], 3)
    assert [w.worker_id for w in await store.query_workers(status_in=["busy", "idle"])] == ["Worker-1", "other"]
    assert [w.worker_id for w in await store.query_workers(worker_id_contains="Worker", sort_by="worker_id")] == [
        "Worker-1",
        "Worker-2",
    ]
    both = await store.query_workers(status_in=["busy"], worker_id_contains="other")
    either = await store.query_workers(status_in=["busy"], worker_id_contains="other", filter_logic="or")
    assert (both.total, either.total) == (0, 2)


async def test_statistics_count(store: LightningStore, home: Home, clock: VirtualClock) -> None:
    claimed = await running(store)
    await store.add_many_spans([span_in(claimed), span_in(claimed)])
    await store.enqueue_rollout("task")
    await store.update_resources("default", {})
    await store.update_worker("Worker-1")
    clock.advance(3)
    statistics = await store.statistics()
    assert statistics == {
        **statistics,
        "name": home.kind,
        "total_rollouts": 2,
        "total_attempts": 1,
        "total_spans": 2,
        "total_resources": 1,
        "total_workers": 1,
        "uptime": 3.0,
    }


async def test_a_store_says_where_it_takes_otlp_or_that_it_takes_none(store: LightningStore) -> None:
    from lightning_actors.errors import StoreError  # noqa: PLC0415 - one use

    assert store.capabilities.get("async_safe") is True
    if store.capabilities.get("otlp_traces"):
        assert store.otlp_traces_endpoint().endswith("/v1/traces")
        return
    with pytest.raises(StoreError, match="OTLP"):
        store.otlp_traces_endpoint()
