"""What a dialect is: how to tell that a span speaks it, and how to read such a span."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightning_actors.adapter.call import LLMCall
from lightning_actors.adapter.dialects.fields import SpanFields
from lightning_actors.types import Span

__all__ = ["NOT_GENERATION", "Dialect"]

NOT_GENERATION = frozenset(
    {
        "create_agent",
        "embedding",
        "embeddings",
        "execute_tool",
        "invoke_agent",
        "invoke_workflow",
        "rerank",
        "retrieval",
    }
)
"""Operations that are no call of a language model, though they may bear messages: an agent's are those of its calls."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way of writing a call of a language model into span attributes.

    Attributes:
        name: What people call it.
        recognises: Whether a span is such a call in this dialect; quick, for it sees every span.
        read: Reads a span that it recognises; raises ValueError, through ``SpanFields``, for one that makes no sense.
    """

    name: str
    recognises: Callable[[Span], bool]
    read: Callable[[SpanFields], LLMCall]
