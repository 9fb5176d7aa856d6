"""The learner's arithmetic, each part against a way of computing it that is slower and plainer."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_actors.demo.cartpole.episode import PlayedEpisode
from lightning_actors.demo.cartpole.learner import Adam, Learner, advantages, policy_gradient, returns_to_go
from lightning_actors.demo.cartpole.network import Array, Network, probability, weight_count

HIDDEN = 5


def some_network(seed: int) -> Network:
    return Network(np.random.default_rng(seed).normal(size=weight_count(HIDDEN)), HIDDEN)


def some_episodes(seed: int, *lengths: int) -> list[PlayedEpisode]:
    random = np.random.default_rng(seed)
    return [
        PlayedEpisode(random.normal(size=(steps, 4)), random.integers(0, 2, steps).astype(np.float64))
        for steps in lengths
    ]


def objective(weights: Array, episodes: list[PlayedEpisode]) -> float:
    """The mean of advantage times log-probability of the action taken, step by step."""
    network = Network(weights, HIDDEN)
    weighed = iter(advantages([episode.steps for episode in episodes]))
    total = 0.0
    for episode in episodes:
        for observation, action in zip(episode.observations, episode.actions, strict=True):
            right = float(probability(network.logits(observation)))
            total += next(weighed) * np.log(right if action == 1 else 1 - right)
    return total / sum(episode.steps for episode in episodes)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_finite_differences(seed: int) -> None:
    episodes = some_episodes(seed, 7, 3, 12, 1)
    weights = some_network(seed).weights
    differences = np.zeros_like(weights)
    for at in range(len(weights)):
        nudge = np.zeros_like(weights)
        nudge[at] = 1e-5
        differences[at] = (objective(weights + nudge, episodes) - objective(weights - nudge, episodes)) / 2e-5
    found = policy_gradient(Network(weights, HIDDEN), episodes)
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(found, differences, rtol=1e-5, atol=1e-8)


def test_a_return_to_go_is_the_discounted_sum_of_what_is_to_come() -> None:
    expected = [sum(0.9**later for later in range(remaining)) for remaining in (4, 3, 2, 1)]
    np.testing.assert_allclose(returns_to_go(4, 0.9), expected)


def test_an_advantage_compares_a_step_with_the_same_step_of_the_episodes_that_reached_it() -> None:
    long, short = returns_to_go(3, 0.9), returns_to_go(1, 0.9)
    middle = (long[0] + short[0]) / 2
    raw = np.array([long[0] - middle, 0.0, 0.0, short[0] - middle])
    np.testing.assert_allclose(advantages([3, 1], 0.9), raw / raw.std(), atol=1e-12)


def test_episodes_of_the_same_length_teach_nothing() -> None:
    assert not advantages([4, 4, 4]).any()
    assert not policy_gradient(some_network(0), some_episodes(0, 4, 4)).any()


def test_a_probability_stays_one_where_its_exponential_would_overflow() -> None:
    logits = np.array([-1e4, -2.0, 0.0, 2.0, 1e4])
    expected = [0, 1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-2)), 1]
    np.testing.assert_allclose(probability(logits), expected, atol=1e-15)


def test_adam_climbs_whatever_the_scale_of_the_slope() -> None:
    top, slopes = np.array([3.0, -2.0]), np.array([1e-4, 1e4])
    place, adam = np.zeros(2), Adam(2, 0.05)
    first = adam.step(slopes * (top - place))
    np.testing.assert_allclose(np.abs(first), 0.05, rtol=1e-3)  # the first step has the length of the rate
    place = place + first
    for _ in range(1000):
        place = place + adam.step(slopes * (top - place))
    np.testing.assert_allclose(place, top, atol=0.05)


def test_learning_makes_the_better_episodes_actions_more_likely() -> None:
    learner = Learner(0)
    observations = np.random.default_rng(0).normal(size=(20, 4))
    lasting = PlayedEpisode(observations, np.ones(20))
    short = PlayedEpisode(observations[:3], np.zeros(3))
    before = learner.network
    learner.learn([lasting, short])
    shared = observations[:3]  # the steps that both episodes reached
    assert (learner.network.logits(shared) - before.logits(shared)).mean() > 0.01
    assert (before.weights == Learner(0).network.weights).all()
    assert (before.weights != Learner(1).network.weights).any()
