"""Baseline against a real store and a small runner made of the store's own operations."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lightning_actors.algorithm import Baseline, FastAlgorithm, batch_iter_over_dataset
from lightning_actors.errors import ConfigError
from lightning_actors.log import LogEvent
from lightning_actors.store.memory import InMemoryLightningStore
from lightning_actors.types import AttemptedRollout, PromptTemplate, RolloutConfig, Span

pytestmark = pytest.mark.anyio


class CountingStore(InMemoryLightningStore):
    """Notes how long its queue ever was."""

    longest_queue = 0

    async def enqueue_rollout(self, *args: Any, **kwargs: Any) -> Any:
        rollout = await super().enqueue_rollout(*args, **kwargs)
        queued = await self.query_rollouts(status_in=["queuing", "requeuing"], limit=1)
        self.longest_queue = max(self.longest_queue, queued.total)
        return rollout


class Runners:
    """Claims rollouts as they come and ends them, by the store's operations alone."""

    def __init__(self, store: InMemoryLightningStore, agent: Callable[[Any], float] = float) -> None:
        self.store = store
        self.agent = agent
        self.seen: list[tuple[Any, str | None]] = []
        self.most_at_once = 0
        self._running = 0
        self._waiting: list[anyio.Event] = []

    async def work(self, worker_id: str) -> None:
        while True:
            claimed = await self.store.dequeue_rollout(worker_id)
            if claimed is None:
                self._waiting.append(anyio.Event())
                await self._waiting[-1].wait()
            else:
                await self._run(claimed)

    async def _run(self, claimed: AttemptedRollout) -> None:
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        self.seen.append((claimed.input, claimed.mode))
        for _ in range(5):
            await checkpoint()
        try:
            reward = self.agent(claimed.input)
        except ValueError:
            await self.store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="failed")
        else:
            await self.store.add_span(reward_span(claimed, reward))
            await self.store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="succeeded")
        self._running -= 1

    def ready(self) -> None:
        while self._waiting:
            self._waiting.pop().set()


def reward_span(claimed: AttemptedRollout, reward: float) -> Span:
    return Span.from_attributes(
        attributes={"agentlightning.reward.0.name": "primary", "agentlightning.reward.0.value": reward},
        rollout_id=claimed.rollout_id,
        attempt_id=claimed.attempt.attempt_id,
        sequence_id=1,
        name="agentlightning.annotation",
    )


@asynccontextmanager
async def running(runners: Runners, count: int = 1) -> AsyncGenerator[None]:
    async with anyio.create_task_group() as workers:
        stop_watching = runners.store.watch_queue(runners.ready)
        for number in range(count):
            workers.start_soon(runners.work, f"Worker-{number}")
        yield
        stop_watching()
        workers.cancel_scope.cancel()


class Trainer:
    """Has as many runners as it says; an algorithm asks for no more."""

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Generator[Callable[[str], list[dict[str, Any]]]]:
    """The fields of all events of a name that were logged."""

    def of(name: str) -> list[dict[str, Any]]:
        messages = [record.msg for record in caplog.records]
        return [message.fields for message in messages if isinstance(message, LogEvent) and message.event == name]

    with caplog.at_level(logging.INFO, "lightning_actors"):
        yield of


async def test_train_tasks_then_val_tasks_each_in_its_mode() -> None:
    store = InMemoryLightningStore()
    runners, baseline = Runners(store), Baseline()
    baseline.set_store(store)
    async with running(runners):
        await baseline.run([1, 2, 3], [4])
    assert runners.seen == [(1, "train"), (2, "train"), (3, "train"), (4, "val")]


async def test_every_epoch_runs_all_tasks_again() -> None:
    store = InMemoryLightningStore()
    runners, baseline = Runners(store), Baseline(n_epochs=2)
    baseline.set_store(store)
    async with running(runners):
        await baseline.run([1], [2])
    assert [task for task, _ in runners.seen] == [1, 2, 1, 2]


