"""Envelopes: carried out, or answered from memory."""

from __future__ import annotations

from typing import Any

from lightning_actors.errors import ReplyForgotten
from lightning_actors.store.change import Change, Remembered
from lightning_actors.store.handlers.registry import handle, operation
from lightning_actors.store.once import Once, Recall, RememberReply
from lightning_actors.store.tables import Tables

__all__: list[str] = []


@operation(Once)
def once(tables: Tables, message: Once, now: float) -> Change[Any]:
    """The remembered reply; else that of the operation, remembered with what it changes."""
    known = _recalled(tables, message.client, message.number)
    if known is not None:
        return Change(known.reply)
    inner = message.message
    change = handle(tables, inner, now)
    kind = inner.operation if isinstance(inner, RememberReply) else type(inner)
    return change._replace(
        remembered=Remembered(message.client, message.number, message.settled_below, kind, change.reply)
    )


def _recalled(tables: Tables, client: str, number: int) -> Remembered | None:
    known = tables.remembered(client, number)
    if known is None and number < tables.settled_below(client):
        raise ReplyForgotten(client, number)
    return known


@operation(Recall)
def recall(tables: Tables, message: Recall, _now: float) -> Change[Remembered | None]:
    """What is remembered."""
    return Change(_recalled(tables, message.client, message.number))


@operation(RememberReply)
def remember_reply(_tables: Tables, message: RememberReply, _now: float) -> Change[Any]:
    """The reply that it holds."""
    return Change(message.reply)
