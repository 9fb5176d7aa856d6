"""``POST /v1/traces``: what any exporter sends is filed under the rollout that it names, and the rest is counted."""

from __future__ import annotations

import gzip
import json
from typing import Any

import anyio
import httpx2
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode

from lightning_actors import AttemptedRollout, InMemoryLightningStore, LightningStoreServer
from lightning_actors.errors import StoreNotWritten
from lightning_actors.http import ServerLimits
from lightning_actors.otlp.decoding import Decoded, decode, read_json, read_protobuf

pytestmark = pytest.mark.anyio

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """A server needs asyncio."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def attributes(**values: Any) -> list[dict[str, Any]]:
    return [{"key": key.replace("__", "."), "value": value} for key, value in values.items()]


def place(claimed: AttemptedRollout, **more: Any) -> list[dict[str, Any]]:
    """The attributes that name an attempt."""
    return attributes(
        agentlightning__rollout_id={"stringValue": claimed.rollout_id},
        agentlightning__attempt_id={"stringValue": claimed.attempt.attempt_id},
        **more,
    )


def span(number: int, **fields: Any) -> dict[str, Any]:
    return {"traceId": f"{7:032x}", "spanId": f"{number:016x}", "name": f"step {number}", **fields}


def body_of(spans: list[dict[str, Any]], resource: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {"attributes": resource or []}, "scopeSpans": [{"spans": spans}]}]}


def as_protobuf(body: dict[str, Any]) -> bytes:
    return read_json(json.dumps(body).encode()).SerializeToString()


FULL = span(
    1,
    parentSpanId=f"{9:016x}",
    traceState="vendor=1, other=two=2",
    flags=0x300,
    startTimeUnixNano="1700000000500000000",
    endTimeUnixNano="1700000001000000000",
    status={"code": 2, "message": "broke"},
    events=[{"name": "e", "timeUnixNano": "1700000000600000000", "attributes": attributes(n={"intValue": "3"})}],
    links=[{"traceId": f"{8:032x}", "spanId": f"{4:016x}", "attributes": attributes(why={"stringValue": "x"})}],
)


@pytest.mark.parametrize("form", ["protobuf", "json", "gzip"])
async def test_all_of_a_span_is_kept_in_each_form(
    store: InMemoryLightningStore, http: httpx2.AsyncClient, form: str
) -> None:
    claimed = await store.start_rollout("task")
    values = attributes(
        text={"stringValue": "é"},
        whole={"intValue": str(2**62)},
        real={"doubleValue": 1.5},
        lost={"doubleValue": "NaN"},
        flag={"boolValue": True},
        raw={"bytesValue": "//4="},
        many={"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}},
        mixed={"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}},
        nested={"kvlistValue": {"values": attributes(a={"intValue": "1"})}},
        nothing={},
    )
    body = body_of([{**FULL, "attributes": values}], place(claimed, service__name={"stringValue": "agent"}))
    content = json.dumps(body).encode() if form == "json" else as_protobuf(body)
    headers = JSON if form == "json" else PROTOBUF
    if form == "gzip":
        content, headers = gzip.compress(content), {**headers, "content-encoding": "gzip"}
    answer = await http.post("/v1/traces", content=content, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, headers["content-type"])
    assert answer.content == (b"{}" if form == "json" else b"")
    (kept,) = await store.query_spans(claimed.rollout_id)
    assert str(kept.attributes.pop("lost")) == "nan"
    assert kept.attributes == {
        "text": "é",
        "whole": 2**62,
        "real": 1.5,
        "flag": True,
        "raw": "fffe",
        "many": ["a", "b"],
        "mixed": '["a",1]',
        "nested": '{"a":1}',
        "nothing": "null",
    }
    assert (kept.attempt_id, kept.sequence_id) == (claimed.attempt.attempt_id, 1)
    assert (kept.trace_id, kept.span_id, kept.parent_id) == (f"{7:032x}", f"{1:016x}", f"{9:016x}")
    assert (kept.start_time, kept.end_time) == (1_700_000_000.5, 1_700_000_001.0)
    assert (kept.status.status_code, kept.status.description) == ("ERROR", "broke")
    assert [(event.name, event.attributes, event.timestamp) for event in kept.events] == [
        ("e", {"n": 3}, 1_700_000_000.6)
    ]
    assert [(link.context.span_id, link.attributes) for link in kept.links] == [(f"{4:016x}", {"why": "x"})]
    assert kept.context is not None
    assert (kept.context.trace_state, kept.context.is_remote) == ({"vendor": "1", "other": "two=2"}, True)
    assert kept.parent is None
    assert kept.resource.attributes["service.name"] == "agent"


async def test_what_a_span_names_goes_before_what_its_resource_names(
    store: InMemoryLightningStore, http: httpx2.AsyncClient
) -> None:
    first, second = await store.start_rollout(1), await store.start_rollout(2)
    body = body_of([span(1), span(2, attributes=place(second))], place(first))
    assert (await http.post("/v1/traces", json=body)).status_code == 200
    assert [one.name for one in await store.query_spans(first.rollout_id)] == ["step 1"]
    assert [one.name for one in await store.query_spans(second.rollout_id)] == ["step 2"]


@pytest.mark.parametrize(
    ("given_one", "expected"),
    [
        ({"intValue": "41"}, 41),
        ({"stringValue": "42"}, 42),
        ({"stringValue": "many"}, 1),
        ({"intValue": "-3"}, 1),
        ({"doubleValue": 4.5}, 1),
        ({"stringValue": str(2**70)}, 1),
        ({"stringValue": "9" * 5_000}, 1),
    ],
)
async def test_a_sequence_id_that_makes_sense_is_kept_and_any_other_is_the_next(
    store: InMemoryLightningStore, http: httpx2.AsyncClient, given_one: dict[str, Any], expected: int
) -> None:
    claimed = await store.start_rollout("task")
    body = body_of([span(1, attributes=attributes(agentlightning__span_sequence_id=given_one))], place(claimed))
    assert (await http.post("/v1/traces", json=body)).status_code == 200
    assert [one.sequence_id for one in await store.query_spans(claimed.rollout_id)] == [expected]


async def test_spans_that_cannot_be_filed_are_counted_and_reported_and_the_others_are_filed(
    store: InMemoryLightningStore, http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    claimed = await store.start_rollout("task")
    elsewhere = place(claimed)
    elsewhere[0] = {"key": "agentlightning.rollout_id", "value": {"stringValue": "ro-none"}}
    gone = place(claimed)
    gone[1] = {"key": "agentlightning.attempt_id", "value": {"stringValue": "at-none"}}
    spans = [
        span(1, attributes=place(claimed)),
        span(2),
        span(3, attributes=elsewhere),
        span(4, attributes=gone),
        span(5, attributes=place(claimed)[:1]),
        {**span(6, attributes=place(claimed)), "spanId": "0" * 16},
    ]
    answer = await http.post("/v1/traces", json=body_of(spans))
    told = answer.json()["partialSuccess"]
    assert (answer.status_code, told["rejectedSpans"]) == (200, "5")
    for part in ("2 spans that name no", "unknown rollout 'ro-none'", "unknown attempt 'at-none'", "without a span id"):
        assert part in told["errorMessage"]
        assert part in caplog.text
    assert [one.name for one in await store.query_spans(claimed.rollout_id)] == ["step 1"]
    assert (await http.get("/v1/agl/statistics")).json()["unfiled_spans"] == 5
    binary = await http.post("/v1/traces", content=as_protobuf(body_of([span(2)])), headers=PROTOBUF)
    assert ExportTraceServiceResponse.FromString(binary.content).partial_success.rejected_spans == 1
    assert (await http.get("/v1/agl/statistics")).json()["unfiled_spans"] == 6


async def test_an_empty_request_is_taken(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/v1/traces", headers=PROTOBUF)).status_code == 200
    assert (await http.post("/v1/traces", headers=JSON)).status_code == 200
    assert (await http.post("/v1/traces", json={"resourceSpans": []})).json() == {}


@pytest.mark.parametrize(
    ("content", "headers", "says"),
    [
        (b"\xff\xff", PROTOBUF, "no ExportTraceServiceRequest"),
        (b"{", JSON, "EOF"),
        (b"[]", JSON, "no ExportTraceServiceRequest"),
        (b'{"resourceSpans": 3}', JSON, "resourceSpans"),
        (json.dumps(body_of([{"traceId": "xyz"}])).encode(), JSON, "hex"),
        (b"spans", {"content-type": "text/plain"}, "application/x-protobuf"),
        (b"no gzip", {**PROTOBUF, "content-encoding": "gzip"}, "decompressed"),
        (gzip.compress(b"x" * 100)[:-9], {**PROTOBUF, "content-encoding": "gzip"}, "breaks off"),
        (gzip.compress(b"") + b"more", {**PROTOBUF, "content-encoding": "gzip"}, "goes on"),
        (b"[" * 10_000, JSON, "recursion"),
    ],
)
async def test_what_is_no_otlp_is_refused_in_the_form_that_was_asked_in(
    http: httpx2.AsyncClient, content: bytes, headers: dict[str, str], says: str
) -> None:
    answer = await http.post("/v1/traces", content=content, headers=headers)
    assert answer.status_code == 400
    text = answer.json()["message"] if headers is JSON else answer.content.decode(errors="replace")
    assert says in text
    if headers is not JSON:
        assert answer.content[:1] == b"\x12"  # the second field of google.rpc.Status


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs", "/v1/development/profiles"])
async def test_other_signals_are_not_implemented(http: httpx2.AsyncClient, path: str) -> None:
    assert (await http.post(path)).status_code == 501


async def test_more_spans_or_bytes_than_the_bounds_allow_are_refused(store: InMemoryLightningStore) -> None:
    limits = ServerLimits(batch=3, body_bytes=10_000)
    async with (
        LightningStoreServer(store, port=0, limits=limits) as server,
        httpx2.AsyncClient(base_url=server.endpoint) as client,
    ):
        many = await client.post("/v1/traces", json=body_of([span(number) for number in range(1, 5)]))
        assert many.status_code == 413
        assert "batch is 3" in many.json()["message"]
        bomb = gzip.compress(bytes(50_000_000))
        answer = await client.post("/v1/traces", content=bomb, headers={**PROTOBUF, "content-encoding": "gzip"})
        assert answer.status_code == 413
        assert b"10,000 bytes" in answer.content


class FullDisk(InMemoryLightningStore):
    """Can write nothing."""

    async def add_many_spans(self, *_: Any, **__: Any) -> Any:
        raise StoreNotWritten("the disk is full: make room", path="store.db")


@pytest.mark.parametrize("headers", [JSON, PROTOBUF], ids=["json", "protobuf"])
async def test_an_exporter_is_asked_to_try_again_where_the_disk_is_full(headers: dict[str, str]) -> None:
    store = FullDisk()
    claimed = await store.start_rollout("task")
    body = body_of([span(1)], place(claimed))
    async with (
        LightningStoreServer(store, port=0) as server,
        httpx2.AsyncClient(base_url=server.endpoint) as client,
    ):
        content = json.dumps(body).encode() if headers is JSON else as_protobuf(body)
        answer = await client.post("/v1/traces", content=content, headers=headers)
    assert answer.status_code == 503  # of 4xx and 5xx, exporters repeat 429, 502, 503 and 504 alone
    assert b"the disk is full: make room" in answer.content


async def test_the_sdks_own_exporter_is_understood(server: LightningStoreServer, store: InMemoryLightningStore) -> None:
    claimed = await store.start_rollout("task")

    def export() -> None:
        names = {
            "agentlightning.rollout_id": claimed.rollout_id,
            "agentlightning.attempt_id": claimed.attempt.attempt_id,
        }
        provider = TracerProvider(resource=SdkResource.create(names))
        exporter = OTLPSpanExporter(server.otlp_traces_endpoint(), compression=Compression.Gzip)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("t")
        with tracer.start_as_current_span("outer") as outer, tracer.start_as_current_span("inner") as inner:
            inner.add_event("said", {"words": ["a", "b"]})
            inner.set_status(StatusCode.OK)
            inner.add_link(outer.get_span_context(), {"kind": "above"})
        provider.shutdown()

    await anyio.to_thread.run_sync(export)
    inner, outer = await store.query_spans(claimed.rollout_id)
    assert (inner.name, inner.parent_id, outer.name, outer.parent_id) == ("inner", outer.span_id, "outer", None)
    assert inner.events[0].attributes == {"words": ["a", "b"]}
    assert inner.links[0].attributes == {"kind": "above"}
    assert inner.status.status_code == "OK"


Json = st.SearchStrategy[Any]


def only(name: str, values: Json) -> Json:
    return st.fixed_dictionaries({name: values})


SCALAR: Json = st.none() | st.booleans() | st.integers() | st.text()
JUNK: Json = st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
VALUE: Json = st.recursive(
    only("stringValue", st.text()) | only("intValue", st.integers()) | only("doubleValue", st.floats()),
    lambda inner: only("arrayValue", only("values", st.lists(inner))),
    max_leaves=5,
)
NAMES = [f"agentlightning.{name}" for name in ("rollout_id", "attempt_id", "span_sequence_id", "else")]
PAIR: Json = st.fixed_dictionaries({"key": st.sampled_from(NAMES), "value": VALUE | JUNK})
FIELDS = ("traceId", "spanId", "parentSpanId", "name", "attributes", "events", "status", "startTimeUnixNano")
SPAN: Json = st.dictionaries(st.sampled_from(FIELDS), st.text("0123456789abcdef") | st.lists(PAIR) | JUNK)


@given(st.lists(SPAN, max_size=3) | JUNK, st.lists(PAIR) | JUNK)
def test_json_of_any_shape_is_read_or_refused(spans: Any, resource: Any) -> None:
    try:
        request = read_json(json.dumps(body_of(spans, resource)).encode(errors="replace"))
    except ValueError:
        return
    consume(request)


@given(st.binary())
def test_bytes_of_any_kind_are_read_or_refused(body: bytes) -> None:
    for read in (read_protobuf, read_json):
        try:
            request = read(body)
        except ValueError:
            continue
        consume(request)


def consume(request: ExportTraceServiceRequest) -> None:
    decoded = Decoded()
    for _ in decode(request, decoded):
        pass
    json_format.MessageToJson(request)
