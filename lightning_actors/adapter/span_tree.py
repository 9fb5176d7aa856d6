"""The spans of a rollout as trees by their parent ids, in time proportional to their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lightning_actors.types import Span

__all__ = ["SpanNode", "begun", "span_forest", "top_down"]


@dataclass(eq=False)
class SpanNode:
    """A span, the one above it and those below it, by start time."""

    span: Span
    parent: SpanNode | None = field(default=None, repr=False)
    children: list[SpanNode] = field(default_factory=list["SpanNode"], repr=False)


def span_forest(spans: Sequence[Span]) -> list[SpanNode]:
    """The spans as trees by their parent ids.

    A span whose parent is not among them stands at the top, as does one that is its own ancestor. Of spans with the
    same id the last one holds the children.

    Args:
        spans: The spans of one attempt, in any order.

    Returns:
        The roots, by start time and then by place in the list.
    """
    nodes = [SpanNode(span) for span in spans]
    by_id = {node.span.span_id: node for node in nodes}
    for node in nodes:
        node.parent = by_id.get(node.span.parent_id or "")
    _cut_circles(nodes)
    roots: list[SpanNode] = []
    for node in sorted(nodes, key=begun):  # sorted once, so that children are too
        (roots if node.parent is None else node.parent.children).append(node)
    return roots


def _cut_circles(nodes: Sequence[SpanNode]) -> None:
    """Take the parent from every node that is its own ancestor; each node is gone through once."""
    walked: dict[int, int] = {}  # by node: the walk up that came through it
    for number, start in enumerate(nodes):
        path: list[SpanNode] = []
        node: SpanNode | None = start
        while node is not None and id(node) not in walked:
            walked[id(node)] = number
            path.append(node)
            node = node.parent
        if node is not None and walked[id(node)] == number:
            for member in path[path.index(node) :]:
                member.parent = None


def top_down(roots: Sequence[SpanNode]) -> Iterator[SpanNode]:
    """Every node of these trees, each after the one above it, siblings in order of start."""
    waiting = list(reversed(roots))
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def begun(node: SpanNode) -> float:
    """When a span began; without a time, after all others."""
    return float("inf") if node.span.start_time is None else node.span.start_time
