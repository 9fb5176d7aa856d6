"""The demonstration: a small language model gets better at a real task, in one process and with no key."""

from __future__ import annotations

from lightning_actors.demo.agent import continent_agent
from lightning_actors.demo.countries import Country, split_countries
from lightning_actors.demo.model import language_model
from lightning_actors.demo.run import DemoReport, run_demo

__all__ = ["Country", "DemoReport", "continent_agent", "language_model", "run_demo", "split_countries"]
