"""PromptSearch through the whole stack: trainer, runners, tracer and store are real, the agent reads its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import anyio
import pytest
from typing_extensions import TypedDict

from lightning_actors.algorithm import Demonstrations, PromptSearch
from lightning_actors.algorithm.prompt_search import SearchProgress
from lightning_actors.emitter import emit_reward
from lightning_actors.errors import ConfigError, RunnerError
from lightning_actors.litagent import LitAgent, rollout
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.trainer import RunResult, Trainer
from lightning_actors.types import LLM, EnqueueRolloutRequest, PromptTemplate, Resource, Rollout

pytestmark = pytest.mark.anyio


class Sum(TypedDict):
    """A task: two numbers."""

    left: int
    right: int


TRAIN = [Sum(left=left, right=right) for left in range(5) for right in range(6)]
HELD_OUT = [Sum(left=left, right=9) for left in range(8)]
PLAIN = PromptTemplate(template="{left} {right}", engine="f-string")


def solved(task: Sum) -> str:
    return f"{task['left']}+{task['right']}={task['left'] + task['right']}\n"


def quality(prompt: str) -> float:
    """What a prompt is worth to this agent: it likes the word "add", and up to four demonstrations."""
    return 0.4 * ("add" in prompt) + 0.15 * min(prompt.count("="), 4)


@rollout
async def adder(task: Sum, prompt_template: PromptTemplate) -> float:
    return quality(prompt_template.format(**task))


def search(**options: Any) -> PromptSearch:
    given: dict[str, Any] = {
        "instructions": ["add", "multiply", "guess"],
        "templates": ["{instruction}\n{demonstrations}{left}+{right}", "{left} {right} {instruction}"],
        "demonstrations": Demonstrations(solved, counts=(0, 2, 4)),
        "rounds": 3,
        "budget": 60,
    }
    return PromptSearch(**(given | options))


async def fit(
    searching: PromptSearch,
    agent: LitAgent[Any] = adder,
    *,
    train: Sequence[Any] | None = TRAIN,
    val: Sequence[Any] | None = HELD_OUT,
    resources: dict[str, Resource] | None = None,
    store: InMemoryLightningStore | None = None,
) -> tuple[RunResult, InMemoryLightningStore]:
    kept = store or InMemoryLightningStore()
    trainer = Trainer(
        algorithm=searching,
        n_workers=4,
        store=kept,
        initial_resources=resources if resources is not None else {"prompt": PLAIN},
    )
    result = await trainer.fit_async(agent, _listed(train), val_dataset=_listed(val))
    return result, kept


def _listed(tasks: Sequence[Any] | None) -> list[Any] | None:
    return None if tasks is None else list(tasks)


async def test_the_search_finds_a_better_prompt_and_makes_it_the_latest_resource() -> None:
    searching = search(budget=150)
    result, store = await fit(searching)
    found = searching.result
    assert found.before is not None
    assert found.after is not None
    assert found.before.mean == 0.0
    assert found.after.mean == pytest.approx(1.0)
    assert quality(found.prompt.template) == pytest.approx(1.0)
    latest = await store.get_latest_resources()
    assert latest is not None
    assert latest.resources == {"prompt": found.prompt}
    assert latest.resources_id == found.resources_id
    assert result.resources == latest
    assert not result.errors


async def test_the_budget_is_the_number_of_training_rollouts_and_the_report_comes_on_top() -> None:
    searching = search(budget=61)
    result, _ = await fit(searching)
    trained = [each for each in result.rollouts if each.mode == "train"]
    held_out = [each for each in result.rollouts if each.mode == "val"]
    assert len(trained) == searching.result.rollouts <= 61
    assert len(held_out) == searching.result.held_out_rollouts == 2 * len(HELD_OUT)
    assert searching.result.curve[-1].rollouts == len(trained)
    assert sum(score.rollouts for score in searching.result.scores) == len(trained)


class BatchCountingStore(InMemoryLightningStore):
    """Notes the size of each batch that is enqueued, and how many rollouts had ended by then."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, int]] = []

    async def enqueue_many_rollouts(self, requests: Sequence[EnqueueRolloutRequest]) -> list[Rollout]:
        ended = await self.query_rollouts(status_in=["succeeded", "failed"], limit=1)
        self.batches.append((len(requests), ended.total))
        return await super().enqueue_many_rollouts(requests)

    async def enqueue_rollout(self, *_args: Any, **_kwargs: Any) -> Any:
        pytest.fail("a search enqueues whole rounds")


