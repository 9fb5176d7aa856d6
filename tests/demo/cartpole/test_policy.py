"""The policy as a resource, and an episode as an object in a trace: nothing is lost on the way."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from lightning_actors.demo.cartpole.episode import RecordedEpisode, read_episode
from lightning_actors.demo.cartpole.network import Network
from lightning_actors.demo.cartpole.policy import CartPolePolicy
from lightning_actors.emitter import emit_object
from lightning_actors.types import NamedResources, Span


def some_policy() -> CartPolePolicy:
    return CartPolePolicy.of(Network.initial(16, np.random.default_rng(7)))


def test_weights_come_back_exactly_through_json_as_their_own_kind_of_resource() -> None:
    policy, resources = some_policy(), TypeAdapter(NamedResources)
    text = resources.dump_json({"policy": policy})
    back = resources.validate_python(json.loads(text))["policy"]
    assert isinstance(back, CartPolePolicy)
    assert back == policy
    assert (back.network().weights == Network.initial(16, np.random.default_rng(7)).weights).all()
    assert len(text) < 2000


def test_a_policy_is_frozen_and_its_repr_fits_on_a_line() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        some_policy().hidden = 3  # pyright: ignore[reportAttributeAccessIssue] - the point
    assert len(repr(some_policy())) < 120


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"weights": "AAAA"}, "has 776 bytes of weights, not 3"),
        ({"hidden": 8}, "has 392 bytes of weights, not 776"),
        ({"weights": "no base64!"}, "must be base64"),
        ({"hidden": 0}, "greater than or equal to 1"),
    ],
)
def test_weights_that_do_not_fit_are_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        CartPolePolicy.model_validate(some_policy().model_dump() | changes)


def test_an_episode_comes_back_from_its_span_as_it_was() -> None:
    observations = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    core = emit_object(RecordedEpisode.of(list(observations.astype(np.float64)), [0, 1, 1]), propagate=False)
    span = Span.from_core_fields(core, rollout_id="ro-1", attempt_id="at-1", sequence_id=1)
    other = Span.from_attributes(attributes={"observations": "none"})
    episode = read_episode([other, span])
    assert episode.steps == 3
    assert (episode.observations == observations).all()
    assert episode.actions.tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="no span holds an episode"):
        read_episode([other])
