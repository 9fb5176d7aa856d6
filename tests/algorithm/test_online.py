"""`OnlineAlgorithm`: by itself beside steps, and under a trainer; every part is real but the agents."""

from __future__ import annotations

from functools import partial
from typing import Any, SupportsIndex

import anyio
import anyio.lowlevel
import pytest
from diary import Diary, agent, stepping

from lightning_actors.actors.testkit import settle
from lightning_actors.algorithm import Experience, OnlineAlgorithm
from lightning_actors.emitter import find_final_reward
from lightning_actors.errors import (
    AttemptNotFound,
    ConfigError,
    RolloutCancelled,
    RolloutNotEnded,
    RolloutNotFound,
)
from lightning_actors.litagent import rollout
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.tracer import DummyTracer
from lightning_actors.trainer import Trainer
from lightning_actors.types import LLM, Hook, PromptTemplate, Resource, Rollout, RolloutConfig

pytestmark = pytest.mark.anyio

MODEL = LLM(endpoint="http://nowhere", model="none")


def prompt(text: str) -> PromptTemplate:
    return PromptTemplate(template=text, engine="f-string")


class Version(Resource):
    """A resource that counts."""

    resource_type: str = "version"
    number: int


@rollout
async def version_agent(task: Any, version: Version) -> float:
    await anyio.lowlevel.checkpoint()
    return float(version.number)


# ── beside an application ──


async def test_it_learns_from_steps_in_the_order_in_which_they_ended() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    async with stepping(store) as runner, diary.learning(store) as entered:
        assert entered is diary
        for task in ("a", "unrewarded", "b"):
            await runner.step(task)
        with pytest.raises(ValueError, match="no"):
            await runner.step("bad")
        await settle()
    assert diary.tasks == ["a", "unrewarded", "b", "bad"]
    assert diary.rewards == [0.5, None, 0.5, None]
    assert [one.rollout.status for one in diary.experiences] == ["succeeded", "succeeded", "succeeded", "failed"]
    assert [find_final_reward(one.spans) for one in diary.experiences] == diary.rewards
    assert diary.calls[0] == "begin"


async def test_it_learns_from_one_thing_at_a_time_however_many_run() -> None:
    async def dawdle(*_: object) -> None:
        for _round in range(5):
            await anyio.lowlevel.checkpoint()

    store, diary = InMemoryLightningStore(), Diary(dawdle)
    async with stepping(store) as runner, diary.learning(store), anyio.create_task_group() as tasks:
        async for ended in runner.step_many(range(200), limit=50):
            if ended.input % 10 == 0:
                tasks.start_soon(diary.feedback, ended.rollout_id, 1.0)
        await diary.until(220)
    assert sorted(diary.tasks) == sorted([*range(200), *range(0, 200, 10)])
    learns, ends = diary.calls[1::2], diary.calls[2::2]
    assert ends == [call.replace("learn", "learned") for call in learns]


async def test_it_begins_with_what_ends_from_now_on_or_where_it_is_told() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    async with stepping(store) as runner:
        await runner.step("before")
        async with diary.learning(store):
            await runner.step("during")
            await settle()
        await runner.step("between")
        async with diary.learning(store, after=diary.cursor):
            await settle()
        async with diary.learning(store, after=None):
            await settle()
    assert diary.tasks == ["during", "between", "before", "during", "between"]
    assert diary.calls.count("begin") == 3


async def test_what_ends_while_it_begins_is_not_missed() -> None:
    class Slow(Diary):
        async def begin(self) -> None:
            async with stepping(store) as runner:
                await runner.step("meanwhile")

    store, diary = InMemoryLightningStore(), Slow()
    async with diary.learning(store):
        await settle()
    assert diary.tasks == ["meanwhile"]


