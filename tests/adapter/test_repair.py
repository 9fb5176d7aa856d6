"""Spans that float find the shortest span around them, and never come to stand below themselves."""

from __future__ import annotations

from collections.abc import Callable

from dialect_writers import make_span
from hypothesis import given
from hypothesis import strategies as st

from lightning_actors.adapter.repair import Interval, repaired, tightest
from lightning_actors.adapter.span_tree import SpanNode, span_forest, top_down
from lightning_actors.types import Span


def anything(_node: SpanNode) -> bool:
    return True


def after_repair(*spans: Span, can_host: Callable[[SpanNode], bool] = anything) -> dict[str, str | None]:
    """The name of the node above, by name."""
    roots = repaired(span_forest(spans), can_host)
    return {node.span.name: node.parent.span.name if node.parent else None for node in top_down(roots)}


ROOT = make_span("root", at=(0, 100))


def test_what_stands_right_below_the_one_root_goes_to_the_shortest_span_around_it() -> None:
    spans = [
        make_span("agent", "root", (1, 50)),
        make_span("step", "agent", (10, 20)),
        make_span("x", "root", (12, 15)),
    ]
    assert after_repair(ROOT, *spans)["x"] == "step"


def test_siblings_still_stand_in_order_of_start() -> None:
    spans = [make_span("agent", "root", (1, 50)), make_span("late", "agent", (9, 10)), make_span("x", "root", (3, 4))]
    assert list(after_repair(ROOT, *spans)) == ["root", "agent", "x", "late"]


def test_with_several_roots_those_are_what_floats() -> None:
    spans = [make_span("agent", at=(0, 50)), make_span("step", "agent", (10, 20)), make_span("x", "gone", (12, 15))]
    assert after_repair(*spans) == {"agent": None, "step": "agent", "x": "step"}


def test_what_has_a_parent_further_down_keeps_it() -> None:
    spans = [make_span("a", "root", (1, 50)), make_span("b", "a", (5, 6)), make_span("c", "root", (4, 7))]
    assert after_repair(ROOT, *spans) == {"root": None, "a": "root", "b": "a", "c": "a"}


def test_what_reaches_beyond_every_span_stays() -> None:
    assert after_repair(ROOT, make_span("a", "root", (1, 5)), make_span("b", "root", (2, 6))) == {
        "root": None,
        "a": "root",
        "b": "root",
    }


def test_spans_of_the_same_time_do_not_take_each_other_in() -> None:
    assert after_repair(ROOT, make_span("a", "root", (1, 5)), make_span("b", "root", (1, 5)))["b"] == "root"


def test_only_what_may_host_takes_others_in() -> None:
    spans = [make_span("long", "root", (1, 50)), make_span("short", "root", (2, 9)), make_span("x", "root", (3, 4))]
    assert after_repair(ROOT, *spans, can_host=lambda node: node.span.name != "short")["x"] == "long"


def test_spans_that_have_not_ended_are_left_alone() -> None:
    spans = [make_span("open", "root", (1, None)), make_span("around", "root", (0, 9)), make_span("x", "root", (3, 4))]
    assert after_repair(ROOT, *spans) == {"root": None, "open": "root", "around": "root", "x": "around"}


def test_a_span_that_outlasts_the_one_above_it_cannot_host_that_one() -> None:
    spans = [make_span("a", "root", (0, 10)), make_span("below a", "a", (0, 30)), make_span("b", "root", (0, 20))]
    # "below a" encloses b and b encloses a: taken at its word, this goes in a circle.
    assert after_repair(ROOT, *spans) == {"root": None, "b": "root", "a": "b", "below a": "a"}


def lasting(start_and_length: tuple[int, int]) -> tuple[int, int | None]:
    start, length = start_and_length
    return start, start + length


never_ended: tuple[int, int | None] = (3, None)
times = st.tuples(st.integers(0, 12), st.integers(0, 8)).map(lasting)
intervals = st.tuples(st.integers(0, 12), st.integers(0, 8)).map(lambda one: Interval(one[0], one[0] + one[1]))


@given(st.lists(intervals, max_size=12), st.lists(intervals, max_size=12))
def test_the_sweep_finds_what_trying_all_finds(inner: list[Interval], outer: list[Interval]) -> None:
    expected = [
        min(
            (
                (host.end - host.start, at)
                for at, host in enumerate(outer)
                if host.start <= one.start and host.end >= one.end and host != one
            ),
            default=(0, None),
        )[1]
        for one in inner
    ]
    assert tightest(inner, outer) == expected


@given(st.lists(st.tuples(st.none() | st.integers(0, 9), times | st.just(never_ended)), max_size=10))
def test_no_repair_loses_a_span_or_makes_a_circle(given_spans: list[tuple[int | None, tuple[int, int | None]]]) -> None:
    spans = [
        make_span(str(at), None if parent is None else str(parent), time)
        for at, (parent, time) in enumerate(given_spans)
    ]
    roots = repaired(span_forest(spans), anything)
    nodes = list(top_down(roots))
    assert sorted(node.span.name for node in nodes) == sorted(span.name for span in spans)
    assert all(node in node.parent.children for node in nodes if node.parent is not None)
