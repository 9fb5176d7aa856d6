"""`fit`: an algorithm, a store and a pool of runners, from the first task to the result."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import lightning_actors as agl
from lightning_actors.errors import ConfigError
from lightning_actors.store import InMemoryLightningStore

Logged = Callable[[str], list[dict[str, Any]]]
PROMPT = agl.PromptTemplate(template="Be brief. {question}", engine="f-string")


def trainer_of(algorithm: Any, **options: Any) -> agl.Trainer:
    return agl.Trainer(algorithm=algorithm, tracer=agl.DummyTracer(), **options)


@agl.rollout
async def agent(task: Any) -> float | None:
    await anyio.lowlevel.checkpoint()
    if task == "bad":
        raise ValueError("no")
    return None if task == "unrewarded" else 1.0


@agl.rollout
def sync_agent(task: Any) -> float:
    return float(threading.current_thread() is not threading.main_thread())


@agl.algo
async def all_at_once(store: agl.LightningStore, train_dataset: agl.Dataset[Any]) -> None:
    tasks = [train_dataset[i] for i in range(len(train_dataset))]
    rollouts = await store.enqueue_many_rollouts([agl.EnqueueRolloutRequest(input=task) for task in tasks])
    await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id for rollout in rollouts])


@agl.algo
def all_at_once_sync(store: Any, train_dataset: agl.Dataset[Any]) -> None:
    tasks = [train_dataset[i] for i in range(len(train_dataset))]
    rollouts = store.enqueue_many_rollouts([agl.EnqueueRolloutRequest(input=task) for task in tasks])
    store.wait_for_rollouts(rollout_ids=[rollout.rollout_id for rollout in rollouts])


@pytest.mark.parametrize("chosen", [agent, sync_agent], ids=["async agent", "sync agent"])
@pytest.mark.parametrize(
    "algorithm", [agl.Baseline(), all_at_once, all_at_once_sync], ids=["Baseline", "async", "sync"]
)
def test_fit_runs_the_algorithm_to_its_end(algorithm: agl.Algorithm, chosen: Any) -> None:
    trainer = trainer_of(algorithm, n_workers=4)
    result = trainer.fit(chosen, [str(number) for number in range(20)])
    assert result.status_counts == {"succeeded": 20}
    assert set(result.rewards.values()) == {1.0}
    assert [rollout.input for rollout in result.rollouts] == [str(number) for number in range(20)]
    assert not result.interrupted
    assert not result.errors
    assert not result.left_behind


def test_the_result_says_what_came_of_each_rollout() -> None:
    trainer = trainer_of(all_at_once, n_workers=2, initial_resources={"main": PROMPT})
    result = trainer.fit(agent, ["good", "bad", "unrewarded"])
    by_task = {rollout.input: rollout for rollout in result.rollouts}
    assert {task: rollout.status for task, rollout in by_task.items()} == {
        "good": "succeeded",
        "bad": "failed",
        "unrewarded": "succeeded",
    }
    assert result.status_counts == {"succeeded": 2, "failed": 1}
    assert result.rewards == {by_task["good"].rollout_id: 1.0}
    assert list(result.errors) == [by_task["bad"].rollout_id]
    assert isinstance(result.errors[by_task["bad"].rollout_id], ValueError)
    assert result.resources is not None
    assert result.resources.resources == {"main": PROMPT}
    assert repr(result) == "<RunResult 2 succeeded, 1 failed, mean reward 1.000>"


def test_the_store_can_be_read_after_the_run() -> None:
    trainer = trainer_of(all_at_once)
    result = trainer.fit(agent, ["good"])

    async def read() -> Sequence[agl.Span]:
        return list(await trainer.store.query_spans(result.rollouts[0].rollout_id))

    assert agl.find_final_reward(anyio.run(read)) == 1.0


def test_initial_resources_are_the_latest_before_the_first_task() -> None:
    seen: list[Any] = []

    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        latest = await store.get_latest_resources()
        seen.append(None if latest is None else latest.resources)
        rollout = await store.enqueue_rollout("Why?")
        await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])

    @agl.rollout
    async def prompted(task: str, prompt_template: agl.PromptTemplate) -> float:
        seen.append(prompt_template.format(question=task))
        return 1.0

    store = InMemoryLightningStore()
    later: agl.NamedResources = {"main": agl.PromptTemplate(template="later", engine="f-string")}
    for _ in range(2):  # also when an earlier run has left something later in the store
        trainer_of(algorithm, store=store, initial_resources={"main": PROMPT}).fit(prompted)
        anyio.run(store.add_resources, later)
    assert seen == [{"main": PROMPT}, "Be brief. Why?"] * 2


def test_fit_without_an_algorithm_names_baseline() -> None:
    with pytest.raises(ConfigError, match=r"algorithm=Baseline\(\)"):
        trainer_of(None).fit(agent, ["x"])


def test_fit_with_what_is_no_agent_says_how_to_make_one() -> None:
    def function(task: str) -> float:
        return 1.0

    not_an_agent: Any = function
    with pytest.raises(TypeError, match="decorate the function with @rollout"):
        trainer_of(all_at_once).fit(not_an_agent, ["x"])


@pytest.mark.anyio
@pytest.mark.parametrize("call", ["fit", "dev"])
async def test_the_plain_call_inside_a_running_loop_names_what_to_await(call: str) -> None:
    trainer = trainer_of(agl.Baseline())
    with pytest.raises(ConfigError, match=rf"await trainer\.{call}_async\(\.\.\.\)"):
        getattr(trainer, call)(agent, ["x"])


def test_ten_thousand_workers() -> None:
    trainer = trainer_of(all_at_once, n_workers=10_000)
    result = trainer.fit(agent, range(20))
    assert result.status_counts == {"succeeded": 20}
    assert len({rollout.attempt.worker_id for rollout in attempted(result)}) == 20


def attempted(result: agl.RunResult) -> list[agl.AttemptedRollout]:
    return [rollout for rollout in result.rollouts if isinstance(rollout, agl.AttemptedRollout)]


def test_as_many_rollouts_run_at_once_as_there_are_workers() -> None:
    most = running = 0

    @agl.rollout
    async def counting(task: int) -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await anyio.wait_all_tasks_blocked()
        running -= 1

    result = trainer_of(all_at_once, n_workers=5).fit(counting, range(20))
    assert most == 5
    assert {rollout.attempt.worker_id for rollout in attempted(result)} == {f"Worker-{n}" for n in range(5)}


def test_hooks_are_told_of_every_rollout() -> None:
    told: Counter[str] = Counter()

    class Counting(agl.Hook):
        async def on_rollout_end(self, *, rollout: agl.Rollout, spans: Any, **_: Any) -> None:
            told[rollout.input] += 1
            assert agl.find_final_reward(spans) == 1.0

    trainer = trainer_of(all_at_once, n_workers=3, hooks=Counting())
    trainer.fit(agent, ["a", "b", "c", "d"])
    assert told == {"a": 1, "b": 1, "c": 1, "d": 1}


def test_an_agent_knows_its_runner_and_trainer() -> None:
    @agl.rollout
    async def curious(task: str) -> float:
        assert curious.trainer is trainer
        assert curious.runner is trainer.runner
        return 1.0

    trainer = trainer_of(all_at_once)
    assert trainer.fit(curious, ["x"]).status_counts == {"succeeded": 1}


def test_a_trainer_fits_again_and_again() -> None:
    trainer = trainer_of(all_at_once, n_workers=2)
    for _ in range(3):
        result = trainer.fit(agent, ["a", "b"])
        assert result.status_counts == {"succeeded": 2}
        assert len(result.rewards) == 2


def test_fit_works_in_a_thread_other_than_the_main_one() -> None:
    results: list[agl.RunResult] = []
    trainer = trainer_of(all_at_once)
    thread = threading.Thread(target=lambda: results.append(trainer.fit(agent, ["a"])))
    thread.start()
    thread.join()
    assert results[0].status_counts == {"succeeded": 1}


# ── retries ──


def test_a_rollout_that_succeeds_at_last_has_no_error_and_one_reward() -> None:
    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        config = agl.RolloutConfig(max_attempts=3, retry_condition=["failed"])
        rollout = await store.enqueue_rollout("x", config=config)
        await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])

    @agl.rollout
    async def flaky(task: str, rollout: agl.AttemptedRollout) -> float | None:
        if rollout.attempt.sequence_id < 3:
            agl.emit_reward(0.1)
            raise ValueError("not yet")
        return None

    result = trainer_of(algorithm).fit(flaky)
    assert result.status_counts == {"succeeded": 1}
    assert not result.errors
    assert not result.rewards  # those of attempts that failed do not count


# ── max_rollouts ──


@pytest.mark.parametrize(
    "options",
    [{"max_rollouts": 2}, {"runner": {"type": agl.LitAgentRunner, "max_rollouts": 2}}],
    ids=["of the trainer", "of its runner"],
)
def test_max_rollouts_holds_for_each_runner(options: dict[str, Any]) -> None:
    trainer = trainer_of(all_at_once, n_workers=3, **options)
    result = trainer.fit(agent, range(6))
    assert result.status_counts == {"succeeded": 6}
    counts = Counter(rollout.attempt.worker_id for rollout in attempted(result))
    assert set(counts.values()) == {2}


@pytest.mark.parametrize(
    "algorithm", [agl.Baseline(), all_at_once, all_at_once_sync], ids=["Baseline", "async", "sync"]
)
def test_a_run_with_too_few_places_ends_and_says_what_is_left(algorithm: agl.Algorithm, logged: Logged) -> None:
    runner = {"type": agl.LitAgentRunner, "patience": 0.2}
    trainer = trainer_of(algorithm, n_workers=2, max_rollouts=2, runner=runner)
    result = trainer.fit(agent, range(6))
    assert result.status_counts["succeeded"] == 4
    assert result.status_counts["queuing"] >= 1
    assert logged("all_runners_are_done")[0]["max_rollouts"] == 2
    assert logged("rollouts_left_over") == [
        {"queued": result.status_counts["queuing"], "hint": "they stay in the store's queue"}
    ]
    assert not result.left_behind


def test_what_an_earlier_run_left_in_the_queue_runs_in_the_next_and_is_counted_once() -> None:
    store = InMemoryLightningStore()
    first = trainer_of(all_at_once, store=store, max_rollouts=2).fit(agent, ["a", "b", "c", "d"])
    assert first.status_counts == {"succeeded": 2, "queuing": 2}
    second = trainer_of(all_at_once, store=store).fit(agent, ["e"])
    assert [rollout.input for rollout in second.rollouts] == ["c", "d", "e"]
    assert second.status_counts == {"succeeded": 3}
    assert len(second.rewards) == 3


# ── algorithms that fail ──


class OwnError(Exception):
    """Raised by an algorithm."""


@pytest.mark.parametrize("error", [OwnError("no idea"), SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("sync", [False, True])
def test_what_an_algorithm_raises_is_raised_by_fit(error: BaseException, *, sync: bool) -> None:
    @agl.algo
    async def failing(store: agl.LightningStore) -> None:
        rollout = await store.enqueue_rollout("x")
        await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])
        raise error

    @agl.algo
    def failing_sync(store: Any) -> None:
        rollout = store.enqueue_rollout("x")
        store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])
        raise error

    trainer = trainer_of(failing_sync if sync else failing)
    with pytest.raises(type(error)) as caught:
        trainer.fit(agent)
    assert caught.value is error
    assert anyio.run(trainer.store.query_rollouts)[0].status == "succeeded"
    assert trainer_of(all_at_once).fit(agent, ["x"]).status_counts == {"succeeded": 1}


@pytest.mark.anyio
@pytest.mark.parametrize("error", [OwnError("no idea"), SystemExit(3)], ids=repr)
async def test_what_an_algorithm_raises_is_raised_by_fit_async(error: BaseException) -> None:
    @agl.algo
    async def failing() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await trainer_of(failing).fit_async(agent)
    assert caught.value is error


# ── datasets ──


class Raising:
    """A dataset that can be read only so far."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: Any, /) -> str:
        if index == 3:
            raise OSError("the file ends here")
        return f"task {index}"