@pytest.mark.parametrize("workers", [1, 3])
async def test_no_more_than_max_queue_length_rollouts_wait(workers: int) -> None:
    store = CountingStore()
    runners, baseline = Runners(store), Baseline(max_queue_length=2)
    baseline.set_store(store)
    async with running(runners, workers):
        await baseline.run(list(range(20)))
    assert sorted(task for task, _ in runners.seen) == list(range(20))
    assert store.longest_queue == 2


async def test_with_a_trainer_all_its_runners_are_kept_busy() -> None:
    store = CountingStore()
    runners, baseline, trainer = Runners(store), Baseline(max_queue_length=1), Trainer(n_workers=8)
    baseline.set_store(store)
    baseline.set_trainer(trainer)
    async with running(runners, trainer.n_workers):
        await baseline.run(list(range(8)))
    assert runners.most_at_once == 8
    assert store.longest_queue <= 9


async def test_rollouts_of_others_in_the_queue_do_not_stop_it() -> None:
    store = InMemoryLightningStore()
    for _ in range(10):
        await store.enqueue_rollout(0)
    runners, baseline = Runners(store), Baseline(max_queue_length=1)
    baseline.set_store(store)
    async with running(runners):
        await baseline.run([1, 2])
    assert [task for task, _ in runners.seen][:10] == [0] * 10


async def test_each_end_is_logged_with_its_reward(events: Callable[[str], list[dict[str, Any]]]) -> None:
    store = InMemoryLightningStore()

    def picky(task: int) -> float:
        if task == 2:
            raise ValueError(task)
        return task / 2

    baseline = Baseline(span_verbosity="key_values")
    baseline.set_store(store)
    async with running(Runners(store, picky)):
        await baseline.run([1, 2])
    ends = {fields["index"]: fields for fields in events("rollout_ended")}
    assert (ends[0]["status"], ends[0]["reward"], ends[0]["attempts"]) == ("succeeded", 0.5, 1)
    assert (ends[1]["status"], ends[1]["reward"]) == ("failed", None)
    assert len(events("rollout_enqueued")) == 2
    assert events("span")[0]["attributes"]["agentlightning.reward.0.value"] == 0.5


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [("keys", [["agentlightning.reward.0.name", "agentlightning.reward.0.value"]]), ("none", [])],
)
async def test_span_verbosity_says_how_much_of_a_span_is_logged(
    verbosity: Any, shown: list[Any], events: Callable[[str], list[dict[str, Any]]]
) -> None:
    store = InMemoryLightningStore()
    baseline = Baseline(span_verbosity=verbosity)
    baseline.set_store(store)
    async with running(Runners(store)):
        await baseline.run([1])
    assert [fields["attributes"] for fields in events("span")] == shown


@pytest.mark.parametrize("datasets", [(), ([],), (None, []), ([], [])])
async def test_without_tasks_it_says_so_and_returns(
    datasets: tuple[Any, ...], events: Callable[[str], list[dict[str, Any]]]
) -> None:
    await Baseline().run(*datasets)
    assert len(events("no_tasks")) == 1


class Broken(Sequence[int]):
    """Raises at its third task."""

    def __getitem__(self, index: Any) -> Any:
        if index == 2:
            raise OSError("the disk is gone")
        return index

    def __len__(self) -> int:
        return 5


async def test_a_dataset_that_raises_fails_the_run_after_what_was_begun_has_ended() -> None:
    store = InMemoryLightningStore()
    baseline = Baseline()
    baseline.set_store(store)
    async with running(Runners(store)):
        with pytest.raises(OSError, match="the disk is gone") as caught:
            await baseline.run(Broken())
        assert caught.value.__notes__ == ["raised by the train dataset at index 2"]
        assert [r.status for r in await store.query_rollouts()] == ["succeeded", "succeeded"]


async def test_a_dataset_that_raises_stop_iteration_is_named() -> None:
    class Ended(list[int]):
        def __getitem__(self, index: Any) -> Any:
            raise StopIteration

    baseline = Baseline()
    baseline.set_store(InMemoryLightningStore())
    with pytest.raises(RuntimeError, match="the train dataset raised StopIteration at index 0"):
        await baseline.run(Ended([1]))


