"""`Schedule`: runs an async program in an order that a seed decides, so that a rare order can be had again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, TypeVarTuple, Unpack

import anyio

from lightning_actors.actors.testkit.seeded_loop import SeededLoop
from lightning_actors.actors.testkit.virtual_clock import VirtualClock

__all__ = ["Schedule"]

Arguments = TypeVarTuple("Arguments")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Decides which of the tasks that can go on does so first: the same seed, the same run.

        for seed in range(1000):
            Schedule(seed).run(main)          what it raises bears a note with the seed

    It holds for what happens in one event loop: threads, the network, the machine's clock and the order of sets of
    strings are as random as ever. The ``random`` module's own generator is seeded for the length of a run as well, and
    then put back.

    On asyncio it is an event loop that shuffles the tasks that can go on. On trio it is trio's own scheduler, which
    shuffles them anyway: it is made to do so by the seed, by way of two private names of trio (those that trio's plugin
    for Hypothesis sets), because there is no public way.

    Attributes:
        seed: Any whole number.
        backend: The event loop.
    """

    seed: int
    backend: Literal["asyncio", "trio"] = "asyncio"

    def run(
        self,
        main: Callable[[Unpack[Arguments]], Awaitable[R]],
        *args: *Arguments,
        clock: VirtualClock | None = None,
        stuck_seconds: float = 10.0,
    ) -> R:
        """Run an async function to its end in an event loop of its own.

        Args:
            main: The function.
            *args: Its arguments.
            clock: A clock that goes on by itself meanwhile, as by ``clock.autojump()``.
            stuck_seconds: As for ``autojump``.

        Returns:
            What it returns.

        Raises:
            Stuck: Everybody waits, and nothing is due by ``clock``.
            Exception: What it raises, with a note that names the seed.
        """

        async def timed() -> R:
            if clock is None:
                return await main(*args)
            async with clock.autojump(stuck_seconds=stuck_seconds):
                return await main(*args)

        order = random.Random(self.seed)  # noqa: S311 - a reproducible order, not cryptography
        with _seeded(order, self.backend):
            options: dict[str, Any] = {"loop_factory": lambda: SeededLoop(order)} if self.backend == "asyncio" else {}
            try:
                return anyio.run(timed, backend=self.backend, backend_options=options)
            except BaseException as error:
                error.add_note(f"under {self}")
                raise


@contextmanager
def _seeded(order: random.Random, backend: str) -> Generator[None]:
    """Seed what decides the order, for the length of a run."""
    before = random.getstate()
    random.seed(order.getrandbits(64))
    try:
        if backend == "trio":
            with _trio_seeded(order):
                yield
        else:
            yield
    finally:
        random.setstate(before)


@contextmanager
def _trio_seeded(order: random.Random) -> Generator[None]:
    import trio._core._run as scheduler  # noqa: PLC0415 - only where this backend runs; there is no public way

    names: Any = scheduler
    before = names._ALLOW_DETERMINISTIC_SCHEDULING, names._r.getstate()  # noqa: SLF001 - there is no public way
    names._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
    names._r.seed(order.getrandbits(64))  # noqa: SLF001
    try:
        yield
    finally:
        names._ALLOW_DETERMINISTIC_SCHEDULING, state = before  # noqa: SLF001
        names._r.setstate(state)  # noqa: SLF001
