"""What is asked of a store in another process: the operations have the same names in both libraries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

__all__ = ["measure_remote", "rate"]

_OPERATIONS: Final = 4
"""How many there are in a cycle."""
_WARMING: Final = 10

MakeSpan = Callable[[str, str, int], Any]
"""Makes a new span of this rollout and attempt, with this number of its own."""


async def measure_remote(client: Any, make_span: MakeSpan, sizes: Mapping[str, int]) -> dict[str, float]:
    """Ask a store that is elsewhere.

    Args:
        client: Its client.
        make_span: Makes a span.
        sizes: ``one`` and ``each``, how many cycles (enqueue, claim, end, read) a single caller makes, and each of
            ``callers``; ``batches`` of spans, with ``batch`` in each.

    Returns:
        Operations per second with one caller and with many, and spans stored per second.
    """
    await rate(client, 1, _WARMING)
    return {
        "one": await rate(client, 1, sizes["one"]),
        "many": await rate(client, sizes["callers"], sizes["each"]),
        "spans": await _spans(client, make_span, sizes["batches"], sizes["batch"]),
    }


async def rate(client: Any, callers: int, cycles: int) -> float:
    """Operations per second."""

    async def work() -> None:
        for number in range(cycles):
            rollout = await client.enqueue_rollout({"question": number, "text": "x" * 100})
            claimed = await client.dequeue_rollout(worker_id="Worker-0")
            await client.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="succeeded")
            await client.get_rollout_by_id(rollout.rollout_id)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(callers)))
    return callers * cycles * _OPERATIONS / (time.perf_counter() - started)


async def _spans(client: Any, make_span: MakeSpan, batches: int, size: int) -> float:
    rollout = await client.start_rollout("task")
    ids = rollout.rollout_id, rollout.attempt.attempt_id
    made = [[make_span(*ids, number * size + one) for one in range(size)] for number in range(batches)]
    store: Callable[[Any], Awaitable[Any]] = client.add_many_spans
    started = time.perf_counter()
    for batch in made:
        await store(batch)
    return batches * size / (time.perf_counter() - started)
