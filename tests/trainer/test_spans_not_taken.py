"""A store that does not take a rollout's spans: the rollout has failed, by hand and in a run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import lightning_actors as agl
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio


class Full(InMemoryLightningStore):
    async def add_many_spans(self, spans: Sequence[agl.Span]) -> list[agl.Span]:
        raise OSError("the disk is full")


@agl.rollout
async def agent(task: str) -> float:
    return 1.0


async def test_a_step_raises_the_stores_error() -> None:
    store = Full()
    runner = agl.LitAgentRunner[str](agl.OtelTracer())
    with runner.run_context(agent=agent, store=store), pytest.raises(OSError, match="the disk is full"):
        await runner.step("x")
    assert [rollout.status for rollout in await store.query_rollouts()] == ["failed"]


@pytest.mark.parametrize("hooks", [[], [agl.Hook()]], ids=["no hooks", "a hook"])
async def test_a_run_counts_the_rollout_as_failed_with_the_stores_error(hooks: list[agl.Hook]) -> None:
    trainer = agl.Trainer(algorithm=agl.Baseline(), store=Full(), hooks=hooks)
    result = await trainer.fit_async(agent, ["x"])
    assert result.status_counts == {"failed": 1}
    assert [str(error) for error in result.errors.values()] == ["the disk is full"]
    (rollout,) = result.rollouts
    assert isinstance(rollout, agl.AttemptedRollout)
    assert rollout.attempt.metadata == {"error": "OSError: the disk is full"}