@pytest.mark.parametrize("dataset", [[], None], ids=["empty", "none"])
def test_an_empty_dataset_is_an_empty_run(dataset: Any, logged: Logged) -> None:
    result = trainer_of(agl.Baseline()).fit(agent, dataset)
    assert (list(result.rollouts), dict(result.status_counts)) == ([], {})
    assert repr(result) == "<RunResult no rollouts>"
    assert len(logged("no_tasks")) == 1


def test_a_dataset_that_raises_half_way_raises_when_what_was_begun_has_ended() -> None:
    trainer = trainer_of(agl.Baseline(), n_workers=2)
    with pytest.raises(OSError, match="the file ends here") as caught:
        trainer.fit(agent, Raising())
    assert caught.value.__notes__ == ["raised by the train dataset at index 3"]
    rollouts = anyio.run(trainer.store.query_rollouts)
    assert [(rollout.input, rollout.status) for rollout in rollouts] == [
        (f"task {index}", "succeeded") for index in range(3)
    ]


# ── sync agents ──


@pytest.mark.parametrize(
    "options",
    [{"max_threads": 2}, {"runner": {"type": agl.LitAgentRunner, "max_threads": 2}}],
    ids=["of the trainer", "of its runner"],
)
def test_sync_agents_share_a_bounded_number_of_threads_and_the_log_says_so(
    logged: Logged, options: dict[str, Any]
) -> None:
    most = running = 0
    lock = threading.Lock()

    @agl.rollout
    def counting(task: int) -> float:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        both.wait()
        with lock:
            running -= 1
        return 1.0

    both = threading.Barrier(2, timeout=30)
    result = trainer_of(all_at_once, n_workers=5, **options).fit(counting, range(10))
    assert result.status_counts == {"succeeded": 10}
    assert most == 2
    assert logged("sync_agents_share_threads") == [{"threads": 2, "n_workers": 5, "option": "max_threads"}]


