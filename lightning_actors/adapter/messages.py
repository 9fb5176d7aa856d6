"""`TraceToMessages`: conversations as OpenAI's chat API and fine-tuning take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from lightning_actors.adapter.base import TraceAdapter
from lightning_actors.adapter.calls import read_calls
from lightning_actors.types import Span

__all__ = ["OpenAIMessages", "TraceToMessages"]


class OpenAIMessages(TypedDict):
    """One call of a model as a conversation.

    Attributes:
        messages: The prompt's messages, then the model's answers.
        tools: What the model was offered; None if nothing.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None


class TraceToMessages(TraceAdapter[list[OpenAIMessages]]):
    """Turns each call of a model into a conversation in OpenAI's form.

    Each message is a dict with ``role``, ``content`` (text, a list of parts, or None) and, where there is one,
    ``tool_calls``, ``tool_call_id``, ``name`` and ``reasoning_content``. Where the model gave several answers, all of
    them stand at the end. Tool calls that have spans of their own are taken from there. A call that failed has no
    answer, and one whose span kept no messages is left out.
    """

    def adapt(self, source: Sequence[Span]) -> list[OpenAIMessages]:
        """One conversation for each call, in the order of the spans.

        Args:
            source: The spans of one attempt.

        Raises:
            ValueError: A span tells of a call and makes no sense; the message names the span.
        """
        return [
            {
                "messages": [message.as_openai() for message in (*call.prompt, *call.answers)],
                "tools": [tool.as_openai() for tool in call.tools] or None,
            }
            for call in read_calls(source)
            if call.prompt or call.answers
        ]
