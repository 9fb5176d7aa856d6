"""What is done to a store of rollouts, whichever library it belongs to: the operations have the same names in both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

__all__ = ["OPERATIONS", "measure_store", "ratios"]

OPERATIONS: Final[Mapping[str, str]] = {
    "enqueue": "enqueue a rollout",
    "dequeue": "claim one",
    "update": "end its attempt",
    "spans": "add two spans",
    "get": "get one by id",
    "ids": "query 10 ids",
    "status": "query a status, limit 10",
    "newest": "query the newest 10",
    "page": "query a page in the middle",
    "query_spans": "query the spans of one",
}
"""The operations that are measured, in this order, and what they do."""

_FAILED_OF: Final = 10  # one rollout in ten has failed
_SECONDS: Final = 3.0  # after that long, three chunks of an operation are enough
_LEAST_CHUNKS: Final = 3
_PAGE: Final = 10
_STRIDE: Final = 7919  # a prime, so that reads go all over the store and none is served from the processor's caches

_IN_STEP: Final = frozenset({"enqueue", "dequeue", "spans", "update"})

MakeSpan = Callable[[str, str], Any]
"""Makes a new span of this rollout and attempt."""


async def measure_store(store: Any, make_span: MakeSpan, sizes: Mapping[str, int]) -> dict[str, float]:
    """Fill a store to both sizes and time every operation at each.

    Args:
        store: The store, empty.
        make_span: Makes a span.
        sizes: ``small`` and ``large`` in rollouts; ``chunks`` timed for each operation, with ``calls`` in each.

    Returns:
        CPU seconds of one call as ``{operation}_small`` and ``{operation}_large`` (the median over the chunks, which
        leaves out the odd pass of the garbage collector), and their quotients, as `ratios` gives them.
    """
    work = _Workload(store, make_span, sizes)
    small = {f"{name}_small": seconds for name, seconds in (await work.measured(sizes["small"])).items()}
    large = {f"{name}_large": seconds for name, seconds in (await work.measured(sizes["large"])).items()}
    return {**small, **large, **ratios(small, large)}


def ratios(small: Mapping[str, float], large: Mapping[str, float]) -> dict[str, float]:
    """How much more each operation costs in the large store, and the ``worst`` of them."""
    quotients = {name: large[f"{name}_large"] / small[f"{name}_small"] for name in OPERATIONS}
    return {**quotients, "worst": max(quotients.values())}


class _Workload:
    def __init__(self, store: Any, make_span: MakeSpan, sizes: Mapping[str, int]) -> None:
        self._store = store
        self._make_span = make_span
        self._chunks, self._calls = sizes["chunks"], sizes["calls"]
        self._ids: list[str] = []

    async def measured(self, size: int) -> dict[str, float]:
        while len(self._ids) < size:
            await self._add_ended()
        store, claimed = self._store, list[Any]()

        def id_of(number: int) -> str:
            return self._ids[(number * _STRIDE) % size]

        async def claim(_: int) -> None:
            claimed.append(await store.dequeue_rollout(worker_id="Worker-0"))

        async def end(_: int) -> None:
            attempt = claimed.pop().attempt
            await store.update_attempt(attempt.rollout_id, attempt.attempt_id, status="succeeded")

        async def add_spans(number: int) -> None:
            attempt = claimed[number].attempt
            one, two = (self._make_span(attempt.rollout_id, attempt.attempt_id) for _ in range(2))
            await store.add_many_spans([one, two])

        calls: dict[str, Callable[[int], Awaitable[Any]]] = {
            "enqueue": store.enqueue_rollout,
            "dequeue": claim,
            "spans": add_spans,
            "update": end,
            "get": lambda number: store.get_rollout_by_id(id_of(number)),
            "ids": lambda number: store.query_rollouts(rollout_id_in=[id_of(number + one) for one in range(_PAGE)]),
            "status": lambda _: store.query_rollouts(status_in=["failed"], limit=_PAGE),
            "newest": lambda _: store.query_rollouts(sort_by="start_time", sort_order="desc", limit=_PAGE),
            "page": lambda _: store.query_rollouts(limit=_PAGE, offset=size // 2),
            "query_spans": lambda number: store.query_spans(id_of(number)),
        }
        # As many as are enqueued are claimed, given spans and ended: these take all their chunks.
        return {name: await self._timed(call, every=name in _IN_STEP) for name, call in calls.items()}

    async def _timed(self, call: Callable[[int], Awaitable[Any]], *, every: bool) -> float:
        spent: list[float] = []
        while len(spent) < self._chunks and (every or sum(spent) < _SECONDS or len(spent) < _LEAST_CHUNKS):
            started = time.process_time()
            for number in range(self._calls):
                await call(len(spent) * self._calls + number)
            spent.append(time.process_time() - started)
        return statistics.median(spent) / self._calls

    async def _add_ended(self) -> None:
        store, number = self._store, len(self._ids)
        rollout = await store.start_rollout(number)
        attempt = rollout.attempt
        await store.add_many_spans([self._make_span(rollout.rollout_id, attempt.attempt_id)])
        status = "failed" if number % _FAILED_OF == 0 else "succeeded"
        await store.update_attempt(rollout.rollout_id, attempt.attempt_id, status=status)
        self._ids.append(rollout.rollout_id)
