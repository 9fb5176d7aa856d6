"""An online algorithm for tests: it writes down what it learns from, and acts as it is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

from lightning_actors.algorithm import Experience, OnlineAlgorithm
from lightning_actors.litagent import rollout
from lightning_actors.runner import LitAgentRunner
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.tracer import DummyTracer


class Diary(OnlineAlgorithm):
    """Writes down what it learns from; the calls may be given something to do."""

    def __init__(self, act: Callable[[Diary, Experience], Awaitable[object]] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.experiences: list[Experience] = []
        self.calls: list[str] = []
        self._act = act
        self._news = anyio.Event()

    async def until(self, count: int) -> None:
        """Wait until it has learned so often."""
        while len(self.experiences) < count:
            self._news = anyio.Event()
            await self._news.wait()

    @property
    def tasks(self) -> list[Any]:
        return [experience.task for experience in self.experiences]

    @property
    def rewards(self) -> list[float | None]:
        return [experience.reward for experience in self.experiences]

    async def begin(self) -> None:
        self.calls.append("begin")

    async def learn(self, experience: Experience) -> None:
        self.calls.append(f"learn {experience.task}")
        if self._act is not None:
            await self._act(self, experience)
        self.experiences.append(experience)
        self.calls.append(f"learned {experience.task}")
        self._news.set()

    async def conclude(self) -> None:
        self.calls.append("conclude")


@rollout
async def agent(task: Any) -> float | None:
    await anyio.lowlevel.checkpoint()
    if task == "bad":
        raise ValueError("no")
    return None if task == "unrewarded" else 0.5


@asynccontextmanager
async def stepping(store: InMemoryLightningStore, runs: Any = agent) -> AsyncGenerator[LitAgentRunner[Any]]:
    async with LitAgentRunner[Any](DummyTracer()).run_context(agent=runs, store=store) as runner:
        yield runner
