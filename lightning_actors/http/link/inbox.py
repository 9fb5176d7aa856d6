"""`Inbox`: WebSocket messages into frames, with those in pieces put together again and every bound kept."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_actors.http.link.frames import (
    Ask,
    Fault,
    Frame,
    Items,
    Kinds,
    Last,
    LinkProtocolError,
    Part,
    Reply,
    parse,
)
from lightning_actors.http.link.limits import LinkLimits

__all__ = ["Inbox"]


class _Coming:
    """What has come so far of something long about an ask."""

    __slots__ = ("pieces", "size_bytes")

    def __init__(self) -> None:
        self.pieces = bytearray()
        self.size_bytes = 0


class Inbox:
    """The frames that one end is told.

    Args:
        kinds: Which frames may come.
        limits: What is taken.
        long_ones: About how many asks items and pieces may be on their way at a time.
    """

    def __init__(self, kinds: Kinds, limits: LinkLimits, *, long_ones: int) -> None:
        self._kinds = kinds
        self._limits = limits
        self._long_ones = long_ones
        self._coming: dict[int, _Coming] = {}
        self._window = 0
        self._untold = limits.window_bytes

    def receive(self, message: bytes) -> Iterator[Frame]:
        """The frames that are complete with this message, in order.

        Raises:
            LinkProtocolError: It holds what is no frame, or too much.
        """
        if len(message) > self._limits.message_bytes:
            raise LinkProtocolError(
                f"a message has {len(message):,} bytes, and may have {self._limits.message_bytes:,} (message_bytes)"
            )
        for line in message.split(b"\n"):
            frame: Frame | None = parse(line, self._kinds)
            if isinstance(frame, Part | Last):
                self._take(frame.number, len(frame.payload))
                frame = self._joined(frame)
            elif isinstance(frame, Items):
                self._take(frame.number, len(line))
            if isinstance(frame, Ask | Reply | Fault) and not isinstance(frame, Items):
                self._coming.pop(frame.number, None)
            if frame is not None:
                yield frame

    def drop(self, number: int) -> bool:
        """Forget what has come so far of something long about this ask; whether there was any."""
        return self._coming.pop(number, None) is not None

    def credit(self) -> int:
        """How many bytes more of items and pieces may be asked for; 0 while it is not worth a frame."""
        if self._untold < self._limits.window_bytes // 4:
            return 0
        told, self._untold = self._untold, 0
        self._window += told
        return told

    def _take(self, number: int, size_bytes: int) -> None:
        limits = self._limits
        self._window -= size_bytes
        self._untold += size_bytes
        if self._window < 0:
            raise LinkProtocolError(
                f"more than {limits.window_bytes:,} bytes of items and pieces came before they were asked for "
                f"(window_bytes)"
            )
        coming = self._coming.get(number)
        if coming is None:
            if len(self._coming) >= self._long_ones:
                raise LinkProtocolError(f"more than {self._long_ones} long asks or answers are on their way at a time")
            coming = self._coming[number] = _Coming()
        coming.size_bytes += size_bytes
        if coming.size_bytes > limits.payload_bytes:
            raise LinkProtocolError(
                f"an ask or answer is longer than {limits.payload_bytes:,} bytes (payload_bytes): send less at a time"
            )

    def _joined(self, piece: Part | Last) -> Frame | None:
        """The frame that is complete with this piece."""
        coming = self._coming[piece.number]
        coming.pieces += piece.payload
        if isinstance(piece, Part):
            return None
        whole, coming.pieces = bytes(coming.pieces), bytearray()
        frame = parse(whole, self._kinds)
        if not isinstance(frame, Ask | Reply | Fault) or frame.number != piece.number:
            raise LinkProtocolError(
                f"the pieces of {piece.number} make a {frame.verb.decode()}: only what asks and answers is cut"
            )
        return frame
