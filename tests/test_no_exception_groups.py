"""Wherever users' code is called, what it raises reaches the user as it is, also where it is no Exception.

A row for each place: how to have it called, and how the outcome is told. What hooks raise is logged and changes
nothing; what an agent raises in a pool is its rollout's failure.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
import pytest

import lightning_actors as agl
from lightning_actors.algorithm import Experience, OnlineAlgorithm
from lightning_actors.errors import NotLearning
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.types import Span

pytestmark = pytest.mark.anyio


class Fatal(BaseException):
    """A user's own, and no Exception."""


Raise = Callable[[], Any]
Act = Callable[[Raise], Awaitable[object]]

ERRORS = [Fatal("of the user"), SystemExit(3), KeyboardInterrupt("of the user"), LookupError("of the user")]


@agl.rollout
async def agent(task: Any) -> float:
    await anyio.lowlevel.checkpoint()
    return 1.0


def trainer_of(algorithm: Any, **options: Any) -> agl.Trainer:
    return agl.Trainer(algorithm=algorithm, tracer=agl.DummyTracer(), n_workers=2, grace=0.0, **options)


def searching(**options: Any) -> agl.PromptSearch:
    defaults: dict[str, Any] = {"templates": ["{instruction}"]}
    return agl.PromptSearch(instructions=["a", "b"], rounds=1, budget=8, **(defaults | options))


class Tasks(Sequence[str]):
    """The second one raises."""

    def __init__(self, act: Raise) -> None:
        self.act = act

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> Any:
        return self.act() if index == 1 else "task"


