"""Spans become trees by their parent ids, whatever those say."""

from __future__ import annotations

from collections.abc import Sequence

from dialect_writers import make_span
from hypothesis import given
from hypothesis import strategies as st

from lightning_actors.adapter.span_tree import SpanNode, span_forest, top_down
from lightning_actors.types import Span


def edges(roots: Sequence[SpanNode]) -> dict[str, str | None]:
    """The name of the node above, by name."""
    return {node.span.name: node.parent.span.name if node.parent else None for node in top_down(roots)}


def test_siblings_and_roots_stand_in_order_of_start() -> None:
    spans = [
        make_span("b", "a", (5, 6)),
        make_span("late", at=(1, 2)),
        make_span("c", "a", (4, 9)),
        make_span("a", at=(0, 9)),
    ]
    assert [node.span.name for node in top_down(span_forest(spans))] == ["a", "c", "b", "late"]


def test_what_has_lost_its_parent_stands_at_the_top_and_keeps_its_children() -> None:
    assert edges(span_forest([make_span("a", "gone"), make_span("b", "a")])) == {"a": None, "b": "a"}


def test_a_circle_is_cut_and_what_hangs_on_it_is_not() -> None:
    spans = [make_span("below", "a"), make_span("a", "b"), make_span("b", "a"), make_span("self", "self")]
    assert edges(span_forest(spans)) == {"a": None, "b": None, "self": None, "below": "a"}


def test_of_spans_with_one_id_the_last_holds_the_children() -> None:
    spans = [make_span("first", span_id="x"), make_span("last", span_id="x"), make_span("child", "x")]
    assert edges(span_forest(spans)) == {"first": None, "last": None, "child": "last"}


@given(st.lists(st.none() | st.integers(0, 12), max_size=12))
def test_every_span_stands_once_below_the_parent_it_names_unless_that_goes_in_a_circle(
    parents: list[int | None],
) -> None:
    spans = [make_span(str(at), None if parent is None else str(parent)) for at, parent in enumerate(parents)]
    found = edges(span_forest(spans))
    assert sorted(found) == sorted(span.name for span in spans)
    for span in spans:
        on_circle = span.name in ancestors(span, {one.name: one for one in spans})
        is_lost = span.parent_id not in found
        assert found[span.name] == (None if on_circle or is_lost else span.parent_id)


def ancestors(span: Span, by_id: dict[str, Span]) -> set[str]:
    seen: set[str] = set()
    while span.parent_id in by_id and span.parent_id not in seen:
        seen.add(str(span.parent_id))
        span = by_id[str(span.parent_id)]
    return seen
