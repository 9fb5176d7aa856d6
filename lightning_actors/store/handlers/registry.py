"""Which function carries out which operation; a wrong reply or message type is a static error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from lightning_actors.actors.message import Message
from lightning_actors.store.change import Change
from lightning_actors.store.tables import Tables

__all__ = ["HANDLERS", "handle", "operation"]

R = TypeVar("R")
M = TypeVar("M", bound=Message[Any])
M_co = TypeVar("M_co", bound=Message[Any], covariant=True)

HANDLERS: dict[type[Message[Any]], Callable[[Tables, Any, float], Change[Any]]] = {}
"""Filled while this package is imported, and not changed after."""


class _Operation(Generic[M_co]):
    def __init__(self, message: type[Message[Any]]) -> None:
        self._message = message

    def __call__(
        self: _Operation[Message[R]], handler: Callable[[Tables, M_co, float], Change[R]], /
    ) -> Callable[[Tables, M_co, float], Change[R]]:
        HANDLERS[self._message] = handler
        return handler


def operation(message: type[M]) -> _Operation[M]:
    """Mark the function that carries this operation out."""
    return _Operation(message)


def handle(tables: Tables, message: Message[R], now: float) -> Change[R]:
    """Work out what an operation changes; nothing is written yet.

    Raises:
        StoreError: As the operation says.
    """
    change: Change[R] = HANDLERS[type(message)](tables, message, now)
    return change
