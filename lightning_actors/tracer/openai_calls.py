"""Calls of the OpenAI SDK as spans, with prompts and answers.

```
first init      openai imported already → instrument now
                not yet                 → instrument when something imports it (importing it takes half a second)
last teardown   what we instrumented is put back
```

OpenTelemetry's own instrumentation does the work. An application that has instrumented the SDK itself, with this or
another package, keeps its own: its spans reach the rollouts through the global provider. Prompts and answers are
recorded unless the application has said otherwise in ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``; that
variable is only read here.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from opentelemetry import trace as otel

from lightning_actors.errors import MissingExtra
from lightning_actors.log import get_logger
from lightning_actors.tracer.providers import open_provider

__all__ = ["OPENAI_CALLS", "OpenAICalls"]

log = get_logger("lightning_actors.tracer")

_INSTRUMENTATION: Final = "opentelemetry.instrumentation.genai.openai"
_CONTENT_SWITCH: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class OpenAICalls:
    """The instrumentation of the OpenAI SDK, shared by all tracers of the process."""

    def __init__(self) -> None:
        self._users = 0
        self._ours: Any = None
        self._lock = threading.RLock()

    def switch_on(self, *, required: bool) -> None:
        """Record calls from now on; each call wants a ``switch_off``.

        Args:
            required: Whether the extra must be installed; without it, what is not there is not recorded.

        Raises:
            MissingExtra: It is required and not installed.
        """
        if not _is_installed():
            if required:
                raise MissingExtra("Recording calls of the OpenAI SDK", extra="openai")
            return
        with self._lock:
            self._users += 1
        if "openai" in sys.modules:
            self.instrument()
        else:
            _instrument_on_import()

    def switch_off(self) -> None:
        """Undo ``switch_on``; the last of several calls puts the SDK back as it was."""
        with self._lock:
            if self._users == 0:
                return
            self._users -= 1
            if self._users == 0 and self._ours is not None:
                self._ours.uninstrument()
                self._ours = None

    def instrument(self) -> None:
        """Instrument the SDK, unless nobody wants it now or it is instrumented already."""
        with self._lock:
            if self._users == 0 or self._ours is not None:
                return
            instrumentor = import_module(_INSTRUMENTATION).OpenAIInstrumentor()
            if instrumentor.is_instrumented_by_opentelemetry or _is_wrapped():
                log.debug("openai_instrumented_by_application")
                return
            hook = None if os.environ.get(_CONTENT_SWITCH, "").strip() else _ContentHook()
            instrumentor.instrument(tracer_provider=open_provider(), completion_hook=hook)
            if instrumentor.is_instrumented_by_opentelemetry:  # it logs why not: a version that it does not know
                self._ours = instrumentor


OPENAI_CALLS: Final = OpenAICalls()
"""The one of this process."""


def _is_installed() -> bool:
    try:
        return find_spec("openai") is not None and find_spec(_INSTRUMENTATION) is not None
    except ModuleNotFoundError:  # one of the packages above it is missing
        return False


@cache
def _instrument_on_import() -> None:
    """Have the SDK instrumented as soon as it is imported; said once, it holds for the life of the process."""

    def imported(_module: object) -> None:
        OPENAI_CALLS.instrument()

    import_module("wrapt").register_post_import_hook(imported, "openai")


def _is_wrapped() -> bool:
    """Whether somebody else's instrumentation is in place."""
    proxy = import_module("wrapt").ObjectProxy
    return isinstance(import_module("openai.resources.chat.completions").Completions.__dict__["create"], proxy)


class _ContentHook:
    """Puts prompts and answers on the span of the call, in the words of the GenAI conventions."""

    def __init__(self) -> None:
        self._next: Any = import_module("opentelemetry.util.genai.completion_hook").load_completion_hook()

    def on_completion(
        self,
        *,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        system_instruction: Sequence[Any],
        tool_definitions: Sequence[Any] | None = None,
        span: otel.Span | None = None,
        log_record: Any = None,
    ) -> None:
        """Called by the instrumentation when a call is over and its span still open."""
        if span is not None:
            content = {
                "gen_ai.input.messages": inputs,
                "gen_ai.output.messages": outputs,
                "gen_ai.system_instructions": system_instruction,
                "gen_ai.tool.definitions": tool_definitions,
            }
            span.set_attributes({key: _json(parts) for key, parts in content.items() if parts})
        self._next.on_completion(
            inputs=inputs,
            outputs=outputs,
            system_instruction=system_instruction,
            tool_definitions=tool_definitions,
            span=span,
            log_record=log_record,
        )


def _json(parts: Sequence[Any]) -> str:
    return json.dumps([asdict(part) for part in parts], separators=(",", ":"), default=_other)


def _other(value: object) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else repr(value)
