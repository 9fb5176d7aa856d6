"""The bounds of a link, in one place; an error that one of them causes names it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LinkLimits", "LinkOptions"]


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """How much one end of a link takes, and how it cuts what it sends.

    Attributes:
        part_bytes: A longer line goes in pieces of this size.
        message_bytes: The longest WebSocket message.
        window_bytes: How many bytes of pieces may be under way before the other end has taken some.
        payload_bytes: The longest line, in pieces or not; also how much a server has in hand of one client's asks with
            their items, or ready to be sent to it, before it lets it wait. Asks that wait may have twice as much.
        asks: How many operations a client may have in flight, those that wait not counted.
        waits: How many operations that wait a client may have in flight.
        watches: How many attempts a client may watch.
        clients: How many links a server has at a time.
    """

    part_bytes: int = 32 * 1024
    message_bytes: int = 128 * 1024
    window_bytes: int = 256 * 1024
    payload_bytes: int = 64 * 1024 * 1024
    asks: int = 1024
    waits: int = 16_384
    watches: int = 65_536
    clients: int = 1024


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How the client's side of a link behaves.

    Attributes:
        patience: Seconds without a connection after which what is asked fails with StoreUnreachable.
        connect_seconds: How long one attempt to connect may take.
        lease_seconds: For how long claims are held unless they are renewed, three times as often as that; None for
            claims that hold until they are ended, whatever becomes of this client.
        limits: The bounds of what is sent and taken.
    """

    patience: float = 60.0
    connect_seconds: float = 10.0
    lease_seconds: float | None = 30.0
    limits: LinkLimits = LinkLimits()
