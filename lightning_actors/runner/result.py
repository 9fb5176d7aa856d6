"""What an agent returned, put into its trace."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import cast

from opentelemetry.sdk.trace import ReadableSpan

from lightning_actors.emitter.reward import add_reward
from lightning_actors.errors import AgentResultError
from lightning_actors.log import get_logger
from lightning_actors.tracer import Trace
from lightning_actors.types import Span, SpanCoreFields

__all__ = ["record_result"]

log = get_logger("lightning_actors.runner")


def record_result(trace: Trace, result: object, rollout_id: str) -> None:
    """Put what the agent returned into its trace.

    Args:
        trace: The open trace, current in this context.
        result: None, the final reward, or spans.
        rollout_id: For messages.

    Raises:
        AgentResultError: It is something else.
        ValueError: The reward is not a finite number, or a span belongs to another rollout.
    """
    if result is None:
        return
    if type(result) is float or isinstance(result, Real):
        add_reward(trace, cast("float", result))
    elif isinstance(result, Sequence) and not isinstance(result, str | bytes):
        items = cast("Sequence[object]", result)
        if not items:
            log.warning("agent_returned_no_spans", rollout_id=rollout_id)
        known = {span.span_id for span in trace.spans}
        for item in items:
            _record_span(trace, item, known, rollout_id)
    else:
        raise _unusable(result, rollout_id)


def _record_span(trace: Trace, item: object, known: set[str], rollout_id: str) -> None:
    if isinstance(item, SpanCoreFields):
        trace.add(item)
    elif isinstance(item, Span):
        if item.span_id not in known:
            trace.capture(item)
    elif isinstance(item, ReadableSpan):
        context = item.get_span_context()
        if context is None or f"{context.span_id:016x}" not in known:
            trace.capture(item)
    else:
        raise _unusable(item, rollout_id, within="a list with an item of type ")


def _unusable(result: object, rollout_id: str, *, within: str = "") -> AgentResultError:
    return AgentResultError(
        f"the agent of {rollout_id} returned {within}{type(result).__name__}: return None, the final reward as a "
        f"number, or a list of spans (Span, SpanCoreFields or OpenTelemetry's ReadableSpan). To keep an object, call "
        f"emit_object(value) before returning",
        rollout_id=rollout_id,
    )
