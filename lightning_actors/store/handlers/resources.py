"""Resources: added, replaced, found."""

from __future__ import annotations

from collections.abc import Collection

from lightning_actors.store.change import Change
from lightning_actors.store.handlers.registry import operation
from lightning_actors.store.ids import fresh_id
from lightning_actors.store.messages import (
    AddResources,
    GetLatestResources,
    GetResourcesById,
    QueryResources,
    UpdateResources,
)
from lightning_actors.store.paging import sorted_and_paged
from lightning_actors.store.tables import Tables
from lightning_actors.types import PaginatedResult, ResourcesUpdate

__all__: list[str] = []


@operation(AddResources)
def add_resources(tables: Tables, message: AddResources, now: float) -> Change[ResourcesUpdate]:
    """Store resources under a new id."""
    update = ResourcesUpdate(
        resources_id=fresh_id("rs-", 6, lambda name: tables.resources(name) is not None),
        create_time=now,
        update_time=now,
        version=1,
        resources=dict(message.resources),
    )
    return Change(update, resources=[update], latest_resources_id=update.resources_id if message.publish else None)


@operation(UpdateResources)
def update_resources(tables: Tables, message: UpdateResources, now: float) -> Change[ResourcesUpdate]:
    """Replace the resources under an id, or make that id."""
    before = tables.resources(message.resources_id)
    update = ResourcesUpdate(
        resources_id=message.resources_id,
        create_time=now if before is None else before.create_time,
        update_time=now,
        version=1 if before is None else before.version + 1,
        resources=dict(message.resources),
    )
    return Change(update, resources=[update], latest_resources_id=update.resources_id if message.publish else None)


@operation(GetResourcesById)
def get_resources_by_id(tables: Tables, message: GetResourcesById, _now: float) -> Change[ResourcesUpdate | None]:
    """One set of resources."""
    return Change(tables.resources(message.resources_id))


@operation(GetLatestResources)
def get_latest_resources(tables: Tables, _message: GetLatestResources, _now: float) -> Change[ResourcesUpdate | None]:
    """The latest resources."""
    latest = tables.latest_resources_id()
    return Change(None if latest is None else tables.resources(latest))


@operation(QueryResources)
def query_resources(tables: Tables, message: QueryResources, _now: float) -> Change[PaginatedResult[ResourcesUpdate]]:
    """Sets of resources by id."""
    return Change(
        sorted_and_paged(
            _matching(tables, message.resources_id, message.resources_id_contains),
            ResourcesUpdate,
            sort_by=message.sort_by,
            sort_order=message.sort_order,
            limit=message.limit,
            offset=message.offset,
        )
    )


def _matching(tables: Tables, resources_id: str | None, text: str | None) -> Collection[ResourcesUpdate]:
    found = tables.all_resources()
    if resources_id is not None:
        one = tables.resources(resources_id)
        found = [] if one is None else [one]
    return found if text is None else [update for update in found if text in update.resources_id]
