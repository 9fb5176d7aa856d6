"""A case: what is measured, with which contenders, and the figures that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.figure import Figure, Sample
from benchmarks.meter import Backend, run_on

__all__ = ["Case", "Contender", "Measurement", "Options"]

Contender = Literal["ours", "bare", "peer"]
"""Ours, the least that the same work can cost, and Agent Lightning."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a measurement is told.

    Attributes:
        sizes: The case's numbers by name: how many asks, rollouts, runners, …
        backend: The event loop.
    """

    sizes: Mapping[str, int]
    backend: Backend = "asyncio"

    def run(self, main: Callable[[], Any]) -> Any:
        """Run an async function to its end on that loop, and return what it returns."""
        return run_on(self.backend, main)


Measurement = Callable[[Options], Sample]


@dataclass(frozen=True, slots=True)
class Case:
    """One case.

    Attributes:
        name: What it is called on the command line.
        title: What it measures, in a line.
        ours: Measures us, in a process of its own.
        bare: Measures the limit, in a process of its own.
        figures: What is made of the samples.
        sizes: Its numbers.
        tiny: The numbers that show within a moment that it runs; nothing can be concluded from its figures then.
        peer: The module that measures Agent Lightning, in ``benchmarks/agent_lightning``; None where it has nothing
            that could be compared.
        rounds: How many rounds tell enough, if nobody says.
        chooses_loop: Whether it can run on another event loop than asyncio.
    """

    name: str
    title: str
    ours: Measurement
    bare: Measurement
    figures: tuple[Figure, ...]
    sizes: Mapping[str, int]
    tiny: Mapping[str, int] = field(default_factory=dict[str, int])
    peer: str | None = None
    rounds: int = 5
    chooses_loop: bool = False

    def contenders(self, *, with_peer: bool) -> tuple[Contender, ...]:
        """Who is measured in each round, in this order."""
        return ("ours", "bare", "peer") if with_peer and self.peer is not None else ("ours", "bare")
