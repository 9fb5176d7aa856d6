"""What a run is doing, seen from outside: `Trainer.tree` and `Trainer.explain`."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from anyio import to_thread

import lightning_actors as agl
from lightning_actors.actors import current_actor
from lightning_actors.actors.testkit import settle

pytestmark = pytest.mark.anyio


@agl.rollout
async def sleeper(task: str) -> None:
    await anyio.sleep_forever()


def trainer_of(algorithm: agl.Algorithm, n_workers: int = 2, patience: float = 2.0) -> agl.Trainer:
    runner = {"type": agl.LitAgentRunner, "patience": patience}
    return agl.Trainer(
        algorithm=algorithm, n_workers=n_workers, tracer=agl.DummyTracer(), grace=0.0, runner=runner, max_threads=1
    )


async def until_held(trainer: agl.Trainer, count: int) -> None:
    """Wait until so many runners are at work on an agent."""
    while sum(held.doing == "agent" for info in trainer.tree().actors for held in info.holds) < count:
        await settle()


async def test_outside_of_a_run_there_is_no_tree() -> None:
    trainer = agl.Trainer(tracer=agl.DummyTracer())
    assert trainer.tree().actors == ()
    assert str(trainer.tree()) == "no run is under way"
    await trainer.dev_async(sleeper, [])
    assert str(trainer.tree()) == "no run is under way"


async def test_a_run_shows_what_every_actor_does_and_what_each_runner_holds() -> None:
    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        rollouts = [await store.enqueue_rollout(number) for number in range(3)]
        await until_held(trainer, 2)
        tree = trainer.tree()
        assert [info.name for info in tree.actors] == ["store", "keeper", "queue", "runner-0", "runner-1", "algorithm"]
        held = {info.name: [one.name for one in info.holds] for info in tree.actors if info.holds}
        assert held == {
            "runner-0": [rollouts[0].rollout_id],
            "runner-1": [rollouts[1].rollout_id],
            "algorithm": ["algorithm"],
        }
        lines = str(tree).splitlines()
        assert lines[3].startswith(f"runner-0   {rollouts[0].rollout_id}: agent for ")
        assert lines[5].startswith("algorithm  algorithm: running for ")
        elsewhere = await to_thread.run_sync(trainer.tree)
        assert [info.name for info in elsewhere.actors] == [info.name for info in tree.actors]

    trainer = trainer_of(algorithm)
    await trainer.fit_async(sleeper)


async def test_an_explanation_names_the_runner_that_has_the_rollout_in_hand() -> None:
    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        first, second = [(await store.enqueue_rollout(number)).rollout_id for number in range(2)]
        await until_held(trainer, 1)
        running = await trainer.explain(first)
        assert [info.name for info in running.runners] == ["runner-0"]
        assert running.explanation.is_watched
        said, in_hand = str(running).splitlines()
        assert said.startswith(f"{first} is running: attempt 1 of 1 by Worker-0 for ")
        assert in_hand.startswith("runner-0 has it in hand: agent for ")
        queued = await trainer.explain(second)
        assert (queued.runners, queued.explanation.ahead, queued.explanation.listeners) == ((), 0, 1)
        assert "1 rollout is under way, so that all runners may be busy." in str(queued)
        with pytest.raises(agl.RolloutNotFound):
            await trainer.explain("ro-none")

    trainer = trainer_of(algorithm, n_workers=1)
    result = await trainer.fit_async(sleeper)
    ended = await trainer.explain(result.rollouts[0].rollout_id)
    assert str(ended).startswith(f"{result.rollouts[0].rollout_id} is over: cancelled ")


async def test_a_rollout_that_somebody_else_runs_is_in_no_runners_hand() -> None:
    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        elsewhere = await store.start_rollout("by hand")
        said = str(await trainer.explain(elsewhere.rollout_id))
        assert said.splitlines()[-1] == "No runner of this trainer has it in hand."

    trainer = trainer_of(algorithm)
    await trainer.fit_async(sleeper)


async def test_who_waits_for_a_thread_says_so() -> None:
    go_on = threading.Event()

    @agl.rollout
    def in_a_thread(task: str) -> None:
        go_on.wait()

    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        rollouts = [await store.enqueue_rollout(number) for number in range(2)]
        try:
            doing: list[str] = []
            while sorted(doing) != ["agent", "waiting for a thread"]:  # whichever of them came first
                await settle()
                runners = [info for info in trainer.tree().actors if info.name.startswith("runner-")]
                doing = [held.doing for info in runners for held in info.holds]
        finally:
            go_on.set()
        await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id for rollout in rollouts])

    trainer = trainer_of(algorithm)
    await trainer.fit_async(in_a_thread)


async def test_an_agent_left_behind_is_named_in_tree_and_explanation() -> None:
    may_end, has_ended = threading.Event(), threading.Event()

    @agl.rollout
    def hangs(task: str) -> None:
        may_end.wait()
        has_ended.set()

    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        rollout = await store.enqueue_rollout("task")
        try:
            await until_held(trainer, 1)
            await store.update_rollout(rollout.rollout_id, status="cancelled")
            while not trainer.tree().left_behind:
                await settle()
            assert str(trainer.tree()).splitlines()[-1] == f"left behind: agent of {rollout.rollout_id}"
            situation = await trainer.explain(rollout.rollout_id)
            assert situation.left_behind
            assert str(situation).splitlines()[-1].startswith("An agent call of it was left behind")
        finally:
            may_end.set()
            await to_thread.run_sync(has_ended.wait)

    trainer = trainer_of(algorithm, patience=0.01)
    await trainer.fit_async(hangs)


async def test_many_left_behind_are_not_all_named() -> None:
    tree = agl.RunTree(left_behind=tuple(f"agent of ro-{number}" for number in range(1_012)))
    assert str(tree).endswith("agent of ro-1010, agent of ro-1011, and 1,002 before them")


async def test_a_thousand_runners_are_a_few_lines() -> None:
    @agl.algo
    async def algorithm(store: agl.LightningStore) -> None:
        await store.enqueue_rollout("task")
        await until_held(trainer, 1)
        lines = str(trainer.tree()).splitlines()
        assert len(lines) == 6
        assert lines[3] == f"{'runner-0 … runner-999':<{lines[0].index('idle')}}999 idle, 1 busy"
        assert lines[4].startswith("└─ runner-0")

    trainer = trainer_of(algorithm, n_workers=1_000)
    await trainer.fit_async(sleeper)


async def test_a_runner_by_hand_shows_its_steps() -> None:
    runner, store = agl.LitAgentRunner[str](agl.DummyTracer()), agl.InMemoryLightningStore()
    held: list[str] = []

    @agl.rollout
    async def looks(task: str) -> None:
        actor = current_actor()
        assert actor is not None
        held.extend(f"{one.name} {one.doing}" for one in actor.inspect().holds)

    with runner.run_context(agent=looks, store=store):
        rollout = await runner.step("task")
    assert held == [f"{rollout.rollout_id} agent"]


@pytest.mark.parametrize("rollout_id", [None, 5])
async def test_what_is_no_id_is_refused_by_name(rollout_id: Any) -> None:
    with pytest.raises(agl.ConfigError, match=f"rollout_id is {rollout_id}: it should be a valid string"):
        await agl.Trainer().explain(rollout_id)
