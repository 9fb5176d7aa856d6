"""OTLP, OpenTelemetry's protocol, to and from the spans of a store; needs the extra ``http``."""

from __future__ import annotations