def test_a_sync_algorithm_and_a_sync_agent_reach_the_store_without_await() -> None:
    class Asking(agl.LitAgent[str]):
        def rollout(self, task: str, resources: agl.NamedResources, rollout: agl.Rollout) -> float:
            found = self.runner.blocking_store.get_rollout_by_id(rollout.rollout_id)
            return 1.0 if found.status == "running" else 0.0

    result = trainer_of(all_at_once_sync).fit(Asking(), ["x"])
    assert list(result.rewards.values()) == [1.0]


def test_the_mean_reward_is_over_the_rollouts_that_succeeded() -> None:
    @agl.rollout
    async def sometimes(task: int) -> float:
        agl.emit_reward(1.0)
        if task:
            raise ValueError(task)
        return 0.5

    result = trainer_of(all_at_once).fit(sometimes, [0, 1])
    assert sorted(result.rewards.values()) == [0.5, 1.0]
    assert result.mean_reward == 0.5
    assert repr(result) in {
        "<RunResult 1 succeeded, 1 failed, mean reward 0.500>",
        "<RunResult 1 failed, 1 succeeded, mean reward 0.500>",
    }
    assert trainer_of(all_at_once).fit(sometimes, [1]).mean_reward is None


def test_what_a_rollout_needed_is_freed_without_the_garbage_collector() -> None:
    alive: list[int] = []

    @agl.rollout
    async def agent(task: int) -> float:
        await anyio.lowlevel.checkpoint()
        alive.append(sum(type(one).__name__ == "PendingRequest" for one in gc.get_objects()))
        return float(task)

    gc.collect()
    gc.disable()
    try:
        agl.Trainer(algorithm=agl.Baseline(), n_workers=1).fit(agent, train_dataset=list(range(20)))
    finally:
        gc.enable()
    assert alive[-1] <= alive[1]
