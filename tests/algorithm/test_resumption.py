"""Runs that are interrupted on a store that outlives them, and run again; on every kept home that tells of work."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from store_homes import HOMES, Home, KeptStore

from lightning_actors.actors import SystemClock
from lightning_actors.algorithm import Baseline, Demonstrations, PromptSearch
from lightning_actors.algorithm.fingerprint import digest, digest_of_dataset
from lightning_actors.algorithm.prompt_search import SearchProgress
from lightning_actors.algorithm.resumption import ResumableRun, resumable
from lightning_actors.errors import RunnerError, StoreError
from lightning_actors.litagent import LitAgent, rollout
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.trainer import RunResult, Trainer
from lightning_actors.types import AttemptedRollout, Lease, PromptTemplate, Resource, Rollout

pytestmark = pytest.mark.anyio

TASKS = list(range(20))

Opened = Callable[[], AbstractAsyncContextManager[LightningStore]]
"""Opens the store, always the same."""


@pytest.fixture(params=[name for name, home in HOMES.items() if home.is_kept and home.tells_of_work])
def home(request: pytest.FixtureRequest) -> Home:
    """How a store is opened that is there when it is opened again."""
    return HOMES[request.param]


@pytest.fixture
def opened(home: Home, tmp_path: Path) -> Opened:
    return lambda: home.open(SystemClock(), tmp_path)


class Script:
    """An agent that stops its run in one of its calls, and counts those that came to their end."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.calls: Counter[int] = Counter()
        self.scope = anyio.CancelScope()
        self.stopped = anyio.Event()

    def agent(self) -> LitAgent[Any]:
        @rollout
        async def agent(task: int) -> float:
            if task == self.stop_at:
                self.scope.cancel()
                self.stopped.set()
            if self.stopped.is_set():
                await anyio.sleep_forever()
            self.calls[task] += 1
            return float(task)

        return agent


async def fit(
    store: LightningStore,
    agent: LitAgent[Any],
    train: Any = TASKS,
    *,
    algorithm: Any = None,
    val: Any = None,
    n_workers: int = 2,
    **options: Any,
) -> RunResult:
    trainer = Trainer(algorithm=algorithm or Baseline(), n_workers=n_workers, store=store, grace=0.1, **options)
    return await trainer.fit_async(agent, train, val_dataset=val)


async def fit_again(opened: Opened, script: Script, train: Any = TASKS, **options: Any) -> RunResult:
    """A run on a store that is opened for it."""
    async with opened() as store:
        return await fit(store, script.agent(), train, **options)


async def interrupted(opened: Opened, stop_at: int = 10, **options: Any) -> Script:
    """A run that is cancelled while it does this task."""
    script = Script(stop_at)
    async with opened() as store:
        with script.scope:
            await fit(store, script.agent(), **options)
            raise AssertionError("nobody interrupted it")
    return script


async def total(opened: Opened) -> int:
    """How many rollouts there are."""
    async with opened() as store:
        return (await store.query_rollouts(limit=1)).total


def inputs(rollouts: Sequence[Rollout]) -> list[Any]:
    return sorted(rollout.input for rollout in rollouts)


async def test_a_run_that_was_interrupted_goes_on_where_it_stopped(opened: Opened) -> None:
    first = await interrupted(opened)
    second = Script()
    result = await fit_again(opened, second)
    assert first.calls.total() >= 8
    assert first.calls + second.calls == Counter(TASKS), "what the interruption cancelled is run again, and no more"
    done = first.calls.total()
    assert (result.status_counts, result.done_before) == ({"succeeded": len(TASKS)}, done)
    assert inputs(result.rollouts) == TASKS
    assert sorted(result.rewards.values()) == TASKS
    assert f"({done} done before)" in result.summary
    assert await total(opened) == len(TASKS)


async def test_a_run_that_is_interrupted_again_and_again_comes_to_its_end(opened: Opened) -> None:
    calls: Counter[int] = Counter()
    for stop_at in (3, 9, 15):
        calls += (await interrupted(opened, stop_at)).calls
    last = Script()
    result = await fit_again(opened, last)
    calls += last.calls
    assert calls == Counter(TASKS)
    assert result.status_counts == {"succeeded": len(TASKS)}
    assert result.done_before == len(TASKS) - len(last.calls)
    assert await total(opened) == len(TASKS)


async def test_a_run_that_came_to_its_end_is_a_new_run_when_it_is_run_again(opened: Opened) -> None:
    for rollouts in (20, 40):
        script = Script()
        result = await fit_again(opened, script)
        assert script.calls == Counter(TASKS)
        assert (result.done_before, len(result.rollouts)) == (0, 20)
        assert await total(opened) == rollouts


