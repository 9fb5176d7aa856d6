"""`InHand`: what a client has asked for and was not answered yet, so that a server has no more of it than it wants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container

from lightning_actors.errors import BoundExceeded
from lightning_actors.http.link.frames import Ask, Items, LinkProtocolError
from lightning_actors.http.link.limits import LinkLimits

__all__ = ["InHand"]

_WAITS_BYTES = 2
"""Waits of so many times `payload_bytes` are taken, for they hold up no other ask. Twice as many end the connection."""


class InHand:
    """The asks of one client, counted with the items that belong to them.

    Args:
        limits: How much is taken.
        waiting: The names of the operations that wait.

    Attributes:
        size_bytes: How long all are that do not wait.
        waits: How many there are that wait.
    """

    def __init__(self, limits: LinkLimits, waiting: Container[str]) -> None:
        self.size_bytes = 0
        self.waits = 0
        self._limits = limits
        self._waiting = waiting
        self._asks: dict[int, Ask] = {}
        self._sizes: dict[int, int] = defaultdict(int)
        """The length of each ask, or of the items that came of it so far."""
        self._waits_bytes = 0
        self._most_waits_bytes = _WAITS_BYTES * limits.payload_bytes

    def __len__(self) -> int:
        return len(self._asks)

    def get(self, number: int) -> Ask | None:
        """The ask with this number."""
        return self._asks.get(number)

    @property
    def has_room(self) -> bool:
        """Whether more may be asked for."""
        return self.size_bytes <= self._limits.payload_bytes

    def refusal_of_waits(self) -> BoundExceeded | None:
        """Why no more of them may wait; None if they may."""
        limits, most = self._limits, self._most_waits_bytes
        if self.waits > limits.waits:
            return BoundExceeded(
                f"more than {limits.waits:,} operations of this client wait: wait for many rollouts in one "
                f"wait_for_rollouts, or follow store.completions()",
                bound="waits",
                allowed=limits.waits,
            )
        if self._waits_bytes > most:
            return BoundExceeded(
                f"the operations of this client that wait have {self._waits_bytes:,} bytes, and may have {most:,} in "
                f"all: wait for fewer rollouts at a time, or follow store.completions()",
                bound="payload_bytes",
                allowed=most,
            )
        return None

    def expect(self, items: Items) -> None:
        """Items have come of an ask that is to come. Raises LinkProtocolError where it is there already."""
        self._check_is_new(items.number)
        self._sizes[items.number] += len(items.payload)

    def drop(self, number: int) -> None:
        """An ask of which items have come will not."""
        self._sizes.pop(number, None)

    def take(self, ask: Ask) -> None:
        """An ask has come.

        Raises:
            LinkProtocolError: It is there already, or there are far too many.
        """
        self._check_is_new(ask.number)
        self._asks[ask.number] = ask
        self._sizes[ask.number] += len(ask.payload)
        self._count(ask, 1, self._sizes[ask.number])
        limits = self._limits
        if len(self._asks) - self.waits > limits.asks + limits.asks // 4:  # urgent ones are not counted by the client
            raise LinkProtocolError(f"more than {limits.asks:,} asks are in flight (asks)")
        if self.waits > 2 * limits.waits:  # those above the bound have been refused
            raise LinkProtocolError(f"far more than {limits.waits:,} asks wait (waits)")
        if self._waits_bytes > 2 * self._most_waits_bytes:  # the same
            raise LinkProtocolError(
                f"there are far more than {self._most_waits_bytes:,} bytes of asks that wait (twice payload_bytes)"
            )

    def done(self, number: int) -> Ask | None:
        """An ask is answered; None if it was not there."""
        ask = self._asks.pop(number, None)
        if ask is not None:
            self._count(ask, -1, -self._sizes.pop(number))
        return ask

    def _check_is_new(self, number: int) -> None:
        if number in self._asks:
            raise LinkProtocolError(f"ask {number} is in hand already")

    def _count(self, ask: Ask, waits: int, size_bytes: int) -> None:
        if ask.operation in self._waiting:
            self.waits += waits
            self._waits_bytes += size_bytes
        else:
            self.size_bytes += size_bytes
