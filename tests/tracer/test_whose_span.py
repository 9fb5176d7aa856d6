"""Whose span is it: parents, current attempts, tasks, threads, late spans, and nobody's."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
import threading
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace as otel

from lightning_actors.emitter import emit_annotation, emit_reward, find_final_reward, operation
from lightning_actors.semconv import AGL_OPERATION, AGL_ROLLOUT
from lightning_actors.tracer import OtelTracer, Trace
from lightning_actors.tracer.span_processor import PROCESSOR
from lightning_actors.types import Span

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fresh_otel")]

library = otel.get_tracer("a.library")


@pytest.fixture
def tracer() -> OtelTracer:
    return OtelTracer(openai=False)


def names(trace: Trace) -> list[str]:
    return [span.name for span in trace.spans]


def parents(spans: list[Span]) -> dict[str, str | None]:
    """The name of each span's parent, by the span's name."""
    by_id = {span.span_id: span.name for span in spans}
    return {span.name: by_id.get(span.parent_id or "") for span in spans}


async def one_rollout(tracer: OtelTracer, store: Any, number: int) -> None:
    """A rollout that mixes nested spans, tasks, threads, emitters and waiting."""
    mine = f"ro-{number}"

    async def child(name: str) -> None:
        with library.start_as_current_span(f"{mine}/{name}"):
            await anyio.lowlevel.checkpoint()
            with library.start_as_current_span(f"{mine}/{name}/inner"):
                await anyio.lowlevel.checkpoint()

    def in_thread() -> None:
        with library.start_as_current_span(f"{mine}/thread"):
            emit_annotation({"of": mine})

    async with tracer.trace_context(store=store, rollout_id=mine, attempt_id=f"at-{number}"):
        with library.start_as_current_span(f"{mine}/agent"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child, "a")
                tasks.start_soon(child, "b")
            if number % 10 == 0:
                await anyio.to_thread.run_sync(in_thread)
            emit_reward(float(number))


async def test_a_thousand_rollouts_at_once_leak_nothing_into_each_other(tracer: OtelTracer, store: Any) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(one_rollout, tracer, store, number)
    by_rollout: dict[str, list[Span]] = {}
    for span in store.spans:
        by_rollout.setdefault(span.rollout_id, []).append(span)
    assert len(by_rollout) == 1000
    for number in range(1000):
        mine = f"ro-{number}"
        spans = by_rollout[mine]
        assert {span.attempt_id for span in spans} == {f"at-{number}"}
        assert len({span.trace_id for span in spans}) == 1
        assert find_final_reward(spans) == number
        named = [span for span in spans if span.name.startswith("ro-")]
        assert all(span.name.startswith(f"{mine}/") for span in named)
        above = parents(spans)
        assert above[f"{mine}/a/inner"] == f"{mine}/a"
        assert above[f"{mine}/b"] == f"{mine}/agent"
        assert above[f"{mine}/agent"] == AGL_ROLLOUT
        if number % 10 == 0:
            (annotation,) = [span for span in spans if "of" in span.attributes]
            assert annotation.attributes["of"] == mine
            assert above[annotation.name] in {f"{mine}/thread", f"{mine}/agent"}
    assert PROCESSOR._owners == {}


async def test_threads_of_anyio_belong_to_the_rollout(tracer: OtelTracer) -> None:
    def work() -> None:
        with library.start_as_current_span("in a thread"):
            pass

    async with tracer.trace_context() as trace:
        with library.start_as_current_span("agent"):
            await anyio.to_thread.run_sync(work)
    assert parents(trace.spans)["in a thread"] == "agent"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_threads_of_asyncio_belong_to_the_rollout(tracer: OtelTracer) -> None:
    def work() -> None:
        with library.start_as_current_span("in a thread"):
            pass

    async with tracer.trace_context() as trace:
        await asyncio.to_thread(work)
    assert names(trace) == ["in a thread", AGL_ROLLOUT]


async def test_a_plain_thread_belongs_to_the_rollout_if_it_gets_a_copy_of_the_context(tracer: OtelTracer) -> None:
    def work(name: str) -> None:
        with library.start_as_current_span(name):
            pass

    async with tracer.trace_context() as trace:
        for thread in (
            threading.Thread(target=contextvars.copy_context().run, args=(work, "with")),
            threading.Thread(target=work, args=("without",)),
        ):
            thread.start()
            thread.join()
    assert names(trace) == ["with", AGL_ROLLOUT]


async def test_a_span_belongs_to_its_explicit_parents_rollout(tracer: OtelTracer) -> None:
    async with tracer.trace_context("one") as one:
        parent = otel.set_span_in_context(otel.get_current_span())
        async with tracer.trace_context("two") as two:
            library.start_span("of one", context=parent).end()
            library.start_span("of two").end()
    assert names(one) == ["of one", "one"]
    assert names(two) == ["of two", "two"]


async def test_a_root_span_is_adopted_by_the_current_attempt_with_all_below_it(tracer: OtelTracer) -> None:
    empty = otel_context.Context()
    async with tracer.trace_context() as trace:
        with library.start_as_current_span("own root", context=empty), library.start_as_current_span("below"):
            emit_annotation({"a": 1})
    assert parents(trace.spans)["below"] == "own root"
    annotation = next(span for span in trace.spans if span.attributes.get("a") == 1)
    assert annotation.parent_id == next(span for span in trace.spans if span.name == "below").span_id
    assert len({span.trace_id for span in trace.spans}) == 2


async def test_a_span_below_one_of_the_host_is_adopted_without_the_rest_of_the_hosts_trace(
    tracer: OtelTracer,
) -> None:
    async with tracer.trace_context("first"):
        pass
    with library.start_as_current_span("request of the host") as host:
        above = otel.set_span_in_context(host)

        async def rollout(name: str, traces: dict[str, Trace]) -> None:
            async with tracer.trace_context(name) as traces[name]:
                with library.start_as_current_span(f"{name} below the host", context=above) as own:
                    await anyio.lowlevel.checkpoint()
                    library.start_span(f"{name} child", context=otel.set_span_in_context(own)).end()

        traces: dict[str, Trace] = {}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rollout, "a", traces)
            tasks.start_soon(rollout, "b", traces)
    for name in ("a", "b"):
        assert names(traces[name]) == [f"{name} child", f"{name} below the host", name]


async def test_the_hosts_spans_outside_rollouts_are_nobodys(tracer: OtelTracer) -> None:
    async with tracer.trace_context() as trace:
        pass
    with library.start_as_current_span("host"):
        pass
    done, go = anyio.Event(), anyio.Event()
    second = Trace(tracer)

    async def host() -> None:
        await go.wait()
        with library.start_as_current_span("host beside a rollout"):
            done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host)
        async with tracer.trace_context() as second:
            go.set()
            await done.wait()
    assert names(trace) == names(second) == [AGL_ROLLOUT]
    assert trace.notes == second.notes == {}


async def test_spans_that_begin_after_the_end_are_counted_and_reported_once(
    tracer: OtelTracer, reported: Callable[[], list[tuple[str, dict[str, Any]]]]
) -> None:
    over = anyio.Event()
    trace = Trace(tracer)

    async def outlives() -> None:
        await over.wait()
        for _ in range(3):
            with library.start_as_current_span("late"):
                pass
        emit_annotation({"too": "late"})

    async with anyio.create_task_group() as tasks:
        async with tracer.trace_context(rollout_id="ro-1", attempt_id="at-1") as trace:
            tasks.start_soon(outlives)
            await anyio.lowlevel.checkpoint()
        over.set()
    assert names(trace) == [AGL_ROLLOUT]
    assert trace.notes == {"late": 4}
    (fields,) = [fields for event, fields in reported() if event == "span_after_the_end"]
    assert fields["rollout_id"] == "ro-1"


async def test_a_late_span_is_not_taken_for_another_rollouts(tracer: OtelTracer) -> None:
    over = anyio.Event()
    done = anyio.Event()
    first = second = Trace(tracer)

    async def outlives() -> None:
        await over.wait()
        with library.start_as_current_span("late"):
            done.set()

    async with anyio.create_task_group() as tasks:
        async with tracer.trace_context() as first:
            tasks.start_soon(outlives)
            await anyio.lowlevel.checkpoint()
        async with tracer.trace_context() as second:
            over.set()
            await done.wait()
    assert names(first) == names(second) == [AGL_ROLLOUT]
    assert (first.notes, second.notes) == ({"late": 1}, {})


async def test_spans_still_open_at_the_end_are_kept_without_an_end_and_reported(tracer: OtelTracer, store: Any) -> None:
    over = anyio.Event()
    trace = Trace(tracer)

    async def outlives() -> None:
        with library.start_as_current_span("still open", attributes={"a": 1}) as span:
            await over.wait()
            span.set_attribute("b", 2)

    async with anyio.create_task_group() as tasks:
        async with tracer.trace_context(store=store, rollout_id="ro-1", attempt_id="at-1") as trace:
            tasks.start_soon(outlives)
            await anyio.wait_all_tasks_blocked()
        over.set()
    root, unended = store.spans
    assert trace.spans == [root, unended]
    assert (unended.name, unended.end_time, unended.attributes) == ("still open", None, {"a": 1})
    assert unended.parent_id == root.span_id
    assert trace.notes == {"open_at_end": ["still open"]}


async def test_ids_that_repeat_because_agents_seed_random_confuse_nobody(tracer: OtelTracer) -> None:
    async def agent(name: str, traces: dict[str, Trace]) -> None:
        async with tracer.trace_context(name) as traces[name]:
            random.seed(42)
            with library.start_as_current_span(f"{name} root", context=otel_context.Context()):
                await anyio.lowlevel.checkpoint()
                with library.start_as_current_span(f"{name} inner"):
                    await anyio.lowlevel.checkpoint()

    traces: dict[str, Trace] = {}
    async with anyio.create_task_group() as tasks:
        for name in ("a", "b", "c"):
            tasks.start_soon(agent, name, traces)
    for name in ("a", "b", "c"):
        assert names(traces[name]) == [f"{name} inner", f"{name} root", name]


async def test_nothing_is_kept_of_a_trace_that_nobody_looks_at(tracer: OtelTracer, store: Any) -> None:
    gone: list[weakref.ref[Trace]] = []

    async def rollout(number: int) -> None:
        ids = {"rollout_id": f"ro-{number}", "attempt_id": f"at-{number}"}
        async with tracer.trace_context(store=store, **ids) as trace:
            gone.append(weakref.ref(trace))
            with library.start_as_current_span("agent"):
                pass

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(rollout, number)
    await anyio.lowlevel.checkpoint()
    gc.collect()
    assert tracer._writer._dirty == set()
    assert PROCESSOR._owners == {}
    assert [trace for trace in gone if trace() is not None] == []


async def test_emitters_and_operations_go_below_the_current_span_whoever_made_it(tracer: OtelTracer) -> None:
    async with tracer.trace_context() as trace:
        with (
            library.start_as_current_span("library"),
            operation(name="search"),
            library.start_as_current_span("deeper"),
        ):
            emit_reward(1)
    above = parents(trace.spans)
    assert above["agentlightning.annotation"] == "deeper"
    assert above["deeper"] == AGL_OPERATION
    assert above[AGL_OPERATION] == "library"
