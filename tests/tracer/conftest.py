"""What tests of tracing share: a store to write to, and an OpenTelemetry that nobody has set up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.util._once import Once

from lightning_actors.log import LogEvent
from lightning_actors.tracer.span_processor import PROCESSOR
from lightning_actors.types import Span


class ListStore:
    """Keeps spans in the order of writing and numbers them for each rollout."""

    def __init__(self) -> None:
        self.batches: list[list[Span]] = []
        self._next: dict[str, int] = {}

    @property
    def spans(self) -> list[Span]:
        return [span for batch in self.batches for span in batch]

    async def add_many_spans(self, spans: Sequence[Span]) -> list[Span]:
        stored = list(map(self._numbered, spans))
        self.batches.append(stored)
        return stored

    def _numbered(self, span: Span) -> Span:
        number = self._next[span.rollout_id] = self._next.get(span.rollout_id, 0) + 1
        return span.model_copy(update={"sequence_id": number})


@pytest.fixture
def store() -> ListStore:
    return ListStore()


@pytest.fixture
def fresh_otel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process where no provider has been set and nothing has been reported."""
    monkeypatch.setattr(otel, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(otel, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(PROCESSOR, "_reported", set[str]())


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """No trace may leave an id behind in the one processor of the process."""
    yield
    assert PROCESSOR._owners == {}


@pytest.fixture
def reported(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, dict[str, Any]]]]:
    """What our loggers have said so far: events and their fields."""

    def so_far() -> list[tuple[str, dict[str, Any]]]:
        messages: list[object] = [record.msg for record in caplog.records]
        return [(message.event, message.fields) for message in messages if isinstance(message, LogEvent)]

    return so_far
