"""Whole runs, thousands of them, each with other accidents: nothing may be lost, doubled, or left open.

Run by hand for longer, or again for one seed:

    LIGHTNING_ACTORS_SEEDS=20000 pytest tests/simulation
    LIGHTNING_ACTORS_SEED=4711 pytest tests/simulation
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from typing import Final, Literal

import pytest
from simulated_plan import draw
from simulated_verdict import judge
from simulated_world import World

from lightning_actors.actors.testkit import Schedule, nothing_left_running

SEEDS: Final = int(os.environ.get("LIGHTNING_ACTORS_SEEDS", "1500"))
ONLY: Final = os.environ.get("LIGHTNING_ACTORS_SEED")
PARTS: Final = 10
Backend = Literal["asyncio", "trio"]


@pytest.fixture(autouse=True)
def quiet() -> Generator[None]:
    """Accidents are logged as warnings and errors, and there are many."""
    logger = logging.getLogger("lightning_actors")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


def simulate(seed: int, backend: Backend) -> World:
    """One run, and the verdict on it."""
    world = World(draw(seed))

    async def main() -> None:
        async with nothing_left_running():
            await world.live()

    try:
        Schedule(seed, backend).run(main, clock=world.clock)
        judge(world)
    except BaseException as error:
        again = f"LIGHTNING_ACTORS_SEED={seed} pytest {os.path.relpath(__file__)} -k {backend}"
        print(f"to see this again: {again}\n{world.plan}")  # noqa: T201 - shown also where a test is ended for its time
        error.add_note(f"to see this again: {again}")
        raise
    return world


def seeds(part: int, count: int = SEEDS) -> list[int]:
    if ONLY is not None:
        return [int(ONLY)] if part == 0 else []
    return list(range(part, count, PARTS))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.timeout(60 + SEEDS / 10)
def test_whatever_happens_every_rollout_ends_once_or_is_still_queued_on_asyncio(part: int) -> None:
    for seed in seeds(part):
        simulate(seed, "asyncio")


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.timeout(60 + SEEDS / 10)
def test_whatever_happens_every_rollout_ends_once_or_is_still_queued_on_trio(part: int) -> None:
    for seed in seeds(part, SEEDS // 3):
        simulate(seed, "trio")


def test_a_seed_is_a_run() -> None:
    def told(seed: int, backend: Backend) -> list[object]:
        world = simulate(seed, backend)
        names = {id_: number for number, id_ in enumerate(world.enqueued)}
        calls = [(names[call.rollout_id], call.script, call.ended) for call in world.calls]
        seen = [[(names[end.rollout_id], end.status) for end in follower.seen] for follower in world.followers]
        return [
            calls,
            seen,
            world.struck,
            world.clock.monotonic(),
            [world.store.history[id_] for id_ in world.enqueued],
        ]

    for seed in range(20):
        assert told(seed, "asyncio") == told(seed, "asyncio")
        assert told(seed, "trio") == told(seed, "trio")
