"""Spans for the user's own collector: all that was recorded here, and never at the cost of a rollout."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from anyio import to_thread
from opentelemetry import trace as otel
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource as SdkResource

import lightning_actors as agl
from lightning_actors.otlp.decoding import Decoded, decode
from lightning_actors.otlp.encoding import encode
from lightning_actors.tracer.forwarding import Collector, Forwarder, collector_in, forwarder
from lightning_actors.types import Event, Link, OtelResource, SpanContext, TraceStatus

pytestmark = pytest.mark.anyio

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class FakeCollector:
    """Takes what it is sent, or refuses it."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(collector.statuses.pop(0) if collector.statuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base's name
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def spans(self) -> list[agl.Span]:
        decoded = Decoded()
        for _, headers, body in self.requests:
            plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            for _ in decode(ExportTraceServiceRequest.FromString(plain), decoded):
                pass
        return decoded.spans


@pytest.fixture
def collector() -> Generator[FakeCollector]:
    """A collector of the user's."""
    fake = FakeCollector()
    thread = threading.Thread(target=fake.server.serve_forever, daemon=True)
    thread.start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
    thread.join()


async def all_sent(address: str) -> None:
    """Wait until what was handed over has gone."""
    sending = forwarder(Collector(f"{address}/v1/traces"))
    assert sending is not None
    assert await to_thread.run_sync(sending.wait_sent, 20.0)


@agl.rollout
async def agent(task: str) -> float:
    with agl.operation(name="work"):
        agl.emit_message(f"at {task}")
        with otel.get_tracer("library").start_as_current_span("of a library"):
            pass
    return 0.5


async def test_what_a_rollout_records_goes_to_the_collector_as_it_was_stored(
    collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, collector.address)
    store = agl.InMemoryLightningStore()
    runner = agl.LitAgentRunner[str](agl.OtelTracer())
    async with runner.run_context(agent=agent, store=store):
        rollout = await runner.step("task")
    await all_sent(collector.address)
    stored = {span.span_id: span for span in await store.query_spans(rollout.rollout_id)}
    received = {span.span_id: span for span in collector.spans()}
    assert len(stored) >= 4
    assert received.keys() == stored.keys()
    for span_id, span in received.items():
        ours = stored[span_id]
        assert (span.name, span.rollout_id, span.attempt_id) == (ours.name, ours.rollout_id, ours.attempt_id)
        assert (span.parent_id, span.sequence_id) == (ours.parent_id, ours.sequence_id)
        assert span.attributes.items() >= ours.attributes.items()
        assert span.resource.attributes["service.name"] == "lightning-actors"


async def test_spans_of_the_applications_own_provider_are_left_to_its_exporters(collector: FakeCollector) -> None:
    theirs = OtelResource.from_opentelemetry(SdkResource.create({"service.name": "app"}))
    own = agl.Span.from_attributes(attributes={}, rollout_id="ro-1", attempt_id="at-1", name="ours")
    sending = Forwarder(Collector(f"{collector.address}/v1/traces"), lambda spans: encode(spans, service_name="s"))
    sending.hand_over([own, own.model_copy(update={"resource": theirs, "name": "theirs"})])
    assert await to_thread.run_sync(sending.wait_sent, 20.0)
    assert [span.name for span in collector.spans()] == ["ours"]
    assert sending.sent == 1


