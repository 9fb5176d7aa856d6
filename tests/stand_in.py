"""A stand-in for an OpenAI-compatible server: real HTTP on loopback, answers computed from the prompt.

```
with serve_stand_in(answer) as stand_in:       answer(messages) -> str, an ordinary function
    AsyncOpenAI(base_url=stand_in.base_url, api_key="none")
stand_in.requests                              what was asked, in order of arrival
```
A token is a word. ``max_tokens`` and ``stop`` are honoured, streaming too; an ``HTTPException`` raised by ``answer``
becomes the response's status.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

__all__ = ["Message", "StandIn", "repeat_question", "serve_stand_in"]

Message = dict[str, Any]
"""One message of a chat: its role and its content."""

_JOIN_SECONDS: Final = 30.0


@dataclass(slots=True)
class StandIn:
    """A server that is running.

    Attributes:
        base_url: What to give to a client.
        requests: The bodies of the chat requests so far.
    """

    base_url: str
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def repeat_question(messages: Sequence[Message]) -> str:
    """Say how long the chat is and repeat its last message: an answer for tests that do not mind which."""
    return f"{len(messages)} messages, the last one: {messages[-1]['content']}"


@contextmanager
def serve_stand_in(answer: Callable[[Sequence[Message]], str] = repeat_question) -> Generator[StandIn]:
    """Serve until the context ends, in a thread with a loop of its own.

    Args:
        answer: Computes the answer from the messages of a chat; called in that thread.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # The socket listens from here on: a client that connects before the server is up just waits.
        stand_in = StandIn(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        config = uvicorn.Config(_application(stand_in, answer), log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="stand-in", daemon=True)
        thread.start()
        try:
            yield stand_in
        finally:
            server.should_exit = True
            thread.join(_JOIN_SECONDS)
    assert not thread.is_alive()


def _application(stand_in: StandIn, answer: Callable[[Sequence[Message]], str]) -> Starlette:
    async def complete(request: Request) -> Response:
        asked: dict[str, Any] = await request.json()
        stand_in.requests.append(asked)
        try:
            text, reason = _cut(answer(asked["messages"]), asked)
        except HTTPException as refusal:
            return JSONResponse({"error": {"message": refusal.detail, "type": "stand_in"}}, refusal.status_code)
        usage = _usage(asked["messages"], text)
        head = {"id": f"chatcmpl-{len(stand_in.requests)}", "created": 0, "model": asked["model"]}
        if asked.get("stream"):
            return StreamingResponse(_events(head, asked, text, reason, usage), media_type="text/event-stream")
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        return JSONResponse(head | {"object": "chat.completion", "choices": [choice], "usage": usage})

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "stand-in", "object": "model", "created": 0}]})

    return Starlette(
        routes=[Route("/v1/chat/completions", complete, methods=["POST"]), Route("/v1/models", models, methods=["GET"])]
    )


def _cut(text: str, asked: dict[str, Any]) -> tuple[str, str]:
    """The answer as far as the request wants it, and why it ends."""
    stops: str | list[str] = asked.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]
    words = text.split()
    most = asked.get("max_completion_tokens") or asked.get("max_tokens")
    if most is not None and len(words) > most:
        return " ".join(words[:most]), "length"
    return text, "stop"


def _usage(messages: Sequence[Message], text: str) -> dict[str, int]:
    prompt = sum(len(str(message["content"]).split()) for message in messages)
    given = len(text.split())
    return {"prompt_tokens": prompt, "completion_tokens": given, "total_tokens": prompt + given}


def _events(
    head: dict[str, Any], asked: dict[str, Any], text: str, reason: str, usage: dict[str, int]
) -> Iterator[str]:
    head = head | {"object": "chat.completion.chunk"}
    words = text.split(" ")
    parts = [word if at == len(words) - 1 else f"{word} " for at, word in enumerate(words)]
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}, *({"content": part} for part in parts)]
    for delta in deltas:
        yield _event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _event(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    options: dict[str, Any] = asked.get("stream_options") or {}
    if options.get("include_usage"):
        yield _event(head | {"choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def _event(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk)}\n\n"
