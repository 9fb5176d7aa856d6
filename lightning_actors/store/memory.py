"""`InMemoryLightningStore`: the store that lives and dies with the process."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from lightning_actors.actors.clock import Clock
from lightning_actors.errors import ConfigError
from lightning_actors.store.local import LocalStore
from lightning_actors.store.memory_tables import MemoryTables, memory_capacity_bytes
from lightning_actors.store.rules import span_size_bytes
from lightning_actors.store.span_shelf import SpanShelf
from lightning_actors.types import Span

__all__ = ["InMemoryLightningStore"]

_EVICT_AT = 0.7
_SAFE = 0.8


class InMemoryLightningStore(LocalStore):
    """Rollouts, spans and resources in memory, for one event loop at a time.

    Usable bare (``store = InMemoryLightningStore()``), in a runner's ``run_context``, and in a Trainer. What it holds
    stays when a loop ends and can be used from the next.

    Args:
        thread_safe: Accepted from users of Agent Lightning; there are no threads here, and True only warns.
        eviction_memory_threshold: Size of all spans above which those of ended rollouts are dropped: bytes, or a
            share of the machine's memory if a float; default 0.7.
        safe_memory_threshold: The size down to which they are dropped: bytes, or a share of the machine's memory;
            default 0.8 of the eviction threshold.
        span_size_estimator: Bytes of one span; the default counts its texts and a fixed part.
        scan_debounce_seconds: Accepted from users of Agent Lightning; deadlines are kept here to the moment, and a
            value other than the default only warns.
        clock: Where the time comes from.

    Source: options and defaults are those of Agent Lightning 0.3.
    """

    def __init__(
        self,
        *,
        thread_safe: bool = False,
        eviction_memory_threshold: float | None = None,
        safe_memory_threshold: float | None = None,
        span_size_estimator: Callable[[Span], int] | None = None,
        scan_debounce_seconds: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        if thread_safe:
            _warn("thread_safe=True", "use it from one event loop, and from threads through anyio.from_thread.run")
        if scan_debounce_seconds != 10.0:  # noqa: PLR2004 - Agent Lightning's default
            _warn(f"scan_debounce_seconds={scan_debounce_seconds}", "deadlines are kept to the moment, without scans")
        evict_at = _bytes(
            eviction_memory_threshold, "eviction_memory_threshold", int(memory_capacity_bytes() * _EVICT_AT)
        )
        safe = _bytes(safe_memory_threshold, "safe_memory_threshold", int(evict_at * _SAFE))
        if safe > evict_at:
            raise ConfigError(
                f"safe_memory_threshold ({safe} bytes) must not exceed eviction_memory_threshold ({evict_at} bytes)"
            )
        super().__init__(MemoryTables(SpanShelf(evict_at, safe, span_size_estimator or span_size_bytes)), clock=clock)


def _bytes(threshold: float | None, name: str, default: int) -> int:
    if threshold is None:
        return default
    if isinstance(threshold, float):
        if not 0 < threshold <= 1:
            raise ConfigError(f"{name}={threshold} as a float is a share of the machine's memory: 0 < share <= 1")
        return int(memory_capacity_bytes() * threshold)
    if threshold <= 0:
        raise ConfigError(f"{name}={threshold} as an int is a size in bytes: it must be positive")
    return threshold


def _warn(what: str, instead: str) -> None:
    warnings.warn(f"InMemoryLightningStore({what}) has no meaning here: {instead}", UserWarning, stacklevel=3)
