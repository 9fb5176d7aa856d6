"""The clocks."""

from __future__ import annotations

import time

import anyio
import pytest

from lightning_actors.actors import Clock, SystemClock
from lightning_actors.actors.testkit import VirtualClock, settle

pytestmark = pytest.mark.anyio


async def test_the_system_clock_tells_the_machines_time():
    clock: Clock = SystemClock()
    before, wall = clock.monotonic(), clock.time()
    await clock.sleep(0.001)
    assert clock.monotonic() > before
    assert abs(clock.time() - time.time()) < 60 > abs(wall - time.time())
    with clock.move_on_after(0.001) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    with clock.move_on_after(None) as scope:
        pass
    assert not scope.cancelled_caught


async def test_a_virtual_clock_goes_on_only_when_told():
    clock = VirtualClock(start=50.0)
    woken: list[str] = []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(f"{seconds} at {clock.time()}")

    async with anyio.create_task_group() as group:
        for seconds in (3.0, 1.0, 2.0):
            group.start_soon(sleep, seconds)
        await settle()
        assert (woken, clock.next_due) == ([], 1.0)
        clock.advance(1.5)
        await settle()
        assert woken == ["1.0 at 51.5"]
        clock.advance(0.5)
        await settle()
        clock.advance(10.0)
    assert woken == ["1.0 at 51.5", "2.0 at 52.0", "3.0 at 62.0"]
    assert (clock.monotonic(), clock.time(), clock.next_due) == (12.0, 62.0, None)


async def test_a_virtual_clock_forgets_scopes_that_were_left_in_time():
    clock = VirtualClock()
    with clock.move_on_after(1.0) as scope:
        pass
    assert clock.next_due is None
    clock.advance(2.0)
    assert not scope.cancel_called
    with clock.move_on_after(None) as scope:
        clock.advance(1e9)
    assert not scope.cancel_called


async def test_a_virtual_clock_with_no_time_to_wait_does_not_wait():
    with VirtualClock().move_on_after(0) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught


def test_time_does_not_go_back():
    with pytest.raises(ValueError, match="does not go back"):
        VirtualClock().advance(-1.0)
