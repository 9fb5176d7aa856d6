"""The contract of every store: resources that several publish beside each other."""

from __future__ import annotations

from typing import Any, Literal

import anyio
import pytest
from store_homes import Home

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import NotJson
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.types import PromptTemplate, Resource

pytestmark = pytest.mark.anyio


def prompt(text: str) -> PromptTemplate:
    return PromptTemplate(template=text, engine="f-string")


async def test_what_is_published_stands_beside_what_has_other_names(store: LightningStore, clock: VirtualClock) -> None:
    before = await store.add_resources({"a": prompt("a"), "b": prompt("b")})
    clock.advance(1)
    made = await store.publish_resources({"b": prompt("b2"), "c": prompt("c")})
    assert made.resources == {"a": prompt("a"), "b": prompt("b2"), "c": prompt("c")}
    assert (made.version, made.create_time, made.update_time) == (1, clock.time(), clock.time())
    assert await store.get_latest_resources() == made
    assert await store.get_resources_by_id(before.resources_id) == before, "what a rollout ran with stays as it was"
    assert (await store.start_rollout(1)).resources_id == made.resources_id


async def test_what_is_published_again_is_stored_once(store: LightningStore, clock: VirtualClock) -> None:
    one = await store.publish_resources({"a": prompt("1"), "b": prompt("b")})
    two = await store.publish_resources({"a": prompt("2")})
    clock.advance(1)
    for _ in range(3):
        assert await store.publish_resources({"a": prompt("1")}) == one
        assert await store.get_latest_resources() == one
        assert await store.publish_resources({"a": prompt("2")}) == two
    assert await store.publish_resources({"a": prompt("2")}) == two, "it is the latest already"
    assert (await store.query_resources()).total == 2


async def test_the_id_follows_from_what_is_in_the_set(store: LightningStore) -> None:
    elsewhere = InMemoryLightningStore()
    published = await store.publish_resources({"a": prompt("1"), "b": prompt("2")})
    assert (await elsewhere.publish_resources({"b": prompt("2"), "a": prompt("1")})).resources_id == (
        published.resources_id
    )
    assert (await elsewhere.publish_resources({"a": prompt("2"), "b": prompt("1")})).resources_id != (
        published.resources_id
    )


async def test_a_set_that_was_changed_in_place_is_not_taken_for_what_it_was(store: LightningStore) -> None:
    one = await store.publish_resources({"a": prompt("1")})
    await store.update_resources(one.resources_id, {"a": prompt("changed")})
    again = await store.publish_resources({"a": prompt("1")})
    assert again.resources_id != one.resources_id
    assert again.resources == {"a": prompt("1")}
    changed = await store.get_resources_by_id(one.resources_id)
    assert changed is not None
    assert changed.resources == {"a": prompt("changed")}


async def test_where_there_is_nothing_yet_it_stands_beside_what_is_to_be_there_at_first(store: LightningStore) -> None:
    initial: dict[str, Resource] = {"a": prompt("a"), "b": prompt("b")}
    first = await store.publish_resources({"a": prompt("1")}, initial=initial)
    assert first.resources == {"a": prompt("1"), "b": prompt("b")}
    await store.add_resources({"c": prompt("c")})
    later = await store.publish_resources({"a": prompt("1")}, initial=initial)
    assert later.resources == {"a": prompt("1"), "c": prompt("c")}


async def test_over_something_else_nothing_is_published(store: LightningStore) -> None:
    old = await store.publish_resources({"a": prompt("1")}, over="rs-none")
    assert old.resources == {"a": prompt("1")}, "there was nothing that could have been overlooked"
    new = await store.publish_resources({"a": prompt("2")}, over=old.resources_id)
    assert new.resources == {"a": prompt("2")}
    assert await store.publish_resources({"a": prompt("3")}, over=old.resources_id) == new
    assert await store.get_latest_resources() == new


async def test_of_many_that_publish_at_once_none_is_lost(store: LightningStore) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            one: dict[str, Resource] = {str(number): prompt(str(number))}
            tasks.start_soon(store.publish_resources, one)
    latest = await store.get_latest_resources()
    assert latest is not None
    assert latest.resources == {str(number): prompt(str(number)) for number in range(20)}


class Tool(Resource):
    """A resource that cannot be written."""

    resource_type: Literal["a tool"] = "a tool"
    call: Any


@pytest.mark.usefixtures("any_object")
async def test_a_resource_that_cannot_be_written_is_published_each_time_anew(store: LightningStore) -> None:
    tool = Tool(call=object())
    await store.publish_resources({"tool": tool})
    one = await store.publish_resources({"tool": tool})
    await store.publish_resources({"a": prompt("1")})
    two = await store.publish_resources({"a": prompt("2")})
    assert one.resources == {"tool": tool}
    assert two.resources == {"tool": tool, "a": prompt("2")}
    assert (await store.query_resources()).total == 3


async def test_a_home_that_writes_what_it_is_given_refuses_a_resource_that_cannot_be_written(
    home: Home, store: LightningStore
) -> None:
    if home.holds_any_object:
        pytest.skip("this home holds any object")
    with pytest.raises(NotJson, match="tool"):
        await store.publish_resources({"tool": Tool(call=object())})
    assert (await store.query_resources()).total == 0
