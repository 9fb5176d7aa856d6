"""Adapting takes time in proportion to the trace: lines of Python are counted, not seconds."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
from dialect_writers import chat, make_span, reward

import lightning_actors.adapter
from lightning_actors.adapter import LlmProxyTraceToTriplet, TracerTraceToTriplet, TraceToMessages
from lightning_actors.types import Span

FOLDER: Final = str(Path(lightning_actors.adapter.__file__).parent)
FEW: Final = 1_000
MANY: Final = 10_000


def lines_run(work: Callable[[], Any]) -> int:
    """How many lines of the adapters' code run during the work."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if event == "call":
            return trace if frame.f_code.co_filename.startswith(FOLDER) else None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def flat(number: int) -> list[Span]:
    """Everything floats, all intervals overlap, and there are as many rewards as calls."""
    spans = [make_span("root", at=(0, 10 * number))]
    for at in range(0, number - 1, 3):
        spans.append(make_span(f"work {at}", "root", (at, 9 * number - at % 97)))
        spans.append(chat(f"call {at}", "root", (at + 1, 2 * number - at % 89)))
        spans.append(reward(1, "root", 3 * number + at))
    return spans


def chain(number: int) -> list[Span]:
    """Each span stands below the one before it."""
    spans = [make_span("0", at=(0, 3 * number))]
    spans += [make_span(str(at), str(at - 1), (at, 3 * number - at)) for at in range(1, number - number // 10)]
    spans += [chat(f"call {at}", str(at), (at, at + 1)) for at in range(number // 10)]
    return spans


def orphans(number: int) -> list[Span]:
    """Nobody's parent is there, and nothing has a time or a number of its own."""
    return [chat(f"call {at}", "gone", (None, None), sequence_id=1) for at in range(number)]


@pytest.mark.parametrize("shape", [flat, chain, orphans])
@pytest.mark.parametrize(
    "adapter",
    [
        TracerTraceToTriplet(),
        TracerTraceToTriplet(reward_match="first_sibling"),
        LlmProxyTraceToTriplet(),
        TraceToMessages(),
    ],
    ids=["triplets", "triplets of siblings", "triplets of a proxy", "messages"],
)
def test_ten_times_the_spans_take_ten_times_the_lines(
    shape: Callable[[int], list[Span]], adapter: Callable[[Sequence[Span]], Any]
) -> None:
    few, many = shape(FEW), shape(MANY)
    for spans in (few, many):
        random.Random(1).shuffle(spans)  # noqa: S311 - a test's order
    ratio = lines_run(lambda: adapter(many)) / lines_run(lambda: adapter(few))
    assert ratio < 14  # n log n: 10 · log 10,000 / log 1,000 = 13.3