async def test_a_rollout_without_an_attempt_is_learned_from_without_spans() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    queued = await store.enqueue_rollout("never run")
    async with diary.learning(store):
        await store.update_rollout(queued.rollout_id, status="cancelled")
        await settle()
    assert [(one.rollout.status, one.spans, one.reward) for one in diary.experiences] == [("cancelled", (), None)]


async def test_spans_that_the_store_dropped_are_learned_without() -> None:
    store, diary = InMemoryLightningStore(eviction_memory_threshold=2, safe_memory_threshold=1), Diary()
    async with stepping(store) as runner:
        first = await runner.step("first")
        await runner.step("second")
        async with diary.learning(store, after=None):
            await settle()
    assert first.status == "succeeded"
    assert (diary.experiences[0].spans, diary.experiences[0].reward) == ((), None)


# ── publishing ──


async def test_publishing_replaces_what_has_the_name_and_keeps_the_rest() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    await store.add_resources({"llm": MODEL, "main_prompt": prompt("old")})
    async with diary.learning(store):
        new = await diary.publish({"main_prompt": prompt("new")})
        assert new.resources == {"llm": MODEL, "main_prompt": prompt("new")}
        assert await store.get_latest_resources() == new
        assert await diary.publish({"main_prompt": prompt("new")}) == new, "what is the latest is not stored again"


async def test_publishing_something_again_takes_no_more_room() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    async with diary.learning(store):
        published = [await diary.publish({"main_prompt": prompt(str(number % 2))}) for number in range(10)]
    assert await store.get_latest_resources() == published[-1]
    assert [update.version for update in published] == [1] * 10
    assert published[::2] == [published[0]] * 5
    assert (await store.query_resources()).total == 2


async def test_publishing_starts_from_the_initial_resources_where_the_store_has_none() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    diary.set_initial_resources({"llm": MODEL})
    async with diary.learning(store):
        assert (await diary.publish({"version": Version(number=1)})).resources == {
            "llm": MODEL,
            "version": Version(number=1),
        }


async def test_what_is_no_resource_is_not_published() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    async with diary.learning(store):
        with pytest.raises(TypeError, match=r"resources\['main_prompt'\] is 'text', no Resource"):
            await diary.publish({"main_prompt": "text"})  # pyright: ignore[reportArgumentType]  # the point


async def test_a_step_that_begins_after_a_publication_runs_with_it_and_one_under_way_is_left_alone() -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    @rollout
    async def waiting(task: Any, version: Version) -> float:
        begun.set()
        await go_on.wait()
        return float(version.number)

    async def next_version(diary: Diary, experience: Experience) -> None:
        await diary.publish({"version": Version(number=round(experience.reward or 0.0) + 1)})

    store, diary = InMemoryLightningStore(), Diary(next_version)
    async with stepping(store, waiting) as runner, diary.learning(store):
        await diary.publish({"version": Version(number=1)})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.step, "first")
            await begun.wait()
            await diary.publish({"version": Version(number=7)})
            go_on.set()
        await settle()
        await runner.step("second")
        await settle()
    assert diary.rewards == [1.0, 2.0]


# ── feedback ──


async def test_feedback_is_kept_and_learned_from_as_the_final_reward() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    async with stepping(store) as runner, diary.learning(store):
        done = await runner.step("a")
        await diary.until(1)
        learned = await diary.feedback(done.rollout_id, {"liked": 1.0, "long": 0.2}, primary_key="liked")
        await diary.feedback(done.rollout_id, 0.25)
    assert (learned.reward, learned.rollout) == (1.0, done)
    assert diary.rewards == [0.5, 1.0, 0.25]
    assert find_final_reward(await store.query_spans(done.rollout_id)) == 0.25


