"""A wait that outlasts its deadline says why, once, in every home."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import anyio
import pytest
from store_homes import Later, end, everyone_waits, running

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.log import LogEvent
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.types import Explanation

pytestmark = pytest.mark.anyio


class Warnings:
    """What was logged of waits that timed out."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def take(self) -> list[dict[str, Any]]:
        messages = [record.msg for record in self._caplog.records if record.levelno == logging.WARNING]
        self._caplog.clear()
        return [m.fields for m in messages if isinstance(m, LogEvent) and m.event == "wait_timed_out"]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Generator[Warnings]:
    with caplog.at_level(logging.DEBUG, "lightning_actors"):
        yield Warnings(caplog)


async def wait_in_vain(store: LightningStore, clock: VirtualClock, ids: list[str], seconds: float) -> None:
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=ids, timeout=seconds))
        await everyone_waits()
        clock.advance(seconds)
    assert later.error is None


async def test_a_wait_that_times_out_explains_the_first_three(
    store: LightningStore, clock: VirtualClock, warnings: Warnings
) -> None:
    claimed = await running(store)
    ids = [claimed.rollout_id, *[(await store.enqueue_rollout(number)).rollout_id for number in range(5)]]
    await end(store, claimed)
    await wait_in_vain(store, clock, ids, 10)
    (warning,) = warnings.take()
    assert (warning["timeout_seconds"], warning["ended"], warning["left"]) == (10, 1, 5)
    *reasons, more = warning["why"].splitlines()
    assert [reason.split()[0] for reason in reasons] == ids[1:4]
    assert "has been queued for 10.0 s, behind 1 other. Nobody has asked for work yet" in reasons[1]
    assert more == "… and 2 more"


async def test_who_waits_in_short_pieces_is_told_of_each_rollout_once(
    store: LightningStore, clock: VirtualClock, warnings: Warnings
) -> None:
    ids = [(await store.enqueue_rollout(number)).rollout_id for number in range(4)]
    await wait_in_vain(store, clock, ids, 5)
    assert len(warnings.take()) == 1
    for left in (ids, ids[1:], ids[3:]):
        await wait_in_vain(store, clock, left, 5)
    assert warnings.take() == []
    ids.append((await store.enqueue_rollout("new")).rollout_id)
    await wait_in_vain(store, clock, ids[4:], 5)
    (warning,) = warnings.take()
    assert warning["why"].startswith(ids[4])


async def test_a_look_is_no_wait(store: LightningStore, clock: VirtualClock, warnings: Warnings) -> None:
    rollout = await store.enqueue_rollout("task")
    for seconds in (0, -1):
        assert await store.wait_for_rollouts(rollout_ids=[rollout.rollout_id], timeout=seconds) == []
    await wait_in_vain(store, clock, [rollout.rollout_id], 0.5)
    assert warnings.take() == []


async def test_a_wait_that_is_answered_in_time_says_nothing(
    store: LightningStore, clock: VirtualClock, warnings: Warnings
) -> None:
    claimed = await running(store)
    later = Later()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[claimed.rollout_id], timeout=5))
        await everyone_waits()
        await end(store, claimed)
    assert len(later.value) == 1
    assert warnings.take() == []


class Speechless(InMemoryLightningStore):
    """Cannot explain."""

    async def explain_rollout(self, rollout_id: str) -> Explanation:
        raise LookupError(rollout_id)


async def test_a_store_that_cannot_explain_still_answers_its_waiters(clock: VirtualClock, warnings: Warnings) -> None:
    store = Speechless(clock=clock)
    rollout = await store.enqueue_rollout("task")
    await wait_in_vain(store, clock, [rollout.rollout_id], 5)
    (warning,) = warnings.take()
    assert warning["why"] == f"… and 1 more (the store does not explain: LookupError: {rollout.rollout_id})"
