"""`PromptBandit`: its arithmetic by itself, and what it learns through the whole stack from agents with known odds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import pytest

from lightning_actors.actors.testkit import settle
from lightning_actors.algorithm import Experience, PromptBandit
from lightning_actors.errors import ConfigError
from lightning_actors.litagent import rollout
from lightning_actors.runner import LitAgentRunner
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.tracer import DummyTracer
from lightning_actors.trainer import Trainer
from lightning_actors.types import LLM, PromptTemplate, Rollout, RolloutMode, RolloutStatus

pytestmark = pytest.mark.anyio

MODEL = LLM(endpoint="http://nowhere", model="none")


def prompt(text: str) -> PromptTemplate:
    return PromptTemplate(template=text, engine="f-string")


@asynccontextmanager
async def learning(bandit: PromptBandit, **resources: Any) -> AsyncGenerator[LightningStore]:
    store = InMemoryLightningStore()
    if resources:
        await store.add_resources(resources)
    async with bandit.learning(store):
        yield store


def experience(
    number: int,
    resources_id: str | None,
    reward: float | None = None,
    status: RolloutStatus = "succeeded",
    mode: RolloutMode | None = None,
) -> Experience:
    ended = Rollout(
        rollout_id=f"ro-{number}", input=number, start_time=0.0, resources_id=resources_id, status=status, mode=mode
    )
    return Experience(ended, (), reward)


async def ran_with(store: LightningStore, text: str) -> str:
    """The id of resources with this prompt."""
    return (await store.add_resources({"main_prompt": prompt(text)}, publish=False)).resources_id


def counts(bandit: PromptBandit) -> list[tuple[int, int, float, float]]:
    return [(arm.rollouts, arm.rewarded, round(arm.alpha, 9), round(arm.beta, 9)) for arm in bandit.arms]


# ── arithmetic ──


async def test_each_reward_moves_the_distribution_of_its_prompt_alone() -> None:
    bandit = PromptBandit(["a", "b"], prior=(2.0, 3.0))
    async with learning(bandit) as store:
        a, b = await ran_with(store, "a"), await ran_with(store, "b")
        for number, (arm, reward) in enumerate([(a, 1.0), (a, 0.0), (b, 0.25), (a, 1.0)]):
            await bandit.learn(experience(number, arm, reward))
    assert counts(bandit) == [(3, 3, 4.0, 4.0), (1, 1, 2.25, 3.75)]
    assert [arm.mean for arm in bandit.arms] == [pytest.approx(2 / 3), 0.25]
    assert [arm.share for arm in bandit.arms] == [0.75, 0.25]
    assert [arm.prompt for arm in bandit.arms] == [prompt("a"), prompt("b")]
    assert bandit.best_prompt == prompt("a")


def test_nothing_is_known_at_first() -> None:
    bandit = PromptBandit(["a", "b"])
    assert counts(bandit) == [(0, 0, 1.0, 1.0)] * 2
    assert [(arm.mean, arm.share) for arm in bandit.arms] == [(None, 0.0)] * 2
    assert (bandit.best_prompt, bandit.current_prompt) == (prompt("a"), None)


async def test_a_rollout_counts_once_with_its_latest_reward() -> None:
    bandit = PromptBandit(["a", "b"])
    async with learning(bandit) as store:
        a = await ran_with(store, "a")
        await bandit.learn(experience(1, a))
        assert counts(bandit)[0] == (1, 0, 1.0, 1.0), "no reward yet"
        await bandit.learn(experience(1, a, 1.0))
        assert counts(bandit)[0] == (1, 1, 2.0, 1.0)
        await bandit.learn(experience(1, a, 0.25))
        assert counts(bandit)[0] == (1, 1, 1.25, 1.75)
        await bandit.learn(experience(1, a))
        assert counts(bandit)[0] == (1, 0, 1.0, 1.0), "it was run again and has no reward"


@pytest.mark.parametrize(
    ("status", "reward", "counted"),
    [
        ("failed", None, (1, 1, 1.0, 2.0)),
        ("failed", 1.0, (1, 1, 2.0, 1.0)),
        ("cancelled", None, (1, 0, 1.0, 1.0)),
        ("cancelled", 1.0, (1, 1, 2.0, 1.0)),
    ],
)
async def test_a_failure_counts_as_the_worst_unless_it_has_a_reward_and_a_cancelled_one_only_with_a_reward(
    status: RolloutStatus, reward: float | None, counted: tuple[int, int, float, float]
) -> None:
    bandit = PromptBandit(["a", "b"])
    async with learning(bandit) as store:
        await bandit.learn(experience(1, await ran_with(store, "a"), reward, status))
    assert counts(bandit)[0] == counted


async def test_failures_can_be_left_out() -> None:
    bandit = PromptBandit(["a", "b"], count_failures=False)
    async with learning(bandit) as store:
        await bandit.learn(experience(1, await ran_with(store, "a"), None, "failed"))
    assert counts(bandit)[0] == (1, 0, 1.0, 1.0)


async def test_rewards_are_scaled_by_their_range() -> None:
    bandit = PromptBandit(["a", "b"], reward_range=(-1.0, 3.0))
    async with learning(bandit) as store:
        a = await ran_with(store, "a")
        for number, reward in enumerate([-1.0, 3.0, 0.0]):
            await bandit.learn(experience(number, a, reward))
        await bandit.learn(experience(3, a, None, "failed"))
    assert counts(bandit)[0] == (4, 4, 2.25, 3.75)
    assert bandit.arms[0].mean == pytest.approx((-1 + 3 + 0 - 1) / 4)


@pytest.mark.parametrize("reward", [-0.01, 1.01, math.nan, math.inf])
async def test_a_reward_outside_its_range_is_refused_and_changes_nothing(reward: float) -> None:
    bandit = PromptBandit(["a", "b"])
    async with learning(bandit) as store:
        a = await ran_with(store, "a")
        with pytest.raises(ConfigError, match=r"outside the range from 0\.0 to 1\.0"):
            await bandit.learn(experience(1, a, reward))
    assert counts(bandit) == [(0, 0, 1.0, 1.0)] * 2


async def test_what_measures_or_ran_with_something_else_is_left_alone() -> None:
    bandit = PromptBandit(["a", "b"])
    async with learning(bandit) as store:
        a = await ran_with(store, "a")
        before = await store.get_latest_resources()
        other = await store.add_resources({"main_prompt": prompt("c")}, publish=False)
        changed = await store.add_resources({"main_prompt": prompt("c")}, publish=False)
        await store.update_resources(changed.resources_id, {"main_prompt": prompt("a")})
        for number, mode in enumerate(("val", "test")):
            await bandit.learn(experience(number, a, 1.0, mode=mode))
        assert bandit.ignored == 0
        for number, resources_id in enumerate([None, "rs-gone", other.resources_id, changed.resources_id], start=2):
            await bandit.learn(experience(number, resources_id, 1.0))
        assert bandit.ignored == 4
        latest = await store.get_latest_resources()
        assert latest is not None
        assert latest.resources_id == changed.resources_id, "nothing was published"
    assert before is not None
    assert counts(bandit) == [(0, 0, 1.0, 1.0)] * 2


async def test_a_prompt_that_was_given_by_hand_counts_for_its_arm() -> None:
    bandit = PromptBandit(["a", "b"])
    async with learning(bandit) as store:
        by_hand = await store.add_resources({"main_prompt": prompt("b"), "llm": MODEL}, publish=False)
        await bandit.learn(experience(1, by_hand.resources_id, 1.0))
    assert counts(bandit) == [(0, 0, 1.0, 1.0), (1, 1, 2.0, 1.0)]


async def test_it_remembers_no_more_rollouts_than_its_feedback_window_and_refuses_feedback_on_others() -> None:
    @rollout
    async def silent(task: Any) -> None: ...

    bandit, store = PromptBandit(["a", "b"], feedback_window=10), InMemoryLightningStore()
    async with (
        LitAgentRunner[Any](DummyTracer()).run_context(agent=silent, store=store) as runner,
        bandit.learning(store),
    ):
        ids = [(await runner.step(task)).rollout_id for task in range(30)]
        await settle()
        for rollout_id in ids[20:]:
            await bandit.feedback(rollout_id, 0.0)
            await bandit.feedback(rollout_id, 1.0)
        with pytest.raises(ConfigError, match=r"ended too long ago .* for the 10 that ended last.*attach_reward"):
            await bandit.feedback(ids[19], 1.0)
        assert not await store.query_spans(ids[19], name="agentlightning.annotation")
    assert sum(arm.rollouts for arm in bandit.arms) == 30
    assert sum(arm.rewarded for arm in bandit.arms) == 10
    assert sum(arm.alpha for arm in bandit.arms) == 12.0
    assert len(bandit._tallies._counted) == 10


# ── what it publishes ──


async def latest_prompt(store: LightningStore, name: str = "main_prompt") -> Any:
    latest = await store.get_latest_resources()
    assert latest is not None
    return latest.resources[name]


async def test_it_publishes_a_prompt_before_the_first_rollout_and_keeps_the_other_resources() -> None:
    bandit = PromptBandit(["a", "b"])
    async with learning(bandit, llm=MODEL) as store:
        assert await latest_prompt(store) == bandit.current_prompt
        assert await latest_prompt(store, "llm") == MODEL


async def test_it_takes_the_place_of_the_prompt_that_is_there() -> None:
    bandit = PromptBandit(["a", "b"])
    async with learning(bandit, llm=MODEL, question_prompt=prompt("first")) as store:
        latest = await store.get_latest_resources()
    assert latest is not None
    assert sorted(latest.resources) == ["llm", "question_prompt"]
    assert latest.resources["question_prompt"] == bandit.current_prompt


async def test_the_initial_prompt_comes_before_what_another_run_has_left() -> None:
    bandit = PromptBandit(["a", "b"])
    bandit.set_initial_resources({"question_prompt": prompt("first")})
    async with learning(bandit, other_prompt=prompt("left")) as store:
        assert await latest_prompt(store, "question_prompt") == bandit.current_prompt
        assert await latest_prompt(store, "other_prompt") == prompt("left")


async def test_a_name_can_be_chosen() -> None:
    bandit = PromptBandit(["a", "b"], resource_name="style")
    async with learning(bandit, main_prompt=prompt("first")) as store:
        assert await latest_prompt(store, "style") == bandit.current_prompt
        assert await latest_prompt(store) == prompt("first")


async def test_each_prompt_is_stored_once_however_often_it_is_published() -> None:
    bandit = PromptBandit(["a", "b", "c"])
    published: list[Any] = []
    async with learning(bandit) as store:
        for number in range(200):
            latest = await store.get_latest_resources()
            assert latest is not None
            published.append(bandit.current_prompt)
            await bandit.learn(experience(number, latest.resources_id, 0.5))
            assert await latest_prompt(store) == bandit.current_prompt
        stored = await store.query_resources()
    assert {str(update.resources["main_prompt"]) for update in stored} == {str(one) for one in published}
    assert len(stored) == 3


async def test_the_same_seed_and_rollouts_give_the_same_draws() -> None:
    async def draws(seed: int) -> list[Any]:
        bandit = PromptBandit(["a", "b", "c"], seed=seed)
        drawn: list[Any] = []
        async with learning(bandit) as store:
            for number in range(30):
                latest = await store.get_latest_resources()
                assert latest is not None
                await bandit.learn(experience(number, latest.resources_id, number % 3 / 2))
                drawn.append(bandit.current_prompt)
        return drawn

    assert await draws(1) == await draws(1)
    assert await draws(1) != await draws(2)


async def test_what_is_surely_worse_is_hardly_ever_drawn() -> None:
    bandit = PromptBandit(["good", "bad"])
    drawn = Counter[str]()
    async with learning(bandit) as store:
        good, bad = await ran_with(store, "good"), await ran_with(store, "bad")
        for number in range(40):
            await bandit.learn(experience(number, good, 1.0))
            await bandit.learn(experience(number + 100, bad, 0.0))
        for number in range(200, 300):
            await bandit.learn(experience(number, good))
            drawn[str(bandit.current_prompt)] += 1
    assert drawn == {str(prompt("good")): 100}


# ── options ──


TWO = ["a", "b"]


@pytest.mark.parametrize(
    ("prompts", "options", "told"),
    [
        ("one text", {}, "prompts is 'one text': give a list of at least two prompts"),
        (None, {}, "prompts is None: give a list of at least two prompts"),
        (prompt("a"), {}, r"prompts is PromptTemplate\(.*: give a list"),
        ({"a": 1, "b": 2}, {}, "prompts is {'a': 1, 'b': 2}: give a list"),
        (["a", 5], {}, r"prompts\[1\] is 5: give a prompt, a text or a PromptTemplate"),
        ([None, "a"], {}, r"prompts\[0\] is None: give a prompt"),
        ([], {}, "was given 0: give at least two"),
        (["a"], {}, "was given 1: give at least two"),
        (["a", prompt("a")], {}, "holds 'a' twice"),
        (TWO, {"prior": (0.0, 1.0)}, r"prior is \(0.0, 1.0\): give alpha and beta, two numbers above 0"),
        (TWO, {"prior": (1.0,)}, r"prior is \(1.0,\): give alpha"),
        (TWO, {"prior": (1.0, math.inf)}, "prior is .*: give alpha"),
        (TWO, {"prior": (1.0, 1e308)}, "prior is .*: give alpha"),
        (TWO, {"prior": "ab"}, "prior is 'ab': give alpha"),
        (TWO, {"prior": 1}, "prior is 1: give alpha"),
        (TWO, {"prior": (1, "1")}, "prior is .*: give alpha"),
        (TWO, {"prior": None}, "prior is None: give alpha"),
        (TWO, {"reward_range": (1.0, 1.0)}, r"reward_range is \(1.0, 1.0\): give the worst reward and the best one"),
        (TWO, {"reward_range": (0.0, math.inf)}, "reward_range is .*: give the worst"),
        (TWO, {"reward_range": (-1e308, 1e308)}, "reward_range is .*: give the worst"),
        (TWO, {"reward_range": (0,)}, r"reward_range is \(0,\): give the worst"),
        (TWO, {"reward_range": (0, 10**400)}, "reward_range is .*: give the worst"),
        (TWO, {"reward_range": 1}, "reward_range is 1: give the worst"),
        (TWO, {"n_epochs": 0}, "n_epochs is 0: give a whole number, 1 or more"),
        (TWO, {"n_epochs": "2"}, "n_epochs is '2': give a whole number, 1 or more"),
        (TWO, {"n_epochs": 1.5}, r"n_epochs is 1.5: give a whole number, 1 or more"),
        (TWO, {"max_queue_length": True}, "max_queue_length is True: give a whole number"),
        (TWO, {"max_queue_length": None}, "max_queue_length is None: give a whole number"),
        (TWO, {"feedback_window": 0}, "feedback_window is 0: give a whole number, 1 or more"),
        (TWO, {"seed": None}, "seed is None: give a whole number"),
        (TWO, {"seed": [1]}, r"seed is \[1\]: give a whole number"),
        (TWO, {"count_failures": "no"}, "count_failures is 'no': give True or False"),
        (TWO, {"resource_name": 5}, "resource_name is 5: give the name of a resource, or None"),
        (TWO, {"resource_name": ""}, "resource_name is '': give the name of a resource, or None"),
    ],
)
def test_options_that_make_no_sense_are_refused(prompts: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PromptBandit(prompts, **options)


def test_prompts_may_be_any_collection_of_texts_and_templates_and_numbers_of_any_kind() -> None:
    bandit = PromptBandit((text for text in "ab"), prior=[1, 2], reward_range=[0, np.float64(3)], n_epochs=np.int64(2))  # pyright: ignore[reportArgumentType]  # callers without a type checker
    assert [arm.prompt for arm in bandit.arms] == [prompt("a"), prompt("b")]
    assert counts(bandit) == [(0, 0, 1.0, 2.0)] * 2


# ── through the whole stack ──

ODDS = {"bad": 0.2, "fair": 0.5, "good": 0.8}


def lucky_agent(seed: int) -> Any:
    """An agent whose answers are liked as often as its prompt's odds say."""
    random = Random(seed)  # noqa: S311 - odds, not secrets

    @rollout
    async def lucky(task: Any, prompt_template: PromptTemplate) -> float:
        await anyio.lowlevel.checkpoint()
        return float(random.random() < ODDS[prompt_template.template])

    return lucky


