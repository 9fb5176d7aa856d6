"""Annotations: any values an agent wants to leave in its trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_actors.emitter.emission import emit, span_attributes
from lightning_actors.semconv import AGL_ANNOTATION
from lightning_actors.types import SpanCoreFields

__all__ = ["emit_annotation"]


def emit_annotation(annotation: Mapping[str, Any], propagate: bool = True) -> SpanCoreFields:  # noqa: FBT001, FBT002 - Agent Lightning's signature
    """Leave values in the trace.

    Args:
        annotation: Nested values; they get dotted keys, and what OpenTelemetry does not allow is written as JSON.
        propagate: Whether to add it to the current trace; False only describes it.

    Returns:
        The span's fields.

    Raises:
        TypeError: The annotation is not a mapping, or a value cannot be written as JSON.
        ValueError: A key is not a non-empty string, or a value contains itself.
    """
    return emit(AGL_ANNOTATION, span_attributes(annotation), propagate=propagate)
