"""Runners: claim, execute, report."""

from __future__ import annotations

from lightning_actors.runner.agent import LitAgentRunner
from lightning_actors.runner.base import RunContext, Runner
from lightning_actors.runner.execution import Execution

__all__ = ["Execution", "LitAgentRunner", "RunContext", "Runner"]
