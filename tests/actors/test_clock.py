"""The clocks."""

from __future__ import annotations

import time

import anyio
import pytest

from lightning_actors.actors import Clock, SystemClock
from lightning_actors.actors.testkit import Stuck, VirtualClock, settle

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


async def test_a_virtual_clock_forgets_what_was_left_without_keeping_it():
    clock = VirtualClock()
    with clock.move_on_after(1e6):
        for _ in range(10_000):
            with clock.move_on_after(1e9):
                pass
        assert len(clock._due) < 100
        assert clock.next_due == 1e6


async def test_a_virtual_clock_goes_to_what_is_due_next_and_no_further():
    clock = VirtualClock(start=0)
    async with anyio.create_task_group() as group:
        for seconds in (0.1, 0.3, 0.3):
            group.start_soon(clock.sleep, seconds)
        await settle()
        assert clock.advance_to_next()
        assert clock.time() == 0.1
        assert clock.advance_to_next()
        assert clock.time() == 0.3
        assert not clock.advance_to_next()
    assert clock.time() == 0.3


async def test_what_waits_for_ever_is_never_due():
    clock = VirtualClock()
    with clock.move_on_after(float("inf")) as scope:
        assert clock.next_due is None
        assert not clock.advance_to_next()
    assert not scope.cancel_called


async def test_a_virtual_clock_goes_on_by_itself_when_everybody_waits():
    clock = VirtualClock(start=0)
    woken: list[float] = []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(clock.time())

    async with clock.autojump(), anyio.create_task_group() as group:
        for seconds in (7200.0, 60.0, 3600.0):
            group.start_soon(sleep, seconds)
    assert woken == [60.0, 3600.0, 7200.0]
    await clock_stands_still(clock)


async def clock_stands_still(clock: VirtualClock) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(clock.sleep, 1.0)
            await settle()
            assert clock.time() == 7200.0
            scope.cancel()


async def test_a_virtual_clock_that_nobody_waits_for_goes_on_once_somebody_does():
    clock = VirtualClock(start=0)
    async with clock.autojump():
        await settle()
        assert clock.time() == 0.0
        await clock.sleep(5.0)
    assert clock.time() == 5.0


async def test_what_a_block_with_time_that_goes_on_raises_leaves_it_as_it_is():
    clock = VirtualClock()

    async def fail() -> None:
        async with clock.autojump():
            await clock.sleep(1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def test_a_block_in_which_nothing_can_happen_any_more_is_ended():
    with pytest.raises(Stuck, match=r"everybody has waited for 0\.01 s, and nothing is due"):
        async with VirtualClock().autojump(stuck_seconds=0.01):
            await anyio.sleep_forever()


def test_time_does_not_go_back():
    with pytest.raises(ValueError, match="does not go back"):
        VirtualClock().advance(-1.0)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("seconds", [NAN, INF, -INF, -0.5])
def test_time_goes_on_by_what_it_can_go_on_by(seconds: float):
    clock = VirtualClock(start=7.0)
    with pytest.raises(ValueError, match=r"advance\(.*\): .* finite number of seconds, 0 or more"):
        clock.advance(seconds)
    assert (clock.time(), clock.monotonic()) == (7.0, 0.0)


async def test_nobody_waits_for_what_is_no_number():
    clock = VirtualClock()
    async with clock.autojump():
        with pytest.raises(ValueError, match="no number of seconds"):
            await clock.sleep(NAN)
        with pytest.raises(ValueError, match="no number of seconds"):
            clock.move_on_after(NAN)
        await clock.sleep(1.0)
    assert clock.time() == 1_000_000_001.0


async def test_who_sleeps_for_ever_is_not_what_time_goes_on_for():
    clock = VirtualClock()
    async with clock.autojump(), anyio.create_task_group() as group:
        group.start_soon(clock.sleep, INF)
        await clock.sleep(5.0)
        await settle()
        assert clock.monotonic() == 5.0
        group.cancel_scope.cancel()


@pytest.mark.parametrize("start", [NAN, INF, -INF])
def test_a_virtual_clock_begins_at_some_time(start: float):
    with pytest.raises(ValueError, match="start"):
        VirtualClock(start)


@pytest.mark.parametrize("seconds", [NAN, -1.0])
def test_how_long_a_block_may_be_stuck_is_checked_before_it_is_entered(seconds: float):
    with pytest.raises(ValueError, match="stuck_seconds"):
        VirtualClock().autojump(stuck_seconds=seconds)