async def test_feedback_on_what_has_not_ended_is_refused_and_the_learning_goes_on() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    queued = await store.enqueue_rollout("a")
    async with stepping(store) as runner, diary.learning(store):
        with pytest.raises(RolloutNotFound):
            await diary.feedback("ro-none", 1.0)
        with pytest.raises(RolloutNotEnded):
            await diary.feedback(queued.rollout_id, 1.0)
        await store.update_rollout(queued.rollout_id, status="cancelled")
        with pytest.raises(AttemptNotFound):
            await diary.feedback(queued.rollout_id, 1.0)
        with pytest.raises(TypeError, match="finite number"):
            await diary.feedback(queued.rollout_id, "good")  # pyright: ignore[reportArgumentType]  # the point
        await diary.feedback((await runner.step("b")).rollout_id, 1.0)
    assert diary.rewards[-1] == 1.0


async def test_an_error_in_learning_from_feedback_is_its_givers_and_the_learning_goes_on() -> None:
    async def refuse(_: Diary, experience: Experience) -> None:
        if experience.reward == 1.0:
            raise ArithmeticError("too good")

    store, diary = InMemoryLightningStore(), Diary(refuse)
    async with stepping(store) as runner, diary.learning(store):
        done = await runner.step("a")
        await diary.until(1)
        with pytest.raises(ArithmeticError, match="too good"):
            await diary.feedback(done.rollout_id, 1.0)
        await diary.feedback(done.rollout_id, 0.0)
    assert diary.rewards == [0.5, 0.0]


async def test_feedback_that_the_algorithm_cannot_use_is_not_kept() -> None:
    class Strict(Diary):
        def check_feedback(self, rollout: Rollout, reward: float) -> None:
            if reward > 1:
                raise ConfigError("above 1")

    store, diary = InMemoryLightningStore(), Strict()
    async with stepping(store) as runner, diary.learning(store):
        done = await runner.step("a")
        with pytest.raises(ConfigError, match="above 1"):
            await diary.feedback(done.rollout_id, 2.0)
    assert find_final_reward(await store.query_spans(done.rollout_id)) == 0.5


async def test_feedback_whose_giver_went_away_before_its_turn_leaves_nothing_behind() -> None:
    go_on = anyio.Event()

    async def wait(_: Diary, experience: Experience) -> None:
        await go_on.wait()

    store, diary = InMemoryLightningStore(), Diary(wait)
    async with stepping(store) as runner, diary.learning(store):
        done = await runner.step("a")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(diary.feedback, done.rollout_id, 1.0)
            await settle()
            tasks.cancel_scope.cancel()
        go_on.set()
        await settle()
    assert diary.rewards == [0.5]
    assert find_final_reward(await store.query_spans(done.rollout_id)) == 0.5


# ── errors and stops ──


async def test_an_error_in_learn_cancels_the_block_and_leaves_it_as_it_is() -> None:
    class Unteachable(Exception):
        pass

    async def fail(_: Diary, experience: Experience) -> None:
        raise Unteachable(experience.task)

    store, diary, cancelled = InMemoryLightningStore(), Diary(fail), False
    with pytest.raises(Unteachable, match="a"):  # noqa: PT012 - the block is what raises
        async with stepping(store) as runner, diary.learning(store):
            try:
                await runner.step("a")
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                cancelled = True
                raise
    assert cancelled
    async with stepping(store) as runner, Diary().learning(store):
        await runner.step("the store is as good as before")


async def test_an_error_in_begin_is_raised_where_the_block_is_entered() -> None:
    class Unprepared(Diary):
        async def begin(self) -> None:
            raise LookupError("nothing to begin with")

    diary = Unprepared()
    with pytest.raises(LookupError, match="nothing to begin with"):
        async with diary.learning(InMemoryLightningStore()):
            pytest.fail("the block was entered")
    assert not diary._is_learning


async def test_the_blocks_own_error_leaves_it_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with Diary().learning(InMemoryLightningStore()):
            raise KeyError("mine")


