"""Record what an instrumentation of the OpenAI SDK writes: the JSON files in this folder are made by it.

    pip install openai opentelemetry-sdk openinference-instrumentation-openai     in an environment of its own
    python record.py openinference.instrumentation.openai openinference.json

    pip install openai opentelemetry-sdk opentelemetry-instrumentation-openai
    python record.py opentelemetry.instrumentation.openai openllmetry.json

``openllmetry_indexed.json`` is made by a release that still wrote an attribute for each field of a message; it wants
``opentelemetry-instrumentation-openai<0.48 openai<2 opentelemetry-sdk<1.38 opentelemetry-semantic-conventions-ai<0.5``.

The SDK and the instrumentation are real; what answers them is a server in this process with a few fixed answers.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, Final

import openai
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

Json = dict[str, Any]

MODEL: Final = "stub-model-2024"
CALL: Final[Json] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "look_up", "arguments": '{"country":"Japan"}'},
}
SCHEMA: Final[Json] = {"type": "object", "properties": {"country": {"type": "string"}}, "required": ["country"]}
TOOLS: Final[list[Any]] = [
    {"type": "function", "function": {"name": "look_up", "description": "Looks up a capital.", "parameters": SCHEMA}}
]
ASK: Final[Any] = {"role": "user", "content": "What is the capital of Japan?"}
IMAGE: Final = "https://images.example/a.png"
SENT_ALONG: Final = "data:image/png;base64,iVBORw0KGgo="


# ── what answers ──


def usage() -> Json:
    return {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


def choice(index: int, content: str | None, reason: str, **more: Any) -> Json:
    return {"index": index, "message": {"role": "assistant", "content": content, **more}, "finish_reason": reason}


def completion(*choices: Json, **more: Any) -> Json:
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL}
    return {**head, "choices": list(choices), "usage": usage(), **more}


def chat_answer(body: Json) -> Json | None:
    if "fail" in json.dumps(body["messages"]):
        return None
    if body.get("n") == 2:
        return completion(choice(0, "Tokyo.", "stop"), choice(1, "It is", "length"))
    if body.get("logprobs"):
        token = {"token": "Tokyo", "logprob": -0.1, "bytes": [84], "top_logprobs": []}
        told = {**choice(0, "Tokyo", "stop"), "logprobs": {"content": [token], "refusal": None}, "token_ids": [7, 8]}
        return completion(told, prompt_token_ids=[1, 2, 3])
    if body.get("tools") and body["messages"][-1]["role"] == "user":
        return completion(choice(0, None, "tool_calls", tool_calls=[CALL]))
    if "response_format" in body:
        return completion(choice(0, '{"city":"Tokyo"}', "stop"))
    return completion(choice(0, "Tokyo.", "stop"))


def chat_chunks(body: Json) -> Iterator[Json]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL}
    if body.get("tools"):
        begun = {**CALL, "index": 0, "function": {"name": "look_up", "arguments": ""}}
        deltas: list[Json] = [
            {"role": "assistant", "content": None, "tool_calls": [begun]},
            {"tool_calls": [{"index": 0, "function": {"arguments": CALL["function"]["arguments"]}}]},
        ]
    else:
        deltas = [{"role": "assistant", "content": "Tok"}, {"content": "yo."}]
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    last: Json = {"index": 0, "delta": {}, "finish_reason": "tool_calls" if body.get("tools") else "stop"}
    yield {**head, "choices": [last]}
    if body.get("stream_options"):
        yield {**head, "choices": [], "usage": usage()}


def response() -> Json:
    text: Json = {"type": "output_text", "text": "Tokyo.", "annotations": []}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": MODEL,
        "output": [{"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [text]}],
        "instructions": "Be brief.",
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 12,
            "output_tokens": 5,
            "total_tokens": 17,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def answer(path: str, body: Json) -> Json | None:
    """The answer to a request; None for an error."""
    match path.removeprefix("/v1/"):
        case "chat/completions":
            return chat_answer(body)
        case "responses":
            return response()
        case "completions":
            told = {"index": 0, "text": " Tokyo", "finish_reason": "length", "logprobs": None}
            return {**completion(), "id": "cmpl-1", "object": "text_completion", "choices": [told]}
        case _:
            one = {"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}
            return {"object": "list", "model": MODEL, "data": [one], "usage": {"prompt_tokens": 2, "total_tokens": 2}}


class Server(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server wants
        """Say nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body.get("stream"):
            lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chat_chunks(body)]
            self._send(200, "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]))
        elif (told := answer(self.path, body)) is not None:
            self._send(200, "application/json", json.dumps(told))
        else:
            self._send(400, "application/json", json.dumps({"error": {"message": "no", "type": "bad_request"}}))

    def _send(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


# ── what is asked ──


def calls(client: Any) -> dict[str, Callable[[], object]]:
    def chat(*messages: Any, **options: Any) -> object:
        made = client.chat.completions.create(model="stub-model", messages=list(messages), **options)
        return list(made) if options.get("stream") else made

    def parts(url: str) -> Json:
        image = {"type": "image_url", "image_url": {"url": url}}
        return {"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}

    wish = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    found = {"role": "tool", "tool_call_id": "call_1", "content": "Tokyo"}
    city: Json = {
        "type": "json_schema",
        "json_schema": {"name": "city", "schema": {"type": "object", "properties": {}}},
    }
    return {
        "chat": lambda: chat({"role": "system", "content": "Be brief."}, ASK, temperature=0.5, max_tokens=20),
        "tool call": lambda: chat(ASK, tools=TOOLS),
        "tool answer": lambda: chat(ASK, wish, found, tools=TOOLS),
        "two answers": lambda: chat(ASK, n=2),
        "parts": lambda: chat(parts(IMAGE)),
        "image sent along": lambda: chat(parts(SENT_ALONG)),
        "tokens": lambda: chat(ASK, logprobs=True),
        "streamed": lambda: chat(ASK, stream=True, stream_options={"include_usage": True}),
        "streamed tool call": lambda: chat(ASK, stream=True, tools=TOOLS),
        "structured": lambda: chat(ASK, response_format=city),
        "completion": lambda: client.completions.create(model="stub-model", prompt="The capital is", max_tokens=1),
        "responses": lambda: client.responses.create(
            model="stub-model", instructions="Be brief.", input="What is the capital of Japan?"
        ),
        "embeddings": lambda: client.embeddings.create(model="stub-model", input="Japan"),
        "failed": lambda: chat({"role": "user", "content": "Please fail."}),
    }


def written(span: ReadableSpan) -> Json:
    attributes = json.dumps(dict(span.attributes or {}))
    return {"name": span.name, "attributes": json.loads(re.sub(r"http://127\.0\.0\.1:\d+", "http://model", attributes))}


def main(module: str, path: str) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor: Any = importlib.import_module(module)
    instrumentor.OpenAIInstrumentor().instrument(tracer_provider=provider)
    library = next(name for name in packages_distributions()[module.partition(".")[0]] if name.endswith("-openai"))
    recorded: dict[str, list[Json]] = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
            for name, call in calls(client).items():
                exporter.clear()
                try:
                    call()
                except openai.BadRequestError as error:
                    print(f"{name}: {error}")  # noqa: T201 - a program
                recorded[name] = [written(span) for span in exporter.get_finished_spans()]
        server.shutdown()
    made = {"library": library, "version": version(library), "openai": version("openai"), "calls": recorded}
    Path(path).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
