"""The agent: plays one episode of CartPole-v1.

An episode is arithmetic. Threads would not make it faster, as they share one interpreter lock, and the event loop would
wait up to 5 ms for each turn. So the agent is async and lets the others go on every 50 steps: nobody waits longer than
a millisecond for it.
"""

from __future__ import annotations

from typing import Any, Final

import gymnasium
import numpy as np
from anyio.lowlevel import checkpoint

from lightning_actors.demo.cartpole.episode import EpisodeTask, RecordedEpisode
from lightning_actors.demo.cartpole.network import Array, probability
from lightning_actors.demo.cartpole.policy import CartPolePolicy
from lightning_actors.emitter import emit_object
from lightning_actors.litagent import rollout
from lightning_actors.types import Rollout

__all__ = ["LONGEST", "play_episode"]

LONGEST: Final = 500
"""Steps after which CartPole-v1 ends an episode that has gone well, and so the highest return."""

_STEPS_AT_A_TIME: Final = 50


@rollout
async def play_episode(task: EpisodeTask, policy: CartPolePolicy, rollout: Rollout) -> float:
    """Play an episode: actions are drawn in training, and the likelier one is taken otherwise.

    The steps stand in the trace as one `RecordedEpisode`; the reward is the episode's return, 1 for each step. Policy
    and seed decide all of it.
    """
    network = policy.network()
    draws = np.random.default_rng(task["seed"]).random(LONGEST) if rollout.mode == "train" else np.full(LONGEST, 0.5)
    observations: list[Array] = []
    actions: list[int] = []
    # The checker would repeat, in each episode, what gymnasium's own tests have found.
    environment: gymnasium.Env[Any, Any] = gymnasium.make("CartPole-v1", disable_env_checker=True)
    observation, _ = environment.reset(seed=task["seed"])
    has_ended = False
    while not has_ended:
        action = int(draws[len(actions)] < probability(network.logits(observation)))
        observations.append(observation)
        actions.append(action)
        observation, _, has_fallen, is_cut_off, _ = environment.step(action)
        has_ended = has_fallen or is_cut_off
        if len(actions) % _STEPS_AT_A_TIME == 0:
            await checkpoint()
    environment.close()
    emit_object(RecordedEpisode.of(observations, actions))
    return float(len(actions))
