"""Spans for the user's own collector too, where ``OTEL_EXPORTER_OTLP_ENDPOINT`` names one.

```
 tracer ──writes──▶ store
    └──hands over──▶ queue (bounded) ──▶ thread ──OTLP──▶ the collector
```

Each process sends what it has recorded itself, after it was stored; spans of an application's own provider are left
to its own exporters. A collector that is slow, gone or refuses costs nothing but its spans, which is said once.

Source: the variables and what they mean are those of the OpenTelemetry specification.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gzip
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lightning_actors.error_text import describe
from lightning_actors.log import get_logger
from lightning_actors.types import Span

__all__ = ["Collector", "Forwarder", "collector_in", "forwarder"]

log = get_logger("lightning_actors.tracer")

_SERVICE: Final = "lightning-actors"
_QUEUED: Final = 10_000
_AT_ONCE: Final = 512
_PAUSES: Final = (1.0, 3.0)
_AGAIN: Final = frozenset({429, 502, 503, 504})
_LAST_SECONDS: Final = 3.0
_SDK: Final = "telemetry.sdk.name"
"""What the resource of an application's own provider says, and that of ours does not."""


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans are sent, and how.

    Attributes:
        address: The full address for spans.
        headers: What each request bears.
        seconds: How long a request may take.
        compresses: Whether bodies are compressed.
        service_name: The name of the service.
    """

    address: str
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 10.0
    compresses: bool = False
    service_name: str = _SERVICE


def collector_in(environment: Mapping[str, str]) -> Collector | None:
    """The collector that the variables name; None where they name none, or one that cannot be sent to."""

    def given(name: str) -> str:
        variables = (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}")
        return next((text for text in (environment.get(variable, "").strip() for variable in variables) if text), "")

    own = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    shared = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip().rstrip("/")
    address = own or (f"{shared}/v1/traces" if shared else "")
    if not address or environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none":
        return None
    protocol = given("PROTOCOL") or "http/protobuf"
    if protocol != "http/protobuf" or not address.startswith(("http://", "https://")):
        log.warning("spans_not_forwarded", address=address, protocol=protocol, why="spans are sent by http/protobuf")
        return None
    return Collector(
        address,
        headers=tuple(_headers(given("HEADERS"))),
        seconds=_seconds(given("TIMEOUT")),
        compresses=given("COMPRESSION").lower() == "gzip",
        service_name=environment.get("OTEL_SERVICE_NAME", "").strip() or _SERVICE,
    )


def _headers(text: str) -> list[tuple[str, str]]:
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return [(urllib.parse.unquote(name.strip()), urllib.parse.unquote(value.strip())) for name, _, value in pairs]


def _seconds(milliseconds: str) -> float:
    try:
        return max(float(milliseconds) / 1000, 0.001)
    except ValueError:
        return 10.0


@functools.cache
def forwarder(collector: Collector) -> Forwarder | None:
    """The one forwarder of this process to a collector; None where the extra is missing, which is said once."""
    try:
        from lightning_actors.otlp.encoding import encode  # noqa: PLC0415 - belongs to an extra
    except ImportError:
        hint = "pip install 'lightning-actors[http]'"
        log.warning("spans_not_forwarded", address=collector.address, why="opentelemetry-proto is missing", hint=hint)
        return None
    return Forwarder(collector, functools.partial(encode, service_name=collector.service_name))


class Forwarder:
    """Sends spans in a thread of its own, and never holds anybody up.

    Args:
        collector: Where they are sent.
        encode: Writes spans as the body of a request.

    Attributes:
        sent: How many the collector has taken.
        lost: How many it has not.
    """

    def __init__(self, collector: Collector, encode: Callable[[Sequence[Span]], bytes]) -> None:
        self._collector = collector
        self._encode = encode
        self._queue: deque[Span] = deque()
        self._work = threading.Condition()
        self._is_sending = False
        self._process: int | None = None
        self._is_ending = False
        self._has_complained = False
        self.sent = 0
        self.lost = 0

    def hand_over(self, spans: Sequence[Span]) -> None:
        """Have spans sent that were recorded here; those of an application's own provider are left to it."""
        own = [span for span in spans if _SDK not in span.resource.attributes]
        if not own:
            return
        with self._work:
            room = _QUEUED - len(self._queue)
            self._queue.extend(own[:room])
            self._work.notify_all()
            if self._process != os.getpid():  # not begun, or left behind in the process that was forked
                self._begin()
        if len(own) > room:
            self._lose(len(own) - room, "the collector is slower than spans are recorded")

    def wait_sent(self, seconds: float) -> bool:
        """Wait, in a thread, until all spans are sent or lost; tells whether that was so within this time."""
        with self._work:
            return self._work.wait_for(lambda: not self._queue and not self._is_sending, seconds)

    def _begin(self) -> None:
        self._process = os.getpid()
        self._is_sending = False
        threading.Thread(target=self._run, name="lightning-actors spans to a collector", daemon=True).start()
        atexit.register(self._end)

    def _end(self) -> None:
        """At the end of the process, give what is left a moment, unless the collector does not answer anyway."""
        self._is_ending = True
        if self._process == os.getpid() and not self._has_complained:
            self.wait_sent(_LAST_SECONDS)

    def _run(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: self._queue)
                batch = [self._queue.popleft() for _ in range(min(_AT_ONCE, len(self._queue)))]
                self._is_sending = True
            try:
                self._send(batch)
            except Exception as error:  # noqa: BLE001 - boundary: another's server, and spans of users' making
                self._lose(len(batch), describe(error))
            with self._work:
                self._is_sending = False
                self._work.notify_all()

    def _send(self, batch: Sequence[Span]) -> None:
        body = self._encode(batch)
        headers = {"content-type": "application/x-protobuf", **dict(self._collector.headers)}
        if self._collector.compresses:
            body, headers["content-encoding"] = gzip.compress(body), "gzip"
        request = urllib.request.Request(self._collector.address, body, headers)  # noqa: S310 - http or https
        for pause in (*_PAUSES, None):
            try:
                with urllib.request.urlopen(request, timeout=self._collector.seconds):  # noqa: S310 - http or https
                    self.sent += len(batch)
                    self._has_complained = False
                    return
            except urllib.error.HTTPError as error:
                with contextlib.closing(error):
                    if pause is None or error.code not in _AGAIN or self._is_ending:
                        raise
            except urllib.error.URLError:
                if pause is None or self._is_ending:
                    raise
            time.sleep(pause)

    def _lose(self, count: int, why: str) -> None:
        self.lost += count
        if not self._has_complained:
            self._has_complained = True
            log.warning("spans_not_forwarded", address=self._collector.address, why=why, lost=self.lost)