async def test_the_same_store_object_goes_on_too(opened: Opened) -> None:
    script = Script(10)
    async with opened() as store:
        with script.scope:
            await fit(store, script.agent())
        result = await fit(store, Script().agent())
    assert result.status_counts == {"succeeded": len(TASKS)}
    assert result.done_before == script.calls.total() >= 8


async def test_a_store_in_memory_begins_anew() -> None:
    store, first, second = InMemoryLightningStore(), Script(10), Script()
    with first.scope:
        await fit(store, first.agent())
    result = await fit(store, second.agent())
    assert (result.done_before, set(second.calls)) == (0, set(TASKS))
    assert not store._tables.open_runs()
    assert len([one for one in result.rollouts if one.status == "succeeded"]) >= len(TASKS)


async def test_a_run_whose_process_was_killed_goes_on(tmp_path: Path) -> None:
    """Nothing of the first run has had its turn when the store is opened again, as after a kill."""
    first, second = Script(10), Script()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fit, KeptStore(tmp_path), first.agent())
        await first.stopped.wait()
        KeptStore.kill(tmp_path, tmp_path / "after")
        tasks.cancel_scope.cancel()
    result = await fit(KeptStore(tmp_path / "after"), second.agent())
    assert result.status_counts == {"succeeded": len(TASKS)}
    assert set(first.calls) | set(second.calls) == set(TASKS)
    assert set(second.calls) >= set(range(10, 20))
    assert result.done_before >= 8
    stopped = next(rollout for rollout in result.rollouts if rollout.input == 10)
    assert isinstance(stopped, AttemptedRollout)
    assert stopped.attempt.sequence_id == 2


class Broken(list[int]):
    """A dataset with a task that cannot be read."""

    def __getitem__(self, index: Any) -> Any:
        if index == 11 and self.is_broken:
            raise OSError("bad sector")
        return super().__getitem__(index)

    is_broken = True


async def test_a_run_that_ended_with_an_error_goes_on(opened: Opened) -> None:
    dataset = Broken(range(40))
    with pytest.raises(OSError, match="bad sector"):
        await fit_again(opened, Script(), dataset)
    dataset.is_broken = False
    script = Script()
    result = await fit_again(opened, script, dataset)
    assert sorted(script.calls) == list(range(11, 40))
    assert (result.done_before, result.status_counts) == (11, {"succeeded": 40})


async def test_other_tasks_epochs_or_resources_are_another_run(opened: Opened) -> None:
    await interrupted(opened)
    prompt = {"prompt": PromptTemplate(template="x", engine="f-string")}
    others: list[dict[str, Any]] = [
        {"train": [*TASKS, 20]},
        {"train": TASKS[::-1]},
        {"train": TASKS, "val": [1]},
        {"algorithm": Baseline(n_epochs=2)},
        {"initial_resources": prompt},
    ]
    for options in others:
        assert (await fit_again(opened, Script(), **options)).done_before == 0
    assert (await fit_again(opened, Script())).done_before >= 8, "the first run is still there"


async def test_a_task_that_was_changed_where_the_fingerprint_does_not_see_it_is_run(opened: Opened) -> None:
    tasks = list(range(100))
    await interrupted(opened, 90, train=tasks)
    changed = [*tasks[:41], 1_000, *tasks[42:]]
    assert digest_of_dataset(changed) == digest_of_dataset(tasks)
    script = Script()
    result = await fit_again(opened, script, changed)
    assert script.calls[1_000] == 1
    assert inputs(result.rollouts) == sorted(changed)


async def test_every_epoch_and_split_is_run(opened: Opened) -> None:
    algorithm = Baseline(n_epochs=3)
    first = await interrupted(opened, 7, train=[1, 1, 2], val=[7, 1], algorithm=algorithm)
    second = Script()
    result = await fit_again(opened, second, [1, 1, 2], val=[7, 1], algorithm=algorithm)
    assert inputs(result.rollouts) == sorted([1, 1, 2, 7, 1] * 3)
    assert first.calls + second.calls == Counter([1, 1, 2, 7, 1] * 3)


async def test_two_trainers_at_once_have_a_run_each(opened: Opened) -> None:
    results, script = list[RunResult](), Script()

    async def one(store: LightningStore) -> None:
        results.append(await fit(store, script.agent(), n_workers=1))

    async with opened() as store, anyio.create_task_group() as tasks:
        tasks.start_soon(one, store)
        tasks.start_soon(one, store)
    assert script.calls == Counter([*TASKS, *TASKS])
    assert [result.done_before for result in results] == [0, 0]
    assert [inputs(result.rollouts) for result in results] == [TASKS, TASKS]
    assert (await fit_again(opened, Script())).done_before == 0, "both came to their end"


