"""Spans that float at the top of a trace, put below the span during which they happened.

```
root ┬ agent  0 ──────── 9         root ┬ agent  0 ──────── 9
     │  └ plan  1 ── 4        →         │  ├ plan  1 ── 4
     └ chat        5 ─ 7                │  └ chat        5 ─ 7
```

Libraries that do not share a context write such spans. The host of each is the shortest span that encloses it in time.
All hosts are found in one sweep by start time: a Fenwick tree keeps the shortest span seen so far for each end.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lightning_actors.adapter.span_tree import SpanNode, begun

__all__ = ["Interval", "repaired", "tightest"]


class Interval(NamedTuple):
    """From when to when something lasted, in seconds."""

    start: float
    end: float


def repaired(roots: list[SpanNode], can_host: Callable[[SpanNode], bool]) -> list[SpanNode]:
    """Put spans that float at the top below those during which they happened; the nodes are changed.

    What floats is what has no parent among the spans, or, if all spans stand below one, what stands right below it.
    Only spans that have ended are moved, or take others in.

    Args:
        roots: The trees.
        can_host: Whether a node may take others in.

    Returns:
        The roots that remain.

    Source: the rule is Agent Lightning's. There a node can come to stand below itself where a span outlasts the one
    above it; here a host's time counts only as far as that of the floating span it belongs to.
    """
    top = roots[0] if len(roots) == 1 else None
    floating = roots if top is None else top.children
    hosts, times = _hosts(floating, can_host)
    ended = [(node, time) for node in floating if (time := _time(node)) is not None]
    found = tightest([time for _, time in ended], times)
    homes = {id(node): hosts[home] for (node, _), home in zip(ended, found, strict=True) if home is not None}
    staying = [node for node in floating if id(node) not in homes]
    for node in floating:
        if (host := homes.get(id(node))) is not None:
            node.parent = host
            host.children.append(node)
    for host in {id(host): host for host in homes.values()}.values():
        host.children.sort(key=begun)
    if top is None:
        return staying
    top.children = staying
    return roots


def _time(node: SpanNode) -> Interval | None:
    start, end = node.span.start_time, node.span.end_time
    return None if start is None or end is None or end < start else Interval(start, end)


def _hosts(floating: Sequence[SpanNode], can_host: Callable[[SpanNode], bool]) -> tuple[list[SpanNode], list[Interval]]:
    """The nodes that may take others in, and the time that counts for each.

    That time lies within the time of the floating node above it. So a host's tree always lasts longer than what it
    takes in, and nothing can come to stand below itself.
    """
    hosts: list[SpanNode] = []
    times: list[Interval] = []
    waiting = [(node, _time(node)) for node in floating]
    while waiting:
        node, bounds = waiting.pop()
        time = _time(node)
        if time is not None and bounds is not None:
            time = Interval(max(time.start, bounds.start), min(time.end, bounds.end))
        if time is not None and time.start <= time.end and can_host(node):
            hosts.append(node)
            times.append(time)
        waiting.extend((child, bounds) for child in node.children)
    return hosts, times


def tightest(wanted: Sequence[Interval], hosts: Sequence[Interval]) -> list[int | None]:
    """For each interval the shortest of the hosts that enclose it and are longer.

    Args:
        wanted: What to find hosts for.
        hosts: What may enclose.

    Returns:
        For each of those wanted the host's place, the first of several that are equally short; None if there is none.
        Takes n log n steps for n intervals in all.
    """
    by_end = _ShortestByEnd([host.end for host in hosts])
    found: list[int | None] = [None] * len(wanted)
    # By start, the longer first, and what is wanted before a host of the same time: so what has come before an
    # interval and ends no earlier encloses it and is longer.
    arrivals = [(time.start, -time.end, False, at) for at, time in enumerate(wanted)]
    arrivals += [(time.start, -time.end, True, at) for at, time in enumerate(hosts)]
    for start, end, is_host, at in sorted(arrivals):
        if is_host:
            by_end.add(-end, (-end - start, at))
        elif (shortest := by_end.shortest(-end)) is not None:
            found[at] = shortest[1]
    return found


class _ShortestByEnd:
    """The shortest of the hosts so far that end at some time or later: a Fenwick tree of minima, latest end first."""

    def __init__(self, ends: Sequence[float]) -> None:
        self._ends = sorted(set(ends))
        self._minima: list[tuple[float, int] | None] = [None] * (len(self._ends) + 1)

    def add(self, end: float, host: tuple[float, int]) -> None:
        """Take in a host, its length and place."""
        at = self._rank(end)
        while at < len(self._minima):
            known = self._minima[at]
            self._minima[at] = host if known is None else min(known, host)
            at += at & -at

    def shortest(self, end: float) -> tuple[float, int] | None:
        """The shortest host that ends then or later, the first of several."""
        at, best = self._rank(end), None
        while at:
            known = self._minima[at]
            if known is not None and (best is None or known < best):
                best = known
            at -= at & -at
        return best

    def _rank(self, end: float) -> int:
        """How many of the ends are this late or later."""
        return len(self._ends) - bisect_left(self._ends, end)
