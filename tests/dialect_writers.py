"""Spans as tests make them, and calls of a model written in each dialect: what the readers must read back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from lightning_actors.adapter import ChatMessage, ImagePart, LLMCall, Part, TextPart
from lightning_actors.attributes import flatten_attributes
from lightning_actors.types import AttributeValue, Span

__all__ = ["WRITERS", "chat", "make_span", "reward", "write_genai"]

Attributes = dict[str, AttributeValue]

_NUMBERS: Final = itertools.count(1)


def make_span(
    name: str = "span",
    parent: str | None = None,
    at: tuple[float | None, float | None] = (1.0, 2.0),
    attributes: Mapping[str, Any] | None = None,
    **more: Any,
) -> Span:
    """A span whose id is its name unless ``span_id`` says otherwise, from when to when."""
    fields: dict[str, Any] = {
        "rollout_id": "ro-1",
        "attempt_id": "at-1",
        "sequence_id": next(_NUMBERS),
        "trace_id": "f" * 32,
        "span_id": name,
        "parent_id": parent,
        "name": name,
        "start_time": at[0],
        "end_time": at[1],
        "attributes": dict(attributes or {}),
    }
    return Span(**{**fields, **more})


def chat(name: str, parent: str | None = None, at: tuple[float | None, float | None] = (1.0, 2.0), **more: Any) -> Span:
    """A call of a model in the GenAI dialect, asked and answered with its name."""
    attributes: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": f"{name}?"}]}]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": name}]}]),
    }
    return make_span(name, parent, at, {**attributes, **more.pop("attributes", {})}, **more)


def reward(value: float, parent: str | None = None, at: float | None = 3.0, **more: Any) -> Span:
    """A reward, as ``emit_reward`` writes it."""
    attributes = {"agentlightning.reward.0.name": "primary", "agentlightning.reward.0.value": value}
    name = f"reward {next(_NUMBERS)}"
    return make_span("agentlightning.annotation", parent, (at, at), attributes, **{"span_id": name, **more})


# ── the writers ──


def _flat(prefix: str, nested: object) -> Attributes:
    """Nested values below a prefix, an attribute each; what is None or empty is left out, as exporters do."""
    leaves = flatten_attributes({prefix: nested})
    return {key: value for key, value in leaves.items() if value not in (None, [], {})}


def _tokens(call: LLMCall) -> Attributes:
    """What Agent Lightning writes beside any dialect."""
    written: dict[str, Any] = {
        "prompt_token_ids": None if call.prompt_token_ids is None else list(call.prompt_token_ids),
        "response_token_ids": None if call.response_token_ids is None else list(call.response_token_ids),
        "logprobs.content": None if call.logprobs is None else json.dumps(call.logprobs),
    }
    return {key: value for key, value in written.items() if value is not None}


def _gen_ai_facts(call: LLMCall) -> Attributes:
    facts = {
        **{f"gen_ai.request.{name}": value for name, value in call.request.items()},
        "gen_ai.response.id": call.response_id,
        "gen_ai.response.model": call.response_model,
        "gen_ai.usage.input_tokens": call.input_tokens,
        "gen_ai.usage.output_tokens": call.output_tokens,
    }
    return {key: value for key, value in facts.items() if value is not None} | _tokens(call)


def write_genai(call: LLMCall) -> Attributes:
    """As OpenTelemetry's instrumentations do."""
    tools = [
        {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in call.tools
    ]
    reasons = ["tool_call" if reason == "tool_calls" else reason for reason in call.finish_reasons]
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps([_genai_message(message) for message in call.prompt]),
        "gen_ai.output.messages": json.dumps([_genai_message(message) for message in call.answers]),
        "gen_ai.tool.definitions": json.dumps(tools),
        "gen_ai.response.finish_reasons": reasons,
        **_gen_ai_facts(call),
    }


def _genai_message(message: ChatMessage) -> dict[str, Any]:
    if message.tool_call_id is not None:
        parts = [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.content}]
        return {"role": message.role, "parts": parts, "name": None}
    parts: list[Any] = [] if message.reasoning is None else [{"type": "reasoning", "content": message.reasoning}]
    if isinstance(message.content, str):
        parts.append({"type": "text", "content": message.content})
    elif message.content is not None:
        parts.extend(map(_genai_part, message.content))
    parts.extend(
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": json.loads(call.arguments)}
        for call in message.tool_calls
    )
    return {"role": message.role, "parts": parts, "name": message.name}


def _genai_part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "content": part.text}
    if not isinstance(part, ImagePart):
        return dict(part.value)
    head, comma, encoded = part.url.partition(";base64,")
    if comma and head.startswith("data:"):
        return {"type": "blob", "modality": "image", "mime_type": head.removeprefix("data:"), "content": encoded}
    return {"type": "uri", "modality": "image", "mime_type": None, "uri": part.url}


