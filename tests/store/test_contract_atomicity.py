"""The contract of every store: an operation that raises has changed nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from store_homes import Told, claim, dump, end, running, span_in, span_of

from lightning_actors.errors import StoreError
from lightning_actors.store import LightningStore
from lightning_actors.types import (
    AttemptedRollout,
    EnqueueRolloutRequest,
    PromptTemplate,
    RolloutConfig,
)

pytestmark = pytest.mark.anyio

Refused = Callable[[LightningStore, AttemptedRollout, AttemptedRollout], Awaitable[Any]]
"""An operation that must raise, given the store, a rollout that is running and one that has ended."""

REFUSED: dict[str, Refused] = {
    "start": lambda store, _r, _e: store.start_rollout(1, resources_id="rs-none", worker_id="new"),
    "enqueue": lambda store, _r, _e: store.enqueue_rollout(1, resources_id="rs-none"),
    "enqueue_many": lambda store, _r, _e: store.enqueue_many_rollouts(
        [EnqueueRolloutRequest(input=1), EnqueueRolloutRequest(input=2, resources_id="rs-none")]
    ),
    "start_attempt_unknown": lambda store, _r, _e: store.start_attempt("ro-none", "new"),
    "start_attempt_ended": lambda store, _r, e: store.start_attempt(e.rollout_id, "new"),
    "update_rollout_unknown": lambda store, _r, _e: store.update_rollout("ro-none", status="cancelled"),
    "update_rollout_resources": lambda store, r, _e: store.update_rollout(
        r.rollout_id, status="cancelled", input="changed", resources_id="rs-none"
    ),
    "update_rollout_ended": lambda store, _r, e: store.update_rollout(
        e.rollout_id, status="failed", input="changed", metadata={"changed": 1}
    ),
    "update_rollout_running": lambda store, r, _e: store.update_rollout(
        r.rollout_id, status="preparing", metadata={"changed": 1}
    ),
    "update_attempt_unknown": lambda store, _r, _e: store.update_attempt("ro-none", "latest", worker_id="new"),
    "update_attempt_missing": lambda store, r, _e: store.update_attempt(r.rollout_id, "at-none", worker_id="new"),
    "update_attempt_final": lambda store, _r, e: store.update_attempt(
        e.rollout_id, e.attempt.attempt_id, status="failed", worker_id="new", metadata={"changed": 1}
    ),
    "update_attempt_back": lambda store, r, _e: store.update_attempt(
        r.rollout_id, r.attempt.attempt_id, status="preparing", worker_id="new"
    ),
    "add_span": lambda store, r, _e: store.add_span(span_of(r.rollout_id, "at-none", sequence_id=99)),
    "add_many_spans": lambda store, r, _e: store.add_many_spans(
        [span_in(r, sequence_id=99), span_of("ro-none", "at-none")]
    ),
    "sequence_ids": lambda store, r, _e: store.get_many_span_sequence_ids(
        [(r.rollout_id, r.attempt.attempt_id), ("ro-none", "at-none")]
    ),
    "wait": lambda store, r, _e: store.wait_for_rollouts(rollout_ids=[r.rollout_id, "ro-none"]),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
async def test_an_operation_that_raises_changes_nothing_and_tells_nobody(
    store: LightningStore, refused: Refused
) -> None:
    await store.add_resources({"prompt": PromptTemplate(template="t", engine="f-string")})
    under_way = await running(store, RolloutConfig(timeout_seconds=100))
    await store.add_span(span_in(under_way))
    over = await running(store)
    await end(store, over)
    first, second = await store.enqueue_rollout("first"), await store.enqueue_rollout("second")
    told = Told()
    leaves = [store.watch_queue(told.ready), store.watch_attempt(under_way.attempt.attempt_id, told.stop)]
    held = await dump(store)
    with pytest.raises(StoreError):
        await refused(store, under_way, over)
    assert await dump(store) == held
    assert (told.times, told.reasons) == (0, [])
    for leave in leaves:
        leave()
    assert [(await claim(store)).rollout_id for _ in range(2)] == [first.rollout_id, second.rollout_id]
    numbered = await store.add_span(span_in(under_way))
    assert numbered is not None
    assert numbered.sequence_id == 2
