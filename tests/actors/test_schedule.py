"""The same seed, the same run."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest

from lightning_actors.actors import ChildSpec, Message, Supervisor
from lightning_actors.actors.testkit import CrashActor, Faults, Probe, Schedule, Stuck, VirtualClock, until_idle

Backend = Literal["asyncio", "trio"]
BACKENDS: list[Backend] = ["asyncio", "trio"]

each_backend = pytest.mark.parametrize("backend", BACKENDS)


async def race(runners: int = 6, rounds: int = 5) -> list[str]:
    """Who came by when."""
    seen: list[str] = []

    async def run(name: str) -> None:
        for round_ in range(rounds):
            await anyio.lowlevel.checkpoint()
            seen.append(f"{name}{round_}")

    async with anyio.create_task_group() as group:
        for number in range(runners):
            group.start_soon(run, chr(ord("a") + number))
    return seen


async def cancelled_race() -> list[str]:
    """Who heard of a cancellation when: the scope keeps its tasks in a set, in the order of their addresses."""
    heard: list[str] = []

    async def wait(name: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            heard.append(name)

    keep = [object() for _ in range(random.SystemRandom().randrange(50))]  # other addresses in each run
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(wait, f"w{number}")
        await until_idle()
        group.cancel_scope.cancel()
    del keep
    return heard


@each_backend
@pytest.mark.parametrize("main", [race, cancelled_race])
def test_one_seed_is_one_order_and_seeds_differ(backend: Backend, main: Callable[[], Any]) -> None:
    orders = [tuple(Schedule(seed, backend).run(main)) for seed in range(10)]
    assert orders == [tuple(Schedule(seed, backend).run(main)) for seed in range(10)]
    assert len(set(orders)) == 10


@each_backend
def test_nobody_is_kept_waiting(backend: Backend) -> None:
    for seed in range(20):
        order = Schedule(seed, backend).run(race, 4, 40)
        for index, name in enumerate(order):
            behind = int(name[1:])
            assert all(f"{other}{behind - 3}" in order[:index] for other in "abcd" if behind >= 3)


@each_backend
def test_what_it_runs_may_fail_and_the_note_names_the_seed(backend: Backend) -> None:
    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        Schedule(7, backend).run(fail)
    assert caught.value.__notes__ == [f"under Schedule(seed=7, backend={backend!r})"]


@each_backend
def test_the_clock_goes_on_when_everybody_waits(backend: Backend) -> None:
    clock = VirtualClock(start=0)

    async def sleep(seconds: float) -> float:
        with clock.move_on_after(1e9):
            for _ in range(10):
                await clock.sleep(seconds / 10)
        return clock.time()

    assert Schedule(1, backend).run(sleep, 3600.0, clock=clock) == pytest.approx(3600.0)
    assert clock.next_due is None


@each_backend
def test_time_stands_still_while_somebody_works(backend: Backend) -> None:
    clock = VirtualClock(start=0)
    times: list[float] = []

    async def work() -> None:
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
            times.append(clock.time())

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(clock.sleep, 5.0)
            group.start_soon(work)

    Schedule(3, backend).run(main, clock=clock)
    assert (set(times), clock.time()) == ({0.0}, 5.0)


@each_backend
def test_a_run_in_which_nothing_can_happen_any_more_ends_and_says_who_waits(backend: Backend) -> None:
    async def wait_for_nobody() -> None:
        await anyio.sleep_forever()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(wait_for_nobody, name="the one who waits")

    with pytest.raises(Stuck, match=r"everybody has waited.*'the one who waits'"):
        Schedule(1, backend).run(main, clock=VirtualClock(), stuck_seconds=0.01)


@each_backend
def test_the_random_module_is_seeded_for_the_run_and_put_back(backend: Backend) -> None:
    async def draw() -> float:
        return random.random()  # noqa: S311 - the point

    random.seed(1)
    expected = random.random()  # noqa: S311
    random.seed(1)
    first, again = Schedule(5, backend).run(draw), Schedule(5, backend).run(draw)
    assert first == again != Schedule(6, backend).run(draw)
    assert random.random() == expected  # noqa: S311


@each_backend
def test_actors_crash_and_restart_in_the_order_of_the_seed(backend: Backend) -> None:
    clock = VirtualClock(start=0)

    async def main() -> list[float]:
        restarts: list[float] = []

        class Restless(Probe):
            async def started(self) -> None:
                restarts.append(clock.time())

        specs = [ChildSpec(f"probe-{n}", Faults({1: CrashActor()}).injected_into(Restless)) for n in range(3)]
        async with Supervisor(specs, clock=clock) as supervisor:
            for spec in specs:
                await supervisor.ref(spec.name).tell(Message())
            await clock.sleep(1.0)
        return restarts

    def once(seed: int) -> list[float]:
        nonlocal clock
        clock = VirtualClock(start=0)
        return Schedule(seed, backend).run(main, clock=clock)

    assert once(4) == once(4)
    assert len(once(4)) == 6
    assert once(4) != once(5)  # the pauses have jitter
