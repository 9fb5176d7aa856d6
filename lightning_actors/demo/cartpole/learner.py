"""REINFORCE with a baseline: from a batch of episodes to a better policy.

```
return to go        G_t = 1 + discount + discount² + …, a term for each step from t on
baseline            b_t = mean of G_t over the episodes of the batch that reached step t
advantage           A_t = (G_t - b_t) / their standard deviation
gradient            mean of A_t ∇ log π(a_t | s_t)
```

Source: Williams, Simple statistical gradient-following algorithms for connectionist reinforcement learning, Machine
Learning 8 (1992): REINFORCE and its baseline. Kingma and Ba, Adam: a method for stochastic optimization (2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from lightning_actors.demo.cartpole.episode import PlayedEpisode
from lightning_actors.demo.cartpole.network import Array, Network, probability

__all__ = ["Adam", "Learner", "advantages", "policy_gradient", "returns_to_go"]

_DISCOUNT: Final = 0.99
_RATE: Final = 0.03
_HIDDEN: Final = 16
_SAME: Final = 1e-8
"""Advantages that differ by less say nothing about the actions."""


def returns_to_go(steps: int, discount: float = _DISCOUNT) -> Array:
    """The discounted return from each step of an episode on, where each step earns 1."""
    remaining = np.arange(steps, 0, -1, dtype=np.float64)
    return (1 - np.power(discount, remaining)) / (1 - discount)


def advantages(lengths: Sequence[int], discount: float = _DISCOUNT) -> Array:
    """How much better each step turned out than the batch did at that time, with standard deviation 1.

    Args:
        lengths: The steps of each episode.
        discount: What a step later is worth.

    Returns:
        One number for each step, episode by episode; all 0 where the episodes do not differ.
    """
    longest = max(lengths)
    returns = np.full((len(lengths), longest), np.nan)
    for row, steps in zip(returns, lengths, strict=True):
        row[:steps] = returns_to_go(steps, discount)
    above = (returns - np.nanmean(returns, axis=0))[~np.isnan(returns)]
    spread = above.std()
    return above / spread if spread > _SAME else np.zeros_like(above)


def policy_gradient(network: Network, episodes: Sequence[PlayedEpisode]) -> Array:
    """The gradient of the mean of advantage times log-probability of the action, with respect to the weights."""
    observations = np.concatenate([episode.observations for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    weighed = advantages([episode.steps for episode in episodes])
    of_logits = weighed * (actions - probability(network.logits(observations))) / len(actions)
    return network.gradient(observations, of_logits)


class Adam:
    """Steps uphill along gradients, each weight at a pace of its own.

    Args:
        size: How many weights there are.
        rate: The length of a step.
    """

    _KEPT: Final = 0.9
    _KEPT_OF_SQUARES: Final = 0.999
    _LEAST: Final = 1e-8

    def __init__(self, size: int, rate: float) -> None:
        self._rate = rate
        self._steps = 0
        self._mean = np.zeros(size)
        self._mean_square = np.zeros(size)

    def step(self, gradient: Array) -> Array:
        """What to add to the weights."""
        self._steps += 1
        self._mean += (1 - self._KEPT) * (gradient - self._mean)
        self._mean_square += (1 - self._KEPT_OF_SQUARES) * (gradient**2 - self._mean_square)
        mean = self._mean / (1 - self._KEPT**self._steps)
        mean_square = self._mean_square / (1 - self._KEPT_OF_SQUARES**self._steps)
        return self._rate * mean / (np.sqrt(mean_square) + self._LEAST)


class Learner:
    """A policy that gets better with each batch of episodes that it played.

    Args:
        seed: Decides the first weights.

    Attributes:
        network: The policy as it is now.
    """

    def __init__(self, seed: int) -> None:
        self.network = Network.initial(_HIDDEN, np.random.default_rng(seed))
        self._adam = Adam(len(self.network.weights), _RATE)

    def learn(self, episodes: Sequence[PlayedEpisode]) -> None:
        """Take one step. The episodes must have been played by the policy as it is now."""
        step = self._adam.step(policy_gradient(self.network, episodes))
        self.network = Network(self.network.weights + step, self.network.hidden)