async def test_resume_false_forgets_the_run_and_begins_anew(opened: Opened) -> None:
    tasks = list(range(100))
    await interrupted(opened, train=tasks)
    again = await interrupted(opened, 90, train=tasks, resume=False)
    assert again.calls[0] == 1, "what had been done is run again"
    result = await fit_again(opened, Script(), tasks)
    assert 80 <= result.done_before < 100, "it is the second that goes on"
    assert (await fit_again(opened, Script(), tasks)).done_before == 0, "and the first is forgotten"


async def test_a_dry_run_leaves_no_record_and_the_run_as_it_is(opened: Opened) -> None:
    tasks, script = TASKS[:8], Script()
    await interrupted(opened, 6, train=tasks)
    async with opened() as store:
        await Trainer(n_workers=2, store=store).dev_async(script.agent(), tasks)
    assert set(script.calls) >= set(tasks)
    assert (await fit_again(opened, Script(), tasks)).done_before >= 4
    assert (await fit_again(opened, Script(), tasks)).done_before == 0, "there was one run to go on with"


async def test_max_rollouts_is_an_interruption(opened: Opened) -> None:
    done = 0
    for _ in range(3):
        result = await fit_again(opened, Script(), max_rollouts=3)
        assert result.done_before == done
        done += 6
    result = await fit_again(opened, Script())
    assert (result.done_before, result.status_counts) == (18, {"succeeded": 20})


async def test_an_interruption_that_cannot_be_noted_is_logged_and_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Unwilling(KeptStore):
        async def leave_run(self, *args: Any, **kwargs: Any) -> bool:
            raise StoreError("not now")

    with (
        caplog.at_level(logging.WARNING, "lightning_actors"),
        pytest.raises(OSError, match="mine"),
    ):
        async with resumable(Unwilling(tmp_path), "a", lambda: "f", resumes=True):
            raise OSError("mine")
    assert "run_not_left" in caplog.text
    async with resumable(KeptStore(tmp_path), "a", lambda: "f", resumes=True) as run:
        assert run.run_id is not None
    assert not KeptStore(tmp_path)._tables.open_runs()


@pytest.mark.parametrize("is_alive", [False, True])
async def test_a_run_that_is_held_elsewhere_is_waited_for_once(tmp_path: Path, *, is_alive: bool) -> None:
    lease = Lease(holder="client-1", seconds=0.05)

    class Answering(KeptStore):
        async def begin_run(self, *args: Any, **kwargs: Any) -> Any:
            if is_alive:
                await self.renew_leases("client-1")
            return await super().begin_run(*args, **kwargs)

    store = Answering(tmp_path)
    held = await LightningStore.begin_run(store, "a", "f", lease)
    async with resumable(store, "a", lambda: "f", resumes=True) as run:
        assert (run.run_id == held.run_id) is not is_alive


async def test_without_a_durable_store_nothing_is_asked_of_it() -> None:
    def unasked() -> str:
        raise AssertionError("no fingerprint is needed")

    async with resumable(InMemoryLightningStore(), "a", unasked, resumes=True) as run:
        assert run.run_id is None


async def test_the_resources_of_a_run_are_stored_once(opened: Opened) -> None:
    template: dict[str, Resource] = {"prompt": PromptTemplate(template="x", engine="f-string")}
    ids: set[str] = set()
    for _ in range(2):
        async with opened() as store:
            with suppress(OSError):
                async with resumable(store, "a", lambda: "f", resumes=True) as run:
                    ids.add(await run.add_resources(template, "x"))
                    ids.add(await run.add_resources(template, "y"))
                    raise OSError("again")
            assert (await store.query_resources()).total == len(ids) == 2
            assert await store.get_latest_resources() is None


# ── a search ──


SEARCH: dict[str, Any] = {
    "instructions": ["add", "multiply", "guess"],
    "templates": ["{instruction}\n{demonstrations}{task}", "{task} {instruction}"],
    "demonstrations": Demonstrations(lambda task: f"{task}=\n", counts=(0, 2, 4)),
    "rounds": 3,
    "budget": 60,
}


def searcher(calls: list[tuple[int, str]], stop: Callable[[], bool], scope: anyio.CancelScope) -> LitAgent[Any]:
    @rollout
    async def agent(task: int, prompt_template: PromptTemplate) -> float:
        prompt = prompt_template.format(task=task)
        if stop():
            scope.cancel()
            await anyio.sleep_forever()
        calls.append((task, prompt))
        return 0.4 * ("add" in prompt) + 0.15 * prompt.count("=")

    return agent


