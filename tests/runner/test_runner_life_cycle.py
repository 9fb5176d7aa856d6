"""A runner is bound to an agent and a store, runs, and is free again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import lightning_actors as agl
from lightning_actors.errors import ConfigError, RunnerNotReady
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio


@agl.rollout
async def agent(task: str) -> float:
    agl.emit_message(f"about {task}")
    return 1.0


@agl.rollout
def sync_agent(task: str) -> float:
    return float(len(task))


class RecordingRunner(agl.LitAgentRunner[str]):
    """Notes its life cycle."""

    def __init__(self) -> None:
        super().__init__(agl.DummyTracer())
        self.calls: list[str] = []

    def init(self, agent: agl.LitAgent[str], *, hooks: Any = None) -> None:
        self.calls.append("init")
        super().init(agent, hooks=hooks)

    def init_worker(self, worker_id: int, store: agl.LightningStore) -> None:
        self.calls.append(f"init_worker {worker_id}")
        super().init_worker(worker_id, store)

    def teardown_worker(self, worker_id: int, *args: Any, **kwargs: Any) -> None:
        self.calls.append(f"teardown_worker {worker_id}")
        super().teardown_worker(worker_id, *args, **kwargs)

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append("teardown")
        super().teardown(*args, **kwargs)


LIFE = ["init", "init_worker 3", "teardown_worker 3", "teardown"]


async def test_run_context_calls_the_life_cycle_in_order(store: InMemoryLightningStore) -> None:
    runner = RecordingRunner()
    with runner.run_context(agent=agent, store=store, worker_id=3) as bound:
        assert bound is runner
        assert runner.calls == LIFE[:2]
    assert runner.calls == LIFE
    runner.calls.clear()
    async with runner.run_context(agent=agent, store=store, worker_id=3) as bound:
        assert bound is runner
        assert runner.calls == LIFE[:2]
    assert runner.calls == LIFE


async def test_the_life_cycle_ends_in_order_when_the_block_fails(store: InMemoryLightningStore) -> None:
    runner = RecordingRunner()
    with (
        pytest.raises(ZeroDivisionError),
        runner.run_context(agent=agent, store=store, worker_id=3),
    ):
        raise ZeroDivisionError
    assert runner.calls == LIFE
    runner.calls.clear()
    with pytest.raises(ZeroDivisionError):
        async with runner.run_context(agent=agent, store=store, worker_id=3):
            raise ZeroDivisionError
    assert runner.calls == LIFE


async def test_what_was_begun_is_undone_when_init_worker_fails() -> None:
    runner = RecordingRunner()
    with pytest.raises(TypeError, match="InMemoryLightningStore"), runner.run_context(agent=agent, store=None):  # pyright: ignore[reportArgumentType]  # callers without a type checker
        pass
    assert runner.calls == ["init", "init_worker 0", "teardown"]
    with runner.run_context(agent=agent, store=InMemoryLightningStore()):
        assert (await runner.step("again")).status == "succeeded"


@pytest.mark.parametrize(("given", "name"), [(None, "Worker-0"), (0, "Worker-0"), (5, "Worker-5")])
async def test_worker_id_is_honoured(store: InMemoryLightningStore, given: int | None, name: str) -> None:
    runner = agl.LitAgentRunner[str](agl.DummyTracer())
    assert runner.worker_name == "Worker-Unknown"
    with runner.run_context(agent=agent, store=store, worker_id=given):
        assert runner.worker_name == name
        rollout = await runner.step("x")
    assert isinstance(rollout, agl.AttemptedRollout)
    assert rollout.attempt.worker_id == name
    worker = await store.get_worker_by_id(name)
    assert worker is not None
    assert worker.status == "idle"
    assert runner.worker_id is None


async def test_a_runner_outside_a_run_context_says_what_to_do(store: InMemoryLightningStore) -> None:
    runner = agl.LitAgentRunner[str](agl.DummyTracer())
    with pytest.raises(RunnerNotReady, match="run_context"):
        await runner.step("x")
    with pytest.raises(RunnerNotReady, match="run_context"):
        await runner.iter()
    with pytest.raises(RunnerNotReady, match="run_context"):
        runner.step_many(["x"])
    with pytest.raises(RunnerNotReady, match="run_context"):
        _ = runner.store
    with runner.run_context(agent=agent, store=store):
        assert runner.store is store
    with pytest.raises(RunnerNotReady, match="run_context"):
        await runner.step("x")


def test_what_is_no_agent_is_refused_with_the_way_to_make_one(store: InMemoryLightningStore) -> None:
    def function(task: str) -> float:
        return 1.0

    runner = agl.LitAgentRunner[Any](agl.DummyTracer())
    with (
        pytest.raises(TypeError, match="decorate the function with @rollout"),
        runner.run_context(agent=function, store=store),  # pyright: ignore[reportArgumentType]  # callers without a type checker
    ):
        pass


async def test_a_runner_is_bound_to_one_agent_at_a_time(store: InMemoryLightningStore) -> None:
    runner = agl.LitAgentRunner[str](agl.DummyTracer())
    with runner.run_context(agent=agent, store=store):
        with (
            pytest.raises(RunnerNotReady, match="make another LitAgentRunner"),
            runner.run_context(agent=sync_agent, store=store),
        ):
            pass
        assert (await runner.step("x")).status == "succeeded"


def test_the_life_cycle_out_of_order_is_an_error(store: InMemoryLightningStore) -> None:
    runner = agl.LitAgentRunner[str](agl.DummyTracer())
    with pytest.raises(RunnerNotReady, match="call init first"):
        runner.init_worker(0, store)
    runner.teardown_worker(0)
    runner.teardown()
    runner.init(agent)
    runner.init_worker(0, store)
    with pytest.raises(RunnerNotReady, match="teardown_worker in between"):
        runner.init_worker(1, store)
    with pytest.raises(RunnerNotReady, match="bound to"):
        runner.init(agent)


async def test_the_life_cycle_works_by_hand(store: InMemoryLightningStore) -> None:
    runner = agl.LitAgentRunner[str](agl.DummyTracer())
    runner.init(agent)
    runner.init_worker(7, store)
    rollout = await runner.step("x")
    runner.teardown_worker(7)
    runner.teardown()
    assert rollout.status == "succeeded"
    with pytest.raises(RunnerNotReady):
        await runner.step("x")


async def test_a_runner_is_bound_again_and_again() -> None:
    runner = agl.LitAgentRunner[str](agl.OtelTracer())
    for number in range(20):
        store = InMemoryLightningStore()
        chosen = agent if number % 2 else sync_agent
        with runner.run_context(agent=chosen, store=store, worker_id=number):
            rollout = await runner.step("x")
        async with runner.run_context(agent=chosen, store=store):
            again = await runner.step("x")
        assert [r.rollout_id for r in await store.query_rollouts()] == [rollout.rollout_id, again.rollout_id]
        assert agl.find_final_reward(list(await store.query_spans(again.rollout_id))) == 1.0


async def test_two_runners_share_a_tracer_and_a_store(store: InMemoryLightningStore) -> None:
    tracer = agl.OtelTracer()
    first, second = agl.LitAgentRunner[str](tracer), agl.LitAgentRunner[str](tracer)
    with first.run_context(agent=agent, store=store, worker_id=1):
        with second.run_context(agent=sync_agent, store=store, worker_id=2):
            assert (await second.step("four")).status == "succeeded"
        rollout = await first.step("x")
    spans = await store.query_spans(rollout.rollout_id)
    assert [agl.get_message_value(span) for span in spans if agl.get_message_value(span)] == ["about x"]


@pytest.mark.parametrize("given", [(), (None,), ("OtelTracer",)])
def test_without_a_tracer_the_error_shows_the_line_to_write(given: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"needs a tracer.*LitAgentRunner\(OtelTracer\(\)\)"):
        agl.LitAgentRunner(*given)


@pytest.mark.parametrize(
    ("option", "value", "default"),
    [
        ("poll_interval", 1.0, 5.0),
        ("interval_jitter", 0.0, 0.5),
        ("heartbeat_launch_mode", "asyncio", "thread"),
        ("heartbeat_include_gpu", True, False),
    ],
)
def test_an_option_without_meaning_warns_unless_it_is_the_default(option: str, value: Any, default: Any) -> None:
    with pytest.warns(UserWarning, match=rf"LitAgentRunner\({option}=...\) has no meaning here: \w+") as caught:
        agl.LitAgentRunner(agl.DummyTracer(), **{option: value})
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agl.LitAgentRunner(agl.DummyTracer(), **{option: default})


def anything(function: Any) -> Any:
    """The function, for a caller without a type checker."""
    return function


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_rollouts": "3"}, "max_rollouts is '3': give a whole number, 1 or more"),
        ({"max_rollouts": 1.5}, "max_rollouts is 1.5"),
        ({"heartbeat_interval": -1}, "heartbeat_interval is -1: give seconds, 0 or more"),
        ({"heartbeat_interval": "10"}, "heartbeat_interval is '10'"),
        ({"max_threads": 0}, "max_threads is 0: give a whole number, 1 or more"),
        ({"patience": None}, "patience is None: give seconds, 0 or more"),
        ({"patience": float("nan")}, "patience is nan"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        agl.LitAgentRunner(agl.DummyTracer(), **options)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"hooks": 5}, "hooks is 5: give a lightning_actors.Hook"),
        ({"hooks": ["on_trace_end"]}, "hooks holds 'on_trace_end', which is no Hook"),
        ({"worker_id": "three"}, "worker_id is 'three': give a whole number, 0 or more"),
    ],
)
async def test_a_run_context_that_is_refused_leaves_the_runner_free(
    store: InMemoryLightningStore, arguments: dict[str, Any], told: str
) -> None:
    runner = agl.LitAgentRunner[str](agl.DummyTracer())
    with (
        pytest.raises((TypeError, ConfigError), match=told),
        runner.run_context(agent=agent, store=store, **arguments),
    ):
        pass
    assert runner.worker_id is None
    with runner.run_context(agent=agent, store=store):
        assert (await runner.step("again")).status == "succeeded"


async def test_a_tracer_that_does_not_start_leaves_the_runner_free(store: InMemoryLightningStore) -> None:
    class Broken(agl.DummyTracer):
        is_broken = True

        def init(self, *args: Any, **kwargs: Any) -> None:
            if self.is_broken:
                raise OSError("no collector")
            super().init(*args, **kwargs)

    tracer = Broken()
    runner = agl.LitAgentRunner[str](tracer)
    with pytest.raises(OSError, match="no collector"), runner.run_context(agent=agent, store=store):
        pass
    tracer.is_broken = False
    with runner.run_context(agent=agent, store=store):
        assert (await runner.step("again")).status == "succeeded"


def test_an_unknown_option_is_an_error(store: InMemoryLightningStore) -> None:
    make: Callable[..., agl.LitAgentRunner[Any]] = anything(agl.LitAgentRunner)
    with pytest.raises(TypeError, match="max_rollout"):
        make(agl.DummyTracer(), max_rollout=3)
    with pytest.raises(ConfigError, match="max_rollouts is 0"):
        make(agl.DummyTracer(), max_rollouts=0)
    init = anything(make(agl.DummyTracer()).init)
    with pytest.raises(TypeError, match="hook"):
        init(agent, hook=[])


async def test_a_dummy_tracer_drives_a_runner(store: InMemoryLightningStore) -> None:
    runner = agl.LitAgentRunner[str](agl.DummyTracer())
    with runner.run_context(agent=agent, store=store):
        rollout = await runner.step("x")
    spans = list(await store.query_spans(rollout.rollout_id))
    assert agl.find_final_reward(spans) == 1.0
    assert [agl.get_message_value(span) for span in spans] == ["about x", None, None]


async def test_a_sync_agent_reaches_the_store_through_its_runner(store: InMemoryLightningStore) -> None:
    class Asking(agl.LitAgent[str]):
        def rollout(self, task: str, resources: agl.NamedResources, rollout: agl.Rollout) -> float:
            self.runner.blocking_store.enqueue_rollout(f"from {task}")
            return 1.0

    runner = agl.LitAgentRunner[str](agl.DummyTracer())
    with runner.run_context(agent=Asking(), store=store):
        await runner.step("a thread")
    (queued,) = await store.query_rollouts(status_in=["queuing"])
    assert queued.input == "from a thread"


LOOPS = [
    pytest.param("asyncio", {"use_uvloop": False}, id="asyncio"),
    pytest.param("asyncio", {"use_uvloop": True}, id="uvloop"),
    pytest.param("trio", {}, id="trio"),
]


@pytest.mark.parametrize(("backend", "options"), LOOPS)
@pytest.mark.parametrize("chosen", [agent, sync_agent])
def test_run_context_can_stand_outside_of_any_loop(
    backend: str, options: dict[str, Any], chosen: agl.LitAgent[str]
) -> None:
    store = InMemoryLightningStore()
    runner = agl.LitAgentRunner[str](agl.OtelTracer())
    with runner.run_context(agent=chosen, store=store):
        first = anyio.run(runner.step, "x", backend=backend, backend_options=options)
        second = anyio.run(runner.step, "y", backend=backend, backend_options=options)

    async def read() -> list[agl.Rollout]:
        return list(await store.query_rollouts())

    found = anyio.run(read, backend=backend, backend_options=options)
    assert [rollout.rollout_id for rollout in found] == [first.rollout_id, second.rollout_id]


@pytest.mark.parametrize("chosen", [agent, sync_agent])
def test_one_runner_and_store_serve_one_backend_after_another(chosen: agl.LitAgent[str]) -> None:
    store = InMemoryLightningStore()
    runner = agl.LitAgentRunner[str](agl.OtelTracer(), max_threads=1)
    template = agl.PromptTemplate(template="x", engine="f-string")

    async def both() -> int:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(run_one)
        return (await store.query_rollouts(status_in=["succeeded"])).total

    async def run_one() -> None:
        await runner.step("x", resources={"prompt": template})

    with runner.run_context(agent=chosen, store=store):
        counts = [anyio.run(both, backend=backend) for backend in ("asyncio", "trio", "asyncio")]
    assert counts == [3, 6, 9]
