"""Feedback that cannot be taken in, and the end of a learning block: no reward and no error is lost without a word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from diary import Diary, stepping

from lightning_actors.actors.testkit import settle
from lightning_actors.algorithm import Experience
from lightning_actors.emitter import attach_reward, find_final_reward
from lightning_actors.errors import ConfigError, NotLearning
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio


class Unteachable(Exception):
    """What a learner of these tests raises."""


class Gate:
    """Lets a learner begin with an experience and holds it there."""

    def __init__(self) -> None:
        self.begun, self.go_on = anyio.Event(), anyio.Event()
        self.error: Exception | None = None

    async def __call__(self, _: Diary, experience: Experience) -> None:
        self.begun.set()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error

    async def open_when_all_wait(self) -> None:
        await settle()
        self.go_on.set()


async def outcome(call: Callable[[], Awaitable[Any]], into: list[Any]) -> None:
    """Note what a call returns or raises."""
    try:
        into.append(await call())
    except Exception as error:  # noqa: BLE001 - it is what the test looks at
        into.append(error)


async def reward_of(store: InMemoryLightningStore, rollout_id: str) -> float | None:
    return find_final_reward(await store.query_spans(rollout_id))


# ── errors of learn ──


async def test_an_error_of_a_learn_that_ends_while_the_block_is_left_is_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()
    gate.error = Unteachable("at the end")
    store, diary = InMemoryLightningStore(), Diary(gate)
    async with stepping(store) as runner, anyio.create_task_group() as tasks:
        with pytest.raises(Unteachable, match="at the end"):  # noqa: PT012 - the block is what raises
            async with diary.learning(store):
                await runner.step("a")
                await gate.begun.wait()
                tasks.start_soon(gate.open_when_all_wait)
    assert not diary._is_learning
    assert not [record for record in caplog.records if "while_ending" in record.getMessage()]


async def test_an_error_of_learn_is_noted_on_the_one_that_the_block_is_left_by() -> None:
    gate = Gate()
    gate.error = Unteachable("at the end")
    store, diary, ended = InMemoryLightningStore(), Diary(gate), list[Any]()
    async with stepping(store) as runner, anyio.create_task_group() as tasks:

        async def learn() -> None:
            async with diary.learning(store):
                await runner.step("a")
                await gate.begun.wait()
                tasks.start_soon(gate.open_when_all_wait)
                raise KeyError("mine")

        await outcome(learn, ended)
    assert repr(ended) == "[KeyError('mine')]"
    assert ended[0].__notes__ == ["Diary had failed to learn: Unteachable: at the end"]


async def test_an_error_of_learn_is_noted_on_what_the_block_makes_of_its_cancellation() -> None:
    gate = Gate()
    gate.error = Unteachable("in the middle")
    gate.go_on.set()
    store, diary = InMemoryLightningStore(), Diary(gate)
    with pytest.raises(KeyError, match="instead") as raised:  # noqa: PT012 - the block is what raises
        async with stepping(store) as runner, diary.learning(store):
            await runner.step("a")
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyError("instead")
    assert raised.value.__notes__ == ["Diary had failed to learn: Unteachable: in the middle"]


async def test_what_fails_with_the_last_rollout_of_a_block_left_at_once_is_raised() -> None:
    async def fail(_: Diary, experience: Experience) -> None:
        raise Unteachable(experience.task)

    store, seen = InMemoryLightningStore(), set[bool]()
    async with stepping(store) as runner:
        for task in range(40):
            diary, was_raised = Diary(fail), False
            try:
                async with diary.learning(store):
                    await runner.step(task)
                    for _ in range(task % 20):
                        await anyio.lowlevel.checkpoint()
            except Unteachable:
                was_raised = True
            assert was_raised == (f"learn {task}" in diary.calls)
            seen.add(was_raised)
    assert True in seen


# ── where it goes on ──


async def test_a_rollout_that_was_learned_from_while_the_block_was_left_is_not_learned_from_again() -> None:
    gate = Gate()
    store, diary = InMemoryLightningStore(), Diary(gate)
    async with stepping(store) as runner, anyio.create_task_group() as tasks:
        async with diary.learning(store):
            await runner.step("a")
            await runner.step("b")
            await gate.begun.wait()
            tasks.start_soon(gate.open_when_all_wait)
        assert diary.tasks == ["a"]
        async with diary.learning(store, after=diary.cursor):
            await diary.until(2)
    assert diary.tasks == ["a", "b"]


async def test_a_rollout_that_could_not_be_learned_from_comes_first_the_next_time() -> None:
    async def fail_once(diary: Diary, experience: Experience) -> None:
        if experience.task == "b" and diary.calls.count("learn b") == 1:
            raise Unteachable("b")

    store, diary = InMemoryLightningStore(), Diary(fail_once)
    async with stepping(store) as runner:
        with pytest.raises(Unteachable):  # noqa: PT012 - the block is what raises
            async with diary.learning(store):
                for task in ("a", "b", "c"):
                    await runner.step(task)
                await anyio.sleep_forever()
        async with diary.learning(store, after=diary.cursor):
            await diary.until(3)
    assert diary.tasks == ["a", "b", "c"]


async def test_a_block_left_and_entered_at_any_moment_learns_from_each_rollout_once() -> None:
    async def dawdle(_: Diary, experience: Experience) -> None:
        for _round in range(experience.task % 3):
            await anyio.lowlevel.checkpoint()

    store, diary = InMemoryLightningStore(), Diary(dawdle)
    cursor: str | None = await store.get_completion_cursor()
    async with stepping(store) as runner:
        for task in range(60):
            async with diary.learning(store, after=cursor):
                await runner.step(task)
                for _ in range(task % 17):
                    await anyio.lowlevel.checkpoint()
            cursor = diary.cursor
        async with diary.learning(store, after=cursor):
            await diary.until(60)
    assert diary.tasks == list(range(60))


# ── feedback that waits ──


async def test_feedback_that_waits_when_the_block_is_left_is_taken_in() -> None:
    gate = Gate()
    store, diary, said = InMemoryLightningStore(), Diary(gate), list[Any]()
    async with stepping(store) as runner, anyio.create_task_group() as tasks:
        async with diary.learning(store):
            done = await runner.step("a")
            await gate.begun.wait()
            for reward in (0.25, 1.0):
                tasks.start_soon(outcome, lambda r=reward: diary.feedback(done.rollout_id, r), said)
                await settle()
            tasks.start_soon(gate.open_when_all_wait)
        assert diary.rewards == [0.5, 0.25, 1.0]
        await settle()
        assert [one.reward for one in said] == [0.25, 1.0]
        assert await reward_of(store, done.rollout_id) == 1.0


async def test_feedback_is_taken_in_also_when_an_error_leaves_the_block() -> None:
    gate = Gate()
    store, diary, said = InMemoryLightningStore(), Diary(gate), list[Any]()
    async with stepping(store) as runner, anyio.create_task_group() as tasks:
        with pytest.raises(KeyError):  # noqa: PT012 - the block is what raises
            async with diary.learning(store):
                done = await runner.step("a")
                await gate.begun.wait()
                tasks.start_soon(outcome, lambda: diary.feedback(done.rollout_id, 1.0), said)
                await settle()
                tasks.start_soon(gate.open_when_all_wait)
                raise KeyError("mine")
        await settle()
    assert [one.reward for one in said] == [1.0]


@pytest.mark.parametrize("ending", ["cancelled", "learn failed", "took too long"])
async def test_feedback_that_is_not_taken_in_says_so_and_what_keeps_the_reward(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_actors.algorithm.online._PARTING_SECONDS", 0.01)
    gate = Gate()
    store, diary, said = InMemoryLightningStore(), Diary(gate), list[Any]()
    async with stepping(store) as runner, anyio.create_task_group() as tasks:

        async def learn() -> None:
            with anyio.CancelScope() as scope:
                async with diary.learning(store):
                    rollout = await runner.step("a")
                    ids.append(rollout.rollout_id)
                    await gate.begun.wait()
                    tasks.start_soon(outcome, lambda: diary.feedback(rollout.rollout_id, 1.0), said)
                    await settle()
                    if ending == "cancelled":
                        scope.cancel()
                    if ending == "learn failed":
                        gate.error = Unteachable("no")
                        gate.go_on.set()
                        await anyio.sleep_forever()

        ids = list[str]()
        ended = list[Any]()
        await outcome(learn, ended)
        await settle()
        (refused,) = said
        assert isinstance(refused, NotLearning)
        assert isinstance(refused, ConfigError)
        assert (refused.rollout_id, refused.kept) == (ids[0], False)
        assert f"Diary has stopped learning{' (Unteachable: no)' * (ending == 'learn failed')}, and takes" in str(
            refused
        )
        assert "attach_reward(store, rollout_id, reward)" in str(refused)
        assert [type(one) for one in ended] == [Unteachable if ending == "learn failed" else type(None)]
        assert await reward_of(store, ids[0]) == 0.5
        await attach_reward(store, ids[0], 1.0)
        assert await reward_of(store, ids[0]) == 1.0


async def test_feedback_that_is_being_learned_from_when_the_time_is_over_says_that_it_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lightning_actors.algorithm.online._PARTING_SECONDS", 0.01)
    begun = anyio.Event()

    async def hang_at_feedback(_: Diary, experience: Experience) -> None:
        if experience.reward == 1.0:
            begun.set()
            await anyio.sleep_forever()

    store, diary, said = InMemoryLightningStore(), Diary(hang_at_feedback), list[Any]()
    async with stepping(store) as runner, anyio.create_task_group() as tasks:
        async with diary.learning(store):
            done = await runner.step("a")
            await diary.until(1)
            tasks.start_soon(outcome, lambda: diary.feedback(done.rollout_id, 1.0), said)
            await begun.wait()
        await settle()
        assert await reward_of(store, done.rollout_id) == 1.0
    (cut,) = said
    assert isinstance(cut, NotLearning)
    assert cut.kept
    assert "which the store has kept" in str(cut)


async def test_what_was_learned_for_nobody_any_more_is_no_dead_letter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lightning_actors.algorithm.online._PARTING_SECONDS", 0.01)
    gate, begun = Gate(), anyio.Event()

    async def insist(diary: Diary, experience: Experience) -> None:
        begun.set()
        if experience.reward == 1.0:
            await gate(diary, experience)
        elif experience.task == "last":
            with suppress(anyio.get_cancelled_exc_class()):
                await anyio.sleep_forever()  # it takes being cut short for a hint to finish

    store, diary = InMemoryLightningStore(), Diary(insist)
    async with stepping(store) as runner:
        async with diary.learning(store):
            done = await runner.step("first")
            await diary.until(1)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(diary.feedback, done.rollout_id, 1.0)
                await gate.begun.wait()
                tasks.cancel_scope.cancel()
            gate.go_on.set()
            await diary.until(2)
            begun = anyio.Event()
            await runner.step("last")
            await begun.wait()
        assert diary.tasks == ["first", "first", "last"]
        async with diary.learning(store, after=diary.cursor):
            await settle()
    assert diary.tasks == ["first", "first", "last"], "its end was noted"
    assert [record.getMessage().split()[0] for record in caplog.records] == ["learning_cut_short"]


async def test_an_error_that_nobody_waits_for_any_more_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    gate.error = Unteachable("told to nobody")
    store, diary = InMemoryLightningStore(), Diary()
    async with stepping(store) as runner, diary.learning(store):
        done = await runner.step("a")
        await diary.until(1)
        diary._act = gate
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(diary.feedback, done.rollout_id, 1.0)
            await gate.begun.wait()
            tasks.cancel_scope.cancel()
        gate.go_on.set()
        await settle()
    (record,) = caplog.records
    assert "told to nobody" in record.getMessage()


async def test_feedback_of_many_who_give_it_while_the_block_is_left_is_learned_from_or_refused() -> None:
    store, diary, said = InMemoryLightningStore(), Diary(), list[Any]()
    async with stepping(store) as runner:
        ids = [(await runner.step(task)).rollout_id for task in range(300)]
        async with anyio.create_task_group() as tasks:

            async def give(number: int) -> Experience:
                for _ in range(number % 40):
                    await anyio.lowlevel.checkpoint()
                return await diary.feedback(ids[number], 1.0)

            async with diary.learning(store):
                for number in range(300):
                    tasks.start_soon(outcome, lambda n=number: give(n), said)
                for _ in range(25):
                    await anyio.lowlevel.checkpoint()
    refused = [one for one in said if isinstance(one, NotLearning)]
    learned = [one for one in said if isinstance(one, Experience)]
    assert len(said) == len(refused) + len(learned) == 300
    assert refused
    assert learned
    for one in learned:
        assert await reward_of(store, one.rollout_id) == 1.0
    for one in refused:
        assert (await reward_of(store, one.rollout_id) == 1.0) == one.kept
    assert sorted(one.task for one in learned) == sorted(diary.tasks)


# ── feedback where it cannot be taken ──


async def test_feedback_needs_learning() -> None:
    store, diary = InMemoryLightningStore(), Diary()
    for _ in range(2):
        with pytest.raises(NotLearning, match="Diary is not learning, and takes no feedback on 'ro-1'"):
            await diary.feedback("ro-1", 1.0)
        async with diary.learning(store):
            pass


async def test_feedback_that_comes_while_it_begins_waits_for_its_turn() -> None:
    class Slow(Diary):
        async def begin(self) -> None:
            await go_on.wait()

    store, diary, said, go_on = InMemoryLightningStore(), Slow(), list[Any](), anyio.Event()
    async with stepping(store) as runner, anyio.create_task_group() as tasks:
        done = await runner.step("a")

        async def learn() -> None:
            async with diary.learning(store):
                await diary.until(1)

        tasks.start_soon(learn)
        await settle()
        tasks.start_soon(outcome, lambda: diary.feedback(done.rollout_id, 1.0), said)
        await settle()
        assert not said
        go_on.set()
    assert [one.reward for one in said] == [1.0]


@pytest.mark.parametrize("where", ["begin", "learn", "a task of learn"])
async def test_feedback_from_within_the_learner_is_an_error_in_its_own_terms(where: str) -> None:
    class Selfish(Diary):
        async def begin(self) -> None:
            if where == "begin":
                await self.feedback("ro-1", 1.0)

        async def learn(self, experience: Experience) -> None:
            if where == "learn":
                await self.feedback(experience.rollout_id, 1.0)
            said = list[Any]()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(outcome, lambda: self.feedback(experience.rollout_id, 1.0), said)
            raise said[0]

    store, diary = InMemoryLightningStore(), Selfish()
    with pytest.raises(ConfigError, match=r"by its own begin, learn or conclude.*attach_reward") as raised:  # noqa: PT012 - the block is what raises
        async with stepping(store) as runner, diary.learning(store):
            await runner.step("a")
            await anyio.sleep_forever()
    assert not isinstance(raised.value, NotLearning)
    assert raised.value.__cause__ is None


async def test_a_reward_may_be_kept_from_within_learn() -> None:
    async def judge(diary: Diary, experience: Experience) -> None:
        await attach_reward(diary.store, experience.rollout_id, 0.9)

    store, diary = InMemoryLightningStore(), Diary(judge)
    async with stepping(store) as runner, diary.learning(store):
        done = await runner.step("a")
        await diary.until(1)
    assert await reward_of(store, done.rollout_id) == 0.9


async def test_two_learners_that_give_each_other_feedback_are_told_of_it() -> None:
    async def tell_second(_: Diary, experience: Experience) -> None:
        if experience.reward == 0.5:
            await second.feedback(experience.rollout_id, 1.0)

    async def tell_first(_: Diary, experience: Experience) -> None:
        if experience.reward == 1.0:
            await first.feedback(experience.rollout_id, 0.75)

    store, first, second = InMemoryLightningStore(), Diary(tell_second), Diary(tell_first)
    with pytest.raises(ConfigError, match="by its own begin, learn or conclude"):  # noqa: PT012 - the block is what raises
        async with stepping(store) as runner, second.learning(store), first.learning(store):
            await runner.step("a")
            await anyio.sleep_forever()