async def test_all_rollouts_of_a_round_are_enqueued_at_once() -> None:
    store = BatchCountingStore()
    searching = search()
    await fit(searching, store=store)
    points = searching.result.curve
    ended = [0, *(point.rollouts for point in points)]
    rounds = [after - before for before, after in pairwise(ended)]
    assert store.batches == list(zip([*rounds, 2 * len(HELD_OUT)], ended, strict=True))


async def test_the_same_seed_takes_the_same_course() -> None:
    courses: list[Any] = []
    for seed in (3, 3, 4):
        searching = search(seed=seed)
        await fit(searching)
        courses.append((searching.result.scores, searching.result.curve))
    assert courses[0] == courses[1]
    assert courses[0] != courses[2]


async def test_no_prompt_shows_an_item_that_it_is_scored_on() -> None:
    shown: set[int] = set()
    searching = search(budget=90)
    result, _ = await fit(searching)
    for score in searching.result.scores:
        shown.update(score.candidate.demonstrations)
    scored = [each.input for each in result.rollouts if each.mode == "train"]
    assert shown
    assert not [TRAIN[index] for index in shown if TRAIN[index] in scored]


async def test_the_search_never_sees_held_out_items() -> None:
    result, _ = await fit(search())
    assert all(each.input["right"] != 9 for each in result.rollouts if each.mode == "train")
    assert all(each.input["right"] == 9 for each in result.rollouts if each.mode == "val")


async def test_other_resources_stay_and_the_prompt_keeps_its_name() -> None:
    llm = LLM(endpoint="http://127.0.0.1:1/v1", model="none")
    searching = search()
    result, _ = await fit(searching, resources={"llm": llm, "main": PLAIN})
    assert result.resources is not None
    assert result.resources.resources == {"llm": llm, "main": searching.result.prompt}
    assert searching.result.resource_name == "main"
    assert searching.result.initial.candidate.text == PLAIN.template


async def test_without_an_initial_prompt_the_search_begins_with_the_first_parts() -> None:
    searching = search(instructions=["guess", "add"])
    await fit(searching, resources={})
    assert searching.result.initial.candidate.text == "guess\n{left}+{right}"
    assert searching.result.resource_name == "prompt_template"


async def test_an_initial_prompt_that_is_the_best_is_kept_as_it_is() -> None:
    best = PromptTemplate(template="add {{ left }} to {{ right }}", engine="jinja")
    searching = search(instructions=["guess"], templates=["{instruction} {left}"], demonstrations=None)
    result, _ = await fit(searching, resources={"prompt": best})
    assert searching.result.prompt == best
    assert result.resources is not None
    assert result.resources.resources == {"prompt": best}


@pytest.mark.parametrize("val", [None, []])
async def test_without_held_out_items_there_is_no_report(val: list[Any] | None) -> None:
    searching = search()
    result, _ = await fit(searching, val=val)
    assert (searching.result.before, searching.result.after, searching.result.held_out_rollouts) == (None, None, 0)
    assert {each.mode for each in result.rollouts} == {"train"}


async def test_failed_rollouts_count_as_reward_0_and_are_counted() -> None:
    @rollout
    async def fragile(task: Sum, prompt_template: PromptTemplate) -> float:
        prompt = prompt_template.format(**task)
        if "multiply" in prompt:
            emit_reward(5.0)
            raise OSError("out of ink")
        return quality(prompt)

    searching = search(budget=120)
    result, _ = await fit(searching, fragile)
    failed = [each for each in result.rollouts if each.status == "failed"]
    assert searching.result.failed == len(failed) > 0
    for score in searching.result.scores:
        if "multiply" in score.candidate.text:
            assert score.mean == 0.0


async def test_a_round_in_which_every_rollout_fails_ends_the_search_with_the_reason() -> None:
    @rollout
    async def broken(task: Sum) -> float:
        raise OSError(f"no ink for {task['left']}")

    with pytest.raises(RunnerError, match=r"rollouts of round 1 of 3 failed, the first one with: .*no ink for"):
        await fit(search(), broken)


