"""Watching a server that cannot speak first: told by the next look, once, and of nothing that is not so."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from lightning_actors import InMemoryLightningStore, RolloutConfig
from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import StoreUnreachable
from lightning_actors.http.polling import Polling

pytestmark = pytest.mark.anyio


class Watched:
    """A store that is asked, and what was told."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = InMemoryLightningStore(clock=self.clock)
        self.polling = Polling(self.carry, self.clock)
        self.asked = 0
        self.is_away = False
        self.told: list[str] = []

    async def carry(self, message: Any) -> Any:
        self.asked += 1
        if self.is_away:
            raise StoreUnreachable("gone", address="here")
        reply = await self.store.ask(message)
        self.polling.saw(reply)
        return reply

    async def look(self) -> list[str]:
        """Let it look once; what it told since."""
        self.clock.advance(1)
        await wait_all_tasks_blocked()
        told = list(self.told)
        self.told.clear()
        return told

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.polling.run)
            await wait_all_tasks_blocked()
            yield
            group.cancel_scope.cancel()


@pytest.fixture
def watched() -> Watched:
    """An empty store that is watched by asking."""
    return Watched()


async def test_who_watches_the_queue_is_told_while_something_waits_in_it(watched: Watched) -> None:
    async with watched.running():
        leave = watched.polling.watch_queue(lambda: watched.told.append("ready"))
        assert await watched.look() == []
        await watched.store.enqueue_rollout(1)
        assert await watched.look() == ["ready"]
        assert await watched.look() == ["ready"]
        await watched.store.dequeue_rollout()
        assert await watched.look() == []
        await watched.store.enqueue_rollout(2)
        leave()
        leave()
        assert await watched.look() == []


@pytest.mark.parametrize("how", ["cancelled", "requeued", "superseded", "timeout"])
async def test_who_watches_an_attempt_is_told_once_that_it_is_over(watched: Watched, how: str) -> None:
    store = watched.store
    claimed = await store.start_rollout(1, config=RolloutConfig(timeout_seconds=60))
    watched.polling.saw(claimed)
    async with watched.running():
        watched.polling.watch_attempt(claimed.attempt.attempt_id, watched.told.append)
        assert await watched.look() == []
        if how == "superseded":
            await store.start_attempt(claimed.rollout_id)
        elif how == "timeout":
            watched.clock.advance(60)
        else:
            await store.update_rollout(claimed.rollout_id, status="cancelled" if how == "cancelled" else "queuing")
        assert await watched.look() == ["requeued" if how == "superseded" else how]
        assert await watched.look() == []


async def test_claims_are_seen_in_what_is_answered_one_or_many(watched: Watched) -> None:
    claims = [await watched.store.start_rollout(number) for number in range(3)]
    watched.polling.saw(claims[:2])
    async with watched.running():
        for claim in claims:
            watched.polling.watch_attempt(claim.attempt.attempt_id, watched.told.append)
            await watched.store.update_rollout(claim.rollout_id, status="cancelled")
        assert await watched.look() == ["cancelled", "cancelled"], "of the third nobody knows the rollout"


async def test_nothing_is_asked_where_nobody_watches(watched: Watched) -> None:
    async with watched.running():
        await watched.look()
        assert watched.asked == 0


async def test_a_server_that_is_away_is_asked_again_and_that_is_said_once(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    await watched.store.enqueue_rollout(1)
    watched.is_away = True
    async with watched.running():
        watched.polling.watch_queue(lambda: watched.told.append("ready"))
        assert await watched.look() == []
        assert await watched.look() == []
        assert caplog.text.count("server_not_asked") == 1
        watched.is_away = False
        assert await watched.look() == ["ready"]
