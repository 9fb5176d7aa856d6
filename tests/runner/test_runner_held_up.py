"""What could hold a rollout open: a hook that does not end, a store that refuses the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

import lightning_actors as agl

pytestmark = pytest.mark.anyio


@agl.rollout
async def quick(task: str) -> float:
    return 1.0


class Endless(agl.Hook):
    async def on_rollout_end(self, *, agent: Any, runner: Any, rollout: agl.Rollout, spans: Sequence[agl.Span]) -> None:
        await anyio.sleep_forever()


async def test_a_hook_that_does_not_end_is_stopped_by_the_deadline() -> None:
    store, runner = agl.InMemoryLightningStore(), agl.LitAgentRunner[str](agl.OtelTracer())
    config = agl.RolloutConfig(timeout_seconds=0.2)
    bound = runner.run_context(agent=quick, store=store, hooks=[Endless()])
    with bound, anyio.fail_after(30), pytest.raises(agl.RolloutTimeout):
        await runner.step("a task", config=config)
    (rollout,) = await store.query_rollouts()
    assert rollout.status == "failed"


class Refusing(agl.InMemoryLightningStore):
    """Takes no success."""

    async def update_attempt(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("status") == "succeeded":
            raise OSError("the disk is full")
        return await super().update_attempt(*args, **kwargs)


async def test_an_attempt_whose_verdict_is_refused_does_not_stay_open() -> None:
    store, runner = Refusing(), agl.LitAgentRunner[str](agl.OtelTracer())
    with runner.run_context(agent=quick, store=store), pytest.raises(OSError, match="the disk is full"):
        await runner.step("a task")
    (rollout,) = await store.query_rollouts()
    assert rollout.status in {"failed", "cancelled"}
    (attempt,) = await store.query_attempts(rollout.rollout_id)
    assert attempt.end_time is not None
    assert "the disk is full" in (attempt.metadata or {}).get("error", "")


def test_a_resource_does_not_swallow_an_unknown_option() -> None:
    with pytest.raises(ValueError, match="temprature"):
        agl.LLM(endpoint="http://localhost/v1", model="m", temprature=0.3)  # pyright: ignore[reportCallIssue]  # the point
