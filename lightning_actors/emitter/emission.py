"""The one way from an emitter into a trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from lightning_actors.attributes import check_attributes_sanity, flatten_attributes, sanitize_attributes
from lightning_actors.log import get_logger
from lightning_actors.tracer.trace import Trace, core_fields, current_trace
from lightning_actors.types import AttributeValue, SpanCoreFields

__all__ = ["UNRECORDED", "emit", "open_trace", "span_attributes"]

log = get_logger("lightning_actors.emitter")

UNRECORDED: Final[Counter[str]] = Counter()
"""How often something was emitted outside any open trace, by kind; each kind is warned of once."""


def open_trace(kind: str) -> Trace | None:
    """The trace to add to; None, counted and said once, where there is none that is open.

    Args:
        kind: What is to be added, as a span name.
    """
    trace = current_trace()
    if trace is not None and trace.is_open:
        return trace
    if trace is not None:
        trace.count("late")
    UNRECORDED[kind] += 1
    if UNRECORDED[kind] == 1:
        log.warning(
            "emitted_outside_any_rollout",
            span=kind,
            hint="it is returned but not recorded; run the agent with a runner or inside tracer.trace_context(), "
            "or say propagate=False",
        )
    return None


def emit(name: str, attributes: dict[str, AttributeValue], *, propagate: bool) -> SpanCoreFields:
    """Describe a span without duration, and add it to the current trace if that is wanted and possible."""
    core = core_fields(name, attributes)
    if propagate:
        trace = open_trace(name)
        if trace is not None:
            trace.add(core)
    return core


def span_attributes(nested: Mapping[str, Any] | None) -> dict[str, AttributeValue]:
    """A user's nested attributes as span attributes.

    Raises:
        TypeError: They are not a mapping, or a value cannot be written as JSON.
        ValueError: A key is not a non-empty string, or a value contains itself.
    """
    if nested is None:
        return {}
    if not isinstance(nested, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers need not be type-checked
        raise TypeError(f"attributes must be a mapping, got {type(nested).__name__}")
    if not nested:
        return {}
    flat = flatten_attributes(nested)
    check_attributes_sanity(flat)
    return sanitize_attributes(flat)
