"""`Deadlines`: when to look at which attempt next."""

from __future__ import annotations

import heapq
import math
from itertools import count

__all__ = ["Deadlines"]

_SPARE = 64


class Deadlines:
    """At most one time for each id, the earliest first; what is due is found without looking at the rest.

    An id may be due later than its time says: a sign of life moves its deadline, not its place here. Whoever takes it
    out looks, and puts it back with its new time. So a sign of life costs nothing here.
    """

    __slots__ = ("_heap", "_numbers", "_times")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str]] = []
        self._times: dict[str, float] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._times)

    def set(self, key: str, when: float) -> None:
        """Look at this id at this time, or earlier where that was said before."""
        if when < self._times.get(key, math.inf):
            self._times[key] = when
            heapq.heappush(self._heap, (when, next(self._numbers), key))
            self._tidy()

    def discard(self, key: str) -> None:
        """Do not look at this id any more."""
        if self._times.pop(key, None) is not None:
            self._tidy()

    def _tidy(self) -> None:
        """Drop the entries that count no more, once they are many."""
        if len(self._heap) > 2 * len(self._times) + _SPARE:
            self._heap = [entry for entry in self._heap if self._times.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def next(self) -> float | None:
        """The earliest time; None if there is none."""
        heap = self._heap
        while heap and self._times.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now: float) -> list[str]:
        """Take out the ids whose time has come, the earliest first, and of one time those that were set first."""
        due: list[str] = []
        while (when := self.next()) is not None and when <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._times[key]
            due.append(key)
        return due
