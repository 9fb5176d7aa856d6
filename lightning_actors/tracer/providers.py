"""The OpenTelemetry providers that rollouts are traced through.

```
OpenProvider    private: the rollout's root, operations, LLM calls.  Everything is recorded, OTEL_* is ignored
the host's      global: libraries use it.                            The host's sampler and limits hold
StandIn         global, only while the host has set none.            Everything is recorded; steps aside for the host
```
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider, sampling
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.util.types import Attributes as OtelAttributes

from lightning_actors.tracer.span_processor import PROCESSOR
from lightning_actors.tracer.trace import Trace, new_span_id, new_trace_id

__all__ = ["OpenProvider", "capture_global_provider", "open_provider"]

_UNSET: Final = SpanLimits.UNSET
_PREDICTABLE: Final = (sampling.StaticSampler, sampling.TraceIdRatioBased, sampling.ParentBased)


class _UnseededIds(IdGenerator):
    """Ids that stay unique when an agent seeds ``random``, as many do at the start of each rollout."""

    def generate_span_id(self) -> int:
        return new_span_id()

    def generate_trace_id(self) -> int:
        return new_trace_id()

    def is_trace_id_random(self) -> bool:
        return True


class OpenProvider(TracerProvider):
    """A provider that records everything: all spans, without limits, whatever ``OTEL_*`` says."""

    def __init__(self) -> None:
        # After a fork the SDK's provider starts threads in the child. What Python does about their lock has to be done
        # before that: handlers are called in the order in which they were registered, and this registers that one.
        importlib.import_module("concurrent.futures.thread")

        super().__init__(
            sampler=sampling.ALWAYS_ON,
            resource=Resource({"service.name": "lightning-actors"}),
            shutdown_on_exit=False,
            id_generator=_UnseededIds(),
            span_limits=SpanLimits(
                max_attributes=_UNSET,
                max_events=_UNSET,
                max_links=_UNSET,
                max_span_attributes=_UNSET,
                max_event_attributes=_UNSET,
                max_link_attributes=_UNSET,
                max_attribute_length=_UNSET,
                max_span_attribute_length=_UNSET,
            ),
        )
        self._disabled = False  # OTEL_SDK_DISABLED switches the host's spans off, not the rewards
        PROCESSOR.attach(self)


class _StandIn(OpenProvider):
    """The global provider for as long as the host has none."""

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: OtelAttributes = None,
    ) -> otel.Tracer:
        """A tracer that goes over to the host's provider once there is one: libraries keep theirs for ever."""
        scope = (instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        return _StandInTracer(self, super().get_tracer(*scope), scope)


class _StandInTracer(otel.Tracer):
    """The tracer of whatever provider is the global one at the time."""

    def __init__(self, provider: _StandIn, tracer: otel.Tracer, scope: tuple[Any, ...]) -> None:
        self._provider: otel.TracerProvider = provider
        self._tracer = tracer
        self._scope = scope

    def _now(self) -> otel.Tracer:
        provider = otel.get_tracer_provider()
        if provider is not self._provider:
            self._tracer = provider.get_tracer(*self._scope)
            self._provider = provider
        return self._tracer

    def start_span(
        self,
        name: str,
        context: otel_context.Context | None = None,
        kind: otel.SpanKind = otel.SpanKind.INTERNAL,
        attributes: OtelAttributes = None,
        links: Sequence[otel.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002 - see above
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002 - see above
    ) -> otel.Span:
        """Begin a span."""
        return self._now().start_span(
            name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
        )

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> AbstractContextManager[otel.Span]:  # pyright: ignore[reportIncompatibleMethodOverride] - OpenTelemetry's return type is private; arguments are handed on
        """Begin a span and make it the current one."""
        return self._now().start_as_current_span(*args, **kwargs)


@cache
def open_provider() -> OpenProvider:
    """The private provider of this process."""
    return OpenProvider()


@cache
def _stand_in() -> _StandIn:
    return _StandIn()


def capture_global_provider(trace: Trace) -> None:
    """See the spans of libraries: those of the host's provider, or of a stand-in while the host has none."""
    provider = otel.get_tracer_provider()
    if isinstance(provider, otel.ProxyTracerProvider):
        _set_global(_stand_in())
        provider = otel.get_tracer_provider()
    if isinstance(provider, OpenProvider):
        return
    PROCESSOR.attach(provider)
    if isinstance(provider, TracerProvider) and isinstance(provider.sampler, _PREDICTABLE):
        _note_sampler(trace, provider.sampler)


def _set_global(provider: TracerProvider) -> None:
    """Make this the global provider in such a way that the host may still set its own afterwards."""
    if hasattr(otel, "_TRACER_PROVIDER"):
        # set_tracer_provider works once in a process: that one time is the host's.
        otel._TRACER_PROVIDER = provider  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - see above
    else:
        otel.set_tracer_provider(provider)


def _note_sampler(trace: Trace, sampler: sampling.Sampler) -> None:
    """Say so if the host's sampler keeps back this rollout's spans."""
    below_root = otel.set_span_in_context(otel.NonRecordingSpan(trace.root), otel_context.Context())
    result = sampler.should_sample(below_root, trace.root.trace_id, "agentlightning.probe")
    if not result.decision.is_recording():
        trace.notes["sampler"] = sampler.get_description()
        PROCESSOR.report_once(
            "spans_sampled_out",
            sampler=sampler.get_description(),
            rollout_id=trace.rollout_id,
            hint="the application's OpenTelemetry sampler keeps back spans of rollouts; rewards are not affected",
        )