def shares(bandit: PromptBandit) -> dict[str, float]:
    return {arm.prompt.template: arm.share for arm in bandit.arms}


@pytest.mark.parametrize("seed", range(3))
async def test_a_run_comes_to_use_the_best_prompt_and_ends_with_it(seed: int) -> None:
    bandit = PromptBandit(list(ODDS), seed=seed)
    trainer = Trainer(algorithm=bandit, tracer=DummyTracer(), n_workers=4, initial_resources={"llm": MODEL})
    result = await trainer.fit_async(lucky_agent(seed), range(300), val_dataset=range(3))
    assert shares(bandit)["good"] > 0.6  # 0.33 without learning
    assert bandit.best_prompt == prompt("good")
    assert sum(arm.rollouts for arm in bandit.arms) == 300
    assert result.resources is not None
    assert result.resources.resources == {"main_prompt": prompt("good"), "llm": MODEL}
    measured = [one.resources_id for one in result.rollouts if one.mode == "val"]
    assert measured == [result.resources.resources_id] * 3, "the best prompt is what is measured"


async def test_it_learns_from_feedback_on_steps_alone() -> None:
    @rollout
    async def silent(task: Any, main_prompt: PromptTemplate) -> None:
        await anyio.lowlevel.checkpoint()

    async def give_feedback(ended: Sequence[Rollout]) -> None:
        for one in ended:
            used = await bandit.prompt_of(one)
            assert used is not None
            liked = random.random() < ODDS[used.template]
            await bandit.feedback(one.rollout_id, float(liked))

    random = Random(7)  # noqa: S311 - odds, not secrets
    bandit, store = PromptBandit(list(ODDS)), InMemoryLightningStore()
    async with (
        LitAgentRunner[Any](DummyTracer()).run_context(agent=silent, store=store) as runner,
        bandit.learning(store),
    ):
        for batch in range(40):
            await give_feedback([one async for one in runner.step_many(range(8 * batch, 8 * batch + 8))])
    assert shares(bandit)["good"] > 0.6
    assert sum(arm.rewarded for arm in bandit.arms) == 320


