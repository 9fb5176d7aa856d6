"""Learners on a store in a file that is closed and opened again: each rollout is learned from once, by its cursor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from diary import Diary, agent

from lightning_actors.actors.testkit import settle
from lightning_actors.algorithm import PromptBandit
from lightning_actors.litagent import rollout
from lightning_actors.runner import LitAgentRunner
from lightning_actors.store import LightningStore, SqliteLightningStore
from lightning_actors.tracer import DummyTracer
from lightning_actors.types import PromptTemplate

pytestmark = pytest.mark.anyio


@rollout
async def two_prompts(task: Any, tone: PromptTemplate, size: PromptTemplate) -> float:
    await anyio.lowlevel.checkpoint()
    return 0.5 * (tone.template == "kind") + 0.5 * (size.template == "short")


def runner_of(runs: Any, store: LightningStore) -> Any:
    return LitAgentRunner[Any](DummyTracer()).run_context(agent=runs, store=store)


async def until(is_so: Callable[[], bool]) -> None:
    """Let others go on until something is so; the store answers from a thread of its own."""
    with anyio.fail_after(30):
        while not is_so():
            await settle()


def bandits() -> tuple[PromptBandit, PromptBandit]:
    tone = PromptBandit(["kind", "stern"], resource_name="tone")
    return tone, PromptBandit(["short", "long"], resource_name="size", seed=1)


def rollouts_of(bandit: PromptBandit) -> int:
    return sum(arm.rollouts for arm in bandit.arms)


async def test_another_learner_goes_on_where_the_one_before_has_stopped(tmp_path: Path) -> None:
    before, after, ids, path = Diary(), Diary(), list[str](), tmp_path / "store.db"
    async with SqliteLightningStore(path) as store, runner_of(agent, store) as runner, before.learning(store):
        for task in range(5):
            ids.append((await runner.step(task)).rollout_id)
        await before.until(3)
    learned = len(before.tasks)
    async with (
        SqliteLightningStore(path) as store,
        runner_of(agent, store) as runner,
        after.learning(store, after=before.cursor),
    ):
        await runner.step(5)
        await after.until(6 - learned)
        told = await after.feedback(ids[0], 0.25)
    assert before.tasks + after.tasks == [0, 1, 2, 3, 4, 5, 0]
    assert told.reward == 0.25


async def test_bandits_learn_again_what_the_file_remembers_and_publish_under_the_same_ids(tmp_path: Path) -> None:
    first, again = bandits(), bandits()
    async with SqliteLightningStore(tmp_path / "store.db") as store:
        async with runner_of(two_prompts, store) as runner, first[0].learning(store), first[1].learning(store):
            for task in range(30):
                await runner.step(task)
                await until(lambda seen=task + 1: all(rollouts_of(bandit) == seen for bandit in first))
        stored = {update.resources_id for update in await store.query_resources()}
    async with SqliteLightningStore(tmp_path / "store.db") as store:
        async with again[0].learning(store, after=None), again[1].learning(store, after=None):
            await until(lambda: all(rollouts_of(bandit) == 30 for bandit in again))
        pairs = {str(sorted(update.resources.items())) for update in await store.query_resources()}
        assert len(pairs) == (await store.query_resources()).total, "each set is stored once"
        assert stored <= {update.resources_id for update in await store.query_resources()}
    for one, other in zip(first, again, strict=True):
        assert [(arm.rollouts, arm.alpha, arm.beta) for arm in one.arms] == [
            (arm.rollouts, arm.alpha, arm.beta) for arm in other.arms
        ]