async def searched(store: LightningStore, stop_after: int | None) -> tuple[PromptSearch, RunResult | None, int]:
    """A search, which may be stopped after so many rollouts: what it found, its run, and how many rollouts it ran."""
    calls, scope, search = list[tuple[int, str]](), anyio.CancelScope(), PromptSearch(**SEARCH)
    agent = searcher(calls, lambda: len(calls) == stop_after, scope)
    result = None
    with scope:
        result = await fit(store, agent, list(range(30)), algorithm=search, val=[100, 101], n_workers=3)
    return search, result, len(calls)


async def test_a_search_that_was_interrupted_goes_on_to_the_same_end(opened: Opened) -> None:
    alone, _, needed = await searched(InMemoryLightningStore(), None)
    ran = 0
    for stop_after in (10, 15, 20):
        async with opened() as store:
            _, result, calls = await searched(store, stop_after)
        assert result is None
        ran += calls
    async with opened() as store:
        search, result, calls = await searched(store, None)
        latest = await store.get_latest_resources()
    assert result is not None
    assert ran + calls == needed
    assert (result.done_before, len(result.rollouts)) == (ran, needed)
    found, wanted = search.result, alone.result
    assert (found.best, found.scores, found.curve) == (wanted.best, wanted.scores, wanted.curve)
    assert (found.rollouts, found.held_out_rollouts) == (wanted.rollouts, wanted.held_out_rollouts)
    assert found.after is not None
    assert wanted.after is not None
    assert found.after.mean == wanted.after.mean
    assert latest is not None
    assert latest.resources[found.resource_name] == found.prompt


async def test_a_search_whose_rollouts_all_failed_is_not_gone_on_with(opened: Opened) -> None:
    @rollout
    async def failing(task: int, prompt_template: PromptTemplate) -> float:
        raise ValueError("a bug")

    async with opened() as store:
        with pytest.raises(RunnerError, match="a bug"):
            await fit(store, failing, list(range(30)), algorithm=PromptSearch(**SEARCH))
    async with opened() as store:
        _, result, _ = await searched(store, None)
    assert result is not None
    assert result.done_before == 0


async def test_the_progress_of_a_search_that_goes_on_is_that_of_the_whole(opened: Opened) -> None:
    seen: list[SearchProgress] = []
    search = PromptSearch(**SEARCH, progress=seen.append)
    agent = searcher([], lambda: False, anyio.CancelScope())
    async with opened() as store:
        await searched(store, 25)
    async with opened() as store:
        await fit(store, agent, list(range(30)), algorithm=search, val=[100, 101])
    assert seen[0].done == seen[0].rollouts
    assert seen[-1].done == search.result.rollouts + search.result.held_out_rollouts


# ── fingerprints ──


async def test_a_digest_tells_values_apart_and_is_the_same_in_every_process() -> None:
    values: list[Any] = [None, 0, "0", [0], {"a": 1}, {"a": 2}, b"\xff", float("nan"), PromptTemplate, (1, [2])]
    digests = [digest(value) for value in values]
    assert len(set(digests)) == len(values)
    assert digest({"a": [1, "x"]}, "y") == digest({"a": [1, "x"]}, "y") == "938f2266c3e96063"
    ring: list[Any] = []
    ring.append(ring)
    assert digest(ring) == digest(ring)


async def test_a_dataset_is_told_apart_by_its_length_and_some_of_its_tasks() -> None:
    class Lazy(Sequence[int]):
        def __init__(self) -> None:
            self.read: list[int] = []

        def __len__(self) -> int:
            return 1_000_000

        def __getitem__(self, index: Any) -> Any:
            self.read.append(index)
            return index

    lazy = Lazy()
    digest_of_dataset(lazy)
    assert len(lazy.read) == 16
    assert (lazy.read[0], lazy.read[-1]) == (0, 999_999)
    several = [None, [], [1], [1, 2], [2, 1], list(range(50)), list(range(51))]
    assert len({digest_of_dataset(dataset) for dataset in several}) == len(several)


async def test_what_is_no_longer_cancelled_is_counted_as_done_only_once_it_ended(opened: Opened) -> None:
    async with opened() as store:
        run = ResumableRun(store, await store.begin_run("a", "f"))
        first = await run.enqueue(1, "train", "0")
        await store.update_rollout(first.rollout_id, status="cancelled")
        assert (await run.enqueue(1, "train", "0")).status == "queuing"
        assert run.done_before == 0
        await store.update_rollout(first.rollout_id, status="failed")
        assert (await run.enqueue(1, "train", "0")).status == "failed"
        assert run.done_before == 1
