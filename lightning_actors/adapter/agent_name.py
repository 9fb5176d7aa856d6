"""Whose work a span is: the names that agent frameworks give to their agents."""

from __future__ import annotations

from typing import Final

from lightning_actors.types import Span

__all__ = ["agent_name"]

_NAMED: Final = ("agent.name", "gen_ai.agent.name")
_OTHER: Final = ("recipient_agent_type", "langchain.chain.type", "executor.id")


def agent_name(span: Span) -> str | None:
    """The agent that a span and those below it belong to; None if it names none.

    Source: the attributes are those of the OpenAI Agents SDK, the GenAI conventions, AgentOps, AutoGen, LangChain and
    Microsoft's Agent Framework, in this order; all but the second as in Agent Lightning.
    """
    attributes = span.attributes
    keys = [*_NAMED, *(["operation.name"] if attributes.get("agentops.span.kind") == "agent" else []), *_OTHER]
    return next((str(attributes[key]) for key in keys if attributes.get(key)), None)
