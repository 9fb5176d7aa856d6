"""Tool calls that stand on spans of their own, below the call of the model that wanted them: AgentOps' way."""

from __future__ import annotations

from lightning_actors.adapter.call import ToolCall
from lightning_actors.types import Span

__all__ = ["tool_call_on"]


def tool_call_on(span: Span) -> ToolCall | None:
    """The tool call that a span stands for; None if it stands for something else.

    Source: the attributes are those that Agent Lightning reads (``tool.name``, ``tool.parameters``, ``tool.call.id``).
    """
    attributes = span.attributes
    if "tool.name" not in attributes:
        return None
    call_id = attributes.get("tool.call.id")
    return ToolCall(
        None if call_id is None else str(call_id),
        str(attributes["tool.name"]),
        str(attributes.get("tool.parameters", "")),
    )
