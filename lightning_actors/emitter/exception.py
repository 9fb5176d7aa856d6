"""Exceptions that an agent has handled, but wants to be seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_actors.attributes import format_exception_attributes
from lightning_actors.emitter.emission import emit, span_attributes
from lightning_actors.semconv import AGL_EXCEPTION
from lightning_actors.types import SpanCoreFields

__all__ = ["emit_exception"]


def emit_exception(
    exception: BaseException,
    attributes: Mapping[str, Any] | None = None,
    propagate: bool = True,  # noqa: FBT001, FBT002 - Agent Lightning's signature
) -> SpanCoreFields:
    """Leave an exception in the trace, in OpenTelemetry's words.

    The span's status is OK: the agent has dealt with the exception. One that it does not deal with ends the rollout and
    stands on the rollout's own span.

    Args:
        exception: What was raised.
        attributes: More to say about it.
        propagate: Whether to add it to the current trace; False only describes it.

    Returns:
        The span's fields.

    Raises:
        TypeError: It is not an exception, or an attribute cannot be written as JSON.
        ValueError: A key is not a non-empty string, or a value contains itself.
    """
    if not isinstance(exception, BaseException):  # pyright: ignore[reportUnnecessaryIsInstance] - callers need not be type-checked
        raise TypeError(f"emit_exception takes an exception, got {type(exception).__name__}")
    described = {**format_exception_attributes(exception), "exception.escaped": "False"}
    return emit(AGL_EXCEPTION, {**span_attributes(attributes), **described}, propagate=propagate)