async def test_a_collector_that_is_gone_costs_no_rollout_anything(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:  # bound, and never listened at: who connects is refused
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv(ENDPOINT, address)
        monkeypatch.setattr("lightning_actors.tracer.forwarding._PAUSES", ())
        store = agl.InMemoryLightningStore()
        runner = agl.LitAgentRunner[str](agl.OtelTracer())
        rollouts: list[agl.Rollout] = []
        for _ in range(2):
            async with runner.run_context(agent=agent, store=store):
                rollouts.append(await runner.step("task"))
            await all_sent(address)
    for rollout in rollouts:
        assert rollout.status == "succeeded"
        assert agl.find_final_reward(await store.query_spans(rollout.rollout_id)) == 0.5
    assert caplog.text.count("spans_not_forwarded") == 1
    sending = forwarder(Collector(f"{address}/v1/traces"))
    assert sending is not None
    assert sending.sent == 0
    assert sending.lost == sum([len(await store.query_spans(rollout.rollout_id)) for rollout in rollouts])


async def test_a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_actors.tracer.forwarding._PAUSES", (0.0, 0.0))
    span = agl.Span.from_attributes(attributes={}, rollout_id="ro-1", attempt_id="at-1")
    sending = Forwarder(Collector(collector.address), lambda spans: encode(spans, service_name="s"))
    collector.statuses = [503, 429]
    sending.hand_over([span])
    assert await to_thread.run_sync(sending.wait_sent, 20.0)
    assert (sending.sent, sending.lost, len(collector.requests)) == (1, 0, 3)
    collector.statuses = [400]
    sending.hand_over([span])
    assert await to_thread.run_sync(sending.wait_sent, 20.0)
    assert (sending.sent, sending.lost, len(collector.requests)) == (1, 1, 4)


async def test_more_than_the_collector_can_take_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    def held(_: Any) -> bytes:
        gate.wait()
        raise ValueError("no body")

    span = agl.Span.from_attributes(attributes={}, rollout_id="ro-1", attempt_id="at-1")
    sending = Forwarder(Collector("http://127.0.0.1:9"), held)
    sending.hand_over([span] * 15_000)
    assert sending.lost == 5_000
    assert "slower than spans are recorded" in caplog.text
    gate.set()
    assert await to_thread.run_sync(sending.wait_sent, 20.0)
    assert sending.lost == 15_000


def test_variables_say_where_and_how() -> None:
    assert collector_in({}) is None
    assert collector_in({ENDPOINT: "http://c:4318/"}) == Collector("http://c:4318/v1/traces")
    assert collector_in({ENDPOINT: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}) is None
    full = {
        ENDPOINT: "http://c:4318",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces.example/otlp",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=other",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=a%3Db, x-tenant=me",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_SERVICE_NAME": "my-agent",
    }
    headers = (("api-key", "a=b"), ("x-tenant", "me"))
    assert collector_in(full) == Collector("https://traces.example/otlp", headers, 2.5, True, "my-agent")
    assert collector_in({ENDPOINT: "http://c", "OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}) == Collector("http://c/v1/traces")


@pytest.mark.parametrize(
    "variables",
    [
        {ENDPOINT: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {ENDPOINT: "c:4318"},
    ],
)
def test_a_collector_that_cannot_be_sent_to_is_said(
    variables: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    assert collector_in(variables) is None
    assert "http/protobuf" in caplog.text


async def test_headers_compression_and_service_go_with_the_spans(collector: FakeCollector) -> None:
    how = Collector(collector.address, (("api-key", "k"),), compresses=True, service_name="my-agent")
    sending = forwarder(how)
    assert sending is not None
    sending.hand_over([agl.Span.from_attributes(attributes={}, rollout_id="ro-1", attempt_id="at-1")])
    assert await to_thread.run_sync(sending.wait_sent, 20.0)
    (request,) = collector.requests
    assert (request[1]["api-key"], request[1]["content-type"]) == ("k", "application/x-protobuf")
    assert collector.spans()[0].resource.attributes == {"service.name": "my-agent"}


def test_all_of_a_span_is_encoded() -> None:
    span = agl.Span(
        rollout_id="ro-1",
        attempt_id="at-1",
        sequence_id=3,
        trace_id="7" * 32,
        span_id="8" * 16,
        parent_id="9" * 16,
        name="call",
        status=TraceStatus(status_code="ERROR", description="broke"),
        attributes={"t": "é", "n": 2**62, "big": 2**70, "f": 1.5, "b": True, "l": ["a", "b"], "none": []},
        events=[Event(name="e", attributes={"n": 1}, timestamp=3.5)],
        links=[Link(context=SpanContext(trace_id="7" * 32, span_id="6" * 16, trace_state={"k": "v"}))],
        start_time=10.0,
        end_time=12.75,
        context=SpanContext(trace_id="7" * 32, span_id="8" * 16, trace_state={"a": "b"}),
        resource=OtelResource(attributes={"service.name": "app"}, schema_url="http://s"),
    )
    decoded = Decoded()
    for _ in decode(ExportTraceServiceRequest.FromString(encode([span], service_name="else")), decoded):
        pass
    (twin,) = decoded.spans
    places = {"agentlightning.rollout_id": "ro-1", "agentlightning.attempt_id": "at-1"}
    expected = {**span.attributes, **places, "agentlightning.span_sequence_id": 3, "big": str(2**70)}
    assert twin == span.model_copy(update={"attributes": expected})


ENDS_AT_ONCE = """
import anyio, lightning_actors as agl

@agl.rollout
async def agent(task):
    agl.emit_message("hello")

async def main():
    runner = agl.LitAgentRunner(agl.OtelTracer())
    async with runner.run_context(agent=agent, store=agl.InMemoryLightningStore()):
        await runner.step("task")

anyio.run(main)
"""


def test_the_last_spans_of_a_process_are_sent_too(collector: FakeCollector) -> None:
    environment = {**os.environ, ENDPOINT: collector.address}
    done = subprocess.run([sys.executable, "-c", ENDS_AT_ONCE], env=environment, capture_output=True, check=False)  # noqa: S603 - our own lines
    assert done.returncode == 0, done.stderr.decode()
    assert {"agentlightning.message", "agentlightning.rollout"} <= {span.name for span in collector.spans()}
