"""Resources: added, published, replaced, found."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final

from lightning_actors.store.change import Change
from lightning_actors.store.handlers.registry import operation
from lightning_actors.store.ids import fresh_id
from lightning_actors.store.messages import (
    AddResources,
    GetLatestResources,
    GetResourcesById,
    PublishResources,
    QueryResources,
    UpdateResources,
)
from lightning_actors.store.paging import sorted_and_paged
from lightning_actors.store.tables import Tables
from lightning_actors.types import NamedResources, PaginatedResult, ResourcesUpdate

__all__: list[str] = []

_ID_BYTES: Final = 6


@operation(AddResources)
def add_resources(tables: Tables, message: AddResources, now: float) -> Change[ResourcesUpdate]:
    """Store resources under a new id."""
    update = _made(_unused_id(tables), message.resources, now)
    return Change(update, resources=[update], latest_resources_id=update.resources_id if message.publish else None)


@operation(PublishResources)
def publish_resources(tables: Tables, message: PublishResources, now: float) -> Change[ResourcesUpdate]:
    """Make resources the latest beside those of other names, stored once."""
    latest_id = tables.latest_resources_id()
    latest = None if latest_id is None else tables.resources(latest_id)
    merged = {**((message.initial or {}) if latest is None else latest.resources), **message.resources}
    if latest is not None and (message.over not in {None, latest_id} or latest.resources == merged):
        return Change(latest)
    wanted = _id_of(merged)
    known = None if wanted is None else tables.resources(wanted)
    if known is not None and known.resources == merged:
        return Change(known, latest_resources_id=known.resources_id)
    update = _made(wanted if wanted is not None and known is None else _unused_id(tables), merged, now)
    return Change(update, resources=[update], latest_resources_id=update.resources_id)


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


def _made(resources_id: str, resources: NamedResources, now: float) -> ResourcesUpdate:
    return ResourcesUpdate(
        resources_id=resources_id, create_time=now, update_time=now, version=1, resources=dict(resources)
    )


def _unused_id(tables: Tables) -> str:
    return fresh_id("rs-", _ID_BYTES, lambda name: tables.resources(name) is not None)


def _id_of(resources: NamedResources) -> str | None:
    """An id that follows from what is in a set, in any process; None where a resource cannot be written as JSON."""
    digest = hashlib.sha256()
    for name in sorted(resources):
        kind = type(resources[name])
        try:
            written = resources[name].model_dump_json()
        except Exception:  # noqa: BLE001 - boundary: a user's resource may hold what only its own process understands
            return None
        digest.update(f"{name!r} {kind.__module__}.{kind.__qualname__} {written}\n".encode())
    return f"rs-{digest.hexdigest()[: 2 * _ID_BYTES]}"


def _matching(tables: Tables, resources_id: str | None, text: str | None) -> Collection[ResourcesUpdate]:
    found = tables.all_resources()
    if resources_id is not None:
        one = tables.resources(resources_id)
        found = [] if one is None else [one]
    return found if text is None else [update for update in found if text in update.resources_id]
