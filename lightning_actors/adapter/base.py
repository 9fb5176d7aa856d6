"""What every adapter is: something that turns a rollout's spans into what an algorithm learns from.

```
spans = await store.query_spans(rollout.rollout_id, "latest")
adapter.adapt(spans)        or adapter(spans)
```
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from opentelemetry.sdk.trace import ReadableSpan

from lightning_actors.types import Span, Triplet

__all__ = ["Adapter", "OtelTraceAdapter", "TraceAdapter", "TraceToTripletBase"]

Source_contra = TypeVar("Source_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Adapter(ABC, Generic[Source_contra, Result_co]):
    """Turns one form of data into another; keeps nothing between two calls."""

    @abstractmethod
    def adapt(self, source: Source_contra) -> Result_co:
        """Turn the source into the other form."""

    def __call__(self, source: Source_contra) -> Result_co:
        """The same as ``adapt``."""
        return self.adapt(source)


class TraceAdapter(Adapter[Sequence[Span], Result_co]):
    """An adapter of the spans that a store keeps of an attempt: what a Trainer takes."""


class OtelTraceAdapter(Adapter[Sequence[ReadableSpan], Result_co]):
    """An adapter of spans as OpenTelemetry's SDK hands them to exporters."""


class TraceToTripletBase(TraceAdapter[list[Triplet]]):
    """An adapter that gives triplets of prompt, response and reward."""
