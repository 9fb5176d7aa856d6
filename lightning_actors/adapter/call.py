"""One call of a language model in neutral words, whatever dialect its span spoke.

```
span attributes ── a dialect ──→ LLMCall ──→ chat messages, triplets, the lines of a report
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lightning_actors.types import Span

__all__ = ["ChatMessage", "ImagePart", "LLMCall", "OtherPart", "Part", "TextPart", "Tool", "ToolCall"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of text in a message of several parts."""

    text: str

    def as_openai(self) -> dict[str, Any]:
        """The part in the form of OpenAI's chat API."""
        return {"type": "text", "text": self.text}


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image in a message; one that was sent along is a ``data:`` URL."""

    url: str

    def as_openai(self) -> dict[str, Any]:
        """The part in the form of OpenAI's chat API."""
        return {"type": "image_url", "image_url": {"url": self.url}}


@dataclass(frozen=True, slots=True)
class OtherPart:
    """Anything else in a message (audio, a file), as its dialect wrote it."""

    value: Mapping[str, Any]

    def as_openai(self) -> dict[str, Any]:
        """The part as it was written: these have no form that all share."""
        return dict(self.value)


Part = TextPart | ImagePart | OtherPart
"""What a message of several parts is made of."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to have a tool called.

    Attributes:
        id: What the answer to it refers to, where known.
        name: The tool.
        arguments: JSON text, as far as the model wrote JSON.
    """

    id: str | None
    name: str
    arguments: str

    def as_openai(self) -> dict[str, Any]:
        """The call in the form of OpenAI's chat API."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation.

    Attributes:
        role: Who speaks: system, developer, user, assistant, tool.
        content: Text, or parts where there are several or one is no text; None if nothing was said.
        tool_calls: What the model wants to have called.
        tool_call_id: Which tool call this answers.
        name: The speaker's name, where given.
        reasoning: What the model thought before it spoke, where recorded.
    """

    role: str
    content: str | tuple[Part, ...] | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str | None = None

    @property
    def text(self) -> str:
        """The text of the content, images and the like left out."""
        if isinstance(self.content, tuple):
            return " ".join(part.text for part in self.content if isinstance(part, TextPart))
        return self.content or ""

    @property
    def image_urls(self) -> tuple[str, ...]:
        """The images in it, in order."""
        parts = self.content if isinstance(self.content, tuple) else ()
        return tuple(part.url for part in parts if isinstance(part, ImagePart))

    def as_openai(self) -> dict[str, Any]:
        """The message in the form of OpenAI's chat API; reasoning is ``reasoning_content``."""
        parts = [part.as_openai() for part in self.content] if isinstance(self.content, tuple) else self.content
        optional = {
            "tool_calls": [call.as_openai() for call in self.tool_calls],
            "tool_call_id": self.tool_call_id,
            "name": self.name,
            "reasoning_content": self.reasoning,
        }
        return {"role": self.role, "content": parts, **{key: value for key, value in optional.items() if value}}


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model was offered; its parameters are a JSON schema."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None

    def as_openai(self) -> dict[str, Any]:
        """The tool in the form of OpenAI's chat API."""
        optional = {"description": self.description, "parameters": self.parameters}
        return {
            "type": "function",
            "function": {"name": self.name, **{key: value for key, value in optional.items() if value is not None}},
        }


@dataclass(frozen=True, slots=True)
class LLMCall:
    """One call of a language model, as far as its span tells.

    Attributes:
        span: Where it was read.
        prompt: The conversation that the model was given.
        answers: What it said; several where several were asked for.
        finish_reasons: Why each answer ended, in OpenAI's words (stop, length, tool_calls), in their order, "" for one
            of which it is not known; none if nothing is known. They may be known where the answers are not.
        tools: What it was offered.
        request: Its model and options by name.
        response_id: The provider's name of the response; None where unknown.
        response_model: The model that answered; None where unknown.
        input_tokens: Length of the prompt in tokens; None where unknown.
        output_tokens: Length of the answers in tokens; None where unknown.
        prompt_token_ids: The prompt as the model saw it; None where unknown.
        response_token_ids: The first answer as the model wrote it; None where unknown.
        logprobs: An entry for each token of the first answer, in OpenAI's form; None where unknown.
    """

    span: Span
    prompt: tuple[ChatMessage, ...] = ()
    answers: tuple[ChatMessage, ...] = ()
    finish_reasons: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    response_id: str | None = None
    response_model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    response_token_ids: tuple[int, ...] | None = None
    logprobs: tuple[Mapping[str, Any], ...] | None = None

    def filled_from(self, other: LLMCall) -> LLMCall:
        """This call, with what its span does not tell taken from another span of the same call."""
        missing = {
            one.name: getattr(other, one.name)
            for one in fields(self)
            if one.name != "span" and getattr(self, one.name) in (None, (), {}) and getattr(other, one.name)
        }
        return replace(self, **missing) if missing else self

    def with_tool_calls(self, calls: tuple[ToolCall, ...]) -> LLMCall:
        """This call with tool calls that stand on spans of their own, unless its answers name theirs."""
        if not calls or any(answer.tool_calls for answer in self.answers):
            return self
        first, *others = self.answers or (ChatMessage("assistant"),)
        return replace(self, answers=(replace(first, tool_calls=calls), *others))
