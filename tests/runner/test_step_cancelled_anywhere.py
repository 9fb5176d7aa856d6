"""A step that is cancelled after any number of turns is cancelled, and leaves nothing open."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

import lightning_actors as agl
from lightning_actors.errors import ActorError
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio

TURNS = 50


class Quiet(agl.Hook):
    async def on_rollout_start(self, **_: object) -> None:
        await checkpoint()


@agl.rollout
async def speaks(task: int) -> float:
    agl.emit_message(f"{task}")
    await checkpoint()
    return 1.0


@agl.rollout
def speaks_in_a_thread(task: int) -> float:
    agl.emit_message(f"{task}")
    return 1.0


async def outcome_of_a_step_cancelled_after(turns: int, runner: agl.LitAgentRunner[int]) -> str:
    scope = anyio.CancelScope()

    async def cancel() -> None:
        for _ in range(turns):
            await checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        with scope:
            try:
                await runner.step(turns)
            except ActorError as error:  # what the kernel says within is nothing to the caller
                return repr(error)
            return "finished"
    return "cancelled"


@pytest.mark.parametrize("hooks", [[], [Quiet()]], ids=["no hooks", "a hook"])
@pytest.mark.parametrize("agent", [speaks, speaks_in_a_thread], ids=["async", "sync"])
@pytest.mark.parametrize("resident", [False, True], ids=["with", "async with"])
async def test_a_step_cancelled_at_any_point_is_cancelled_and_leaves_nothing_open(
    store: InMemoryLightningStore, agent: agl.LitAgent[int], hooks: list[agl.Hook], *, resident: bool
) -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    runner = agl.LitAgentRunner[int](agl.OtelTracer())

    async def steps() -> set[str]:
        return {await outcome_of_a_step_cancelled_after(turns, runner) for turns in range(TURNS)}

    context = runner.run_context(agent=agent, store=store, hooks=hooks)
    if resident:
        async with context:
            outcomes = await steps()
    else:
        with context:
            outcomes = await steps()
    assert "cancelled" in outcomes
    assert outcomes <= {"cancelled", "finished"}
    assert {rollout.status for rollout in await store.query_rollouts()} <= {"cancelled", "succeeded"}
    assert {task.id for task in anyio.get_running_tasks()} == before
