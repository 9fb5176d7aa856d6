"""`SpanShelf`: the spans of a store in memory, with their size and its bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from lightning_actors.errors import SpansEvicted
from lightning_actors.log import get_logger
from lightning_actors.types import Span

__all__ = ["SpanShelf"]

log = get_logger("lightning_actors.store")


class SpanShelf:
    """Spans by rollout, in order of arrival.

    When their size passes ``evict_at`` bytes, the spans of the rollouts that ended first are dropped, whole rollouts
    at a time, down to ``safe`` bytes. A rollout that has not ended keeps its spans; one that is run again after its
    spans were dropped keeps those of its new attempts.
    """

    def __init__(self, evict_at: int, safe: int, size_of: Callable[[Span], int]) -> None:
        self.evict_at = evict_at
        self.safe = safe
        self.size_of = size_of
        self.size_bytes = 0
        self.count = 0
        self._spans: dict[str, dict[tuple[str, str], Span]] = {}
        self._sizes: dict[str, int] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._evicted: dict[str, set[str]] = {}

    def add(self, span: Span, size_bytes: int, *, ended: bool) -> None:
        """Keep a span. A late one of an attempt whose spans were evicted could not be read and is not kept."""
        rollout_id = span.rollout_id
        if rollout_id in self._evicted and span.attempt_id in self._evicted[rollout_id]:
            log.warning("late_span_of_evicted_attempt", rollout_id=rollout_id, name=span.name)
            return
        spans = self._spans.get(rollout_id)
        if spans is None:
            spans = self._spans[rollout_id] = {}
            self._sizes[rollout_id] = 0
        spans[span.attempt_id, span.span_id] = span
        self._sizes[rollout_id] += size_bytes
        self.size_bytes += size_bytes
        self.count += 1
        if ended:
            self._ended.setdefault(rollout_id)

    def has(self, rollout_id: str, attempt_id: str, span_id: str) -> bool:
        """Whether this attempt has a span with this id."""
        spans = self._spans.get(rollout_id)
        return spans is not None and (attempt_id, span_id) in spans

    def of(self, rollout_id: str, attempt_id: str | None = None) -> Sequence[Span]:
        """The spans of a rollout, or of one attempt at it. Raises SpansEvicted where some of them were dropped."""
        evicted = self._evicted.get(rollout_id)
        if evicted is not None and (attempt_id is None or attempt_id in evicted):
            raise SpansEvicted(rollout_id)
        spans = self._spans.get(rollout_id)
        if spans is None:
            return ()
        return [span for span in spans.values() if attempt_id is None or span.attempt_id == attempt_id]

    def mark(self, rollout_id: str, *, ended: bool) -> None:
        """The rollout has ended, or goes on after all."""
        if not ended:
            self._ended.pop(rollout_id, None)
        elif rollout_id in self._spans:
            self._ended.setdefault(rollout_id)

    def evict(self) -> None:
        """Drop spans of ended rollouts, those that ended first, if the size has passed its bound."""
        if self.size_bytes <= self.evict_at:
            return
        before, rollouts = self.size_bytes, 0
        while self.size_bytes > self.safe and self._ended:
            rollout_id, _ = self._ended.popitem(last=False)
            spans = self._spans.pop(rollout_id)
            self.size_bytes -= self._sizes.pop(rollout_id)
            self.count -= len(spans)
            self._evicted.setdefault(rollout_id, set()).update(attempt_id for attempt_id, _ in spans)
            rollouts += 1
        if rollouts:
            log.warning("spans_evicted", rollouts=rollouts, freed_bytes=before - self.size_bytes)
