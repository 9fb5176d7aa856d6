"""Agents as functions and as classes: what they are given, and which are refused."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import logging
import pickle
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Literal

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from lightning_actors.errors import ConfigError, InvalidAgent, MissingResource
from lightning_actors.litagent import FunctionalLitAgent, LitAgent, llm_rollout, prompt_rollout, rollout
from lightning_actors.types import (
    LLM,
    Attempt,
    AttemptedRollout,
    NamedResources,
    PromptTemplate,
    ProxyLLM,
    Resource,
    Rollout,
    RolloutRawResult,
)

pytestmark = pytest.mark.anyio


class Policy(Resource):
    resource_type: Literal["policy"] = "policy"
    weights: tuple[float, ...] = ()


ATTEMPTED = AttemptedRollout(
    rollout_id="ro-1",
    input="task",
    start_time=0.0,
    attempt=Attempt(rollout_id="ro-1", attempt_id="at-1", sequence_id=1, start_time=0.0),
)
SMALL = LLM(endpoint="http://localhost/v1", model="small")
BIG = LLM(endpoint="http://localhost/v1", model="big")
PROXY = ProxyLLM(endpoint="http://localhost/v1", model="proxied")
PROMPT = PromptTemplate(template="Say {task}.", engine="f-string")
POLICY = Policy(weights=(1.0, 2.0))


class Recorder:
    """Keeps what an agent was called with."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def note(self, names: dict[str, Any]) -> None:
        self.calls.append(dict(names))

    @property
    def last(self) -> dict[str, Any]:
        return self.calls[-1]


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


def run(agent: LitAgent[Any], resources: NamedResources | None = None, task: Any = "task") -> RolloutRawResult:
    return agent.rollout(task, resources or {}, ATTEMPTED)


# What a function is given


async def test_the_task_alone_is_enough() -> None:
    @rollout
    async def answer(question: str) -> float:
        await checkpoint()
        return float(len(question))

    assert answer.is_async()
    assert await answer.rollout_async("why", {}, ATTEMPTED) == 3.0


async def test_everything_known_is_injected_by_name_in_any_order(seen: Recorder) -> None:
    @rollout
    async def answer(
        task: str, rollout: Rollout, prompt_template: PromptTemplate, *, llm: LLM, resources: NamedResources
    ) -> None:
        seen.note(locals())

    resources: NamedResources = {"small": SMALL, "prompt": PROMPT}
    await answer.rollout_async("task", resources, ATTEMPTED)
    assert {name: value for name, value in seen.last.items() if name != "seen"} == {
        "task": "task",
        "rollout": ATTEMPTED,
        "prompt_template": PROMPT,
        "llm": SMALL,
        "resources": resources,
    }


@pytest.mark.parametrize("entry", ["rollout", "training_rollout", "validation_rollout"])
async def test_every_entry_calls_the_function(entry: str, seen: Recorder) -> None:
    @rollout
    def sync_agent(task: str) -> float:
        seen.note({"task": task})
        return 1.0

    @rollout
    async def async_agent(task: str) -> float:
        seen.note({"task": task})
        return 2.0

    assert getattr(sync_agent, entry)("task", {}, ATTEMPTED) == 1.0
    assert await getattr(async_agent, f"{entry}_async")("task", {}, ATTEMPTED) == 2.0
    assert len(seen.calls) == 2


def test_a_resource_kind_of_ones_own_is_injected_under_its_own_name(seen: Recorder) -> None:
    @rollout
    def answer(task: str, policy: Policy, judge: LLM, main_prompt: PromptTemplate) -> None:
        seen.note(locals())

    run(answer, {"small": SMALL, "judge": BIG, "policy": POLICY, "other": PROMPT, "main_prompt": PROMPT})
    assert (seen.last["policy"], seen.last["judge"], seen.last["main_prompt"]) == (POLICY, BIG, PROMPT)


def test_a_parameter_with_a_default_takes_a_resource_if_there_is_one(seen: Recorder) -> None:
    @rollout
    def answer(task: str, llm: LLM | None = None, policy: Policy | None = None, retries: int = 3) -> None:
        seen.note(locals())

    run(answer)
    assert (seen.last["llm"], seen.last["policy"], seen.last["retries"]) == (None, None, 3)
    run(answer, {"small": SMALL, "policy": POLICY, "retries": POLICY})
    assert (seen.last["llm"], seen.last["policy"], seen.last["retries"]) == (SMALL, POLICY, 3)


