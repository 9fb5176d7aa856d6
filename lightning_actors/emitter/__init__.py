"""What an agent says about its own run, and how to read it back.

Inside a rollout an emitter adds a span to its trace, below the current span. Outside one (an agent function called
directly, in a test) it returns the same fields and warns once per kind. `attach_reward` is for what is known only after
the end.
"""

from __future__ import annotations

from lightning_actors.emitter.annotation import emit_annotation
from lightning_actors.emitter.exception import emit_exception
from lightning_actors.emitter.late_reward import attach_reward
from lightning_actors.emitter.message import emit_message, get_message_value
from lightning_actors.emitter.object import emit_object, get_object_value
from lightning_actors.emitter.operation import OperationContext, operation
from lightning_actors.emitter.reward import (
    emit_reward,
    find_final_reward,
    find_reward_spans,
    get_reward_value,
    get_rewards_from_span,
    is_reward_span,
)

__all__ = [
    "OperationContext",
    "attach_reward",
    "emit_annotation",
    "emit_exception",
    "emit_message",
    "emit_object",
    "emit_reward",
    "find_final_reward",
    "find_reward_spans",
    "get_message_value",
    "get_object_value",
    "get_reward_value",
    "get_rewards_from_span",
    "is_reward_span",
    "operation",
]