async def test_a_retried_rollout_counts_as_one_task(events: Callable[[str], list[dict[str, Any]]]) -> None:
    class Retrying(InMemoryLightningStore):
        async def enqueue_rollout(self, *args: Any, **kwargs: Any) -> Any:
            config = RolloutConfig(max_attempts=2, retry_condition=["failed"])
            return await super().enqueue_rollout(*args, **{**kwargs, "config": config})

    store = Retrying()
    seen: list[int] = []

    def second_time_lucky(task: int) -> float:
        seen.append(task)
        if len(seen) == 1:
            raise ValueError(task)
        return 1.0

    baseline = Baseline()
    baseline.set_store(store)
    async with running(Runners(store, second_time_lucky)):
        await baseline.run([7])
    (end,) = events("rollout_ended")
    assert (seen, end["status"], end["attempts"]) == ([7, 7], "succeeded", 2)


async def test_initial_resources_are_there_before_the_first_task() -> None:
    store = InMemoryLightningStore()
    baseline = Baseline()
    baseline.set_store(store)
    baseline.set_initial_resources({"prompt": PromptTemplate(template="{task}", engine="f-string")})
    async with running(Runners(store)):
        await baseline.run([1])
        (rollout,) = await store.query_rollouts()
        latest = await store.get_latest_resources()
    assert latest is not None
    assert rollout.resources_id == latest.resources_id


async def test_cancelling_the_run_leaves_no_waiter_behind() -> None:
    store = InMemoryLightningStore()
    baseline = Baseline()
    baseline.set_store(store)
    async with anyio.create_task_group() as group:
        group.start_soon(baseline.run, [1, 2])
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert not store._clerk.waiters


async def test_a_run_that_is_cancelled_while_it_records_a_task_records_no_more() -> None:
    class Careful(InMemoryLightningStore):
        """Records a task whatever happens, as a run's view of the store does."""

        async def enqueue_rollout(self, *args: Any, **kwargs: Any) -> Any:
            rollout: Any = None
            with anyio.CancelScope(shield=True):
                rollout = await super().enqueue_rollout(*args, **kwargs)
                if rollout.input == 1:
                    scope.cancel()
                for _ in range(5):
                    await checkpoint()
            return rollout

    store, baseline, trainer = Careful(), Baseline(), Trainer(2)
    baseline.set_store(store)
    baseline.set_trainer(trainer)
    with anyio.CancelScope() as scope:
        await baseline.run(list(range(50)))
    assert (await store.query_rollouts()).total == 2


@pytest.mark.parametrize("option", [{"polling_interval": 1.0}, {"train_split": 0.8}])
async def test_options_without_meaning_warn_and_say_what_does_that_job(option: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match="does that job") as warned:
        Baseline(**option)
    assert warned[0].filename == __file__


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"n_epochs": 0}, "n_epochs is 0: give a whole number, 1 or more"),
        ({"n_epochs": "2"}, "n_epochs is '2': give a whole number"),
        ({"n_epochs": 1.5}, "n_epochs is 1.5: give a whole number"),
        ({"max_queue_length": 0}, "max_queue_length is 0: give a whole number, 1 or more"),
        ({"max_queue_length": None}, "max_queue_length is None: give a whole number"),
        ({"train_split": 1.0}, "train_split is 1.0: give a number between 0 and 1"),
        ({"train_split": "half"}, "train_split is 'half': give a number between 0 and 1"),
        ({"span_verbosity": "loud"}, "span_verbosity is 'loud': give one of 'keys', 'key_values', 'none'"),
    ],
)
async def test_options_out_of_range_are_refused(option: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Baseline(**option)


async def test_baseline_is_a_fast_algorithm() -> None:
    assert isinstance(Baseline(), FastAlgorithm)
    assert Baseline().is_async()


async def test_batches_keep_the_order_and_the_last_may_be_short() -> None:
    assert list(batch_iter_over_dataset([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
    assert list(batch_iter_over_dataset(list[int](), 2)) == []
    with pytest.raises(ConfigError, match="batch_size"):
        batch_iter_over_dataset([1], 0)
