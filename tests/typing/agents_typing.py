"""Read by pyright only: the types of decorated functions, of algorithms and of built components."""

from __future__ import annotations

from typing import assert_type, reveal_type

from lightning_actors.algorithm import Algorithm, algo, batch_iter_over_dataset
from lightning_actors.components import ComponentSpec, build_component
from lightning_actors.litagent import FunctionalLitAgent, LitAgent, llm_rollout, prompt_rollout, rollout
from lightning_actors.store.api import LightningStore
from lightning_actors.store.blocking import BlockingStore
from lightning_actors.store.memory import InMemoryLightningStore
from lightning_actors.store.messages import EnqueueRollout
from lightning_actors.types import LLM, Dataset, NamedResources, PromptTemplate, Rollout, RolloutRawResult


@rollout
async def answer(task: str, llm: LLM) -> float:
    return float(len(task + llm.model))


@rollout
def alone(task: int) -> None:
    del task


@llm_rollout(strip_proxy=False)
def configured(task: str, llm: LLM, retries: int = 3) -> float:
    return float(len(task + llm.model) + retries)


@prompt_rollout
def prompted(task: dict[str, str], prompt_template: PromptTemplate) -> float:
    return float(len(prompt_template.format(**task)))


@prompt_rollout()
def with_parentheses(task: str, prompt_template: PromptTemplate) -> None:
    prompt_template.format(task=task)


class Suite:
    @rollout
    async def answer(self, task: str, llm: LLM) -> float:
        return float(len(task + llm.model))

    @rollout
    @staticmethod
    def static(task: str, llm: LLM) -> float:
        return float(len(task + llm.model))


class Ours(LitAgent[str]):
    def __init__(self, name: str) -> None:
        self.name = name

    async def rollout_async(self, task: str, resources: NamedResources, rollout: Rollout) -> RolloutRawResult:
        return float(len(self.name + task + rollout.rollout_id) + len(resources))


def wants_text_agent(agent: LitAgent[str]) -> None:
    """Stands for a runner or trainer of str tasks."""
    del agent


async def check(llm: LLM, template: PromptTemplate) -> None:
    reveal_type(answer, expected_text="FunctionalLitAgent[str, (llm: LLM), CoroutineType[Any, Any, float]]")
    reveal_type(answer.__call__, expected_text="(task: str, /, llm: LLM) -> CoroutineType[Any, Any, float]")
    reveal_type(alone, expected_text="FunctionalLitAgent[int, (), None]")
    reveal_type(configured, expected_text="FunctionalLitAgent[str, (llm: LLM, retries: int = 3), float]")
    reveal_type(Suite().answer, expected_text="FunctionalLitAgent[str, (llm: LLM), CoroutineType[Any, Any, float]]")

    reveal_type(Suite().static, expected_text="FunctionalLitAgent[str, (llm: LLM), float]")
    assert_type(await answer("question", llm), float)
    assert_type(Suite().static("question", llm=llm), float)
    assert_type(await answer("question", llm=llm), float)
    assert_type(configured("question", llm, retries=5), float)
    assert_type(prompted({"any_question": "why?"}, template), float)
    assert_type(with_parentheses("question", template), None)
    assert_type(await Suite().answer("question", llm), float)
    assert_type(
        await answer.rollout_async("question", {}, Rollout(rollout_id="ro-1", input="", start_time=0.0)),
        RolloutRawResult,
    )

    alone(1)
    wants_text_agent(answer)
    wants_text_agent(Suite().answer)
    wants_text_agent(Ours("ours"))


async def refused(llm: LLM) -> None:
    await answer(1, llm)  # pyright: ignore[reportArgumentType]  # the task is a str
    await answer("question")  # pyright: ignore[reportCallIssue]  # llm is missing
    await answer("question", model=llm)  # pyright: ignore[reportCallIssue]  # there is no parameter model
    wants_text_agent(alone)  # pyright: ignore[reportArgumentType]  # an agent of int tasks

    @rollout  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]  # a str is no result
    def text(task: str) -> str:
        return task

    def accepts_any_task(task: object) -> float:
        return float(task is None)

    wants_text_agent(rollout(accepts_any_task))
    assert_type(rollout(accepts_any_task), FunctionalLitAgent[object, [], float])
    del text


@algo
async def train(*, store: LightningStore, train_dataset: Dataset[str]) -> int:
    return len(train_dataset) + (await store.query_rollouts()).total


@algo
def train_in_a_thread(store: BlockingStore) -> Rollout:
    return store.ask(EnqueueRollout("task"))


class Learner(Algorithm):
    def run(self, train_dataset: Dataset[int] | None = None, val_dataset: Dataset[int] | None = None) -> float:
        assert_type(self.store, LightningStore)
        assert_type(self.blocking_store.ask(EnqueueRollout("task")), Rollout)
        return float(len(train_dataset or []) + len(val_dataset or []))


async def algorithms(store: LightningStore, view: BlockingStore, questions: list[str]) -> None:
    assert_type(await train(store=store, train_dataset=questions), int)
    assert_type(train_in_a_thread(view), Rollout)
    await train(store=store)  # pyright: ignore[reportCallIssue]  # train_dataset is missing
    for batch in batch_iter_over_dataset(questions, 2):
        assert_type(batch, list[str])


def components(spec: ComponentSpec[LightningStore]) -> None:
    store = build_component(
        spec, expected_type=LightningStore, spec_name="store", default_factory=InMemoryLightningStore
    )
    assert_type(store, LightningStore)
    assert_type(
        build_component(None, expected_type=Algorithm, spec_name="algorithm"),
        Algorithm | None,
    )
