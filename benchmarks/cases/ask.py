"""An ask, relative to a bare ``send_nowait`` with a reply slot: what the kernel's promises cost."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anyio

from benchmarks.case import Case, Options
from benchmarks.cases.bare_ask import BareActor
from benchmarks.figure import Figure, Sample, ratio
from benchmarks.meter import Meter
from lightning_actors.actors import Actor, ActorRef, Message, Supervisor, handles


@dataclass(frozen=True, slots=True)
class Add(Message[int]):
    """Add to the sum; the reply is the sum."""

    number: int


class Adder(Actor):
    """Adds up."""

    total = 0

    @handles(Add)
    def add(self, message: Add) -> int:
        """Add."""
        self.total += message.number
        return self.total


def ours(options: Options) -> Sample:
    """Asks of an actor under a supervisor: one caller after its own reply, then many callers at once."""

    async def one(adder: ActorRef[Adder], asks: int) -> None:
        for number in range(asks):
            await adder.ask(Add(number))

    async def main() -> Sample:
        async with Supervisor() as supervisor:
            adder = await supervisor.start(Adder)
            return await _measured(options, lambda asks: one(adder, asks))

    return options.run(main)


def bare(options: Options) -> Sample:
    """The same numbers through a memory stream, each in a slot with an event, and a task that adds up."""

    async def main() -> Sample:
        actor = BareActor()

        async def one(asks: int) -> None:
            for number in range(asks):
                await actor.ask(number)

        async with actor.serving():
            return await _measured(options, one)

    return options.run(main)


async def _measured(options: Options, one: Callable[[int], Coroutine[Any, Any, None]]) -> Sample:
    asks, callers = options.sizes["asks"], options.sizes["callers"]
    await one(asks // 10)
    with Meter() as alone:
        await one(asks)
    with Meter() as together:
        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(one, asks // callers)
    return {"alone": alone.cpu / asks, "together": together.cpu / (asks // callers * callers)}


CASE = Case(
    name="ask",
    title="ask, relative to a bare send_nowait + reply slot",
    ours=ours,
    bare=bare,
    figures=(
        Figure(
            "ask, one caller, relative to a bare `send_nowait` + reply slot",
            ratio(("ours", "alone"), ("bare", "alone")),
            "times",
            frozenset({"ours", "bare"}),
            reach=1.5,
            aim=1.2,
            shows=("alone", "alone"),
        ),
        Figure(
            "the same, 64 callers at once",
            ratio(("ours", "together"), ("bare", "together")),
            "times",
            frozenset({"ours", "bare"}),
            shows=("together", "together"),
        ),
    ),
    sizes={"asks": 64_000, "callers": 64},
    tiny={"asks": 64, "callers": 8},
    chooses_loop=True,
)
