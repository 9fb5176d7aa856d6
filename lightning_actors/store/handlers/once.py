"""Envelopes: carried out, or answered from memory."""

from __future__ import annotations

from typing import Any

from lightning_actors.errors import NumberReused, ReplyForgotten
from lightning_actors.store.change import Change, Remembered
from lightning_actors.store.handlers.registry import handle, operation
from lightning_actors.store.once import Once, Recall, RememberReply
from lightning_actors.store.tables import Tables

__all__: list[str] = []


@operation(Once)
def once(tables: Tables, message: Once, now: float) -> Change[Any]:
    """The remembered reply; else that of the operation, remembered with what it changes."""
    inner = message.message
    kind = inner.operation if isinstance(inner, RememberReply) else type(inner)
    known = _recalled(tables, message.client, message.number, kind)
    if known is not None:
        return Change(known.reply)
    change = handle(tables, inner, now)
    return change._replace(
        remembered=Remembered(message.client, message.number, message.settled_below, kind, change.reply)
    )


def _recalled(tables: Tables, client: str, number: int, operation: type[Any]) -> Remembered | None:
    known = tables.remembered(client, number)
    if known is None and number < tables.settled_below(client):
        raise ReplyForgotten(client, number)
    if known is not None and known.operation is not operation:
        raise NumberReused(client, number, known.operation.__name__)
    return known


@operation(Recall)
def recall(tables: Tables, message: Recall, _now: float) -> Change[Remembered | None]:
    """What is remembered."""
    return Change(_recalled(tables, message.client, message.number, message.operation))


@operation(RememberReply)
def remember_reply(_tables: Tables, message: RememberReply, _now: float) -> Change[Any]:
    """The reply that it holds."""
    return Change(message.reply)
