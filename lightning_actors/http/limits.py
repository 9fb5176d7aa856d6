"""`ServerLimits`: how much a server takes and gives, so that nobody can make it grow without end."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["ServerLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Bounds of a server; what goes beyond one is refused with 413 or 429, and told which bound it was.

    Attributes:
        body_bytes: The longest request body, counted after decompression.
        batch: The most rollouts, spans, workers or ids in one request.
        page: The most records in one reply; who asks for all where there are more is told to ask for pages.
        waiters: The most requests that wait at the same time for rollouts to end.
        connections: The most open connections.
    """

    body_bytes: int = 64 * 1024 * 1024
    batch: int = 50_000
    page: int = 50_000
    waiters: int = 10_000
    connections: int = 1_000

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"ServerLimits({field.name}={getattr(self, field.name)!r}): a bound is at least 1")
