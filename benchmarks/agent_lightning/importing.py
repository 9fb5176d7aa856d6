"""`import agentlightning` in a fresh interpreter: this one."""

from __future__ import annotations

from benchmarks.cases.import_probe import measure_import

measure_import("agentlightning")
