"""Requests that may be repeated: the header by which a change names its client and number.

```
lightning-once: 9f2c…;7;5     client; number; below which number it needs no answer any more
```

A server whose store remembers its replies puts such a request into the envelope `Once`; any other passes the header
over. ``GET /v1/agl/health`` says which it is.
"""

from __future__ import annotations

import itertools
import secrets
from typing import Any, Final

from pydantic import ValidationError

from lightning_actors.errors import InvalidRequest
from lightning_actors.store.messages import AddManySpans, AddSpan, StoreMessage, StoreRead
from lightning_actors.store.once import Once

__all__ = ["ONCE_HEADER", "Numbers", "header_of", "is_repeatable", "wrapped"]

ONCE_HEADER: Final = "lightning-once"


def is_repeatable(message: StoreMessage[Any]) -> bool:
    """Whether a message can be asked for again as it is: it reads, or stores spans, which are known by their ids."""
    return isinstance(message, StoreRead | AddSpan | AddManySpans)


def wrapped(message: StoreMessage[Any], header: str | None) -> StoreMessage[Any]:
    """The message in the envelope that a header asks for.

    Raises:
        InvalidRequest: The header is none.
    """
    if header is None or isinstance(message, StoreRead):
        return message
    client, _, numbers = header.partition(";")
    number, _, settled_below = numbers.partition(";")
    try:
        return Once(client, int(number), settled_below=int(settled_below), message=message)
    except (ValueError, ValidationError):
        raise InvalidRequest(
            f"the header {ONCE_HEADER}: {header!r} cannot be read: write it as client;number;settled_below",
            fields=[ONCE_HEADER],
        ) from None


def header_of(envelope: Once) -> str:
    """What a request bears that stands for this envelope."""
    return f"{envelope.client};{envelope.number};{envelope.settled_below}"


class Numbers:
    """Numbers the changes that one client asks for."""

    def __init__(self) -> None:
        self._client = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._open: set[int] = set()

    def take(self) -> int:
        """The number of the next change; it is open until it is settled."""
        number = next(self._numbers)
        self._open.add(number)
        return number

    def header(self, number: int) -> str:
        """What a request bears that asks for this change."""
        return f"{self._client};{number};{min(self._open)}"

    def settle(self, number: int) -> None:
        """Its answer has come, or is not waited for any more."""
        self._open.discard(number)
