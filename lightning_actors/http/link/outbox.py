"""`Outbox`: what one end of a link has to say, and what of it goes next.

```
say ──▶ ┌ at once ─────────────────────┐
put ──▶ │ one short line: at once, or  │ ──take──▶ one WebSocket message: as many lines as fit
        │ in order behind what is long │
        │ long: line by line, piece by │
        │ piece, as there is credit    │ ◀─credit─ the other end has taken some
        └──────────────────────────────┘
```

Between two messages whatever is to be said at once gets its turn, so what is long holds up nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from lightning_actors.http.link.frames import Last, Part
from lightning_actors.http.link.limits import LinkLimits

__all__ = ["Outbox"]

_PIECE_HEADER_BYTES = 32


class _Entry:
    """What was put about an ask: its lines, cut where they are too long, each with what it costs of the credit."""

    __slots__ = ("_lines", "_part_bytes", "_sent", "is_begun", "number")

    def __init__(self, number: int, lines: Sequence[bytes], part_bytes: int) -> None:
        self.number = number
        self.is_begun = False
        self._part_bytes = part_bytes
        self._lines = deque(lines)
        self._sent = 0

    @property
    def is_short(self) -> bool:
        return not self.is_begun and len(self._lines) == 1 and len(self._lines[0]) <= self._part_bytes

    @property
    def is_done(self) -> bool:
        return not self._lines

    @property
    def left_bytes(self) -> int:
        return sum(map(len, self._lines)) - self._sent

    def look(self, window: int) -> tuple[int, int]:
        """What goes next: its size, and its cost, which is more than there is of the credit where it has to wait."""
        whole = len(self._lines[0])
        if whole > self._part_bytes:
            cost = max(min(whole - self._sent, self._part_bytes, window), 1)
            return cost + _PIECE_HEADER_BYTES, cost
        return whole, 0 if len(self._lines) == 1 else whole

    def next(self, cost: int) -> tuple[bytes, int]:
        """The next line to send, and how much of what was put it holds."""
        self.is_begun = True
        line = self._lines[0]
        if len(line) <= self._part_bytes:
            self._lines.popleft()
            return line, len(line)
        piece = line[self._sent : self._sent + cost]
        self._sent += cost
        if self._sent < len(line):
            return Part(self.number, piece).line(), cost
        self._lines.popleft()
        self._sent = 0
        return Last(self.number, piece).line(), cost


class Outbox:
    """What waits to be sent.

    Args:
        limits: How it is cut.
        in_order: What is `put` leaves in this order, also behind something long; else what is short passes what is
            long, and long ones go piece by piece in turn.
    """

    def __init__(self, limits: LinkLimits, *, in_order: bool) -> None:
        self._limits = limits
        self._in_order = in_order
        self._said: deque[bytes] = deque()
        self._lane: deque[_Entry] = deque()
        self._window = 0
        self.waiting_bytes = 0
        """How much waits here."""

    def __bool__(self) -> bool:
        """Whether anything waits, also if it may not be sent yet."""
        return bool(self._said or self._lane)

    def say(self, line: bytes) -> None:
        """Have a short line sent with the next message."""
        self._said.append(line)
        self.waiting_bytes += len(line)

    def put(self, number: int, lines: Sequence[bytes]) -> None:
        """Have lines about an ask sent: items, and last what they belong to."""
        entry = _Entry(number, lines, self._limits.part_bytes)
        self.waiting_bytes += entry.left_bytes
        if entry.is_short and not self._in_order:
            self._said.append(lines[0])
        else:
            self._lane.append(entry)

    def withdraw(self, number: int) -> bool:
        """Take back what was put about an ask.

        Returns:
            Whether nothing of it had been sent.
        """
        for one in self._lane:
            if one.number == number:
                self._lane.remove(one)
                self.waiting_bytes -= one.left_bytes
                return not one.is_begun
        return False

    def unsent(self) -> set[int]:
        """The asks about which something was put, and nothing of it was taken."""
        return {one.number for one in self._lane if not one.is_begun}

    def credit(self, size_bytes: int) -> None:
        """The other end takes so many bytes more; it says so at first, and whenever it has taken some."""
        self._window += size_bytes

    def take(self) -> bytes | None:
        """The next message; None if there is nothing that may be sent now."""
        lines = list(self._lines_for(self._limits.message_bytes))
        return b"\n".join(lines) if lines else None

    def _lines_for(self, message_bytes: int) -> Iterator[bytes]:
        used = 0
        while self._said and used + len(self._said[0]) <= message_bytes:
            line = self._said.popleft()
            self.waiting_bytes -= len(line)
            used += len(line) + 1
            yield line
        while self._lane:
            head = self._lane[0]
            size, cost = head.look(self._window)
            if cost > self._window or used + size > message_bytes:
                return
            line, taken = head.next(cost)
            self._window -= cost
            self.waiting_bytes -= taken
            used += len(line) + 1
            self._go_on_after(head)
            yield line

    def _go_on_after(self, head: _Entry) -> None:
        if head.is_done:
            self._lane.popleft()
        elif not self._in_order:
            self._lane.rotate(-1)
