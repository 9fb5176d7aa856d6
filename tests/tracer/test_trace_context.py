"""One attempt's trace: how it begins, what it holds, how it ends and is written."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.to_thread
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace as otel

from lightning_actors.actors import hosted
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import StoreError
from lightning_actors.semconv import AGL_ROLLOUT
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.actor import ActorStore, store_actor
from lightning_actors.tracer import DummyTracer, OtelTracer, Trace, Tracer, current_trace, remember_last, writer
from lightning_actors.types import Span, SpanCoreFields

pytestmark = pytest.mark.anyio

library = otel.get_tracer("a.library")


@pytest.fixture(params=[OtelTracer, DummyTracer])
def tracer(request: pytest.FixtureRequest) -> Tracer:
    return request.param()


class FailingStore:
    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.calls = 0

    async def add_many_spans(self, spans: Sequence[Span]) -> Sequence[Span]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return spans


class SlowStore:
    """Takes spans, and answers when it is told to."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.asked = anyio.Event()
        self.answer = anyio.Event()

    async def add_many_spans(self, spans: Sequence[Span]) -> Sequence[Span]:
        self.asked.set()
        await self.answer.wait()
        self.spans.extend(spans)
        return spans


async def test_the_root_stands_above_what_is_made_inside(tracer: Tracer, store: Any) -> None:
    async with tracer.trace_context(store=store, rollout_id="ro-1", attempt_id="at-1"):
        tracer.create_span("inner", {"a": 1})
    inner, root = store.spans
    assert (root.name, root.parent_id, root.rollout_id, root.attempt_id) == (AGL_ROLLOUT, None, "ro-1", "at-1")
    assert (inner.name, inner.parent_id, inner.attributes) == ("inner", root.span_id, {"a": 1})
    assert inner.trace_id == root.trace_id
    assert root.start_time <= inner.start_time <= inner.end_time <= root.end_time


async def test_the_root_bears_the_name_given(tracer: Tracer) -> None:
    async with tracer.trace_context("my rollout") as trace:
        pass
    assert [span.name for span in trace.spans] == ["my rollout"]


@pytest.mark.parametrize("ids", [{"rollout_id": "ro-1"}, {"attempt_id": "at-1"}])
async def test_one_id_without_the_other_is_refused(tracer: Tracer, ids: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="both rollout_id and attempt_id"):
        async with tracer.trace_context(**ids):
            pass
    assert current_trace() is None


async def test_without_ids_nothing_is_written(tracer: Tracer, store: Any) -> None:
    async with tracer.trace_context(store=store) as trace:
        tracer.create_span("inner")
    assert len(trace.spans) == 2
    assert store.batches == []


async def test_the_store_of_init_worker_is_used_where_none_is_named(tracer: Tracer, store: Any) -> None:
    with tracer.lifespan(store):
        async with tracer.trace_context(rollout_id="ro-1", attempt_id="at-1"):
            pass
    assert len(store.spans) == 1
    async with tracer.trace_context(rollout_id="ro-1", attempt_id="at-1"):
        pass
    assert len(store.spans) == 1


async def test_everything_is_written_with_one_call_and_the_trace_holds_what_was_stored(
    tracer: Tracer, store: Any
) -> None:
    async with tracer.trace_context(store=store, rollout_id="ro-1", attempt_id="at-1") as trace:
        for number in range(3):
            tracer.create_span(f"span {number}")
        assert trace.pending == 3
        assert [span.sequence_id for span in trace.spans] == [0, 0, 0]
    assert len(store.batches) == 1
    assert trace.pending == 0
    assert trace.spans == store.spans
    assert [span.sequence_id for span in trace.spans] == [1, 2, 3, 4]


