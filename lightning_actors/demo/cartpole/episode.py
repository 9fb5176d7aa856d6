"""What an episode leaves in its trace, and what is read back from there.

```
agent       emit_object(RecordedEpisode.of(observations, actions))        one span for all steps
algorithm   read_episode(spans)                                           the same arrays again
```
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypedDict, cast

import numpy as np

from lightning_actors.demo.cartpole.network import OBSERVATION, Array
from lightning_actors.emitter import get_object_value
from lightning_actors.types import Span

__all__ = ["EpisodeTask", "PlayedEpisode", "RecordedEpisode", "read_episode"]

_FLOAT: Final = "<f4"  # what the environment gives, so that nothing is lost


class EpisodeTask(TypedDict):
    """One task: where the episode begins and which actions are drawn, both decided by the seed."""

    seed: int


@dataclass(frozen=True, slots=True)
class RecordedEpisode:
    """All steps of an episode in one object, as texts: a span for each step would cost more than the step.

    Attributes:
        actions: 0 (left) or 1 (right), a character for each step.
        observations: What was seen before each step: 32-bit floats, least significant byte first, in base64.
    """

    actions: str
    observations: str

    @classmethod
    def of(cls, observations: Sequence[Array], actions: Sequence[int]) -> RecordedEpisode:
        """Record these steps."""
        seen = np.asarray(observations, dtype=_FLOAT).tobytes()
        return cls(actions="".join(map(str, actions)), observations=base64.b64encode(seen).decode())


@dataclass(frozen=True, slots=True)
class PlayedEpisode:
    """An episode as the learner takes it. Each step earned 1, so that its length is its return.

    Attributes:
        observations: What was seen before each step, one to a row.
        actions: 0 or 1 for each step.
    """

    observations: Array
    actions: Array

    @property
    def steps(self) -> int:
        """How many steps it had."""
        return len(self.actions)


def read_episode(spans: Sequence[Span]) -> PlayedEpisode:
    """The episode that a rollout's spans hold.

    Raises:
        ValueError: None of them holds one.
    """
    for span in spans:
        value = get_object_value(span)
        if isinstance(value, dict) and "observations" in value:
            recorded = RecordedEpisode(**cast("dict[str, str]", value))
            seen = np.frombuffer(base64.b64decode(recorded.observations), dtype=_FLOAT)
            actions = np.array([int(action) for action in recorded.actions], dtype=np.float64)
            return PlayedEpisode(seen.astype(np.float64).reshape(-1, OBSERVATION), actions)
    raise ValueError("no span holds an episode: the agent emits a RecordedEpisode before it returns")
