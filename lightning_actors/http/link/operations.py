"""What is special about some operations, by the names of their messages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from lightning_actors.actors.message import Message
from lightning_actors.http import routes
from lightning_actors.store.messages import AddManySpans, AddSpan, RenewLeases, StoreMessage, StoreRead, StoreWait
from lightning_actors.store.once import Once

__all__ = ["OPERATIONS", "WAITING", "changes"]

OPERATIONS: Final[Mapping[str, type[StoreMessage[Any]]]] = MappingProxyType({**routes.OPERATIONS, Once.__name__: Once})
"""What travels over a link by its name: the operations, and envelopes that a client of this client has made."""

WAITING: Final = frozenset(name for name, message in OPERATIONS.items() if issubclass(message, StoreWait))
"""The names of those that wait."""

_REPEATABLE: Final = (StoreRead, RenewLeases, AddSpan, AddManySpans, Once)
"""Those that may be carried out twice: a span that is stored is known by its id, and a repeat adds none."""


def changes(kind: type[Message[Any]]) -> bool:
    """Whether an operation changes the store so that it must not be carried out twice."""
    return not issubclass(kind, _REPEATABLE)