async def test_an_error_is_recorded_on_the_root_and_raised(tracer: Tracer, store: Any) -> None:
    with pytest.raises(KeyError, match="gone"):
        async with tracer.trace_context(store=store, rollout_id="ro-1", attempt_id="at-1"):
            raise KeyError("gone")
    (root,) = store.spans
    assert root.status.status_code == "ERROR"
    assert root.status.description == "KeyError: 'gone'"
    (event,) = root.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "KeyError"
    assert "test_trace_context.py" in event.attributes["exception.stacktrace"]


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), Unprintable()])
async def test_any_kind_of_error_is_recorded_and_passed_on(tracer: Tracer, store: Any, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        async with tracer.trace_context(store=store, rollout_id="ro-1", attempt_id="at-1"):
            raise error
    assert caught.value is error
    assert store.spans[0].status.status_code == "ERROR"
    assert current_trace() is None


async def test_cancellation_is_recorded_and_the_spans_are_still_written(tracer: Tracer) -> None:
    slow = SlowStore()
    async with anyio.create_task_group() as tasks:

        async def attempt() -> None:
            with anyio.CancelScope() as scope:
                async with tracer.trace_context(store=slow, rollout_id="ro-1", attempt_id="at-1"):
                    tracer.create_span("before")
                    scope.cancel()
                    await anyio.sleep_forever()
            assert scope.cancelled_caught

        tasks.start_soon(attempt)
        await slow.asked.wait()
        slow.answer.set()
    assert [span.name for span in slow.spans] == ["before", AGL_ROLLOUT]
    assert slow.spans[1].status.status_code == "ERROR"


async def test_a_failing_write_is_raised(tracer: Tracer) -> None:
    with pytest.raises(StoreError, match="full"):
        async with tracer.trace_context(store=FailingStore(StoreError("full")), rollout_id="r", attempt_id="a"):
            pass


async def test_a_failing_write_does_not_hide_the_agents_error(
    tracer: Tracer, reported: Callable[[], list[tuple[str, dict[str, Any]]]]
) -> None:
    with pytest.raises(KeyError) as caught:
        async with tracer.trace_context(store=FailingStore(StoreError("full")), rollout_id="r", attempt_id="a"):
            raise KeyError("gone")
    assert "1 spans of rollout r were not written: StoreError('full')" in caught.value.__notes__[0]
    assert reported() == [("spans_not_written", {"rollout_id": "r", "spans": 1})]


async def test_a_store_that_does_not_answer_is_an_error_after_the_deadline(
    tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_WRITE_SECONDS", 0.0)
    with pytest.raises(StoreError, match="could not be written within"):
        async with tracer.trace_context(store=SlowStore(), rollout_id="ro-1", attempt_id="at-1"):
            pass


class ShutStore(InMemoryLightningStore):
    """Takes spans in, and never answers."""

    async def add_many_spans(self, spans: Sequence[Span]) -> Sequence[Span]:
        await anyio.sleep_forever()
        raise AssertionError


async def test_the_deadline_is_by_the_clock_of_the_store(tracer: Tracer) -> None:
    clock = VirtualClock()
    store = ShutStore(clock=clock)
    rollout = await store.start_rollout("task")
    ids = {"rollout_id": rollout.rollout_id, "attempt_id": rollout.attempt.attempt_id}
    async with clock.autojump():
        with pytest.raises(StoreError, match="2 spans could not be written within 30 s"):  # noqa: PT012 - the end raises it
            async with tracer.trace_context(store=store, **ids):
                tracer.create_span("first")
                with pytest.raises(StoreError, match="1 spans could not be written within 30 s"):
                    await tracer.flush()
                assert clock.monotonic() == 30.0
        assert clock.monotonic() == 60.0


async def test_the_end_of_a_trace_is_by_the_clock_of_the_store_and_shielded_until_then(tracer: Tracer) -> None:
    clock = VirtualClock()
    ref_store = ShutStore(clock=clock)
    rollout = await ref_store.start_rollout("task")
    ids = {"rollout_id": rollout.rollout_id, "attempt_id": rollout.attempt.attempt_id}
    async with clock.autojump():
        with anyio.CancelScope() as scope, pytest.raises(StoreError, match="1 spans could not be written within 30 s"):
            async with tracer.trace_context(store=ref_store, **ids):
                scope.cancel()
        assert clock.monotonic() == 30.0


async def test_behind_an_actor_the_deadline_is_by_the_clock_that_the_actor_is_asked_by(tracer: Tracer) -> None:
    clock = VirtualClock()
    store = ShutStore()
    rollout = await store.start_rollout("task")
    ids = {"rollout_id": rollout.rollout_id, "attempt_id": rollout.attempt.attempt_id}
    async with clock.autojump(), hosted(lambda: store_actor(store), clock=clock, grace=0.0) as ref:
        with pytest.raises(StoreError, match="1 spans could not be written within 30 s"):
            async with tracer.trace_context(store=ActorStore(ref, store, clock=clock), **ids):
                pass
        assert clock.monotonic() == 30.0


async def test_a_timeout_that_the_store_raises_is_passed_on_as_it_is(tracer: Tracer) -> None:
    with pytest.raises(TimeoutError, match="from the store"):
        async with tracer.trace_context(
            store=FailingStore(TimeoutError("from the store")), rollout_id="r", attempt_id="a"
        ):
            pass


async def test_flush_writes_what_is_pending_of_all_open_traces_at_once(tracer: Tracer, store: Any) -> None:
    async with (
        tracer.trace_context(store=store, rollout_id="ro-1", attempt_id="at-1") as outer,
        tracer.trace_context(store=store, rollout_id="ro-2", attempt_id="at-2") as inner,
    ):
        outer.add(tracer.create_span("told twice"))
        assert (outer.pending, inner.pending) == (1, 1)
        await tracer.flush()
        assert (outer.pending, inner.pending) == (0, 0)
        assert len(store.batches) == 1
        await tracer.flush()
        assert len(store.batches) == 1
        assert [span.sequence_id for span in outer.spans] == [1]
    assert sorted((span.rollout_id, span.sequence_id) for span in store.spans) == [
        ("ro-1", 1),
        ("ro-1", 2),
        ("ro-2", 1),
        ("ro-2", 2),
    ]


async def test_the_end_waits_for_a_flush_that_is_under_way_and_writes_the_rest(tracer: Tracer) -> None:
    slow = SlowStore()
    async with (
        anyio.create_task_group() as tasks,
        tracer.trace_context(store=slow, rollout_id="ro-1", attempt_id="at-1") as trace,
    ):
        tracer.create_span("first")
        tasks.start_soon(tracer.flush)
        await slow.asked.wait()
        tracer.create_span("second")
        await tracer.flush()  # leaves alone what is being written
        assert trace.pending == 2
        slow.answer.set()
    assert [span.name for span in slow.spans] == ["first", "second", AGL_ROLLOUT]


async def test_flush_leaves_traces_of_other_threads_to_their_own_loop(tracer: Tracer, store: Any) -> None:
    opened, done = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        async with tracer.trace_context(store=store, rollout_id="ro-2", attempt_id="at-2") as other:
            tracer.create_span("elsewhere")
            opened.set()
            await anyio.to_thread.run_sync(done.wait)
            assert other.pending == 1
            await tracer.flush()
            assert other.pending == 0

    thread = threading.Thread(target=anyio.run, args=(elsewhere,))
    thread.start()
    await anyio.to_thread.run_sync(opened.wait)
    await tracer.flush()
    assert store.batches == []
    done.set()
    await anyio.to_thread.run_sync(thread.join)
    assert [span.name for span in store.spans] == ["elsewhere", AGL_ROLLOUT]


async def test_what_a_failed_flush_could_not_write_is_written_later(tracer: Tracer, store: Any) -> None:
    failing = FailingStore(StoreError("full"))
    async with (
        tracer.trace_context(store=failing, rollout_id="ro-1", attempt_id="at-1") as trace,
        tracer.trace_context(store=store, rollout_id="ro-2", attempt_id="at-2"),
    ):
        trace.add(tracer.create_span("kept"))
        with pytest.raises(StoreError, match="full"):
            await tracer.flush()
        assert len(store.spans) == 1
        assert trace.pending == 1
        failing.error = None
    assert trace.pending == 0
    assert failing.calls == 2


async def test_a_store_that_leaves_out_known_spans_settles_them_all_the_same(tracer: Tracer) -> None:
    class Forgetful:
        async def add_many_spans(self, spans: Sequence[Span]) -> Sequence[Span]:
            return [span.model_copy(update={"sequence_id": 7}) for span in spans[1:]]

    async with tracer.trace_context(store=Forgetful(), rollout_id="ro-1", attempt_id="at-1") as trace:
        tracer.create_span("known")
    assert trace.pending == 0
    assert [(span.name, span.sequence_id) for span in trace.spans] == [("known", 0), (AGL_ROLLOUT, 7)]


async def test_what_the_store_does_while_spans_are_written_is_not_part_of_the_attempt() -> None:
    tracer = OtelTracer()

    class Traced:
        async def add_many_spans(self, spans: Sequence[Span]) -> Sequence[Span]:
            assert current_trace() is None
            with library.start_as_current_span("a request to the store"):
                return spans

    async with tracer.trace_context(store=Traced(), rollout_id="ro-1", attempt_id="at-1") as outer:
        async with tracer.trace_context(store=Traced(), rollout_id="ro-2", attempt_id="at-2") as inner:
            tracer.create_span("pending")
            await tracer.flush()
        tracer.create_span("pending")
        await tracer.flush()
    assert [span.name for span in inner.spans] == ["pending", AGL_ROLLOUT]
    assert [span.name for span in outer.spans] == ["pending", AGL_ROLLOUT]
    assert outer.notes == inner.notes == {}


async def test_a_step_within_a_step_has_its_own_trace(tracer: Tracer) -> None:
    async with tracer.trace_context("outer") as outer:
        tracer.create_span("before")
        async with tracer.trace_context("inner") as inner:
            tracer.create_span("within")
            assert current_trace() is inner
            assert [span.name for span in tracer.get_last_trace()] == ["within"]
        tracer.create_span("after")
        assert current_trace() is outer
        assert [span.name for span in tracer.get_last_trace()] == ["before", "after"]
    assert [span.name for span in inner.spans] == ["within", "inner"]
    assert [span.name for span in outer.spans] == ["before", "after", "outer"]
    assert inner.spans[0].trace_id != outer.spans[0].trace_id


async def test_the_root_links_to_the_span_around_it() -> None:
    tracer = OtelTracer()
    async with tracer.trace_context("outer") as outer:
        with library.start_as_current_span("agent"):
            async with tracer.trace_context("inner") as inner:
                pass
    (link,) = inner.spans[0].links
    assert link.context.span_id == outer.spans[0].span_id
    assert inner.spans[0].parent_id is None


async def test_the_context_around_is_as_it_was(tracer: Tracer) -> None:
    before = otel_context.get_current()
    async with tracer.trace_context():
        assert otel_context.get_current() is not before
    assert otel_context.get_current() is before
    assert current_trace() is None


async def test_the_last_trace_is_that_of_this_context(tracer: Tracer) -> None:
    async def rollout(name: str) -> Trace:
        async with tracer.trace_context(name) as trace:
            pass
        assert [span.name for span in tracer.get_last_trace()] == [name]
        return trace

    async def in_a_task() -> None:
        traces.append(await rollout("in a task"))

    traces: list[Trace] = []
    await rollout("here")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_a_task)
    assert [span.name for span in tracer.get_last_trace()] == ["here"]
    remember_last(traces[0])
    assert [span.name for span in tracer.get_last_trace()] == ["in a task"]


async def test_no_trace_yet_is_an_empty_list(tracer: Tracer) -> None:
    async def fresh() -> None:
        remember_last(Trace(tracer))
        assert tracer.get_last_trace() == []

    await fresh()


async def test_init_teardown_init_again_works_and_is_counted(tracer: Tracer, store: Any) -> None:
    tracer.init()
    tracer.init()
    tracer.init_worker(3, store)
    assert tracer.worker_id == 3
    tracer.teardown()
    async with tracer.trace_context(rollout_id="ro-1", attempt_id="at-1"):
        pass
    assert len(store.spans) == 1  # one user is left, and so is the store
    tracer.teardown()
    tracer.teardown()
    tracer.init()
    async with tracer.trace_context(rollout_id="ro-2", attempt_id="at-2") as trace:
        tracer.create_span("again")
    tracer.teardown()
    assert len(trace.spans) == 2
    assert len(store.spans) == 1


async def test_a_span_made_by_hand_goes_below_the_current_one(tracer: Tracer) -> None:
    async with tracer.trace_context() as trace:
        with tracer.operation_context("operation"):
            added = trace.add(SpanCoreFields(name="by hand", start_time=5.0, end_time=None))
    by_name = {span.name: span for span in trace.spans}
    assert added.parent_id == by_name["operation"].span_id
    assert (added.start_time, added.end_time) == (5.0, 5.0)
    assert by_name["operation"].parent_id == by_name[AGL_ROLLOUT].span_id


async def test_spans_that_others_made_are_captured_once(tracer: Tracer) -> None:
    foreign = Span.from_attributes(attributes={"a": 1}, name="foreign")
    async with tracer.trace_context(rollout_id="ro-1", attempt_id="at-1") as trace:
        captured = trace.capture(foreign)
        assert trace.capture(foreign) is captured
    assert (captured.rollout_id, captured.attempt_id, captured.span_id) == ("ro-1", "at-1", foreign.span_id)
    assert len(trace.spans) == 2


async def test_a_span_of_another_rollout_is_refused(tracer: Tracer) -> None:
    other = Span.from_attributes(attributes={}, rollout_id="ro-2", attempt_id="at-2")
    async with tracer.trace_context(rollout_id="ro-1", attempt_id="at-1") as trace:
        with pytest.raises(ValueError, match="belongs to rollout 'ro-2', attempt 'at-2'"):
            trace.capture(other)


async def test_a_closed_trace_takes_in_nothing(tracer: Tracer) -> None:
    async with tracer.trace_context(rollout_id="ro-1", attempt_id="at-1") as trace:
        pass
    with pytest.raises(RuntimeError, match="'late' came after the end"):
        trace.add(SpanCoreFields(name="late", start_time=None, end_time=None))
    with pytest.raises(RuntimeError, match="after the end"):
        trace.capture(Span.from_attributes(attributes={}))
    assert not trace.is_open
    assert repr(trace) == "<Trace ro-1 at-1 closed spans=1>"


async def test_create_span_outside_a_trace_only_describes(tracer: Tracer) -> None:
    core = tracer.create_span("alone", {"a": [1, "x"]}, timestamp=12.5)
    assert (core.name, core.attributes, core.start_time, core.status.status_code) == (
        "alone",
        {"a": '[1,"x"]'},
        12.5,
        "OK",
    )


async def test_an_attribute_that_cannot_be_written_is_an_error_that_names_it(tracer: Tracer) -> None:
    with pytest.raises(TypeError, match=r"attribute 'model' cannot be written as JSON.*object"):
        tracer.create_span("bad", {"model": object()})
    with pytest.raises(TypeError, match="'model'"), tracer.operation_context("bad", {"model": object()}):
        pass


async def test_an_operation_records_what_it_is_told(tracer: Tracer) -> None:
    async with tracer.trace_context() as trace:
        with tracer.operation_context("work", {"a": 1}, start_time=100.0, end_time=101.5) as recording:
            recording.record_attributes({"b": {"c": 2}})
            recording.record_status("OK", "fine")
            assert recording.get_recorded_span().end_time is None
    span = trace.spans[0]
    assert span.attributes == {"a": 1, "b": '{"c":2}'}
    assert math.isclose(span.start_time or 0, 100.0)
    assert math.isclose(span.end_time or 0, 101.5)
    core = recording.get_recorded_span()
    assert (core.attributes, core.end_time, core.status.description) == (span.attributes, 101.5, "fine")


async def test_an_operation_that_fails_says_so_and_raises_on(tracer: Tracer) -> None:
    async with tracer.trace_context() as trace:
        with pytest.raises(ValueError, match="bad"), tracer.operation_context("work") as recording:
            raise ValueError("bad")
    span = trace.spans[0]
    assert (span.status.status_code, span.status.description) == ("ERROR", "ValueError: bad")
    assert span.events[0].attributes["exception.type"] == "ValueError"
    assert recording.get_recorded_span().status == span.status


async def test_an_operation_outside_a_trace_only_describes(tracer: Tracer) -> None:
    with pytest.raises(ValueError, match="bad"), tracer.operation_context("work", {"a": 1}) as recording:
        raise ValueError("bad")
    core = recording.get_recorded_span()
    assert (core.attributes, core.status.status_code) == ({"a": 1}, "ERROR")
    assert core.end_time is not None


async def test_a_plain_span_does_what_an_sdk_span_does() -> None:
    spans: list[Span] = []
    for tracer in (OtelTracer(), DummyTracer()):
        async with tracer.trace_context() as trace:
            root = otel.get_current_span()
            root.set_attribute("one", 1)
            root.set_attributes({"two": 2.0, "three": ["x", "y"]})
            root.add_event("seen", {"where": "here"}, timestamp=5_000_000_000)
            root.update_name("renamed")
            root.record_exception(ValueError("handled"))
            root.set_status(otel.StatusCode.ERROR, "so so")
            assert root.is_recording()
        root.end()
        assert not root.is_recording()
        spans.append(trace.spans[0])
    made, plain = spans
    assert (plain.name, plain.attributes, plain.status) == (made.name, made.attributes, made.status)
    assert plain.events[0] == made.events[0]
    assert set(plain.events[1].attributes) == set(made.events[1].attributes)


async def test_a_dummy_tracer_takes_in_no_spans_of_libraries() -> None:
    async with OtelTracer().trace_context():
        pass  # from here on there is a provider that is captured
    async with DummyTracer().trace_context() as trace:
        with library.start_as_current_span("library"):
            pass
    assert [span.name for span in trace.spans] == [AGL_ROLLOUT]
    assert trace.notes == {}
