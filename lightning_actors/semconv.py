"""The names that spans and their attributes bear.

Source: names and meanings are those of Agent Lightning 0.3; ``gen_ai.*`` those of OpenTelemetry's GenAI conventions.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

__all__ = [
    "AGL_ANNOTATION",
    "AGL_EXCEPTION",
    "AGL_MESSAGE",
    "AGL_OBJECT",
    "AGL_OPERATION",
    "AGL_REWARD",
    "AGL_ROLLOUT",
    "AGL_VIRTUAL",
    "LightningResourceAttributes",
    "LightningSpanAttributes",
    "LinkAttributes",
    "LinkPydanticModel",
    "RewardAttributes",
    "RewardPydanticModel",
]

AGL_ANNOTATION = "agentlightning.annotation"
"""Span of ``emit_annotation`` and ``emit_reward``."""

AGL_MESSAGE = "agentlightning.message"
"""Span of ``emit_message``."""

AGL_OBJECT = "agentlightning.object"
"""Span of ``emit_object``."""

AGL_EXCEPTION = "agentlightning.exception"
"""Span of ``emit_exception``."""

AGL_OPERATION = "agentlightning.operation"
"""Span of ``operation``."""

AGL_REWARD = "agentlightning.reward"
"""Span of a reward in older traces; today's rewards are annotations."""

AGL_ROLLOUT = "agentlightning.rollout"
"""Span of a whole rollout: the root of its tree."""

AGL_VIRTUAL = "agentlightning.virtual"
"""Span that no tracer saw."""


class LightningResourceAttributes(StrEnum):
    """What the resource of a span may say, so that spans which travel alone can be filed."""

    ROLLOUT_ID = "agentlightning.rollout_id"
    ATTEMPT_ID = "agentlightning.attempt_id"
    SPAN_SEQUENCE_ID = "agentlightning.span_sequence_id"
    TRACER_NAME = "agentlightning.tracer.name"


class LightningSpanAttributes(StrEnum):
    """What our own spans say of themselves; names that end open are prefixes."""

    REWARD = "agentlightning.reward"
    LINK = "agentlightning.link"
    TAG = "agentlightning.tag"
    MESSAGE_BODY = "agentlightning.message.body"
    OBJECT_TYPE = "agentlightning.object.type"
    OBJECT_LITERAL = "agentlightning.object.literal"
    OBJECT_JSON = "agentlightning.object.json"
    OPERATION_NAME = "agentlightning.operation.name"
    OPERATION_INPUT = "agentlightning.operation.input"
    OPERATION_OUTPUT = "agentlightning.operation.output"


class RewardAttributes(StrEnum):
    """The keys of one reward, below ``agentlightning.reward.N``."""

    REWARD_NAME = "name"
    REWARD_VALUE = "value"


class LinkAttributes(StrEnum):
    """The keys of one link, below ``agentlightning.link.N``."""

    KEY_MATCH = "key_match"
    VALUE_MATCH = "value_match"


class RewardPydanticModel(BaseModel):
    """One dimension of a reward."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: float


class LinkPydanticModel(BaseModel):
    """A pointer to spans whose attribute ``key_match`` is ``value_match``."""

    model_config = ConfigDict(frozen=True)

    key_match: str
    value_match: str
