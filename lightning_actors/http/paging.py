"""A query for all that there is, in pages, where that is more than a server gives at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeGuard

from lightning_actors.errors import BoundExceeded
from lightning_actors.http.served import QUERIES
from lightning_actors.types import PaginatedResult

__all__ = ["asks_for_all", "page_by_page"]


def asks_for_all(message: object, error: BoundExceeded) -> TypeGuard[Any]:
    """Whether this was refused because a query asked for all, and there is more than a page may hold."""
    return error.bound == "page" and isinstance(message, QUERIES) and message.limit == -1


async def page_by_page(
    ask: Callable[[Any], Awaitable[PaginatedResult[Any]]], message: Any, size: int
) -> PaginatedResult[Any]:
    """All that there is; what changes meanwhile may be missed.

    Args:
        ask: Has one page answered.
        message: The query.
        size: How many records a page may hold.
    """
    page = await ask(replace(message, limit=size))
    items = list(page)
    while page and message.offset + len(items) < page.total:
        page = await ask(replace(message, limit=size, offset=message.offset + len(items)))
        items += page
    return PaginatedResult(items, -1, message.offset, max(page.total, message.offset + len(items)))