async def test_leaving_the_block_lets_a_learn_under_way_end_and_begins_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    async def wait(_: Diary, experience: Experience) -> None:
        begun.set()
        await go_on.wait()

    store, diary = InMemoryLightningStore(), Diary(wait)
    async with stepping(store) as runner, anyio.create_task_group() as tasks:
        async with diary.learning(store):
            await runner.step("a")
            await runner.step("b")
            await begun.wait()

            async def let_go() -> None:
                await settle()
                go_on.set()

            tasks.start_soon(let_go)
        assert diary.tasks == ["a"]
        await settle()
        assert diary.tasks == ["a"]
    assert not caplog.records, "nothing went wrong"


async def test_what_ends_while_the_block_is_being_left_is_learned_from_the_next_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    async def wait_at_feedback(_: Diary, experience: Experience) -> None:
        if experience.reward == 1.0:
            begun.set()
            await go_on.wait()

    store, diary = InMemoryLightningStore(), Diary(wait_at_feedback)
    async with stepping(store) as runner, anyio.create_task_group() as tasks:

        async def end_another() -> None:
            await settle()
            await runner.step("late")
            await settle()
            go_on.set()

        async with diary.learning(store):
            done = await runner.step("a")
            await diary.until(1)
            tasks.start_soon(diary.feedback, done.rollout_id, 1.0)
            await begun.wait()
            tasks.start_soon(end_another)
        assert diary.rewards == [0.5, 1.0]
        async with diary.learning(store, after=diary.cursor):
            await diary.until(3)
    assert diary.tasks == ["a", "a", "late"]
    assert not caplog.records, "nothing went wrong"


async def test_cancelling_the_block_stops_a_learn_under_way() -> None:
    begun, stopped = anyio.Event(), anyio.Event()

    async def wait(_: Diary, experience: Experience) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    store, diary = InMemoryLightningStore(), Diary(wait)
    async with stepping(store) as runner:
        with anyio.CancelScope() as scope:
            async with diary.learning(store):
                await runner.step("a")
                await begun.wait()
                scope.cancel()
                await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert stopped.is_set()
    assert not diary.tasks
    async with diary.learning(store, after=diary.cursor):
        pass  # it can begin anew


async def test_one_algorithm_learns_in_one_place_at_a_time_and_two_may_share_a_store() -> None:
    store, diary, other = InMemoryLightningStore(), Diary(), Diary()
    async with stepping(store) as runner, diary.learning(store), other.learning(store):
        with pytest.raises(ConfigError, match="Diary is learning already"):
            async with diary.learning(store):
                pytest.fail("the block was entered")
        await runner.step("a")
        await settle()
    assert diary.tasks == other.tasks == ["a"]


# ── under a trainer ──


def trainer_of(algorithm: OnlineAlgorithm, **options: Any) -> Trainer:
    return Trainer(algorithm=algorithm, tracer=DummyTracer(), **options)


async def test_a_run_learns_from_every_task_and_then_measures() -> None:
    diary = Diary(n_epochs=2)
    result = await trainer_of(diary, n_workers=3).fit_async(agent, ["a", "bad", "unrewarded"], val_dataset=["val"])
    assert sorted(diary.tasks[:6]) == ["a", "a", "bad", "bad", "unrewarded", "unrewarded"]
    assert [one.rollout.mode for one in diary.experiences] == ["train"] * 6 + ["val"]
    assert [one.is_for_measuring for one in diary.experiences] == [False] * 6 + [True]
    assert diary.calls[0] == "begin"
    assert diary.calls[-3:] == ["conclude", "learn val", "learned val"]
    assert result.status_counts == {"succeeded": 5, "failed": 2}


async def test_a_retry_is_learned_from_once_it_has_ended() -> None:
    tries: list[str] = []

    @rollout
    async def second_time(task: Any) -> float:
        tries.append(task)
        if len(tries) < 2:
            raise ValueError("not yet")
        return 1.0

    class Retrying(Diary):
        async def begin(self) -> None:
            config = RolloutConfig(max_attempts=2, retry_condition=["failed"])
            await self.get_store().enqueue_rollout("again", config=config)

    diary = Retrying()
    await trainer_of(diary).fit_async(second_time, ["own"])
    assert tries == ["again", "own", "again"]
    assert diary.tasks[0] == "own"