def test_positional_only_parameters_and_stars_are_called_as_they_must_be(seen: Recorder) -> None:
    @rollout
    def answer(task: str, llm: LLM, retries: int = 3, resources: Any = None, /, *args: Any, **kwargs: Any) -> None:
        seen.note(locals())

    run(answer, {"small": SMALL})
    assert (seen.last["task"], seen.last["llm"], seen.last["retries"]) == ("task", SMALL, 3)
    assert (seen.last["resources"], seen.last["args"], seen.last["kwargs"]) == ({"small": SMALL}, (), {})


def test_the_kind_in_the_annotation_chooses_among_llms(seen: Recorder) -> None:
    @rollout
    def answer(task: str, llm: ProxyLLM) -> None:
        seen.note(locals())

    run(answer, {"small": SMALL, "proxied": PROXY})
    assert seen.last["llm"] is PROXY  # one that asks for a ProxyLLM gets it as it is


def test_the_first_of_several_llms_is_taken_and_warned_of_once(
    seen: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    @rollout
    def answer(task: str, llm: LLM) -> None:
        seen.note(locals())

    with caplog.at_level(logging.WARNING, "lightning_actors"):
        run(answer, {"small": SMALL, "big": BIG})
        run(answer, {"small": SMALL, "big": BIG})
    assert seen.last["llm"] is SMALL
    (message,) = caplog.messages
    assert message.startswith("several_resources_would_do agent=answer")
    assert "taken=small" in message
    assert "'big'" in message


def test_a_resource_of_the_parameters_name_goes_before_the_first(
    seen: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    @rollout
    def answer(task: str, llm: LLM) -> None:
        seen.note(locals())

    run(answer, {"small": SMALL, "llm": BIG})
    assert seen.last["llm"] is BIG
    assert caplog.messages == []


def test_a_proxied_llm_is_given_as_a_plain_one_of_this_attempt(seen: Recorder) -> None:
    @llm_rollout
    def stripped(task: str, llm: LLM) -> None:
        seen.note(locals())

    @llm_rollout(strip_proxy=False)
    def kept(task: str, llm: LLM) -> None:
        seen.note(locals())

    run(stripped, {"llm": PROXY})
    assert type(seen.last["llm"]) is LLM
    assert seen.last["llm"].endpoint == "http://localhost/rollout/ro-1/attempt/at-1/v1"
    run(kept, {"llm": PROXY})
    assert seen.last["llm"] is PROXY


def test_a_proxied_llm_needs_the_attempt(seen: Recorder) -> None:
    @rollout
    def answer(task: str, llm: LLM) -> None:
        seen.note(locals())

    with pytest.raises(ConfigError, match="strip_proxy=False"):
        answer.rollout("task", {"llm": PROXY}, Rollout(rollout_id="ro-1", input="", start_time=0.0))


# Resources that are missing


def test_a_missing_resource_is_an_error_that_lists_what_is_wanted_and_what_there_is() -> None:
    @rollout
    def answer(task: str, llm: LLM, policy: Policy) -> None: ...

    with pytest.raises(MissingResource) as caught:
        run(answer, {"llm": SMALL, "policy": PROMPT})
    message = str(caught.value)
    assert "agent answer wants llm: LLM, policy: Policy" in message
    assert "hold llm: LLM, policy: PromptTemplate" in message
    assert "there is no Policy named 'policy'" in message
    assert "Trainer(initial_resources={'policy': Policy(...)})" in message
    assert caught.value.wanted == "policy: Policy"
    assert caught.value.available == ("llm: LLM", "policy: PromptTemplate")
    assert caught.value.rollout_id == "ro-1"


async def test_without_any_resources_the_error_says_so() -> None:
    @prompt_rollout
    async def answer(task: str, prompt_template: PromptTemplate) -> None: ...

    with pytest.raises(MissingResource, match=r"hold nothing: there is no PromptTemplate of any name.*step\(resources"):
        await answer.rollout_async("task", {}, ATTEMPTED)


# All sorts of functions


class Suite:
    def __init__(self, name: str) -> None:
        self.name = name

    def plain(self, task: str, llm: LLM) -> float:
        return float(len(self.name + task + llm.model))

    @rollout
    async def decorated(self, task: str, llm: LLM) -> float:
        """Answer."""
        return float(len(self.name + task + llm.model))

    @staticmethod
    @rollout
    def static(task: str) -> float:
        return float(len(task))

    @rollout
    @staticmethod
    def static_too(task: str) -> float:
        return float(len(task))


class Counter:
    """An object to be called."""

    rollout = "an attribute that must not hide the agent's own"

    async def __call__(self, task: str, llm: LLM) -> float:
        return float(len(task + llm.model))


def scored(factor: float, task: str, llm: LLM) -> float:
    """Score."""
    return factor * len(task + llm.model)


async def scored_async(factor: float, task: str) -> float:
    return factor * len(task)


def test_bound_methods_partials_and_callable_objects_are_functions_too() -> None:
    assert run(rollout(Suite("ab").plain), {"llm": SMALL}) == 11.0
    assert run(rollout(functools.partial(scored, 2.0)), {"llm": SMALL}) == 18.0
    partial = rollout(functools.partial(scored_async, 2.0))
    assert partial.is_async()
    assert (partial.__name__, rollout(functools.partial(scored, 2.0)).__doc__) == ("scored_async", "Score.")


async def test_a_callable_object_may_be_async() -> None:
    agent = rollout(Counter())
    assert agent.is_async()
    assert agent.__name__ == "Counter"
    assert await agent.rollout_async("task", {"llm": SMALL}, ATTEMPTED) == 9.0


async def test_a_decorated_method_is_an_agent_of_its_object() -> None:
    suite = Suite("ab")
    agent = suite.decorated
    assert isinstance(agent, FunctionalLitAgent)
    assert (agent.__name__, agent.__doc__) == ("decorated", "Answer.")
    assert await agent("task", SMALL) == 11.0
    assert await agent.rollout_async("task", {"llm": SMALL}, ATTEMPTED) == 11.0
    assert await Suite.decorated(suite, "task", SMALL) == 11.0
    with pytest.raises(InvalidAgent, match=r"Suite\(\.\.\.\)\.decorated"):
        await Suite.decorated.rollout_async(suite, {"llm": SMALL}, ATTEMPTED)


def test_a_static_method_is_a_function() -> None:
    assert run(Suite.static) == 4.0
    assert run(Suite("ab").static) == 4.0
    assert run(Suite.static_too) == 4.0
    assert run(Suite("ab").static_too) == 4.0


def test_an_agent_may_stand_in_a_class_under_another_name() -> None:
    class Holder:
        agent = module_agent

    assert Holder().agent is module_agent


@rollout
def module_agent(task: str, llm: LLM) -> float:
    """Count."""
    return float(len(task + llm.model))


def test_calling_the_agent_calls_the_function_with_its_own_signature() -> None:
    assert module_agent("task", SMALL) == 9.0
    assert module_agent("task", llm=SMALL) == 9.0
    assert (module_agent.__name__, module_agent.__doc__) == ("module_agent", "Count.")
    assert module_agent.__module__ == __name__
    assert inspect.signature(module_agent) == inspect.signature(module_agent.__wrapped__)
    assert repr(module_agent) == "<FunctionalLitAgent def module_agent(task, llm)>"


def test_a_module_level_agent_is_pickled_by_reference() -> None:
    assert pickle.loads(pickle.dumps(module_agent)) is module_agent  # noqa: S301 - our own bytes
    assert copy.deepcopy(module_agent) is module_agent


def test_an_agent_under_another_name_is_pickled_by_its_function() -> None:
    agent = rollout(module_function, strip_proxy=False)
    again = pickle.loads(pickle.dumps(agent))  # noqa: S301 - our own bytes
    assert again is not agent
    assert again.__wrapped__ is module_function
    assert run(again, {"llm": PROXY}) == 11.0


def module_function(task: str, llm: LLM) -> float:
    assert isinstance(llm, ProxyLLM)
    return float(len(task + llm.model))


# Functions that are refused


def no_parameters() -> None: ...


def unknown_parameter(task: str, model: str) -> None: ...


def unresolved_annotation(task: str, policy: NotAName) -> None: ...  # noqa: F821  # pyright: ignore[reportUndefinedVariable, reportUnknownParameterType]  # that is the point


def only_keywords(*, task: str, llm: LLM) -> None: ...


def only_stars(*args: Any, **kwargs: Any) -> None: ...


def llm_first(llm: LLM, task: str) -> None: ...


async def yields(task: str) -> AsyncIterator[str]:
    yield task


def yields_sync(task: str) -> Iterator[str]:
    yield task


REFUSED: list[tuple[Any, str]] = [
    (no_parameters, r"`def no_parameters\(\)` cannot be an agent: its first parameter is not the task"),
    (unknown_parameter, "nothing is known to give to its parameter 'model'"),
    (unresolved_annotation, "its annotation 'NotAName' means nothing where the function stands"),
    (only_keywords, "its first parameter is not the task"),
    (only_stars, "functools.wraps"),
    (llm_first, "its first parameter is 'llm', where the task is expected"),
    (yields, "yields contains `yield`"),
    (yields_sync, "yields_sync contains `yield`"),
    (functools.partial(yields), "yields contains `yield`"),
    (Suite, "Suite is a class"),
    (3, "3 cannot be called"),
]


@pytest.mark.parametrize(("func", "reason"), REFUSED)
def test_a_function_that_cannot_be_an_agent_is_refused_with_the_right_form(func: Any, reason: str) -> None:
    with pytest.raises(InvalidAgent, match=reason) as caught:
        rollout(func)
    assert "    @rollout\n    async def " in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TypeError)


def test_the_form_shown_bears_the_functions_own_name() -> None:
    with pytest.raises(InvalidAgent, match=r"async def unknown_parameter\(task, llm\): \.\.\."):
        rollout(unknown_parameter)  # pyright: ignore[reportCallIssue, reportArgumentType]  # refused at run time alone


@pytest.mark.parametrize(
    ("decorate", "name"),
    [(llm_rollout, "llm"), (prompt_rollout, "prompt_template"), (prompt_rollout(), "prompt_template")],
)
def test_the_narrower_decorators_want_their_parameter(decorate: Callable[[Any], Any], name: str) -> None:
    def answer(task: str) -> None: ...

    with pytest.raises(InvalidAgent, match=rf"answer has no parameter '{name}'(.|\n)*async def answer\(task, {name}\)"):
        decorate(answer)


def test_an_agent_is_not_decorated_again() -> None:
    with pytest.raises(InvalidAgent, match="is an agent already"):
        rollout(module_agent)


def test_something_to_await_from_a_plain_function_is_an_error() -> None:
    async def inner(task: str) -> float:
        return float(len(task))

    @rollout
    def forgot_async(task: str) -> Coroutine[Any, Any, float]:
        return inner(task)

    with pytest.raises(InvalidAgent, match="forgot_async is not `async def`"):
        run(forgot_async)


async def test_the_wrong_entry_says_which_is_right() -> None:
    @rollout
    async def asynchronous(task: str) -> None: ...

    with pytest.raises(InvalidAgent, match="await rollout_async"):
        run(asynchronous)
    with pytest.raises(InvalidAgent, match=r"call rollout\("):
        await module_agent.rollout_async("task", {"llm": SMALL}, ATTEMPTED)


# Classes


class AsyncAgent(LitAgent[str]):
    def __init__(self, name: str) -> None:  # super().__init__() is left out on purpose
        self.name = name

    async def rollout_async(self, task: str, resources: NamedResources, rollout: Rollout) -> RolloutRawResult:
        return float(len(self.name + task))


class SyncAgent(LitAgent[str]):
    def rollout(self, task: str, resources: NamedResources, rollout: Rollout) -> RolloutRawResult:
        return 1.0

    def training_rollout(self, task: str, resources: NamedResources, rollout: Rollout) -> RolloutRawResult:
        return 2.0


async def test_a_class_writes_the_entry_it_needs() -> None:
    assert AsyncAgent("a").is_async()
    assert await AsyncAgent("a").training_rollout_async("b", {}, ATTEMPTED) == 2.0
    assert await AsyncAgent("a").validation_rollout_async("b", {}, ATTEMPTED) == 2.0
    agent = SyncAgent(trained_agents="a.*")
    assert not agent.is_async()
    assert agent.trained_agents == "a.*"
    assert (agent.training_rollout("", {}, ATTEMPTED), agent.validation_rollout("", {}, ATTEMPTED)) == (2.0, 1.0)


def test_a_class_that_writes_no_entry_cannot_be_made() -> None:
    class Empty(LitAgent[str]):
        pass

    with pytest.raises(InvalidAgent, match=r"Empty does not say.*async def rollout_async\(self, task"):
        Empty()
    with pytest.raises(InvalidAgent, match="LitAgent does not say"):
        LitAgent[str]()


def test_a_base_class_without_entries_may_be_completed() -> None:
    class Base(LitAgent[str]):
        pass

    class Complete(Base):
        def rollout(self, task: str, resources: NamedResources, rollout: Rollout) -> None: ...

    assert run(Complete()) is None


async def test_an_entry_that_was_not_written_says_so_when_it_is_asked_for() -> None:
    class OnlyTraining(LitAgent[str]):
        async def training_rollout_async(self, task: str, resources: NamedResources, rollout: Rollout) -> float:
            return 1.0

    agent = OnlyTraining()
    assert await agent.training_rollout_async("", {}, ATTEMPTED) == 1.0
    with pytest.raises(InvalidAgent, match=r"asked for rollout_async, but it has only training_rollout_async"):
        await agent.validation_rollout_async("", {}, ATTEMPTED)


def test_an_entry_of_the_wrong_kind_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(InvalidAgent, match="name it `rollout_async`"):

        class Misnamed(LitAgent[str]):  # pyright: ignore[reportUnusedClass]  # making it is the test
            async def rollout(self, task: str, resources: NamedResources, rollout: Rollout) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]  # that is what the test is about
                return 1.0

    with pytest.raises(InvalidAgent, match="contains `yield`"):

        class Yields(LitAgent[str]):  # pyright: ignore[reportUnusedClass]  # making it is the test
            async def rollout_async(self, task: Any, resources: Any, rollout: Any) -> AsyncIterator[float]:  # pyright: ignore[reportIncompatibleMethodOverride]  # that is what the test is about
                yield 1.0


