"""The tracer that speaks OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.util.types import Attributes as OtelAttributes

from lightning_actors.tracer.base import Tracer
from lightning_actors.tracer.openai_calls import OPENAI_CALLS
from lightning_actors.tracer.providers import capture_global_provider, open_provider
from lightning_actors.tracer.span_processor import PROCESSOR
from lightning_actors.tracer.trace import Trace
from lightning_actors.types import AttributeValue

__all__ = ["OtelTracer"]


class OtelTracer(Tracer):
    """Records OpenTelemetry spans, whoever makes them, and files each under the rollout that it belongs to.

    Roots, operations and rewards go through a private provider that records everything. Libraries that use the global
    provider are captured as well: the application's provider if it has set one, else a stand-in that steps aside when
    the application sets its own. The application's exporters keep getting its spans.

    Code in plain threads (not those of ``asyncio.to_thread`` or anyio) belongs to a rollout only if it is started with
    ``contextvars.copy_context().run``.

    Args:
        openai: Whether calls of the OpenAI SDK are recorded, with prompts and answers: None if the extra ``openai`` is
            installed, True to insist, False not to.

    Raises:
        MissingExtra: ``init`` was called with ``openai=True`` and the extra is not installed.
    """

    def __init__(self, *, openai: bool | None = None) -> None:
        super().__init__()
        self._openai: Final = openai
        self._spans: otel.Tracer | None = None

    def _set_up(self) -> None:
        if self._openai is not False:
            OPENAI_CALLS.switch_on(required=self._openai is True)

    def _tear_down(self) -> None:
        if self._openai is not False:
            OPENAI_CALLS.switch_off()

    def trace_opened(self, trace: Trace) -> None:
        """Take in what libraries record in this trace."""
        PROCESSOR.opened(trace)
        capture_global_provider(trace)

    def start_span(
        self,
        trace: Trace,
        name: str,
        *,
        context: otel_context.Context,
        attributes: Mapping[str, AttributeValue] | None = None,
        start_time: float | None = None,
        links: Sequence[otel.Link] = (),
    ) -> otel.Span:
        """Begin a span on the private provider."""
        if self._spans is None:
            self._spans = open_provider().get_tracer("lightning_actors")
        return self._spans.start_span(
            name,
            context=context,
            attributes=cast("OtelAttributes", attributes),
            links=links,
            start_time=int(start_time * 1e9) if start_time is not None else None,
        )
