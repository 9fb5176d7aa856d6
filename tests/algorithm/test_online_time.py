"""The time that an online algorithm has to end is that of its store."""

from __future__ import annotations

import anyio
import pytest

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.algorithm import Experience, OnlineAlgorithm
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio


class Hanging(OnlineAlgorithm):
    """Never has done with what it learns from."""

    def __init__(self) -> None:
        super().__init__()
        self.learning_from = anyio.Event()

    async def learn(self, experience: Experience) -> None:
        self.learning_from.set()
        await anyio.sleep_forever()


async def test_a_learn_that_hangs_holds_up_the_end_for_five_seconds_of_the_stores_clock() -> None:
    clock, learner = VirtualClock(), Hanging()
    store = InMemoryLightningStore(clock=clock)
    rollout, beginning = await store.enqueue_rollout("task"), await store.get_completion_cursor()
    async with clock.autojump(stuck_seconds=3.0):
        async with learner.learning(store):
            await store.update_rollout(rollout.rollout_id, status="cancelled")
            await learner.learning_from.wait()
        assert clock.monotonic() == 5.0
    assert learner.cursor == beginning, "what it had not done with is learned from when it goes on"
