"""Calls of the OpenAI SDK appear in rollouts with prompts and answers; the SDK is a real one, and so is the server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio.to_thread
import pytest
from openai import APIConnectionError, AsyncOpenAI, OpenAI
from openai.resources.chat.completions import AsyncCompletions, Completions
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor  # pyright: ignore[reportMissingTypeStubs] - it has none

from lightning_actors.errors import MissingExtra
from lightning_actors.semconv import AGL_ROLLOUT
from lightning_actors.tracer import OtelTracer, openai_calls
from lightning_actors.types import Span

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fresh_otel")]

SWITCH = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Backwards(BaseHTTPRequestHandler):
    """A model that answers with the last message backwards."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = asked["messages"][-1]["content"][::-1]
        head = {"id": "chatcmpl-1", "created": 1, "model": asked["model"]}
        if asked.get("stream"):
            chunks: list[dict[str, Any]] = [
                {"delta": {"role": "assistant", "content": part}, "finish_reason": None} for part in answer
            ]
            chunks.append({"delta": {}, "finish_reason": "stop"})
            lines = [{**head, "object": "chat.completion.chunk", "choices": [{"index": 0, **part}]} for part in chunks]
            body = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
            self.reply("text/event-stream", body)
        else:
            message = {"role": "assistant", "content": answer}
            whole = {
                **head,
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
            }
            self.reply("application/json", json.dumps(whole))

    def reply(self, kind: str, body: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the standard library's
        """Keep quiet."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backwards)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


async def ask(url: str, text: str = "hello") -> Any:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
        completion: Any = await client.chat.completions.create(model="backwards", messages=messages)
        return completion


def texts(span: Span, key: str) -> list[tuple[str, str]]:
    messages = json.loads(str(span.attributes[key]))
    return [(message["role"], message["parts"][0]["content"]) for message in messages]


async def test_a_call_appears_with_prompt_and_answer(url: str, store: Any) -> None:
    tracer = OtelTracer(openai=True)
    with tracer.lifespan(store):
        async with tracer.trace_context(rollout_id="ro-1", attempt_id="at-1"):
            completion = await ask(url)
    assert completion.choices[0].message.content == "olleh"
    call, root = store.spans
    assert (call.name, call.parent_id) == ("chat backwards", root.span_id)
    assert texts(call, "gen_ai.input.messages") == [("system", "Be brief."), ("user", "hello")]
    assert texts(call, "gen_ai.output.messages") == [("assistant", "olleh")]
    assert call.attributes["gen_ai.usage.output_tokens"] == 2


async def test_a_call_of_the_sync_client_in_a_thread_appears(url: str) -> None:
    def call() -> None:
        with OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            client.chat.completions.create(model="backwards", messages=[{"role": "user", "content": "sync"}])

    tracer = OtelTracer(openai=True)
    with tracer.lifespan():
        async with tracer.trace_context() as trace:
            await anyio.to_thread.run_sync(call)
    assert texts(trace.spans[0], "gen_ai.output.messages") == [("assistant", "cnys")]


# trio warns that the SDK leaves its own async generators to the garbage collector, instrumented or not.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
async def test_a_streamed_answer_is_put_together(url: str) -> None:
    tracer = OtelTracer(openai=True)
    with tracer.lifespan():
        async with (
            tracer.trace_context() as trace,
            AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client,
        ):
            stream = await client.chat.completions.create(
                model="backwards", messages=[{"role": "user", "content": "abc"}], stream=True
            )
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(parts) == "cba"
    assert texts(trace.spans[0], "gen_ai.output.messages") == [("assistant", "cba")]


async def test_a_call_that_fails_says_so() -> None:
    tracer = OtelTracer(openai=True)
    with tracer.lifespan():
        async with tracer.trace_context() as trace:
            with pytest.raises(APIConnectionError):
                await ask("http://127.0.0.1:1/v1")
    call = trace.spans[0]
    assert call.status.status_code == "ERROR"
    assert texts(call, "gen_ai.input.messages")[1] == ("user", "hello")


async def test_outside_rollouts_calls_leave_nothing(url: str) -> None:
    tracer = OtelTracer(openai=True)
    with tracer.lifespan():
        await ask(url)
        async with tracer.trace_context() as trace:
            pass
    assert [span.name for span in trace.spans] == [AGL_ROLLOUT]


async def test_the_last_teardown_puts_the_sdk_back() -> None:
    before = (Completions.__dict__["create"], AsyncCompletions.__dict__["create"])
    first, second = OtelTracer(openai=True), OtelTracer()
    for _ in range(2):
        first.init()
        second.init()
        assert Completions.__dict__["create"] is not before[0]
        first.teardown()
        assert Completions.__dict__["create"] is not before[0]
        second.teardown()
        assert (Completions.__dict__["create"], AsyncCompletions.__dict__["create"]) == before


async def test_an_application_that_has_instrumented_keeps_its_own(url: str) -> None:
    OpenAIInstrumentor().instrument()
    theirs = Completions.__dict__["create"]
    try:
        tracer = OtelTracer(openai=True)
        with tracer.lifespan():
            async with tracer.trace_context() as trace:
                await ask(url)
        assert Completions.__dict__["create"] is theirs
    finally:
        OpenAIInstrumentor().uninstrument()
    # Instrumented before any provider was set, it goes over to the stand-in, and by its wish records no content.
    assert [span.name for span in trace.spans] == ["chat backwards", AGL_ROLLOUT]
    assert "gen_ai.input.messages" not in trace.spans[0].attributes


async def test_what_the_application_says_about_content_holds(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "NO_CONTENT")
    tracer = OtelTracer(openai=True)
    with tracer.lifespan():
        async with tracer.trace_context() as trace:
            await ask(url)
    assert trace.spans[0].name == "chat backwards"
    assert "gen_ai.input.messages" not in trace.spans[0].attributes


async def test_it_can_be_switched_off(url: str) -> None:
    tracer = OtelTracer(openai=False)
    with tracer.lifespan():
        async with tracer.trace_context() as trace:
            await ask(url)
    assert [span.name for span in trace.spans] == [AGL_ROLLOUT]


def test_without_the_extra_it_is_an_error_only_if_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_name: str) -> None:
        return None

    monkeypatch.setattr(openai_calls, "find_spec", nothing)
    before = Completions.__dict__["create"]
    tracer = OtelTracer()
    tracer.init()
    assert Completions.__dict__["create"] is before
    tracer.teardown()
    with pytest.raises(MissingExtra, match=r"lightning-actors\[openai\]"):
        OtelTracer(openai=True).init()


def test_init_does_not_import_the_sdk_and_an_import_by_the_agent_is_in_time(url: str) -> None:
    code = f"""
import sys
import anyio
from lightning_actors.tracer import OtelTracer
tracer = OtelTracer(openai=True)
tracer.init()
assert "openai" not in sys.modules and "opentelemetry.instrumentation.genai.openai" not in sys.modules
async def main():
    async with tracer.trace_context() as trace:
        from openai import AsyncOpenAI
        async with AsyncOpenAI(base_url={url!r}, api_key="none") as client:
            await client.chat.completions.create(model="m", messages=[dict(role="user", content="late")])
    assert "etal" in trace.spans[0].attributes["gen_ai.output.messages"], trace.spans
anyio.run(main)
import os
assert {SWITCH!r} not in os.environ
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
