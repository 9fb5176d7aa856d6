"""Several learners on one store: each learns from all that runs there, and none undoes what another has published."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from lightning_actors.actors.testkit import settle
from lightning_actors.algorithm import Experience, OnlineAlgorithm, PromptBandit, PromptSearch
from lightning_actors.litagent import rollout
from lightning_actors.runner import LitAgentRunner
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.tracer import DummyTracer
from lightning_actors.trainer import Trainer
from lightning_actors.types import PromptTemplate, Resource

pytestmark = pytest.mark.anyio


def prompt(text: str) -> PromptTemplate:
    return PromptTemplate(template=text, engine="f-string")


class Version(Resource):
    """A resource that counts."""

    resource_type: str = "version"
    number: int


class Counter(OnlineAlgorithm):
    """Publishes a new version after every rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    async def begin(self) -> None:
        await self.publish({"version": Version(number=0)})

    async def learn(self, experience: Experience) -> None:
        update = await self.get_store().get_resources_by_id(str(experience.resources_id))
        assert update is not None
        version: Any = update.resources.get("version")
        self.seen.append(-2 if version is None else version.number)
        await self.publish({"version": Version(number=len(self.seen))})


@rollout
async def two_prompts(task: Any, tone: PromptTemplate, size: PromptTemplate) -> float:
    await anyio.lowlevel.checkpoint()
    return 0.5 * (tone.template == "kind") + 0.5 * (size.template == "short")


@rollout
async def one_prompt(task: Any, main_prompt: PromptTemplate) -> float:
    await anyio.lowlevel.checkpoint()
    return float(main_prompt.template.startswith("good"))


@rollout
async def versioned_prompt(task: Any, main_prompt: PromptTemplate, version: Version) -> float:
    await anyio.lowlevel.checkpoint()
    return float(main_prompt.template == "good")


def runner_of(agent: Any, store: InMemoryLightningStore) -> Any:
    return LitAgentRunner[Any](DummyTracer()).run_context(agent=agent, store=store)


def rollouts_of(bandit: PromptBandit) -> int:
    return sum(arm.rollouts for arm in bandit.arms)


async def test_two_bandits_with_names_of_their_own_learn_from_every_rollout() -> None:
    store = InMemoryLightningStore()
    tone = PromptBandit(["kind", "stern"], resource_name="tone")
    size = PromptBandit(["short", "long"], resource_name="size", seed=1)
    async with runner_of(two_prompts, store) as runner, tone.learning(store), size.learning(store):
        for task in range(80):
            await runner.step(task)
            await settle()
    assert (rollouts_of(tone), rollouts_of(size)) == (80, 80)
    assert (tone.ignored, size.ignored) == (0, 0)
    assert (tone.best_prompt, size.best_prompt) == (prompt("kind"), prompt("short"))
    assert tone.arms[0].share > 0.6
    assert size.arms[0].share > 0.6
    assert (await store.query_resources()).total <= 5, "each pair of prompts is stored once, and what came first"


async def test_two_bandits_learn_while_many_rollouts_run() -> None:
    store = InMemoryLightningStore()
    tone = PromptBandit(["kind", "stern"], resource_name="tone")
    size = PromptBandit(["short", "long"], resource_name="size", seed=1)
    async with runner_of(two_prompts, store) as runner, tone.learning(store), size.learning(store):
        async for _ended in runner.step_many(range(200), limit=20):
            pass
        with anyio.fail_after(20):
            while rollouts_of(tone) + rollouts_of(size) < 400:
                await settle()
    assert (tone.ignored, size.ignored) == (0, 0)
    assert (tone.best_prompt, size.best_prompt) == (prompt("kind"), prompt("short"))


async def test_a_bandit_learns_beside_another_algorithm_that_publishes() -> None:
    store, bandit, counter = InMemoryLightningStore(), PromptBandit(["good", "bad"]), Counter()
    async with runner_of(versioned_prompt, store) as runner, bandit.learning(store), counter.learning(store):
        for task in range(50):
            await runner.step(task)
            await settle()
    assert (rollouts_of(bandit), bandit.ignored) == (50, 0)
    assert bandit.best_prompt == prompt("good")
    assert counter.seen == list(range(50))


@pytest.mark.parametrize("count", [2, 3])
async def test_bandits_that_share_a_name_share_the_rollouts(count: int) -> None:
    store = InMemoryLightningStore()
    bandits = [PromptBandit([f"good {number}", f"bad {number}"], seed=number) for number in range(count)]
    async with runner_of(one_prompt, store) as runner, anyio.create_task_group() as tasks:
        stop = anyio.Event()

        async def learn(bandit: PromptBandit) -> None:
            async with bandit.learning(store):
                await stop.wait()

        for bandit in bandits:
            tasks.start_soon(learn, bandit)
        await settle()
        for task in range(240):
            await runner.step(task)
            await settle()
        stop.set()
    assert sum(map(rollouts_of, bandits)) == 240
    for number, bandit in enumerate(bandits):
        assert rollouts_of(bandit) > 20
        assert bandit.best_prompt == prompt(f"good {number}")


async def test_a_bandit_takes_its_name_back_from_what_was_published_by_hand() -> None:
    store, bandit = InMemoryLightningStore(), PromptBandit(["good", "bad"])
    async with runner_of(one_prompt, store) as runner, bandit.learning(store):
        await runner.step(0)
        await settle()
        await store.add_resources({"main_prompt": prompt("by hand")})
        for task in range(40):
            await runner.step(task)
            await settle()
        latest = await store.get_latest_resources()
    assert latest is not None
    assert latest.resources == {"main_prompt": bandit.current_prompt}
    assert rollouts_of(bandit) > 20
    assert rollouts_of(bandit) + bandit.ignored == 41


