"""Batches of one: Agent Lightning's routes enqueue and claim in lists, a store has an operation for a single one.

A store whose class overrides the operation for one is asked for one on either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, cast

from lightning_actors.store.messages import (
    DequeueManyRollouts,
    DequeueRollout,
    EnqueueManyRollouts,
    EnqueueRollout,
    StoreMessage,
)
from lightning_actors.types import EnqueueRolloutRequest

__all__ = ["as_batch", "as_one"]


def as_one(message: StoreMessage[Any]) -> tuple[StoreMessage[Any], Callable[[Any], Any]]:
    """The operation for one, where a batch is of one, and what makes the batch's reply of its reply."""
    if isinstance(message, EnqueueManyRollouts) and len(message.requests) == 1:
        (request,) = message.requests
        return EnqueueRollout(**dict(request)), _listed
    if isinstance(message, DequeueManyRollouts) and message.limit == 1:
        return DequeueRollout(**_without(message, "limit")), _listed
    return message, _as_it_is


def as_batch(message: StoreMessage[Any]) -> tuple[StoreMessage[Any], Callable[[Any], Any]]:
    """The batch of one for an operation that has one, and what makes the operation's reply of its reply."""
    if isinstance(message, EnqueueRollout):
        return EnqueueManyRollouts([EnqueueRolloutRequest(**_without(message))]), _first
    if isinstance(message, DequeueRollout):
        return DequeueManyRollouts(limit=1, **_without(message)), _first
    return message, _as_it_is


def _without(message: StoreMessage[Any], *names: str) -> dict[str, Any]:
    return {
        field.name: getattr(message, field.name) for field in fields(cast("Any", message)) if field.name not in names
    }


def _listed(reply: Any) -> list[Any]:
    return [] if reply is None else [reply]


def _first(replies: Sequence[Any]) -> Any:
    return replies[0] if replies else None


def _as_it_is(reply: Any) -> Any:
    return reply
