"""Several runs on one store: every rollout is counted once, and what is left over is said to be no more than that."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.lowlevel import checkpoint

import lightning_actors as agl
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.trainer import plain

pytestmark = pytest.mark.anyio

RETRIED = agl.RolloutConfig(max_attempts=3, retry_condition=["failed"])


async def until(store: agl.LightningStore, rollout_id: str, status: str) -> None:
    """Let the others run until the rollout has this status."""
    while True:
        rollout = await store.get_rollout_by_id(rollout_id)
        if rollout is not None and rollout.status == status:
            return
        await checkpoint()


@dataclass
class Side:
    """A run of one runner, whose algorithm records tasks and then waits to be let go.

    Its agent is done at once with the tasks in ``runs`` and ``fails``, and blocks on any other: so it is the test that
    says which run runs what.
    """

    store: agl.LightningStore
    tasks: Sequence[Any] = ()
    runs: Iterable[str] = ()
    fails: Iterable[str] = ()
    max_rollouts: int | None = None
    config: agl.RolloutConfig | None = None
    is_ready: anyio.Event = field(default_factory=anyio.Event)
    may_end: anyio.Event = field(default_factory=anyio.Event)
    has_ended: anyio.Event = field(default_factory=anyio.Event)
    recorded: list[str] = field(default_factory=list[str])
    results: list[agl.RunResult] = field(default_factory=list[agl.RunResult])

    async def begin(self, group: anyio.abc.TaskGroup) -> None:
        """Run in the background, until the tasks are recorded."""
        group.start_soon(self._fit)
        await self.is_ready.wait()

    async def begin_plain(self, group: anyio.abc.TaskGroup) -> None:
        """The same as plain ``fit`` does it, but for the event loop of its own."""
        group.start_soon(self._fit_heeding_signals)
        await self.is_ready.wait()

    async def end(self) -> None:
        """Let the algorithm return, and wait for the result."""
        self.may_end.set()
        await self.has_ended.wait()

    @property
    def counted(self) -> dict[str, str]:
        """What the result says of each task."""
        (result,) = self.results
        assert sum(result.status_counts.values()) == len(result.rollouts)
        return {rollout.input: rollout.status for rollout in result.rollouts}

    def trainer(self) -> tuple[agl.Trainer, agl.LitAgent[str]]:
        runs, fails = set(self.runs), set(self.fails)

        @agl.algo
        async def algorithm(store: agl.LightningStore) -> None:
            for task in self.tasks:
                self.recorded.append((await store.enqueue_rollout(task, config=self.config)).rollout_id)
            self.is_ready.set()
            await self.may_end.wait()

        @agl.rollout
        async def agent(task: str) -> float:
            if task in fails:
                raise ValueError(task)
            if task not in runs:
                await anyio.sleep_forever()
            return 1.0

        trainer = agl.Trainer(
            algorithm=algorithm,
            store=self.store,
            tracer=agl.DummyTracer(),
            max_rollouts=self.max_rollouts,
            grace=0.0,
            runner={"type": agl.LitAgentRunner, "patience": 0.05},
        )
        return trainer, agent

    async def _fit(self) -> None:
        trainer, agent = self.trainer()
        try:
            self.results.append(await trainer.fit_async(agent))
        finally:
            self.has_ended.set()

    async def _fit_heeding_signals(self) -> None:
        trainer, agent = self.trainer()
        algorithm = trainer.algorithm
        assert algorithm is not None
        try:
            with trainer._using(agent, algorithm):
                self.results.append(await plain._execute(trainer._run(agent, algorithm, None), None, None))
        finally:
            self.has_ended.set()


async def keep_busy(side: Side, group: anyio.abc.TaskGroup) -> str:
    """Begin a run, and give its only runner something to do that does not end.

    Returns:
        The rollout that it is busy with.
    """
    busy = await side.store.enqueue_rollout("busy")
    await side.begin(group)
    await until(side.store, busy.rollout_id, "running")
    return busy.rollout_id


async def test_what_a_run_left_in_the_queue_is_not_listed_by_a_run_beside_it() -> None:
    store = InMemoryLightningStore()
    with_work = Side(store, ["a", "b", "c"], runs="abc", max_rollouts=1)
    beside = Side(store)
    async with anyio.create_task_group() as group:
        await keep_busy(beside, group)
        await with_work.begin(group)
        await with_work.has_ended.wait()  # its runner has taken all that it may
        await beside.end()
    assert with_work.counted == {"a": "succeeded", "b": "queuing", "c": "queuing"}
    assert beside.counted == {"busy": "cancelled"}


async def test_what_a_run_left_over_is_counted_with_its_outcome_by_the_run_that_runs_it() -> None:
    store = InMemoryLightningStore()
    leaver = Side(store, ["a", "b", "c"], runs="abc", max_rollouts=1)
    taker = Side(store, runs="bc")
    async with anyio.create_task_group() as group:
        busy = await keep_busy(taker, group)
        await leaver.begin(group)
        await leaver.has_ended.wait()
        await store.update_rollout(busy, status="cancelled")
        for left in leaver.recorded[1:]:
            await until(store, left, "succeeded")
        await taker.end()
    assert leaver.counted == {"a": "succeeded", "b": "queuing", "c": "queuing"}
    assert taker.counted == {"busy": "cancelled", "b": "succeeded", "c": "succeeded"}
    assert sorted(taker.results[0].rewards.values()) == [1.0, 1.0]


async def test_three_runs_count_what_the_first_left_over_in_that_which_runs_it() -> None:
    store = InMemoryLightningStore()
    leaver = Side(store, ["a", "b", "c"], runs="a", max_rollouts=1)
    idle, taker = Side(store), Side(store, runs="b", max_rollouts=2)
    async with anyio.create_task_group() as group:
        await keep_busy(idle, group)
        busy = await keep_busy(taker, group)
        await leaver.begin(group)
        await leaver.has_ended.wait()
        await store.update_rollout(busy, status="cancelled")
        await until(store, leaver.recorded[1], "succeeded")
        await taker.has_ended.wait()
        await idle.end()
    assert leaver.counted == {"a": "succeeded", "b": "queuing", "c": "queuing"}
    assert taker.counted == {"busy": "cancelled", "b": "succeeded"}
    assert idle.counted == {"busy": "cancelled"}


@pytest.mark.parametrize("another", [True, False], ids=["while another is under way", "with no other under way"])
async def test_a_run_that_begins_later_counts_what_was_left_over_only_where_it_runs_it(*, another: bool) -> None:
    store = InMemoryLightningStore()
    leaver = Side(store, ["a", "b", "c"], runs="a", max_rollouts=1)
    beside, later = Side(store), Side(store, runs="b", max_rollouts=1)
    async with anyio.create_task_group() as group:
        if another:
            await keep_busy(beside, group)
        await leaver.begin(group)
        await leaver.has_ended.wait()
        await later.begin(group)
        await later.has_ended.wait()
        await beside.end() if another else None
    assert leaver.counted == {"a": "succeeded", "b": "queuing", "c": "queuing"}
    assert later.counted == {"b": "succeeded"}
    if another:
        assert beside.counted == {"busy": "cancelled"}


class StuckStore(InMemoryLightningStore):
    """The attempt of this number at the task "stuck" never gets to begin."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.is_stuck = anyio.Event()

    async def update_attempt(self, *args: Any, **kwargs: Any) -> Any:
        rollout = await self.get_rollout_by_id(args[0])
        attempts = await self.query_attempts(args[0])
        number = self.number if rollout is not None and rollout.input == "stuck" else None
        if kwargs.get("status") == "running" and len(attempts) == number:
            self.is_stuck.set()
            await anyio.sleep_forever()
        return await super().update_attempt(*args, **kwargs)