async def test_another_process_learns_the_same_from_what_the_store_remembers() -> None:
    first, second, store = PromptBandit(list(ODDS)), PromptBandit(list(ODDS), seed=5), InMemoryLightningStore()
    async with (
        LitAgentRunner[Any](DummyTracer()).run_context(agent=lucky_agent(1), store=store) as runner,
        first.learning(store),
    ):
        async for ended in runner.step_many(range(60), limit=5):
            if ended.input % 7 == 0:
                await first.feedback(ended.rollout_id, 0.5)
    async with first.learning(store, after=first.cursor):
        await settle()
    async with second.learning(store, after=None):
        await settle()
    assert sum(arm.rollouts for arm in first.arms) == 60
    assert counts(second) == counts(first)


async def test_two_bandits_on_one_store_leave_each_other_their_names() -> None:
    store = InMemoryLightningStore()
    tone = PromptBandit(["kind", "stern"], resource_name="tone")
    size = PromptBandit(["short", "long"], resource_name="size", seed=1)
    async with tone.learning(store), size.learning(store):
        latest = await store.get_latest_resources()
    assert latest is not None
    assert latest.resources == {"tone": tone.current_prompt, "size": size.current_prompt}


async def test_a_reward_of_the_agent_outside_the_range_ends_the_run() -> None:
    @rollout
    async def generous(task: Any) -> float:
        return 10.0

    bandit = PromptBandit(["a", "b"])
    with pytest.raises(ConfigError, match=r"the reward 10.0 lies outside the range"):
        await Trainer(algorithm=bandit, tracer=DummyTracer()).fit_async(generous, ["task"])


async def test_feedback_outside_the_range_is_refused_and_not_kept() -> None:
    @rollout
    async def silent(task: Any) -> None: ...

    bandit, store = PromptBandit(["a", "b"]), InMemoryLightningStore()
    async with (
        LitAgentRunner[Any](DummyTracer()).run_context(agent=silent, store=store) as runner,
        bandit.learning(store),
    ):
        done = await runner.step("task")
        with pytest.raises(ConfigError, match="lies outside the range"):
            await bandit.feedback(done.rollout_id, 5)
        assert not await store.query_spans(done.rollout_id, name="agentlightning.annotation")
        await bandit.feedback(done.rollout_id, 1)
    assert sum(arm.rewarded for arm in bandit.arms) == 1
