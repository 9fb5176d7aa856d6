"""`attach_reward`: a rollout that has ended is given a reward, and nothing else about it changes."""

from __future__ import annotations

import pytest

from lightning_actors.emitter import attach_reward, emit_reward, find_final_reward, get_rewards_from_span
from lightning_actors.errors import AttemptNotFound, ConfigError, RolloutNotEnded, RolloutNotFound, SpansEvicted
from lightning_actors.litagent import rollout
from lightning_actors.runner import LitAgentRunner
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.tracer import OtelTracer
from lightning_actors.types import AttemptedRollout

pytestmark = pytest.mark.anyio


@rollout
async def rewarded(task: float) -> float:
    emit_reward(task / 2)
    return task


async def stepped(store: InMemoryLightningStore, task: float) -> AttemptedRollout:
    with LitAgentRunner[float](OtelTracer()).run_context(agent=rewarded, store=store) as runner:
        done = await runner.step(task)
    assert isinstance(done, AttemptedRollout)
    return done


async def failed(store: InMemoryLightningStore) -> AttemptedRollout:
    claimed = await store.start_rollout("task")
    await store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="failed")
    return claimed


async def test_a_late_reward_is_the_final_one_and_the_latest_of_several_wins() -> None:
    store = InMemoryLightningStore()
    done = await stepped(store, 0.8)
    for reward in (0.1, 0.9):
        await attach_reward(store, done.rollout_id, reward)
        assert find_final_reward(await store.query_spans(done.rollout_id, "latest")) == reward
    assert await store.get_rollout_by_id(done.rollout_id) == done, "nothing else changes"


async def test_a_late_reward_stands_below_the_root_of_its_rollout_with_all_that_was_said() -> None:
    store = InMemoryLightningStore()
    done = await stepped(store, 0.8)
    (root,) = await store.query_spans(done.rollout_id, name="agentlightning.rollout")
    late = await attach_reward(
        store, done.rollout_id, {"tone": 1, "truth": 0.5}, primary_key="truth", attributes={"user": "u-7"}
    )
    assert (late.trace_id, late.parent_id, late.attempt_id) == (root.trace_id, root.span_id, done.attempt.attempt_id)
    assert late == (await store.query_spans(done.rollout_id))[-1]
    assert [(reward.name, reward.value) for reward in get_rewards_from_span(late)] == [("truth", 0.5), ("tone", 1.0)]
    assert late.attributes["user"] == "u-7"


async def test_a_rollout_without_spans_takes_a_late_reward_too() -> None:
    store = InMemoryLightningStore()
    done = await failed(store)
    late = await attach_reward(store, done.rollout_id, -1)
    assert (late.parent_id, find_final_reward([late])) == (None, -1.0)
    after = await store.get_rollout_by_id(done.rollout_id)
    assert after is not None
    assert after.status == "failed"


async def test_what_has_not_ended_takes_no_late_reward() -> None:
    store = InMemoryLightningStore()
    claimed, queued = await store.start_rollout("claimed"), await store.enqueue_rollout("queued")
    with pytest.raises(RolloutNotFound):
        await attach_reward(store, "ro-none", 1)
    with pytest.raises(RolloutNotEnded, match="is preparing and has not ended") as refused:
        await attach_reward(store, claimed.rollout_id, 1)
    assert (refused.value.rollout_id, refused.value.status) == (claimed.rollout_id, "preparing")
    await store.update_rollout(queued.rollout_id, status="cancelled")
    with pytest.raises(AttemptNotFound):
        await attach_reward(store, queued.rollout_id, 1)
    assert not await store.query_spans(claimed.rollout_id)


async def test_what_is_no_reward_is_refused() -> None:
    store = InMemoryLightningStore()
    done = await failed(store)
    with pytest.raises(TypeError, match="finite number"):
        await attach_reward(store, done.rollout_id, "good")  # pyright: ignore[reportArgumentType]  # the point
    with pytest.raises(ValueError, match="primary_key"):
        await attach_reward(store, done.rollout_id, {"a": 1.0})
    assert not await store.query_spans(done.rollout_id)


async def test_a_reward_that_the_store_would_drop_is_an_error() -> None:
    store = InMemoryLightningStore(eviction_memory_threshold=2000, safe_memory_threshold=1)
    first = await stepped(store, 1.0)
    for _ in range(5):
        await stepped(store, 1.0)
    with pytest.raises(SpansEvicted):
        await attach_reward(store, first.rollout_id, 1)


async def test_what_is_no_store_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="store is None: give the LightningStore that remembers the rollout"):
        await attach_reward(None, "ro-1", 1.0)  # pyright: ignore[reportArgumentType]  # the point