@pytest.mark.parametrize("begun", ["before", "afterwards"])
@pytest.mark.parametrize(
    ("tasks", "said"),
    [(["a", "stuck"], {"a": "succeeded", "stuck": "queuing"}), (["stuck"], {"stuck": "requeuing"})],
    ids=["never run", "run before"],
)
async def test_what_was_left_over_and_claimed_in_vain_is_counted_by_the_run_that_left_it(
    tasks: list[str], said: dict[str, str], begun: str
) -> None:
    store = StuckStore(3 - len(tasks))
    leaver = Side(store, tasks, runs="a", fails=["stuck"], max_rollouts=1, config=RETRIED)
    claimer, busy = Side(store), ""
    async with anyio.create_task_group() as group:
        if begun == "before":
            busy = await keep_busy(claimer, group)
        await leaver.begin(group)
        await leaver.has_ended.wait()
        if busy:
            await store.update_rollout(busy, status="cancelled")
        else:
            await claimer.begin(group)
        await store.is_stuck.wait()
        await claimer.end()
    assert leaver.counted == said
    assert claimer.counted == ({"busy": "cancelled"} if busy else {})


@pytest.mark.parametrize("first_to_end", [0, 1])
async def test_a_rollout_that_two_runs_ran_is_counted_by_that_of_its_first_attempt(first_to_end: int) -> None:
    store = InMemoryLightningStore()
    rollout, busy = [await store.enqueue_rollout(task, config=RETRIED) for task in ("retried", "busy")]
    sides = [Side(store, fails=["retried"]), Side(store, runs=["retried"])]
    async with anyio.create_task_group() as group:
        for side, status in zip(sides, ("requeuing", "succeeded"), strict=True):
            await side.begin(group)
            await until(store, rollout.rollout_id, status)
            await until(store, busy.rollout_id, "running")
        await sides[first_to_end].end()
        await sides[1 - first_to_end].end()
    assert sides[0].counted == {"retried": "succeeded", "busy": "cancelled"}
    assert sides[1].counted == {}


