"""The demonstration through store, queue and runners."""

from __future__ import annotations

import io
import os
import re
import signal
from typing import Any

import numpy as np
import pytest

from lightning_actors.demo.cartpole import CartPolePolicy, Reinforce, play_episode, run_cartpole
from lightning_actors.demo.cartpole.episode import EpisodeTask, RecordedEpisode, read_episode
from lightning_actors.demo.cartpole.network import Network
from lightning_actors.demo.cartpole.reinforce import LearningProgress
from lightning_actors.emitter import emit_object, find_final_reward
from lightning_actors.errors import ConfigError, RunnerError
from lightning_actors.litagent import rollout
from lightning_actors.runner import LitAgentRunner
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.tracer import OtelTracer
from lightning_actors.trainer import Trainer
from lightning_actors.types import LLM, Rollout, RolloutMode

POLICY = CartPolePolicy.of(Network.initial(16, np.random.default_rng(0)))


async def played(seed: int, mode: RolloutMode) -> tuple[Any, float | None]:
    """The episode and the reward of one rollout by itself."""
    store, runner = InMemoryLightningStore(), LitAgentRunner[EpisodeTask](OtelTracer())
    with runner.run_context(agent=play_episode, store=store):
        done = await runner.step({"seed": seed}, resources={"policy": POLICY}, mode=mode)
    spans = list(await store.query_spans(done.rollout_id))
    return read_episode(spans), find_final_reward(spans)


@pytest.mark.anyio
async def test_policy_and_seed_decide_an_episode_and_its_length_is_its_reward() -> None:
    first, reward = await played(3, "train")
    again, _ = await played(3, "train")
    other, _ = await played(4, "train")
    assert reward == first.steps > 5
    assert (first.observations == again.observations).all()
    assert (first.actions == again.actions).all()
    assert (first.observations[0] != other.observations[0]).any()


@pytest.mark.anyio
async def test_outside_training_the_likelier_action_is_taken() -> None:
    likelier, _ = await played(3, "val")
    logits = POLICY.network().logits(likelier.observations)
    assert (likelier.actions == (logits > 0)).all()
    drawn, _ = await played(3, "train")
    assert (drawn.actions != (POLICY.network().logits(drawn.observations) > 0)).any()


def trained(n_workers: int, *, seed: int = 0, episodes: int = 48) -> tuple[Reinforce, Trainer]:
    algorithm = Reinforce(seed=seed, episodes=episodes, held_out=2)
    return algorithm, Trainer(algorithm=algorithm, n_workers=n_workers)


@pytest.mark.anyio
async def test_the_course_depends_on_the_seed_and_not_on_how_many_runners_there_are() -> None:
    returns: list[list[float]] = []
    for n_workers, seed in ((1, 5), (7, 5), (7, 6)):
        algorithm, trainer = trained(n_workers, seed=seed)
        await trainer.fit_async(play_episode)
        assert algorithm.result.stopped_by == "episodes"
        returns.append(list(algorithm.result.returns))
    one, many, other_seed = returns
    assert len(one) == 48
    assert one == many != other_seed


@pytest.mark.anyio
async def test_each_update_is_published_and_each_episode_keeps_the_policy_it_was_played_with() -> None:
    steps: list[LearningProgress] = []
    algorithm = Reinforce(episodes=40, held_out=2, progress=steps.append)
    llm = LLM(endpoint="http://127.0.0.1:1", model="bystander")
    trainer = Trainer(algorithm=algorithm, n_workers=3, initial_resources={"llm": llm})
    run = await trainer.fit_async(play_episode)

    assert [(step.update, step.episodes) for step in steps] == [(1, 16), (2, 32), (3, 40)]
    assert run.status_counts == {"succeeded": 44}
    assert run.resources is not None
    assert run.resources.resources_id == algorithm.result.resources_id
    assert run.resources.resources["llm"] == llm
    used = [each.resources_id for each in run.rollouts]
    assert [used.count(each) for each in dict.fromkeys(used)] == [2 + 16, 16, 8, 2]
    assert used[-1] == algorithm.result.resources_id
    published = await trainer.store.query_resources()
    assert len({str(each.resources["policy"]) for each in published if "policy" in each.resources}) == 4