async def test_missing_rewards_count_as_0_and_are_counted() -> None:
    @rollout
    async def silent(task: Sum, prompt_template: PromptTemplate) -> float | None:
        prompt = prompt_template.format(**task)
        return quality(prompt) if "add" in prompt else None

    searching = search()
    await fit(searching, silent)
    unrewarded = [score for score in searching.result.scores if "add" not in score.candidate.text]
    held_out = len(HELD_OUT)  # the plain prompt says nothing of adding
    assert searching.result.without_reward == sum(score.rollouts for score in unrewarded) + held_out
    assert {score.mean for score in unrewarded} == {0.0}
    assert searching.result.failed == 0


async def test_an_agent_that_gives_no_rewards_is_told_how_to() -> None:
    @rollout
    async def mute(task: Sum) -> None:
        assert task

    with pytest.raises(ConfigError, match=r"not one rollout up to round 1 of 3 had a reward.*emit_reward"):
        await fit(search(), mute)


async def test_progress_is_told_after_each_candidate_of_a_round() -> None:
    steps: list[SearchProgress] = []
    searching = search(progress=steps.append)
    await fit(searching)
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert done[-1] == searching.result.rollouts + searching.result.held_out_rollouts <= steps[-1].total
    assert list(dict.fromkeys(step.stage for step in steps)) == [
        "round 1 of 3",
        "round 2 of 3",
        "round 3 of 3",
        "held-out, before",
        "held-out, after",
    ]
    assert sum(step.rollouts for step in steps) == done[-1]


async def test_a_search_that_is_cut_short_leaves_its_best_prompt_as_the_latest_resource() -> None:
    reached = anyio.Event()

    def stop_in_round_2(step: SearchProgress) -> None:
        if step.stage == "round 2 of 3":
            reached.set()

    searching = search(progress=stop_in_round_2)
    store = InMemoryLightningStore()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await fit(searching, store=store)

        tasks.start_soon(run)
        await reached.wait()
        tasks.cancel_scope.cancel()
    assert len(searching.result.curve) == 1
    latest = await store.get_latest_resources()
    assert latest is not None
    assert latest.resources["prompt"] == searching.result.prompt


async def test_a_training_set_of_one_item_is_enough() -> None:
    searching = search(budget=9)
    await fit(searching, train=TRAIN[:1])
    assert searching.result.rollouts <= 9
    assert {score.candidate.demonstrations for score in searching.result.scores} == {()}


@pytest.mark.parametrize("train", [None, []])
async def test_a_search_without_a_training_set_is_refused(train: list[Any] | None) -> None:
    with pytest.raises(ConfigError, match="needs a train_dataset that is not empty"):
        await fit(search(), train=train)


class Torn(list[Any]):
    """A dataset that has a hole at its end."""

    def __getitem__(self, index: Any) -> Any:
        if index == len(self) - 1:
            raise OSError("the last page is missing")
        return super().__getitem__(index)


async def test_a_dataset_that_raises_ends_the_search_and_is_named() -> None:
    with pytest.raises(OSError, match="the last page is missing") as caught:
        await Trainer(algorithm=search()).fit_async(adder, TRAIN, val_dataset=Torn(HELD_OUT))
    assert caught.value.__notes__ == ["raised by the val dataset at index 7"]


async def test_there_is_no_result_before_the_first_round_has_ended() -> None:
    with pytest.raises(ConfigError, match="no result yet"):
        _ = search().result


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rounds": 0}, "rounds is 0: give a whole number, 1 or more"),
        ({"rounds": "3"}, "rounds is '3': give a whole number"),
        ({"budget": 2}, "rounds=3, items=1, budget=2"),
        ({"budget": None}, "budget is None: give a whole number"),
        ({"seed": []}, r"seed is \[\]: give a whole number"),
        ({"progress": 5}, "progress is 5: give a function"),
        ({"demonstrations": 5}, "demonstrations is 5: give a function"),
        ({"instructions": []}, r"instructions is \[\]"),
        ({"templates": []}, r"templates is \[\]"),
        ({"templates": ["{left}"]}, "no template has the placeholder"),
    ],
    ids=str,
)
async def test_options_that_make_no_sense_are_refused_at_construction(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        search(**options)
