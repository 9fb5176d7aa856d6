"""The policy as a resource: what the algorithm publishes and the agent is given."""

from __future__ import annotations

import base64
import binascii
from typing import Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from lightning_actors.demo.cartpole.network import Network, weight_count
from lightning_actors.types import Resource

__all__ = ["CartPolePolicy"]

_FLOAT: Final = "<f8"


class CartPolePolicy(Resource):
    """A network's weights, exact and small enough for JSON.

    Attributes:
        hidden: How many hidden units the network has.
        weights: Its weights as 64-bit floats, least significant byte first, in base64: 1 KB for 16 hidden units.
    """

    resource_type: Literal["cartpole_policy"] = "cartpole_policy"
    hidden: int = Field(ge=1)
    weights: str

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            found = len(base64.b64decode(self.weights, validate=True))
        except binascii.Error as error:
            raise ValueError(f"weights must be base64, and are not: {error}") from error
        wanted = weight_count(self.hidden) * np.dtype(_FLOAT).itemsize
        if found != wanted:
            raise ValueError(f"a network with {self.hidden} hidden units has {wanted} bytes of weights, not {found}")
        return self

    @classmethod
    def of(cls, network: Network) -> Self:
        """The resource that holds this network."""
        return cls(hidden=network.hidden, weights=base64.b64encode(network.weights.astype(_FLOAT).tobytes()).decode())

    def network(self) -> Network:
        """The network that it holds."""
        weights = np.frombuffer(base64.b64decode(self.weights), dtype=_FLOAT)
        return Network(weights.astype(np.float64), self.hidden)