@pytest.mark.anyio
async def test_failed_episodes_are_counted_and_the_others_are_learned_from() -> None:
    @rollout
    async def stumbling(task: EpisodeTask, policy: CartPolePolicy, rollout: Rollout) -> None:
        if rollout.mode == "train" and task["seed"] % 4 == 0:
            raise ValueError("the cart is broken")
        emit_object(RecordedEpisode.of([np.ones(4)] * (task["seed"] % 4 + 1), [1] * (task["seed"] % 4 + 1)))

    algorithm, trainer = trained(2)
    await trainer.fit_async(stumbling)
    assert algorithm.result.failed == 12
    assert algorithm.result.returns == tuple([2.0, 3.0, 4.0] * 12)
    assert algorithm.result.updates == 3


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("mode", "what"),
    [("val", "a held-out episode failed"), ("train", "all 16 episodes of a batch failed, the first one")],
)
async def test_what_leaves_nothing_to_go_on_with_ends_the_run_with_the_reason(mode: RolloutMode, what: str) -> None:
    @rollout
    async def broken(task: EpisodeTask, policy: CartPolePolicy, rollout: Rollout) -> None:
        if rollout.mode == mode:
            raise ValueError("the cart is broken")
        emit_object(RecordedEpisode.of([np.ones(4)], [1]))

    _, trainer = trained(2)
    with pytest.raises(RunnerError, match=rf"^{what} with: .*the cart is broken"):
        await trainer.fit_async(broken)


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"seed": -1}, "seed"), ({"episodes": 0}, "episodes"), ({"held_out": 0}, "held_out"), ({"window": 0}, "window")],
)
def test_an_option_out_of_range_is_refused(options: dict[str, int], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Reinforce(**options)  # pyright: ignore[reportArgumentType] - whole numbers, by name


@pytest.mark.anyio
async def test_an_algorithm_that_has_run_does_not_go_on_from_there_unasked() -> None:
    algorithm, trainer = trained(2, episodes=1)
    with pytest.raises(ConfigError, match="has no result yet"):
        algorithm.result  # noqa: B018 - raises
    await trainer.fit_async(play_episode)
    with pytest.raises(ConfigError, match="make another one"):
        await trainer.fit_async(play_episode)


def test_the_pole_is_balanced_and_everything_is_shown() -> None:
    out = io.StringIO()
    report = run_cartpole(seed=1, limit_seconds=50, out=out)
    assert report is not None
    learning, printed = report.learning, out.getvalue()
    assert learning.stopped_by == "target"
    assert learning.before.mean < 100
    assert learning.after.mean > 400
    assert np.mean(learning.returns[-64:]) >= 450
    lines = re.findall(r"^ +\d+\.\d s  update +(\d+) +(\d+) episodes  return +(\d+\.\d) ", printed, re.MULTILINE)
    assert [int(update) for update, _, _ in lines] == list(range(1, learning.updates + 1))
    assert float(lines[-1][2]) == round(np.mean(learning.returns[-16:]), 1)
    assert "mean return of the last 16 episodes" in printed
    assert re.search(r"^├─ object RecordedEpisode: ", printed, re.MULTILINE)
    assert re.search(rf"^  mean return +{learning.before.mean:.1f} +{learning.after.mean:.1f}$", printed, re.MULTILINE)
    assert f"{len(learning.returns)} episodes, {sum(learning.returns):.0f} steps" in printed


class Interrupting(io.StringIO):
    """Presses Ctrl-C when the second update is told of."""

    def write(self, text: str, /) -> int:
        if "update   2" in text:
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


def test_an_interrupt_ends_it_in_order_with_the_curve_so_far() -> None:
    out = Interrupting()
    assert run_cartpole(target=1000, out=out) is None
    found = re.search(r"^Interrupted after (\d+) episodes$", out.getvalue(), re.MULTILINE)
    assert found is not None
    assert 32 <= int(found[1]) < 2000
    assert "mean return of the last 16 episodes" in out.getvalue()
    assert "Held-out episodes" not in out.getvalue()


@pytest.mark.parametrize(("options", "reason"), [({"episodes": 5}, "episodes"), ({"limit_seconds": 0}, "time")])
def test_a_spent_budget_ends_it_with_a_report(options: dict[str, int], reason: str) -> None:
    out = io.StringIO()
    report = run_cartpole(held_out=2, out=out, **options)
    assert report is not None
    assert len(report.learning.returns) == options.get("episodes", 0)
    assert "Held-out episodes, 2 " in out.getvalue()
    assert re.search(rf"the {reason}s? (was|were) (used )?up; ", out.getvalue())
