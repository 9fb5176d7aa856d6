"""Rewards: how good a rollout was, in one dimension or several.

A reward is an annotation with ``agentlightning.reward.N.name`` and ``.value``; number 0 is the primary dimension.

Source: the attributes, the order of dimensions and the older forms that are read are those of Agent Lightning 0.3.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar, cast

from opentelemetry.sdk.trace import ReadableSpan

from lightning_actors.attributes import filter_and_unflatten_attributes
from lightning_actors.emitter.emission import emit, span_attributes
from lightning_actors.semconv import AGL_ANNOTATION, AGL_REWARD, LightningSpanAttributes, RewardPydanticModel
from lightning_actors.tracer.trace import OK, Trace, context_below
from lightning_actors.types import AttributeValue, Span, SpanCoreFields, SpanLike
from lightning_actors.types.nothing import NO_ITEMS

__all__ = [
    "add_reward",
    "emit_reward",
    "find_final_reward",
    "find_reward_spans",
    "get_reward_value",
    "get_rewards_from_span",
    "is_reward_span",
]

S = TypeVar("S", Span, ReadableSpan)

_REWARD = LightningSpanAttributes.REWARD.value
_FIRST_NAME = f"{_REWARD}.0.name"
_FIRST_VALUE = f"{_REWARD}.0.value"
_AGENTOPS = ("agentops.task.output", "agentops.entity.output")


def emit_reward(
    reward: float | Mapping[str, float],
    *,
    primary_key: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    propagate: bool = True,
) -> SpanCoreFields:
    """Say how good the rollout was; the last reward of a rollout is its final one.

    Args:
        reward: A finite number, or finite numbers by the names of their dimensions.
        primary_key: With several dimensions, the one that counts as *the* reward.
        attributes: More to say about it.
        propagate: Whether to add it to the current trace; False only describes it.

    Returns:
        The span's fields.

    Raises:
        TypeError: The reward is neither a number nor a mapping, or an attribute cannot be written as JSON.
        ValueError: A number is not finite, a dimension is not a number, or ``primary_key`` is missing or unknown.
    """
    dimensions = _dimensions(reward, primary_key)
    described: dict[str, AttributeValue] = {}
    for position, (name, value) in enumerate(dimensions.items()):
        described[f"{_REWARD}.{position}.name"] = name
        described[f"{_REWARD}.{position}.value"] = value
    return emit(AGL_ANNOTATION, {**span_attributes(attributes), **described}, propagate=propagate)


def add_reward(trace: Trace, reward: float) -> None:
    """What ``emit_reward(reward)`` does where this open trace is the current one, at half the cost.

    Raises:
        ValueError: It is not finite.
    """
    value, at, parent = _number(reward, "reward", ValueError), time.time(), trace.parent_of_new()
    attributes: dict[str, AttributeValue] = {_FIRST_NAME: "primary", _FIRST_VALUE: value}
    trace.take_in(
        AGL_ANNOTATION,
        context_below(parent),
        parent,
        status=OK,
        attributes=attributes,
        events=NO_ITEMS,
        start_time=at,
        end_time=at,
    )


def _dimensions(reward: object, primary_key: str | None) -> dict[str, float]:
    """Finite numbers by name, the primary one first."""
    if type(reward) is float and primary_key is None and math.isfinite(reward):  # nearly always
        return {"primary": reward}
    if isinstance(reward, Mapping):
        given = cast("Mapping[object, object]", reward)
        if primary_key is None:
            raise ValueError(f"a reward of several dimensions needs primary_key, one of {list(given)!r}")
        if primary_key not in given:
            raise ValueError(f"primary_key {primary_key!r} is none of the reward's dimensions {list(given)!r}")
        names = [primary_key, *(name for name in given if name != primary_key)]
        return {str(name): _number(given[name], f"reward {name!r}", ValueError) for name in names}
    if primary_key is not None:
        raise ValueError(f"primary_key={primary_key!r} goes with a reward of several dimensions, got {reward!r}")
    return {"primary": _number(reward, "a reward", TypeError)}


def _number(value: object, what: str, error: type[Exception]) -> float:
    if not isinstance(value, Real):
        raise error(
            f"{what} must be a finite number, got {value!r} ({type(value).__name__}): float(...) makes one of a tensor"
        )
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{what} must be a finite number, got one that is too large for a float") from None
    if not math.isfinite(number):
        raise ValueError(f"{what} must be a finite number, got {number!r}: leave it out, or say what it is worth")
    return number


def get_rewards_from_span(span: SpanLike) -> list[RewardPydanticModel]:
    """All dimensions of a span's reward, the primary one first; empty if it has none.

    Raises:
        ValueError: The reward attributes are there but make no sense.
    """
    attributes = span.attributes or {}
    if not any(key.startswith(_REWARD) for key in attributes):
        return []
    found = filter_and_unflatten_attributes(attributes, _REWARD)
    if not isinstance(found, list):
        raise ValueError(  # noqa: TRY004 - the span's data is wrong, not the argument's type
            f"span {span.name!r} has rewards that are not numbered from 0: {found!r}"
        )
    return [RewardPydanticModel.model_validate(reward) for reward in cast("list[object]", found)]


def get_reward_value(span: SpanLike) -> float | None:
    """The primary reward that a span holds, in today's or an older form; None if it holds none."""
    attributes = span.attributes
    if not attributes:
        return None
    value = attributes.get(_FIRST_VALUE)
    if type(value) is float:  # as our own rewards are
        return value
    if value is None:
        value = _agentops_reward(attributes)
    if value is None and span.name in {AGL_ANNOTATION, AGL_REWARD}:
        value = attributes.get("reward")
    return float(value) if isinstance(value, Real) else None


def _agentops_reward(attributes: Mapping[str, Any]) -> object:
    """The reward in the output that AgentOps noted of a reward function."""
    for key in _AGENTOPS:
        output = attributes.get(key)
        if isinstance(output, str) and "reward" in output:
            try:
                output = json.loads(output)
            except ValueError:
                continue
        if isinstance(output, Mapping):
            told = cast("Mapping[str, object]", output)
            if told.get("type") == "reward":
                return told.get("value")
    return None


def is_reward_span(span: SpanLike) -> bool:
    """Whether a span holds a reward."""
    return get_reward_value(span) is not None


def find_reward_spans(spans: Sequence[S]) -> list[S]:
    """Those spans that hold a reward, in order."""
    return [span for span in spans if is_reward_span(span)]


def find_final_reward(spans: Sequence[SpanLike]) -> float | None:
    """The reward of a rollout: that of the last span in the list that holds one; None if none does."""
    for span in reversed(spans):
        value = get_reward_value(span)
        if value is not None:
            return value
    return None