def store_with(operation: str, act: Raise, times: int = 1) -> LightningStore:
    """A store whose operation raises at the call of this number, and from then on."""
    calls = 0

    class Odd(InMemoryLightningStore):
        pass

    async def overriding(self: Odd, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= times:
            act()
        return await getattr(super(Odd, self), operation)(*args, **kwargs)

    # a method has to be there when a class is made for the store to know of it
    return type("OddStore", (Odd,), {operation: overriding})()


# ── how each place is reached ──


async def step(
    *,
    agent: agl.LitAgent[Any] = agent,
    store: LightningStore | None = None,
    tracer: agl.Tracer | None = None,
    resident: bool = False,
    **options: Any,
) -> agl.Rollout:
    runner = agl.LitAgentRunner[Any](tracer or agl.DummyTracer())
    context = runner.run_context(agent=agent, store=store or InMemoryLightningStore())
    if resident:
        async with context:
            return await runner.step("task", **options)
    with context:
        return await runner.step("task", **options)


async def iterate(**options: Any) -> None:
    runner = agl.LitAgentRunner[Any](agl.DummyTracer())
    with runner.run_context(agent=agent, store=InMemoryLightningStore()):
        await runner.iter(**options)


async def step_many(inputs: Any) -> None:
    runner = agl.LitAgentRunner[Any](agl.DummyTracer())
    with runner.run_context(agent=agent, store=InMemoryLightningStore()):
        async for _ in runner.step_many(inputs):
            pass


async def fit(algorithm: Any, tasks: Any = ("a", "b"), **options: Any) -> agl.RunResult:
    return await trainer_of(algorithm, **options).fit_async(agent, tasks)


async def by_hand(algorithm: agl.Algorithm, tasks: Any, store: LightningStore | None = None) -> None:
    """An algorithm beside a runner, without a trainer."""
    store = store or InMemoryLightningStore()
    algorithm.set_store(store)
    runner = agl.LitAgentRunner[Any](agl.DummyTracer())
    errors: list[BaseException] = []
    with runner.run_context(agent=agent, store=store):
        async with anyio.create_task_group() as group:
            group.start_soon(runner.iter)
            try:
                await algorithm.run(tasks)
            except BaseException as error:  # noqa: BLE001 - raised outside the group, so that the test's own wraps nothing
                errors.append(error)
            group.cancel_scope.cancel()
    for error in errors:
        raise error


class Learner(OnlineAlgorithm):
    """Has one method raise."""

    def __init__(self, where: str, act: Raise) -> None:
        super().__init__()
        self.where, self.act = where, act

    def reach(self, place: str) -> None:
        if place == self.where:
            self.act()

    async def begin(self) -> None:
        self.reach("begin")

    async def learn(self, experience: Experience) -> None:
        self.reach("learn")

    async def conclude(self) -> None:
        self.reach("conclude")

    def check_feedback(self, rollout: agl.Rollout, reward: float) -> None:
        self.reach("check_feedback")


async def learn(where: str, act: Raise) -> None:
    learner, store, runner = Learner(where, act), InMemoryLightningStore(), agl.LitAgentRunner[Any](agl.DummyTracer())
    async with runner.run_context(agent=agent, store=store), learner.learning(store):
        rollout = await runner.step("task")
        with suppress(NotLearning):  # what ended the learning is raised where the block is left
            await learner.feedback(rollout.rollout_id, 0.5)


class Event:
    """An event of the user's own make."""

    def __init__(self, where: str, act: Raise) -> None:
        self.where, self.act, self.looks = where, act, 0

    def is_set(self) -> bool:
        self.looks += 1
        if self.where == "is_set" and self.looks > 1:
            self.act()
        return False

    async def wait(self) -> None:
        if self.where == "wait":
            self.act()
        await anyio.sleep_forever()


class BlockingEvent(threading.Event):
    """One whose wait blocks."""

    def __init__(self, act: Raise) -> None:
        super().__init__()
        self.act = act

    def wait(self, timeout: float | None = None) -> bool:
        return self.act()


class OddTracer(agl.DummyTracer):
    def __init__(self, where: str, act: Raise) -> None:
        super().__init__()
        self.where, self.act = where, act

    def init(self) -> None:
        super().init()
        if self.where == "init":
            self.act()

    def trace_context(self, *args: Any, **kwargs: Any) -> Any:
        return self.act() if self.where == "trace_context" else super().trace_context(*args, **kwargs)


class OddAdapter(agl.TraceAdapter[Any]):
    def __init__(self, act: Raise) -> None:
        self.act = act

    def adapt(self, source: Sequence[Span]) -> Any:
        return self.act()


def ignoring(act: Raise) -> Callable[[Any], Any]:
    return lambda _: act()


def sync_agent(act: Raise) -> agl.LitAgent[Any]:
    @agl.rollout
    def raising(task: Any) -> float:
        return act()

    return raising


def async_agent(act: Raise) -> agl.LitAgent[Any]:
    @agl.rollout
    async def raising(task: Any) -> float:
        return act()

    return raising


@agl.rollout
async def waiting(task: Any) -> None:
    await anyio.sleep_forever()


def inputs_of(act: Raise) -> Generator[str]:
    yield "task"
    act()


async def async_inputs_of(act: Raise) -> AsyncGenerator[str]:
    yield "task"
    act()


def algorithm_of(act: Raise) -> agl.Algorithm:
    @agl.algo
    async def algorithm(train_dataset: Any) -> None:
        act()

    return algorithm


def sync_algorithm_of(act: Raise) -> agl.Algorithm:
    @agl.algo
    def algorithm(train_dataset: Any) -> None:
        act()

    return algorithm


def adapting() -> agl.Algorithm:
    @agl.algo
    async def algorithm(train_dataset: Any, adapter: agl.TraceAdapter[Any]) -> None:
        adapter.adapt([])

    return algorithm


OF_DATASETS = "raised by the train dataset at index 1"

RAISED: Mapping[str, tuple[Act, str | None]] = {
    "a dataset, Baseline under a trainer": (lambda act: fit(agl.Baseline(), Tasks(act)), OF_DATASETS),
    "a dataset, Baseline by hand": (lambda act: by_hand(agl.Baseline(), Tasks(act)), OF_DATASETS),
    "a dataset, an online algorithm": (lambda act: fit(Learner("", act), Tasks(act)), OF_DATASETS),
    "a dataset, a search": (lambda act: fit(searching(), Tasks(act)), OF_DATASETS),
    "a wait in the store, Baseline by hand": (
        lambda act: by_hand(agl.Baseline(), ["a", "b"], store_with("wait_for_rollouts", act)),
        None,
    ),
    "a record in the store, Baseline by hand": (
        lambda act: by_hand(agl.Baseline(), ["a", "b"], store_with("enqueue_rollout", act, 2)),
        None,
    ),
    "a search's progress": (lambda act: fit(searching(progress=ignoring(act))), None),
    "a search's demonstrations": (
        lambda act: fit(searching(templates=["{instruction}{demonstrations}"], demonstrations=ignoring(act))),
        None,
    ),
    "an async algorithm": (lambda act: fit(algorithm_of(act)), None),
    "a sync algorithm": (lambda act: fit(sync_algorithm_of(act)), None),
    "an adapter": (lambda act: fit(adapting(), adapter=OddAdapter(act)), None),
    "begin, beside an application": (lambda act: learn("begin", act), None),
    "learn, beside an application": (lambda act: learn("learn", act), None),
    "check_feedback, beside an application": (lambda act: learn("check_feedback", act), None),
    "begin, under a trainer": (lambda act: fit(Learner("begin", act)), None),
    "learn, under a trainer": (lambda act: fit(Learner("learn", act)), None),
    "conclude, under a trainer": (lambda act: fit(Learner("conclude", act)), None),
    "the wait of a step's event": (lambda act: step(agent=waiting, event=Event("wait", act)), None),
    "a look at a step's event": (lambda act: step(agent=waiting, event=Event("is_set", act)), None),
    "the blocking wait of a step's event": (lambda act: step(agent=waiting, event=BlockingEvent(act)), None),
    "the wait of iter's event": (lambda act: iterate(event=Event("wait", act)), None),
    "a sync agent": (lambda act: step(agent=sync_agent(act)), "in rollout"),
    "an async agent": (lambda act: step(agent=async_agent(act)), "in rollout"),
    "an async agent, beside an event": (lambda act: step(agent=async_agent(act), event=anyio.Event()), "in rollout"),
    "an async agent, of a resident runner": (lambda act: step(agent=async_agent(act), resident=True), "in rollout"),
    "a tracer's init": (lambda act: step(tracer=OddTracer("init", act)), None),
    "a tracer's trace": (lambda act: step(tracer=OddTracer("trace_context", act)), "in rollout"),
    "inputs of many steps": (lambda act: step_many(inputs_of(act)), None),
    "async inputs of many steps": (lambda act: step_many(async_inputs_of(act)), None),
}


@pytest.mark.parametrize("place", RAISED)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_users_code_raises_is_raised_as_it_is(place: str, error: BaseException) -> None:
    act, told = RAISED[place]
    copy = type(error)(*error.args)

    def go() -> Any:
        raise copy

    with pytest.raises(type(error)) as caught, anyio.fail_after(30):
        await act(go)
    assert caught.value is copy
    if told is not None:
        assert any(told in note for note in copy.__notes__)


STORE_CALLS: Mapping[str, Callable[[LightningStore], Awaitable[object]]] = {
    "step": lambda store: step(store=store, config=agl.RolloutConfig(timeout_seconds=30)),
    "step beside an event": lambda store: step(store=store, event=anyio.Event()),
    "step of a resident runner": lambda store: step(store=store, resident=True),
    "fit": lambda store: fit(agl.Baseline(), store=store, max_rollouts=1),
    "fit of an online algorithm": lambda store: fit(Learner("", lambda: None), store=store),
}


@pytest.mark.parametrize("call", STORE_CALLS)
@pytest.mark.parametrize("operation", [*LightningStore.operations, "keep_time"])
async def test_what_a_store_of_the_users_raises_is_raised_or_mended(call: str, operation: str) -> None:
    """Whether it can be mended depends on the operation; it is never wrapped, and never lost."""
    error, raised = Fatal("of the user"), False

    def act() -> Any:
        nonlocal raised
        raised = True
        raise error

    caught: list[BaseException] = []
    with anyio.fail_after(30):
        try:
            await STORE_CALLS[call](store_with(operation, act))
        except Fatal as fatal:
            caught.append(fatal)
    assert caught == ([error] if raised else [])


class Hook(agl.Hook):
    """Has every method raise."""

    def __init__(self, act: Raise) -> None:
        self.act, self.calls = act, 0

    async def on_rollout_start(self, **_: Any) -> None:
        self._reach()

    async def on_rollout_end(self, **_: Any) -> None:
        self._reach()

    async def on_trace_start(self, **_: Any) -> None:
        self._reach()

    async def on_trace_end(self, **_: Any) -> None:
        self._reach()

    def _reach(self) -> None:
        self.calls += 1
        self.act()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_hooks_raise_changes_nothing(error: BaseException) -> None:
    def act() -> Any:
        raise error

    hook = Hook(act)
    result = await trainer_of(agl.Baseline(), hooks=hook).fit_async(agent, ["a", "b"])
    assert (dict(result.status_counts), hook.calls) == ({"succeeded": 2}, 8)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("make", [sync_agent, async_agent])
async def test_what_an_agent_of_a_pool_raises_is_its_rollouts_failure(
    make: Callable[[Raise], agl.LitAgent[Any]], error: BaseException
) -> None:
    def act() -> Any:
        raise error

    result = await trainer_of(agl.Baseline()).fit_async(make(act), ["a"])
    assert dict(result.status_counts) == {"failed": 1}
    assert list(result.errors.values()) == [error]


CANCELLED: Mapping[str, Callable[[], Awaitable[object]]] = {
    "fit": lambda: trainer_of(agl.Baseline()).fit_async(waiting, ["a", "b"]),
    "fit of an online algorithm": lambda: trainer_of(Learner("", lambda: None)).fit_async(waiting, ["a", "b"]),
    "step beside an event": lambda: step(agent=waiting, event=anyio.Event()),
    "step beside a blocking event": lambda: step(agent=waiting, event=threading.Event()),
    "iter beside an event": lambda: iterate(event=anyio.Event()),
}


@pytest.mark.parametrize("call", CANCELLED)
async def test_a_cancellation_around_it_stays_one(call: str) -> None:
    after: list[str] = []

    async def act() -> None:
        await CANCELLED[call]()
        after.append("the call")

    with anyio.fail_after(30), anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(act)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
        after.append("the group")
    assert scope.cancelled_caught
    assert after == []
