"""What a stop does to rollouts: one test per cell of the table, but for those that need a durable store.

```
the rollout is        the algorithm returns     first Ctrl-C,     second Ctrl-C,           its runner actor
                      or raises                 SIGTERM           outer scope cancelled    crashes
queued                stays queued, counted     same              same                     -
claimed, not begun    claim undone              same              same                     claim undone
running               grace time, cancelled     same              cancelled now            unresponsive, retry rule
ended                 as it ended               same              same                     same
```
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

import lightning_actors as agl
from lightning_actors.actors import current_actor
from lightning_actors.actors.testkit import crash
from lightning_actors.store import InMemoryLightningStore

Logged = Callable[[str], list[dict[str, Any]]]


class AlgorithmError(Exception):
    """Raised by the algorithm."""


class StuckStore(InMemoryLightningStore):
    """An attempt at the task "claimed" never gets to begin."""

    def __init__(self) -> None:
        super().__init__()
        self.claimed = anyio.Event()

    async def update_attempt(self, *args: Any, **kwargs: Any) -> Any:
        rollout = await self.get_rollout_by_id(args[0])
        if rollout is not None and rollout.input == "claimed" and kwargs.get("status") == "running":
            self.claimed.set()
            await anyio.sleep_forever()
        return await super().update_attempt(*args, **kwargs)


@dataclass
class Scene:
    """Two workers and four rollouts, one in each row of the table, at the moment of the stop."""

    store: StuckStore = field(default_factory=StuckStore)
    ends_in_grace: bool = False
    running: anyio.Event = field(default_factory=anyio.Event)
    ids: dict[str, str] = field(default_factory=dict[str, str])
    seen_store: agl.LightningStore | None = None
    cancelled: str = ""

    def agent(self) -> agl.LitAgent[str]:
        @agl.rollout
        async def agent(task: str) -> float:
            if task == "running":
                self.running.set()
                runner: Any = current_actor()
                try:
                    await runner._life.status.until("stopping")
                    if not self.ends_in_grace:
                        await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class() as error:
                    self.cancelled = type(error).__name__
                    raise
            return 1.0

        return agent

    async def set_up(self, store: agl.LightningStore) -> None:
        """Bring each of the rollouts to its row."""
        self.seen_store = store
        ended = await self._enqueue(store, "ended")
        await store.wait_for_rollouts(rollout_ids=[ended])
        await self._enqueue(store, "running")
        await self.running.wait()
        await self._enqueue(store, "claimed")
        await self.store.claimed.wait()
        await self._enqueue(store, "queued")

    async def _enqueue(self, store: agl.LightningStore, task: str) -> str:
        rollout = await store.enqueue_rollout(task)
        self.ids[task] = rollout.rollout_id
        return rollout.rollout_id

    def trainer(self, algorithm: agl.Algorithm, *, grace: float) -> agl.Trainer:
        runner = {"type": agl.LitAgentRunner, "patience": 0.2}
        return agl.Trainer(
            algorithm=algorithm, store=self.store, tracer=agl.DummyTracer(), n_workers=2, grace=grace, runner=runner
        )

    async def state_of(self, task: str) -> tuple[str, list[tuple[str, Any, bool]]]:
        """The rollout's status, and each attempt's status, metadata, and whether it has an end time."""
        rollout = await self.store.get_rollout_by_id(self.ids[task])
        assert rollout is not None
        attempts = await self.store.query_attempts(rollout.rollout_id)
        return rollout.status, [(a.status, a.metadata, a.end_time is not None) for a in attempts]

    def state(self, task: str) -> tuple[str, list[tuple[str, Any, bool]]]:
        """The same, from outside of any loop."""
        return anyio.run(self.state_of, task)


Column = Callable[[Scene, float], agl.RunResult | None]


def algorithm_returns(scene: Scene, grace: float) -> agl.RunResult | None:
    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        await scene.set_up(store)

    return scene.trainer(algorithm, grace=grace).fit(scene.agent())


def algorithm_raises(scene: Scene, grace: float) -> agl.RunResult | None:
    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        await scene.set_up(store)
        raise AlgorithmError

    with pytest.raises(AlgorithmError):
        scene.trainer(algorithm, grace=grace).fit(scene.agent())


def signals(*numbers: signal.Signals) -> Column:
    """Real signals to this process, while ``fit`` runs in its main thread."""

    def stop(scene: Scene, grace: float) -> agl.RunResult | None:
        @agl.algo
        async def algorithm(store: agl.LightningStore) -> None:
            await scene.set_up(store)
            for number in numbers:
                signal.raise_signal(number)
            await anyio.sleep_forever()

        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        result = scene.trainer(algorithm, grace=grace).fit(scene.agent())
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        assert result.interrupted
        return result

    return stop


def scope_cancelled_on(backend: str, **options: Any) -> Column:
    """An application cancels the scope around ``fit_async``."""

    def stop(scene: Scene, grace: float) -> agl.RunResult | None:
        ready = anyio.Event()

        @agl.algo
        async def algorithm(store: agl.LightningStore) -> None:
            await scene.set_up(store)
            ready.set()
            await anyio.sleep_forever()

        async def application() -> None:
            before = {task.id for task in anyio.get_running_tasks()}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(scene.trainer(algorithm, grace=grace).fit_async, scene.agent())
                await ready.wait()
                tasks.cancel_scope.cancel()
            assert {task.id for task in anyio.get_running_tasks()} == before

        anyio.run(application, backend=backend, backend_options=options)

    return stop


ENDS = [pytest.param(algorithm_returns, id="algorithm returns"), pytest.param(algorithm_raises, id="algorithm raises")]
FIRST = [
    pytest.param(signals(signal.SIGINT), id="first Ctrl-C"),
    pytest.param(signals(signal.SIGTERM), id="SIGTERM"),
]
AT_ONCE = [
    pytest.param(signals(signal.SIGINT, signal.SIGINT), id="second Ctrl-C"),
    pytest.param(signals(signal.SIGTERM, signal.SIGINT), id="SIGTERM then Ctrl-C"),
    pytest.param(scope_cancelled_on("asyncio"), id="outer scope cancelled, asyncio"),
    pytest.param(scope_cancelled_on("asyncio", use_uvloop=True), id="outer scope cancelled, uvloop"),
    pytest.param(scope_cancelled_on("trio"), id="outer scope cancelled, trio"),
]
SOON, LONG = 0.05, 3600.0

CANCELLED = ("cancelled", [("failed", {"reason": "cancelled"}, True)])


@pytest.mark.parametrize("stop", [*ENDS, *FIRST, *AT_ONCE])
def test_queued_stays_queued_and_is_counted_as_left_over(stop: Column, logged: Logged) -> None:
    scene = Scene()
    result = stop(scene, SOON)
    assert scene.state("queued") == ("queuing", [])
    if result is not None:
        assert result.status_counts["queuing"] == 2
        assert logged("rollouts_left_over")[0]["queued"] == 2

    async def claim() -> list[str]:
        return [claimed.input for claimed in await scene.store.dequeue_many_rollouts(limit=5)]

    assert anyio.run(claim) == ["claimed", "queued"]  # what was claimed before is first again


@pytest.mark.parametrize("stop", [*ENDS, *FIRST, *AT_ONCE])
def test_claimed_not_begun_is_undone_and_counts_no_attempt(stop: Column) -> None:
    scene = Scene()
    stop(scene, SOON)
    assert scene.state("claimed") == ("queuing", [])


@pytest.mark.parametrize("stop", [*ENDS, *FIRST])
def test_running_may_finish_within_the_grace_time(stop: Column) -> None:
    scene = Scene(ends_in_grace=True)
    result = stop(scene, 0.5)
    status, attempts = scene.state("running")
    assert (status, attempts[0][0]) == ("succeeded", "succeeded")
    if result is not None:
        assert result.rewards == {scene.ids["ended"]: 1.0, scene.ids["running"]: 1.0}


@pytest.mark.parametrize("stop", [*ENDS, *FIRST])
def test_running_is_cancelled_after_the_grace_time(stop: Column) -> None:
    scene = Scene()
    result = stop(scene, SOON)
    assert scene.state("running") == CANCELLED
    assert scene.cancelled
    if result is not None:
        assert result.status_counts == {"succeeded": 1, "cancelled": 1, "queuing": 2}


@pytest.mark.parametrize("stop", AT_ONCE)
def test_running_is_cancelled_now(stop: Column) -> None:
    scene = Scene(ends_in_grace=False)
    stop(scene, LONG)
    assert scene.state("running") == CANCELLED
    assert scene.cancelled


@pytest.mark.parametrize("stop", [*ENDS, *FIRST, *AT_ONCE])
def test_ended_stays_as_it_ended(stop: Column) -> None:
    scene = Scene()
    stop(scene, SOON)
    assert scene.state("ended") == ("succeeded", [("succeeded", None, True)])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_waiter_is_answered(backend: str) -> None:
    scene = Scene()
    answers: dict[str, Any] = {}
    waiting = anyio.Event()

    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        await scene.set_up(store)
        await waiting.wait()

    async def wait_for(task: str) -> None:
        assert scene.seen_store is not None
        try:
            (answers[task],) = await scene.seen_store.wait_for_rollouts(rollout_ids=[scene.ids[task]])
        except agl.ActorStopped as error:
            answers[task] = error

    async def application() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.trainer(algorithm, grace=SOON).fit_async, scene.agent())
            await scene.store.claimed.wait()
            while len(scene.ids) < 4:
                await anyio.wait_all_tasks_blocked()
            for task in scene.ids:
                tasks.start_soon(wait_for, task)
            await anyio.wait_all_tasks_blocked()
            waiting.set()

    anyio.run(application, backend=backend)
    assert answers["ended"].status == "succeeded"
    assert answers["running"].status == "cancelled"
    for task in ("claimed", "queued"):
        assert isinstance(answers[task], agl.ActorStopped)


# ── its runner actor crashes ──


class Boom(Exception):
    """Crashes a runner actor."""


def crash_this_runner() -> None:
    """Crash the runner actor whose agent calls this, between two of its messages."""
    runner = current_actor()
    assert runner is not None
    crash(runner, Boom("from a test"))


async def run_with_crash(
    config: agl.RolloutConfig | None, calls: list[int], backend_store: InMemoryLightningStore
) -> agl.RunResult:
    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        ended = await store.enqueue_rollout("ended")
        await store.wait_for_rollouts(rollout_ids=[ended.rollout_id])
        rollout = await store.enqueue_rollout("crash", config=config)
        await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])

    @agl.rollout
    async def agent(task: str, rollout: agl.AttemptedRollout) -> float:
        calls.append(rollout.attempt.sequence_id)
        if task == "crash" and rollout.attempt.sequence_id == 1:
            crash_this_runner()
            await anyio.sleep_forever()
        return 1.0

    trainer = agl.Trainer(algorithm=algorithm, store=backend_store, tracer=agl.DummyTracer())
    return await trainer.fit_async(agent)


@pytest.mark.anyio
async def test_running_becomes_unresponsive_with_the_cause_when_its_runner_crashes() -> None:
    store, calls = InMemoryLightningStore(), list[int]()
    result = await run_with_crash(None, calls, store)
    crashed = result.rollouts[1]
    assert isinstance(crashed, agl.AttemptedRollout)
    assert (crashed.status, crashed.attempt.status) == ("failed", "unresponsive")
    assert crashed.attempt.metadata == {"reason": "crashed", "error": "Boom: from a test"}
    assert crashed.attempt.end_time is not None
    assert calls == [1, 1]
    assert str(result.errors[crashed.rollout_id]) == f"rollout {crashed.rollout_id} failed: Boom: from a test"


@pytest.mark.anyio
async def test_running_is_tried_again_as_its_retry_rule_says_when_its_runner_crashes() -> None:
    store, calls = InMemoryLightningStore(), list[int]()
    config = agl.RolloutConfig(max_attempts=2, retry_condition=["unresponsive"])
    result = await run_with_crash(config, calls, store)
    assert result.status_counts == {"succeeded": 2}
    assert calls == [1, 1, 2]
    statuses = [attempt.status for attempt in await store.query_attempts(result.rollouts[1].rollout_id)]
    assert statuses == ["unresponsive", "succeeded"]
    assert not result.errors


@pytest.mark.anyio
async def test_ended_stays_as_it_ended_when_its_runner_crashes() -> None:
    result = await run_with_crash(None, [], InMemoryLightningStore())
    assert result.rollouts[0].status == "succeeded"


class FailsToBegin(InMemoryLightningStore):
    """Does not take the first beginning of an attempt, which crashes the runner that reports it."""

    failures = 1

    async def update_attempt(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("status") == "running" and self.failures:
            self.failures -= 1
            raise agl.StoreError("the disk is full")
        return await super().update_attempt(*args, **kwargs)


@pytest.mark.anyio
async def test_claimed_not_begun_is_undone_when_its_runner_crashes() -> None:
    attempts: list[str] = []

    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        rollout = await store.enqueue_rollout("x")
        await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])

    @agl.rollout
    async def agent(task: str, rollout: agl.AttemptedRollout) -> float:
        attempts.append(rollout.attempt.attempt_id)
        return 1.0

    store = FailsToBegin()
    result = await agl.Trainer(algorithm=algorithm, store=store, tracer=agl.DummyTracer()).fit_async(agent)
    assert result.status_counts == {"succeeded": 1}
    assert store.failures == 0
    (attempt,) = await store.query_attempts(result.rollouts[0].rollout_id)
    assert (attempt.sequence_id, [attempt.attempt_id]) == (1, attempts)