async def test_no_more_tasks_are_on_their_way_than_it_is_told() -> None:
    go_on = anyio.Event()

    @rollout
    async def waiting(task: Any) -> None:
        await go_on.wait()

    store, diary = InMemoryLightningStore(), Diary(max_queue_length=2)
    trainer = trainer_of(diary, n_workers=3, store=store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trainer.fit_async, waiting, range(30))
        await settle()
        assert len(await store.query_rollouts()) == 5
        go_on.set()
    assert sorted(diary.tasks) == list(range(30))


async def test_a_task_that_is_learned_from_before_its_enqueuing_returns_is_not_waited_for() -> None:
    class Unhurried(InMemoryLightningStore):
        async def enqueue_rollout(self, *args: Any, **options: Any) -> Rollout:
            enqueued = await super().enqueue_rollout(*args, **options)
            await diary.until(enqueued.input + 1)
            return enqueued

    diary = Diary()
    with anyio.fail_after(20):
        await trainer_of(diary, store=Unhurried()).fit_async(agent, range(5))
    assert diary.tasks == list(range(5))


async def test_what_is_published_reaches_the_runners_at_their_next_rollout() -> None:
    async def count(diary: Diary, experience: Experience) -> None:
        await diary.publish({"version": Version(number=len(diary.experiences) + 1)})

    diary = Diary(count)
    trainer = trainer_of(diary, initial_resources={"version": Version(number=0), "llm": MODEL})
    result = await trainer.fit_async(version_agent, range(6))
    # A rollout's version says from how many was learned when it began; another may run, or wait, meanwhile.
    lags = [number - int(version or 0) for number, version in enumerate(diary.rewards)]
    assert set(lags) <= {0, 1, 2}, diary.rewards
    assert result.resources is not None
    assert result.resources.resources == {"version": Version(number=6), "llm": MODEL}


async def test_a_run_also_learns_from_the_steps_of_others_on_its_store() -> None:
    store, diary, go_on = InMemoryLightningStore(), Diary(), anyio.Event()

    @rollout
    async def waiting(task: Any) -> float:
        await go_on.wait()
        return 1.0

    async with stepping(store) as runner, anyio.create_task_group() as tasks:
        tasks.start_soon(trainer_of(diary, store=store).fit_async, waiting, ["own"])
        await settle()
        done = await runner.step("another's")
        await diary.until(1)
        await diary.feedback(done.rollout_id, 0.75)
        go_on.set()
    assert diary.tasks == ["another's", "another's", "own"]
    assert diary.rewards == [0.5, 0.75, 1.0]


async def test_feedback_may_come_from_a_hook_of_the_run() -> None:
    class Critic(Hook):
        async def on_rollout_start(self, *, agent: Any, runner: Any, rollout: Rollout) -> None:
            for earlier in tuple(ended):
                ended.remove(earlier)
                await diary.feedback(earlier, 0.9)

    async def note(_: Diary, experience: Experience) -> None:
        if experience.reward == 0.5:
            ended.append(experience.rollout_id)

    ended: list[str] = []
    diary = Diary(note)
    await trainer_of(diary, hooks=Critic()).fit_async(agent, range(5))
    assert diary.rewards.count(0.5) == 5
    assert diary.rewards.count(0.9) >= 3


async def test_without_tasks_it_learns_until_the_run_is_stopped() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    with anyio.CancelScope() as scope:
        async with stepping(store) as runner, anyio.create_task_group() as tasks:
            tasks.start_soon(trainer_of(diary, store=store).fit_async, agent)
            await settle()
            await runner.step("a")
            await store.enqueue_rollout("b")
            await settle()
            assert diary.tasks == ["a", "b"]
            scope.cancel()
    assert not diary._is_learning
    assert diary.calls[-1] == "learned b"


