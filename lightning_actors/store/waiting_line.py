"""`WaitingLine`: the ids in a queue, and how many stand before one of them.

```
ticket    3  4  5  6  7  8        each id has a number, in order; the next at the end gets 9, the next at the head 2
id        a     b  c     d        4 and 7 have left from the middle: two gaps
before d  8 - 3 - two gaps = 3    so nobody is counted one by one
```
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from lightning_actors.store.ordered_keys import OrderedKeys

__all__ = ["WaitingLine"]


class WaitingLine:
    """Ids in order. Joining, leaving from anywhere and counting cost about the same at any length."""

    __slots__ = ("_gaps", "_next", "_tickets")

    def __init__(self) -> None:
        self._tickets: OrderedDict[str, int] = OrderedDict()
        self._next = 0
        self._gaps: OrderedKeys[tuple[float, int]] = OrderedKeys()
        """The tickets of those who left from the middle, and are no longer among the others; kept as sorted keys."""

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, key: str) -> bool:
        return key in self._tickets

    def join(self, key: str, *, at_head: bool = False) -> None:
        """Let an id that is not there stand at the end, or at the head."""
        if not at_head or not self._tickets:
            self._tickets[key] = self._next
            self._next += 1
            return
        ticket = self._head() - 1
        self._gaps.discard((ticket, 0))
        self._tickets[key] = ticket
        self._tickets.move_to_end(key, last=False)

    def leave(self, key: str) -> None:
        """Take an id out, wherever it stands."""
        is_first = next(iter(self._tickets)) == key
        ticket = self._tickets.pop(key)
        if is_first:
            return
        self._gaps.add((ticket, 0))
        if len(self._gaps) > len(self._tickets):
            self._renumber()

    def first(self, count: int) -> list[str]:
        """The first ids, so many at most."""
        return list(islice(self._tickets, count))

    def before(self, key: str) -> int | None:
        """How many stand before an id; None if it is not there."""
        ticket = self._tickets.get(key)
        if ticket is None:
            return None
        head = self._head()
        return ticket - head - (self._gaps.count_below((ticket, 0)) - self._gaps.count_below((head, 0)))

    def _head(self) -> int:
        return next(iter(self._tickets.values()))

    def _renumber(self) -> None:
        """Close the gaps. They are more than those who stand there, so it was paid for by those who left."""
        self._tickets = OrderedDict((key, ticket) for ticket, key in enumerate(self._tickets))
        self._next = len(self._tickets)
        self._gaps = OrderedKeys()