async def test_a_bandit_learns_on_after_its_resources_were_changed_in_place() -> None:
    store, bandit = InMemoryLightningStore(), PromptBandit(["good", "bad"])
    async with runner_of(versioned_prompt, store) as runner, bandit.learning(store):
        latest = await store.get_latest_resources()
        assert latest is not None
        await store.update_resources(latest.resources_id, {**latest.resources, "version": Version(number=7)})
        for task in range(10):
            await runner.step(task)
            await settle()
    assert (rollouts_of(bandit), bandit.ignored) == (10, 0)


async def test_what_ran_while_its_resources_were_changed_in_place_is_nobodys() -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    @rollout
    async def waiting(task: Any, main_prompt: PromptTemplate) -> float:
        begun.set()
        await go_on.wait()
        return 1.0

    store, bandit = InMemoryLightningStore(), PromptBandit(["good", "bad"])
    async with runner_of(waiting, store) as runner, bandit.learning(store), anyio.create_task_group() as tasks:
        tasks.start_soon(runner.step, 0)
        await begun.wait()
        latest = await store.get_latest_resources()
        assert latest is not None
        await store.update_resources(latest.resources_id, {"main_prompt": prompt("good")})
        go_on.set()
        await settle()
    assert (rollouts_of(bandit), bandit.ignored) == (0, 1)


async def test_two_trainers_on_one_store_each_learn_from_what_both_run() -> None:
    store = InMemoryLightningStore()
    tone = PromptBandit(["kind", "stern"], resource_name="tone")
    size = PromptBandit(["short", "long"], resource_name="size", seed=1)
    await store.add_resources({"tone": prompt("kind"), "size": prompt("long")})
    async with anyio.create_task_group() as tasks:
        for bandit in (tone, size):
            trainer = Trainer(algorithm=bandit, tracer=DummyTracer(), store=store, n_workers=2)
            tasks.start_soon(trainer.fit_async, two_prompts, range(100))
    assert rollouts_of(tone) >= 100
    assert rollouts_of(size) >= 100
    assert (tone.ignored, size.ignored) == (0, 0)
    assert tone.best_prompt == prompt("kind")
    latest = await store.get_latest_resources()
    assert latest is not None
    assert set(latest.resources) == {"tone", "size"}


async def test_a_trainer_that_starts_takes_no_name_from_another(caplog: pytest.LogCaptureFixture) -> None:
    store, begun = InMemoryLightningStore(), anyio.Event()

    @rollout
    async def tone_alone(task: Any, tone: PromptTemplate) -> float:
        begun.set()
        await anyio.lowlevel.checkpoint()
        return float(tone.template == "kind")

    tone = PromptBandit(["kind", "stern"], resource_name="tone")
    counter = Counter()
    async with anyio.create_task_group() as tasks:
        first = Trainer(algorithm=tone, tracer=DummyTracer(), store=store, n_workers=2)
        tasks.start_soon(first.fit_async, tone_alone, range(60))
        await begun.wait()
        second = Trainer(
            algorithm=counter, tracer=DummyTracer(), store=store, initial_resources={"version": Version(number=-1)}
        )
        await second.fit_async(tone_alone, range(20))
    assert not [record for record in caplog.records if "prompt_of_others" in record.getMessage()]
    assert {one.status for one in await store.query_rollouts()} == {"succeeded"}
    assert tone.ignored == 0


async def test_a_search_for_a_prompt_leaves_a_bandit_its_own() -> None:
    store, begun = InMemoryLightningStore(), anyio.Event()

    @rollout
    async def searched(task: Any, prompt_template: PromptTemplate) -> float:
        begun.set()
        await anyio.lowlevel.checkpoint()
        return float(prompt_template.template.startswith("do"))

    bandit = PromptBandit(["kind", "stern"], resource_name="tone")
    search = PromptSearch(instructions=["do", "say"], templates=["{instruction} {x}"], rounds=2, budget=20)
    async with bandit.learning(store):
        trainer = Trainer(algorithm=search, tracer=DummyTracer(), store=store, n_workers=2)
        await trainer.fit_async(searched, [{"x": number} for number in range(5)])
        latest = await store.get_latest_resources()
    assert latest is not None
    assert latest.resources == {"tone": bandit.current_prompt, search.result.resource_name: search.result.prompt}
    assert search.result.resources_id == latest.resources_id


async def test_learners_that_publish_at_once_undo_nothing_of_each_other() -> None:
    class Named(OnlineAlgorithm):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def begin(self) -> None:
            await self.publish({self.name: Version(number=0)})

        async def learn(self, experience: Experience) -> None:
            await self.publish({self.name: Version(number=experience.task)})

    store = InMemoryLightningStore()
    first, second, third = Named("first"), Named("second"), Named("third")
    agent: Any = one_prompt
    async with runner_of(agent, store) as runner, first.learning(store), second.learning(store), third.learning(store):
        for task in range(20):
            await runner.step(task, resources={"main_prompt": prompt("good")})
            await settle()
        latest = await store.get_latest_resources()
    assert latest is not None
    assert latest.resources == {name: Version(number=19) for name in ("first", "second", "third")}
