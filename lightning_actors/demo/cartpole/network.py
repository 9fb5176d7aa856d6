"""The policy's arithmetic: from an observation to the odds of pushing right.

```
observation (4) ── / SCALE ── tanh(first · x + first_bias) (hidden) ── second · h + second_bias ── logit
```
The logit is the logarithm of the odds; all weights stand in one flat vector, in this order.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["OBSERVATION", "Array", "Network", "probability", "weight_count"]

Array = npt.NDArray[np.float64]
"""An array of floats."""

OBSERVATION: Final = 4
"""Numbers in an observation: the cart's place and speed, the pole's angle and angular speed."""

_SCALE: Final = np.array([2.4, 3.0, 0.21, 3.0])  # the two limits at which an episode ends, and usual speeds


def weight_count(hidden: int) -> int:
    """How many weights a network with so many hidden units has."""
    return (OBSERVATION + 2) * hidden + 1


def probability(logits: Array) -> Array:
    """The probability of pushing right."""
    return (1 + np.tanh(logits / 2)) / 2  # the logistic function, in a form that cannot overflow


class Network:
    """A network of one hidden layer.

    Args:
        weights: All weights, ``weight_count(hidden)`` of them; not to be changed.
        hidden: How many hidden units there are.
    """

    def __init__(self, weights: Array, hidden: int) -> None:
        self.weights = weights
        self.hidden = hidden
        ends = np.cumsum([OBSERVATION * hidden, hidden, hidden])
        first, self._first_bias, self._second, self._second_bias = np.split(weights, ends)
        self._first = first.reshape(OBSERVATION, hidden)

    @classmethod
    def initial(cls, hidden: int, random: np.random.Generator) -> Network:
        """A network that hardly prefers either action."""
        first = random.normal(size=OBSERVATION * hidden) / np.sqrt(OBSERVATION)
        second = random.normal(size=hidden) * 0.1 / np.sqrt(hidden)
        return cls(np.concatenate([first, np.zeros(hidden), second, np.zeros(1)]), hidden)

    def logits(self, observations: Array) -> Array:
        """The logits for observations of any leading shape."""
        hidden = np.tanh(observations / _SCALE @ self._first + self._first_bias)
        return hidden @ self._second + self._second_bias[0]

    def gradient(self, observations: Array, of_logits: Array) -> Array:
        """The gradient with respect to the weights, given that with respect to the logits.

        Args:
            observations: One to a row.
            of_logits: What is differentiated, by each observation's logit.

        Returns:
            A vector like ``weights``.
        """
        scaled = observations / _SCALE
        hidden = np.tanh(scaled @ self._first + self._first_bias)
        of_hidden = np.outer(of_logits, self._second) * (1 - hidden * hidden)
        parts = [
            (scaled.T @ of_hidden).ravel(),
            of_hidden.sum(axis=0),
            hidden.T @ of_logits,
            of_logits.sum(keepdims=True),
        ]
        return np.concatenate(parts)