async def test_a_rollout_that_a_run_left_over_for_a_retry_is_counted_with_its_outcome_where_that_is_made() -> None:
    store = InMemoryLightningStore()
    sides = [Side(store, fails=["retried"]), Side(store, runs=["retried"])]
    async with anyio.create_task_group() as group:
        busy = await keep_busy(sides[1], group)
        rollout = await store.enqueue_rollout("retried", config=RETRIED)
        busy_too = await store.enqueue_rollout("busy too")
        await sides[0].begin(group)
        await until(store, rollout.rollout_id, "requeuing")
        await until(store, busy_too.rollout_id, "running")
        await sides[0].end()
        await store.update_rollout(busy, status="cancelled")
        await until(store, rollout.rollout_id, "succeeded")
        await sides[1].end()
    assert sides[0].counted == {"retried": "requeuing", "busy too": "cancelled"}
    assert sides[1].counted == {"busy": "cancelled", "retried": "succeeded"}


async def test_what_another_run_ran_before_it_was_left_over_is_not_counted_there() -> None:
    store = InMemoryLightningStore()
    recorder = Side(store, ["busy", "retried"], config=RETRIED)
    helper = Side(store, fails=["retried"])
    async with anyio.create_task_group() as group:
        await recorder.begin(group)
        await until(store, recorder.recorded[0], "running")
        busy_too = await store.enqueue_rollout("busy too")
        await helper.begin(group)
        await until(store, recorder.recorded[1], "requeuing")
        await until(store, busy_too.rollout_id, "running")
        await recorder.end()
        await helper.end()
    assert recorder.counted == {"busy": "cancelled", "retried": "requeuing"}
    assert helper.counted == {"busy too": "cancelled"}


async def test_what_somebody_recorded_outside_of_any_run_and_nobody_ran_is_listed_once() -> None:
    store = InMemoryLightningStore()
    sides = [Side(store), Side(store), Side(store)]
    async with anyio.create_task_group() as group:
        for side in sides:
            await keep_busy(side, group)
        await store.enqueue_rollout("of the user's own")
        for side in sides:
            await side.end()
    assert sides[0].counted == {"busy": "cancelled", "of the user's own": "queuing"}
    assert [side.counted for side in sides[1:]] == [{"busy": "cancelled"}] * 2


async def test_what_a_cancelled_run_left_in_the_queue_is_listed_once_by_those_that_saw_it_come() -> None:
    """Nobody gets to see the result of the cancelled one."""
    store = InMemoryLightningStore()
    sides = [Side(store), Side(store)]
    async with anyio.create_task_group() as group:
        for side in sides:
            await keep_busy(side, group)
        async with anyio.create_task_group() as cancelled:
            await Side(store, ["a", "b"]).begin(cancelled)
            await anyio.wait_all_tasks_blocked()
            cancelled.cancel_scope.cancel()
        for side in sides:
            await side.end()
    assert sides[0].counted == {"busy": "cancelled", "b": "queuing"}
    assert sides[1].counted == {"busy": "cancelled"}


# Signals are for plain calls alone, whose event loop is asyncio's.
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False})], ids=["asyncio"])
@pytest.mark.parametrize("presses", [1, 2])
async def test_what_a_run_that_was_interrupted_left_over_is_counted_like_that_of_any_other(presses: int) -> None:
    store = InMemoryLightningStore()
    interrupted, taker = Side(store, ["a", "b", "c"]), Side(store, runs="b", max_rollouts=2)
    async with anyio.create_task_group() as group:
        busy = await keep_busy(taker, group)
        await interrupted.begin_plain(group)
        await until(store, interrupted.recorded[0], "running")
        for _ in range(presses):
            signal.raise_signal(signal.SIGINT)
        await interrupted.has_ended.wait()
        await store.update_rollout(busy, status="cancelled")
        await taker.has_ended.wait()  # its runner has taken all that it may
    assert interrupted.results[0].interrupted
    assert interrupted.counted == {"a": "cancelled", "b": "queuing", "c": "queuing"}
    assert taker.counted == {"busy": "cancelled", "b": "succeeded"}