async def test_empty_datasets_end_a_run_at_once() -> None:
    diary = Diary()
    result = await trainer_of(diary).fit_async(agent, [])
    assert diary.calls == ["begin", "conclude"]
    assert not result.rollouts


async def test_an_error_in_learn_fails_the_run() -> None:
    async def fail(_: Diary, experience: Experience) -> None:
        raise ArithmeticError(f"cannot learn from {experience.task}")

    diary = Diary(fail)
    with pytest.raises(ArithmeticError, match="cannot learn from 0"):
        await trainer_of(diary).fit_async(agent, range(5))
    assert not diary._is_learning


async def test_an_error_of_the_dataset_fails_the_run_and_says_where() -> None:
    class Broken:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: SupportsIndex, /) -> int:
            if index.__index__() == 2:
                raise OSError("the disk is gone")
            return index.__index__()

    diary = Diary()
    with pytest.raises(OSError, match="the disk is gone") as raised:
        await trainer_of(diary).fit_async(agent, Broken())
    assert raised.value.__notes__ == ["raised by the train dataset at index 2"]


async def test_it_runs_beside_runners_of_ones_own() -> None:
    store, diary, enough = InMemoryLightningStore(), Diary(), anyio.Event()
    diary.set_store(store)

    async with stepping(store) as runner, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(runner.iter, event=enough))
        await diary.run(["a", "b", "c"])
        enough.set()
    assert diary.tasks == ["a", "b", "c"]


def test_a_plain_fit_works_and_leaves_nothing_behind() -> None:
    diary = Diary()
    for _ in range(2):
        result = trainer_of(diary, n_workers=2).fit(agent, ["a", "b"])
        assert (result.status_counts, result.left_behind) == ({"succeeded": 2}, ())
    assert sorted(diary.tasks) == ["a", "a", "b", "b"]


async def test_a_step_that_is_cancelled_is_learned_from_as_cancelled() -> None:
    begun = anyio.Event()

    @rollout
    async def endless(task: Any) -> None:
        begun.set()
        await anyio.sleep_forever()

    store, diary, stop = InMemoryLightningStore(), Diary(), anyio.Event()
    async with stepping(store, endless) as runner, diary.learning(store), anyio.create_task_group() as tasks:

        async def step() -> None:
            with pytest.raises(RolloutCancelled):
                await runner.step("a", event=stop)

        tasks.start_soon(step)
        await begun.wait()
        stop.set()
    async with diary.learning(store, after=diary.cursor):
        await settle()
    assert [one.rollout.status for one in diary.experiences] == ["cancelled"]


@pytest.mark.parametrize("option", ["n_epochs", "max_queue_length"])
@pytest.mark.parametrize("given", [0, "2", 1.5, True, None])
def test_options_out_of_range_are_refused(option: str, given: Any) -> None:
    with pytest.raises(ConfigError, match=f"{option} is {given!r}: give a whole number, 1 or more"):
        Diary(None, **{option: given})


@pytest.mark.parametrize(
    ("store", "after", "told"),
    [
        (None, None, "store is None: give the LightningStore whose rollouts to learn from"),
        (5, None, "store is 5: give the LightningStore"),
        (InMemoryLightningStore(), 5, "after is 5: give a cursor, or None for the beginning"),
        (InMemoryLightningStore(), "zzz", "'zzz' is no cursor"),
        (InMemoryLightningStore(), "co-00000007", "belongs to another store"),
    ],
)
async def test_what_is_no_store_or_no_cursor_is_refused_where_the_block_is_entered(
    store: Any, after: Any, told: str
) -> None:
    diary = Diary()
    with pytest.raises(ValueError, match=told):
        async with diary.learning(store, after=after):
            pytest.fail("the block was entered")
    async with diary.learning(InMemoryLightningStore()):
        pass
    assert diary.calls == ["begin"]
