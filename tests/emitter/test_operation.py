"""``operation``: functions of every kind and blocks as spans, with input and output."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from opentelemetry import trace as otel

from lightning_actors.emitter import emission, emit_annotation, operation
from lightning_actors.tracer import DummyTracer, OtelTracer, Trace, Tracer
from lightning_actors.types import Span

pytestmark = pytest.mark.anyio

NAME = "agentlightning.operation.name"
INPUT = "agentlightning.operation.input"
OUTPUT = "agentlightning.operation.output"


@pytest.fixture(params=[OtelTracer, DummyTracer])
def tracer(request: pytest.FixtureRequest) -> Tracer:
    return request.param()


# Decorated at import, where no tracer is in use.


@operation
def add(a: int, b: int = 2) -> int:
    """Add."""
    return a + b


@operation(name="slow addition", kind={"of": "sum"})
async def add_slowly(a: int, *rest: int, **more: int) -> int:
    return a + sum(rest) + sum(more.values())


@operation
def count(to: int) -> Generator[int, str, str]:
    sent: list[str] = []
    for number in range(to):
        emit_annotation({"number": number})
        sent.append((yield number) or "-")
    return "".join(sent)


@operation
async def count_slowly(to: int) -> AsyncGenerator[int, None]:
    for number in range(to):
        emit_annotation({"number": number})
        yield number


class Searcher:
    @operation
    def search(self, query: str, options: dict[str, Any]) -> list[str]:
        return [query] * options["times"]

    @classmethod
    @operation
    def make(cls, *, flag: bool) -> Searcher:
        return cls() if flag else Searcher()


def only(trace: Trace) -> Span:
    return next(span for span in trace.spans if span.name == "agentlightning.operation")


def parent_of(trace: Trace, name: str) -> list[str]:
    by_id = {span.span_id: span.name for span in trace.spans}
    return [by_id[span.parent_id or ""] for span in trace.spans if span.name == name]


async def test_a_function_keeps_its_face_and_records_input_and_output(tracer: Tracer) -> None:
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert list(inspect.signature(add).parameters) == ["a", "b"]
    async with tracer.trace_context() as trace:
        assert add(1, b=4) == 5
    span = only(trace)
    assert span.attributes == {NAME: "add", f"{INPUT}.a": 1, f"{INPUT}.b": 4, OUTPUT: 5}
    assert span.status.status_code == "OK"


async def test_an_async_function_records_varied_arguments_and_extra_attributes(tracer: Tracer) -> None:
    assert inspect.iscoroutinefunction(add_slowly)
    async with tracer.trace_context() as trace:
        assert await add_slowly(1, 2, 3, four=4) == 10
    assert only(trace).attributes == {
        "kind.of": "sum",
        NAME: "slow addition",
        f"{INPUT}.a": 1,
        f"{INPUT}.rest": [2, 3],
        f"{INPUT}.four": 4,
        OUTPUT: 10,
    }


async def test_a_method_leaves_out_self_and_nests_what_is_nested(tracer: Tracer) -> None:
    async with tracer.trace_context() as trace:
        assert Searcher().search("x", {"times": 2, "deep": {"er": None}}) == ["x", "x"]
    assert only(trace).attributes == {
        NAME: "search",
        f"{INPUT}.query": "x",
        f"{INPUT}.options.times": 2,
        f"{INPUT}.options.deep.er": "null",
        OUTPUT: ["x", "x"],
    }
    async with tracer.trace_context() as trace:
        made = Searcher.make(flag=True)
    assert only(trace).attributes == {NAME: "make", f"{INPUT}.flag": True, OUTPUT: repr(made)}


async def test_what_is_made_within_goes_below_the_operation(tracer: Tracer) -> None:
    @operation
    def outer() -> None:
        emit_annotation({"a": 1})

    async with tracer.trace_context() as trace:
        outer()
    assert parent_of(trace, "agentlightning.annotation") == ["agentlightning.operation"]
    assert OUTPUT not in only(trace).attributes


async def test_an_error_is_recorded_and_raised_on(tracer: Tracer) -> None:
    @operation
    async def fails() -> None:
        raise LookupError("nothing")

    async with tracer.trace_context() as trace:
        with pytest.raises(LookupError, match="nothing"):
            await fails()
        with pytest.raises(TypeError, match="argument"):
            add()  # pyright: ignore[reportCallIssue] - the call itself says what is wrong
    first, second = (span for span in trace.spans if span.name == "agentlightning.operation")
    assert (first.status.status_code, first.status.description) == ("ERROR", "LookupError: nothing")
    assert first.events[0].attributes["exception.message"] == "nothing"
    assert second.status.status_code == "ERROR"


async def test_a_generator_is_one_operation_that_is_current_only_while_it_runs(tracer: Tracer) -> None:
    async with tracer.trace_context() as trace:
        root = otel.get_current_span()
        steps = count(3)
        assert next(steps) == 0
        assert otel.get_current_span() is root
        assert steps.send("a") == 1
        assert steps.send("b") == 2
        with pytest.raises(StopIteration) as stop:
            steps.send("c")
        assert stop.value.value == "abc"
        assert otel.get_current_span() is root
    assert parent_of(trace, "agentlightning.annotation") == ["agentlightning.operation"] * 3
    assert only(trace).attributes == {
        NAME: "count",
        f"{INPUT}.to": 3,
        OUTPUT: [0, 1, 2],
        "agentlightning.operation.yielded": 3,
    }


async def test_a_generator_that_is_left_early_ends_its_operation(tracer: Tracer) -> None:
    async with tracer.trace_context() as trace:
        steps = count(1000)
        next(steps)
        steps.close()
    span = only(trace)
    assert span.attributes[OUTPUT] == [0]
    assert span.status.status_code == "OK"


async def test_what_is_thrown_into_a_generator_reaches_it(tracer: Tracer) -> None:
    @operation
    def forgiving() -> Generator[str, None, None]:
        try:
            yield "first"
        except KeyError:
            yield "forgiven"

    async with tracer.trace_context() as trace:
        steps = forgiving()
        next(steps)
        assert steps.throw(KeyError()) == "forgiven"
        with pytest.raises(ValueError, match="not forgiven"):
            steps.throw(ValueError("not forgiven"))
    assert only(trace).attributes[OUTPUT] == ["first", "forgiven"]
    assert only(trace).status.status_code == "ERROR"


async def test_of_many_items_the_first_hundred_are_kept(tracer: Tracer) -> None:
    async with tracer.trace_context() as trace:
        assert sum(1 for _ in count(150)) == 150
    attributes = only(trace).attributes
    assert attributes[OUTPUT] == list(range(100))
    assert attributes["agentlightning.operation.yielded"] == 150


async def test_an_async_generator_is_one_operation_too(tracer: Tracer) -> None:
    assert inspect.isasyncgenfunction(count_slowly)
    async with tracer.trace_context() as trace:
        root = otel.get_current_span()
        found: list[int] = []
        async for number in count_slowly(3):
            assert otel.get_current_span() is root
            found.append(number)
    assert found == [0, 1, 2]
    assert parent_of(trace, "agentlightning.annotation") == ["agentlightning.operation"] * 3
    assert only(trace).attributes[OUTPUT] == [0, 1, 2]


async def test_an_async_generator_can_be_left_early_and_thrown_into(tracer: Tracer) -> None:
    @operation
    async def forgiving() -> AsyncGenerator[str, None]:
        try:
            yield "first"
        except KeyError:
            yield "forgiven"

    async with tracer.trace_context() as trace:
        steps = forgiving()
        assert await anext(steps) == "first"
        assert await steps.athrow(KeyError()) == "forgiven"
        await steps.aclose()
    assert only(trace).attributes[OUTPUT] == ["first", "forgiven"]
    assert only(trace).status.status_code == "OK"


async def test_a_block_records_what_it_is_told(tracer: Tracer) -> None:
    async with tracer.trace_context() as trace:
        with operation(name="search", index=7) as op:
            op.set_input("first", {"deep": 1}, query="x")
            op.set_output({"found": [1, 2]})
            assert op.span().end_time is None
        assert op.span().end_time is not None
    assert (
        only(trace).attributes
        == op.span().attributes
        == {
            "index": 7,
            NAME: "search",
            f"{INPUT}.args.0": "first",
            f"{INPUT}.args.1.deep": 1,
            f"{INPUT}.query": "x",
            f"{OUTPUT}.found": [1, 2],
        }
    )


async def test_a_block_that_fails_says_so(tracer: Tracer) -> None:
    async with tracer.trace_context() as trace:
        with pytest.raises(ValueError, match="bad"), operation():
            raise ValueError("bad")
    assert only(trace).status.description == "ValueError: bad"
    assert NAME not in only(trace).attributes


def test_a_block_is_entered_once_at_a_time() -> None:
    op = operation(name="x", propagate=False)
    with pytest.raises(RuntimeError, match="has not begun"):
        op.set_output(1)
    with op, pytest.raises(RuntimeError, match="under way already"), op:
        pass
    with op:
        op.set_output(2)
    assert op.span().attributes[OUTPUT] == 2


async def test_what_json_cannot_hold_is_recorded_as_its_repr(tracer: Tracer) -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    @operation
    def take(odd: Any, broken: Any, circle: Any, keys: Any) -> None:
        del odd, broken, circle, keys

    circle: list[Any] = []
    circle.append(circle)
    async with tracer.trace_context() as trace:
        take(Odd(), Broken(), circle, {1: 2})
    attributes = only(trace).attributes
    assert attributes[f"{INPUT}.odd"] == "<odd>"
    assert "whose repr raises RuntimeError" in str(attributes[f"{INPUT}.broken"])
    assert attributes[f"{INPUT}.circle"] == "[[...]]"
    assert attributes[f"{INPUT}.keys"] == "{1: 2}"


async def test_propagate_false_only_describes(tracer: Tracer) -> None:
    async with tracer.trace_context() as trace:
        with operation(name="x", propagate=False) as op:
            op.set_output(1)
    assert len(trace.spans) == 1
    assert op.span().attributes[OUTPUT] == 1


def test_outside_a_rollout_functions_just_work_and_are_counted(
    reported: Callable[[], list[tuple[str, dict[str, Any]]]],
) -> None:
    emission.UNRECORDED.clear()
    assert add(1) == 3
    assert add(2) == 4
    assert list(count(2)) == [0, 1]
    assert emission.UNRECORDED["agentlightning.operation"] == 3
    assert [fields["span"] for _, fields in reported()].count("agentlightning.operation") == 1


def test_what_is_no_function_is_refused_with_the_right_form() -> None:
    with pytest.raises(TypeError, match="give a name as name="):
        operation("search")  # pyright: ignore[reportCallIssue, reportArgumentType] - what a user may try
    with pytest.raises(TypeError, match="below @classmethod"):
        operation(classmethod(len))  # pyright: ignore[reportCallIssue, reportArgumentType] - what a user may try