def test_a_class_agent_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(AsyncAgent("a"))).name == "a"  # noqa: S301 - our own bytes


# Trainer, runner and tracer


class Owner:
    """Stands where a trainer or runner would, for what an agent asks of them."""

    def __init__(self, tracer: object = None) -> None:
        self.tracer = tracer


@pytest.mark.parametrize("what", ["trainer", "runner"])
def test_a_trainer_or_runner_is_not_kept_alive(what: str) -> None:
    agent, owner = AsyncAgent("a"), Owner()
    with pytest.raises(ConfigError, match=f"has no {what} yet"):
        getattr(agent, what)
    getattr(agent, f"set_{what}")(owner)
    assert getattr(agent, what) is owner
    assert getattr(agent, f"get_{what}")() is owner
    del owner
    gc.collect()
    with pytest.raises(ConfigError, match=f"belonged to a {what} that is gone"):
        getattr(agent, what)


def test_the_tracer_is_the_runners_else_the_trainers() -> None:
    agent, trainer, runner = AsyncAgent("a"), Owner(object()), Owner(object())
    agent.set_trainer(trainer)
    assert agent.tracer is trainer.tracer
    agent.set_runner(runner)
    assert agent.tracer is runner.tracer
    runner.tracer = None
    assert agent.tracer is trainer.tracer


async def test_within_a_rollout_the_runner_is_the_one_it_runs_on() -> None:
    agent, other, last = AsyncAgent("a"), AsyncAgent("b"), Owner()
    agent.set_runner(last)
    other.set_runner(last)
    runners = [Owner(), Owner()]
    found: list[tuple[Any, Any]] = []

    async def one(runner: Owner) -> None:
        with agent.executing_on(runner):
            await checkpoint()
            assert other.runner is last
            with other.executing_on(last):  # a rollout within a rollout
                await checkpoint()
                assert other.runner is last
            found.append((runner, agent.runner))
            found.append((runner, await to_thread.run_sync(lambda: agent.runner)))

    async with anyio.create_task_group() as group:
        for runner in runners:
            group.start_soon(one, runner)
    assert len(found) == 4
    assert all(expected is actual for expected, actual in found)
    assert agent.runner is last