def write_openinference(call: LLMCall) -> Attributes:
    """As OpenInference's instrumentation of OpenAI does, raw response included."""
    choices: list[dict[str, Any]] = [{"finish_reason": reason} for reason in call.finish_reasons] or [{}]
    if call.response_token_ids is not None:
        choices[0]["token_ids"] = call.response_token_ids
    if call.logprobs is not None:
        choices[0]["logprobs"] = {"content": call.logprobs}
    raw = {
        "id": call.response_id,
        "model": call.response_model,
        "choices": choices,
        "prompt_token_ids": call.prompt_token_ids,
    }
    request = dict(call.request)
    facts = {
        "openinference.span.kind": "LLM",
        "llm.model_name": request.pop("model", None),
        "llm.invocation_parameters": json.dumps(request),
        "llm.token_count.prompt": call.input_tokens,
        "llm.token_count.completion": call.output_tokens,
        "output.mime_type": "application/json",
        "output.value": json.dumps(raw),
    }
    tools = [{"tool": {"json_schema": json.dumps(tool.as_openai())}} for tool in call.tools]
    return {
        **{key: value for key, value in facts.items() if value is not None},
        **_flat("llm.input_messages", [_openinference_message(message) for message in call.prompt]),
        **_flat("llm.output_messages", [_openinference_message(message) for message in call.answers]),
        **_flat("llm.tools", tools),
    }


def _openinference_message(message: ChatMessage) -> dict[str, Any]:
    contents: list[Any] = [] if message.reasoning is None else [{"type": "reasoning", "text": message.reasoning}]
    if isinstance(message.content, tuple):
        contents.extend(
            {"type": "image", "image": {"image": {"url": part.url}}}
            if isinstance(part, ImagePart)
            else part.as_openai()
            for part in message.content
        )
    calls = [{"id": one.id, "function": {"name": one.name, "arguments": one.arguments}} for one in message.tool_calls]
    return {
        "message": {
            "role": message.role,
            "content": message.content if isinstance(message.content, str) else None,
            "contents": [{"message_content": content} for content in contents],
            "tool_calls": [{"tool_call": call} for call in calls],
            "tool_call_id": message.tool_call_id,
            "name": message.name,
        }
    }


def write_openllmetry(call: LLMCall) -> Attributes:
    """As OpenLLMetry's and AgentOps' instrumentations do."""
    tools = [
        {"name": tool.name, "description": tool.description, "parameters": json.dumps(tool.parameters)}
        for tool in call.tools
    ]
    answers = [
        {**_openllmetry_message(message), "finish_reason": reason}
        for message, reason in zip(call.answers, call.finish_reasons, strict=True)
    ]
    return {
        "llm.request.type": "chat",
        **_flat("gen_ai.prompt", [_openllmetry_message(message) for message in call.prompt]),
        **_flat("gen_ai.completion", answers),
        **_flat("llm.request.functions", tools),
        **_gen_ai_facts(call),
    }


def _openllmetry_message(message: ChatMessage) -> dict[str, Any]:
    content = message.content
    if isinstance(content, tuple):
        content = json.dumps([part.as_openai() for part in content])
    return {
        "role": message.role,
        "content": content,
        "tool_calls": [{"id": one.id, "name": one.name, "arguments": one.arguments} for one in message.tool_calls],
        "tool_call_id": message.tool_call_id,
        "name": message.name,
        "reasoning": message.reasoning,
    }


def write_litellm(call: LLMCall) -> Attributes:
    """As LiteLLM writes a provider's raw request and response: every value as Python's text for it."""
    choices: list[dict[str, Any]] = [
        {"message": message.as_openai(), "finish_reason": reason}
        for message, reason in zip(call.answers, call.finish_reasons, strict=True)
    ]
    if call.logprobs is not None and choices:
        choices[0]["logprobs"] = {"content": list(call.logprobs)}
    body = {
        "messages": [message.as_openai() for message in call.prompt],
        "tools": [tool.as_openai() for tool in call.tools],
        "choices": choices,
        "usage": {"prompt_tokens": call.input_tokens, "completion_tokens": call.output_tokens},
        "prompt_token_ids": None if call.prompt_token_ids is None else list(call.prompt_token_ids),
        "response_token_ids": None if call.response_token_ids is None else [list(call.response_token_ids)],
        "model": call.response_model,
        "id": call.response_id,
    }
    return {f"llm.hosted_vllm.{name}": str(value) for name, value in body.items() if value is not None}


WRITERS: Final[dict[str, tuple[str, Callable[[LLMCall], Attributes]]]] = {
    "GenAI": ("chat m", write_genai),
    "OpenInference": ("ChatCompletion", write_openinference),
    "OpenLLMetry": ("openai.chat", write_openllmetry),
    "LiteLLM": ("raw_gen_ai_request", write_litellm),
}
"""By dialect: the name of its spans, and its writer."""
