"""Late rewards: what is known of a rollout only after its end, such as what its user thought of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_actors.emitter.reward import emit_reward
from lightning_actors.errors import AttemptNotFound, RolloutNotEnded, RolloutNotFound
from lightning_actors.options import refused
from lightning_actors.semconv import AGL_ROLLOUT
from lightning_actors.store.api import LightningStore
from lightning_actors.store.rules import ROLLOUT_ENDED
from lightning_actors.types import AttemptedRollout, Span, SpanCoreFields

__all__ = ["attach_reward", "ended_rollout", "late_span"]


async def attach_reward(
    store: LightningStore,
    rollout_id: str,
    reward: float | Mapping[str, float],
    *,
    primary_key: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Span:
    """Give a reward to a rollout that has ended; from then on it is the final one.

    It is a span more of the rollout's latest attempt, below its root, and changes nothing else. An `OnlineAlgorithm`
    that should learn from it is told by its ``feedback``.

    Args:
        store: The store that remembers the rollout.
        rollout_id: The rollout.
        reward: A finite number, or finite numbers by the names of their dimensions.
        primary_key: With several dimensions, the one that counts as *the* reward.
        attributes: More to say about it.

    Returns:
        The span as stored.

    Raises:
        ConfigError: What was given is no store, or no id.
        RolloutNotFound: There is no such rollout.
        RolloutNotEnded: It has not ended; its own rewards are yet to come.
        AttemptNotFound: It ended before anybody ran it.
        SpansEvicted: The store has dropped its spans and would drop this one.
        TypeError: As `emit_reward`.
        ValueError: As `emit_reward`.
    """
    if not isinstance(store, LightningStore):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise refused("store", store, "the LightningStore that remembers the rollout")
    core = emit_reward(reward, primary_key=primary_key, attributes=attributes, propagate=False)
    span = await late_span(store, await ended_rollout(store, rollout_id), core)
    return await store.add_span(span) or span


async def ended_rollout(store: LightningStore, rollout_id: str) -> AttemptedRollout:
    """A rollout that may be given a late span; raises as `attach_reward` where it may not."""
    rollout = await store.get_rollout_by_id(rollout_id)
    if rollout is None:
        raise RolloutNotFound(rollout_id)
    if rollout.status not in ROLLOUT_ENDED:
        raise RolloutNotEnded(rollout_id, rollout.status)
    if not isinstance(rollout, AttemptedRollout):
        raise AttemptNotFound(rollout_id, "latest")
    return rollout


async def late_span(store: LightningStore, rollout: AttemptedRollout, core: SpanCoreFields) -> Span:
    """A span to add to a rollout that has ended, below its root. Raises SpansEvicted."""
    rollout_id, attempt_id = rollout.rollout_id, rollout.attempt.attempt_id
    root = next(iter(await store.query_spans(rollout_id, attempt_id, name=AGL_ROLLOUT, limit=1)), None)
    return Span.from_attributes(
        attributes=dict(core.attributes),
        rollout_id=rollout_id,
        attempt_id=attempt_id,
        name=core.name,
        trace_id=None if root is None else root.trace_id,
        parent_id=None if root is None else root.span_id,
        start_time=core.start_time,
        end_time=core.end_time,
        status=core.status,
    )
