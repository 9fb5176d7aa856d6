"""The application's OpenTelemetry set-up stays its own, and rollouts do not depend on it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lightning_actors.emitter import emit_reward, find_final_reward
from lightning_actors.semconv import AGL_ROLLOUT
from lightning_actors.tracer import OtelTracer, Trace, providers

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fresh_otel")]


@pytest.fixture
def tracer() -> OtelTracer:
    return OtelTracer(openai=False)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def host_provider(exporter: InMemorySpanExporter, sampler: sampling.Sampler = sampling.ALWAYS_ON) -> TracerProvider:
    provider = TracerProvider(
        sampler=sampler,
        resource=Resource({"service.name": "host"}),
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_span_attributes=3, max_events=2),
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def names(trace: Trace) -> list[str]:
    return [span.name for span in trace.spans]


def exported(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


def use(name: str = "library") -> None:
    with otel.get_tracer("a.library").start_as_current_span(name):
        pass


def test_importing_and_initialising_set_no_provider() -> None:
    code = (
        "from opentelemetry import trace\n"
        "import lightning_actors.tracer, lightning_actors.emitter\n"
        "lightning_actors.tracer.OtelTracer(openai=False).init()\n"
        "assert trace._TRACER_PROVIDER is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


async def test_a_host_that_comes_first_keeps_its_provider_and_its_spans(
    tracer: OtelTracer, exporter: InMemorySpanExporter
) -> None:
    host = host_provider(exporter)
    otel.set_tracer_provider(host)
    use("before")
    async with tracer.trace_context() as trace:
        assert otel.get_tracer_provider() is host
        use("within")
        emit_reward(1.0)
    use("after")
    assert names(trace) == ["within", "agentlightning.annotation", AGL_ROLLOUT]
    assert exported(exporter) == ["before", "within", "after"]
    assert trace.spans[0].resource.attributes["service.name"] == "host"


async def test_a_host_that_comes_later_gets_its_spans_also_from_tracers_made_before(
    tracer: OtelTracer, exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    made_before = otel.get_tracer("made.before")
    async with tracer.trace_context() as first:
        use("of nobody else")
        with made_before.start_as_current_span("made before"):
            pass
        made_within = otel.get_tracer("made.within")
    host = host_provider(exporter)
    otel.set_tracer_provider(host)
    assert otel.get_tracer_provider() is host
    assert caplog.records == []
    async with tracer.trace_context() as second:
        use("new")
        for old in (made_before, made_within):
            with old.start_as_current_span("old"):
                pass
            old.start_span("old again").end()
    assert names(first) == ["of nobody else", "made before", AGL_ROLLOUT]
    assert names(second) == ["new", "old", "old again", "old", "old again", AGL_ROLLOUT]
    assert exported(exporter) == ["new", "old", "old again", "old", "old again"]


async def test_a_host_may_add_its_exporter_to_the_provider_that_it_finds(
    tracer: OtelTracer, exporter: InMemorySpanExporter
) -> None:
    async with tracer.trace_context() as trace:
        provider = otel.get_tracer_provider()
        assert isinstance(provider, TracerProvider)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        use()
    assert exported(exporter) == ["library"]
    assert names(trace) == ["library", AGL_ROLLOUT]
    provider._active_span_processor._span_processors = provider._active_span_processor._span_processors[:1]


async def test_each_provider_gets_one_processor_for_good(tracer: OtelTracer, exporter: InMemorySpanExporter) -> None:
    host = host_provider(exporter)
    otel.set_tracer_provider(host)
    for _ in range(3):
        tracer.init()
        async with tracer.trace_context() as trace:
            use()
        async with OtelTracer(openai=False).trace_context():
            pass
        tracer.teardown()
        assert names(trace) == ["library", AGL_ROLLOUT]
    assert len(host._active_span_processor._span_processors) == 2


async def test_the_hosts_provider_is_never_shut_down(tracer: OtelTracer, exporter: InMemorySpanExporter) -> None:
    otel.set_tracer_provider(host_provider(exporter))
    with tracer.lifespan():
        async with tracer.trace_context():
            use("within")
    use("after")
    assert exported(exporter) == ["within", "after"]


@pytest.mark.parametrize(
    "sampler",
    [sampling.ALWAYS_OFF, sampling.TraceIdRatioBased(0.0), sampling.ParentBased(sampling.ALWAYS_OFF)],
    ids=lambda sampler: type(sampler).__name__,
)
async def test_rewards_do_not_depend_on_the_hosts_sampling(
    tracer: OtelTracer, exporter: InMemorySpanExporter, sampler: sampling.Sampler
) -> None:
    otel.set_tracer_provider(host_provider(exporter, sampler))
    async with tracer.trace_context() as trace:
        with otel.get_tracer("a.library").start_as_current_span("library"):
            emit_reward(0.5)
            with tracer.operation_context("operation"):
                emit_reward(0.75)
    assert find_final_reward(trace.spans) == 0.75
    assert {"operation", AGL_ROLLOUT} <= set(names(trace))
    known = {span.span_id for span in trace.spans}
    assert [span.name for span in trace.spans if span.parent_id not in known] == [AGL_ROLLOUT]


async def test_a_host_that_samples_out_is_reported_once_and_counted_on_each_rollout(
    tracer: OtelTracer, exporter: InMemorySpanExporter, reported: Callable[[], list[tuple[str, dict[str, Any]]]]
) -> None:
    otel.set_tracer_provider(host_provider(exporter, sampling.ALWAYS_OFF))
    for _ in range(2):
        async with tracer.trace_context() as trace:
            with otel.get_tracer("a.library").start_as_current_span("kept back"):
                emit_reward(1.0)
                emit_reward(2.0)
        assert trace.notes == {"sampler": "AlwaysOffSampler", "sampled_out": 1}
    ((event, fields),) = reported()
    assert (event, fields["sampler"]) == ("spans_sampled_out", "AlwaysOffSampler")


async def test_a_sampler_that_asks_the_parent_records_what_happens_in_rollouts(
    tracer: OtelTracer, exporter: InMemorySpanExporter
) -> None:
    otel.set_tracer_provider(host_provider(exporter, sampling.ParentBased(sampling.ALWAYS_OFF)))
    use("outside")
    async with tracer.trace_context() as trace:
        use("within")
    assert names(trace) == ["within", AGL_ROLLOUT]
    assert trace.notes == {}
    assert exported(exporter) == ["within"]


async def test_a_sampler_of_the_hosts_own_making_is_not_asked(
    tracer: OtelTracer, exporter: InMemorySpanExporter
) -> None:
    class Counting(sampling.Sampler):
        asked = 0

        def should_sample(self, *args: object, **kwargs: object) -> sampling.SamplingResult:  # pyright: ignore[reportIncompatibleMethodOverride] - any arguments
            self.asked += 1
            return sampling.SamplingResult(sampling.Decision.RECORD_AND_SAMPLE)

        def get_description(self) -> str:
            return "counting"

    sampler = Counting()
    otel.set_tracer_provider(host_provider(exporter, sampler))
    async with tracer.trace_context():
        use()
    assert sampler.asked == 1


async def test_what_the_hosts_limits_drop_is_reported_once_and_counted(
    tracer: OtelTracer, exporter: InMemorySpanExporter, reported: Callable[[], list[tuple[str, dict[str, Any]]]]
) -> None:
    otel.set_tracer_provider(host_provider(exporter))
    for _ in range(2):
        async with tracer.trace_context() as trace:
            with otel.get_tracer("a.library").start_as_current_span("big") as span:
                span.set_attributes({f"key {number}": number for number in range(5)})
                for _ in range(3):
                    span.add_event("event")
        assert trace.notes == {"truncated": 3}
    assert [event for event, _ in reported()] == ["spans_truncated"]


async def test_what_goes_through_the_private_provider_has_no_limits(tracer: OtelTracer) -> None:
    async with tracer.trace_context() as trace:
        with tracer.operation_context("big") as recording:
            recording.record_attributes({f"key {number}": "x" * 10_000 for number in range(300)})
    assert len(trace.spans[0].attributes) == 300
    assert len(str(trace.spans[0].attributes["key 0"])) == 10_000


def test_the_environment_does_not_reach_the_private_provider() -> None:
    code = """
import anyio
from opentelemetry import trace
from lightning_actors.tracer import OtelTracer
async def main():
    tracer = OtelTracer(openai=False)
    async with tracer.trace_context() as trace_:
        with tracer.operation_context("operation", {"a": "long", "b": 1}):
            pass
        with trace.get_tracer("library").start_as_current_span("library"):
            pass
    assert [span.name for span in trace_.spans] == ["operation", "library", "agentlightning.rollout"], trace_.spans
    assert trace_.spans[0].attributes == {"a": "long", "b": 1}
    assert trace_.spans[0].resource.attributes == {"service.name": "lightning-actors"}
anyio.run(main)
"""
    environment = {
        "OTEL_SDK_DISABLED": "true",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_ATTRIBUTE_COUNT_LIMIT": "1",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
        "OTEL_SERVICE_NAME": "host",
        "OTEL_RESOURCE_ATTRIBUTES": "a=b",
        "PYTHONPATH": ":".join(sys.path),
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)  # noqa: S603 - our own code


async def test_a_provider_that_is_not_the_sdks_is_reported_once(
    tracer: OtelTracer, reported: Callable[[], list[tuple[str, dict[str, Any]]]]
) -> None:
    otel.set_tracer_provider(otel.NoOpTracerProvider())
    for _ in range(2):
        async with tracer.trace_context() as trace:
            use()
            emit_reward(1.0)
        assert names(trace) == ["agentlightning.annotation", AGL_ROLLOUT]
    assert [event for event, _ in reported()] == ["provider_not_captured"]


def collided(_bits: int) -> int:
    return 7


@pytest.mark.parametrize("collision", [None, collided])
async def test_ids_of_the_private_provider_do_not_depend_on_random(
    tracer: OtelTracer, monkeypatch: pytest.MonkeyPatch, collision: Callable[[int], int] | None
) -> None:
    if collision is not None:
        monkeypatch.setattr(random, "getrandbits", collision)
    ids: set[str] = set()
    for _ in range(2):
        random.seed(1)
        async with tracer.trace_context() as trace:
            pass
        ids.add(trace.spans[0].span_id)
    assert len(ids) == 2


async def test_a_later_release_without_the_private_name_still_gets_a_provider(
    tracer: OtelTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    monkeypatch.setattr(otel, "set_tracer_provider", given.append)

    def without_it(holder: object, name: str) -> bool:
        return name != "_TRACER_PROVIDER" and hasattr(holder, name)

    monkeypatch.setattr(providers, "hasattr", without_it, raising=False)
    async with tracer.trace_context():
        pass
    assert len(given) == 1


FORKS = """
import os, signal
from anyio import run
from lightning_actors import OtelTracer

async def trace():
    async with OtelTracer(openai=False).trace_context():
        pass

run(trace)
import concurrent.futures.thread  # as whatever uses a pool of threads does, sooner or later
child = os.fork()
if not child:
    signal.alarm(30)
    run(trace)
    os._exit(0)
raise SystemExit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_of_a_process_that_has_traced_goes_on() -> None:
    subprocess.run([sys.executable, "-c", FORKS], check=True)  # noqa: S603 - our own lines
