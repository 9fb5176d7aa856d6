"""Checks of what a test leaves behind: dead letters, tasks and threads."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lightning_actors.actors import Actor, Message, Supervisor, handles, hosted
from lightning_actors.actors.testkit import no_dead_letters, nothing_left_running
from lightning_actors.detached import DaemonThreads, DetachedCall, detached_task

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Pay(Message[None]):
    pass


class Till(Actor):
    @handles(Pay)
    def pay(self, message: Pay) -> None:
        pass


class BrokenTill(Actor):
    @handles(Pay)
    def pay(self, message: Pay) -> None:
        raise ZeroDivisionError


async def test_a_block_without_dead_letters_passes() -> None:
    with no_dead_letters() as bury:
        async with Supervisor(dead_letters=bury) as supervisor:
            await (await supervisor.start(Till)).ask(Pay())
    assert bury.count == 0


async def crash_a_till() -> None:
    with no_dead_letters() as bury:
        async with Supervisor(dead_letters=bury) as supervisor:
            await (await supervisor.start(BrokenTill)).tell(Pay())
            while not bury.count:
                await checkpoint()


async def pay_a_till_that_has_stopped(error: Exception | None = None) -> None:
    with no_dead_letters():
        async with hosted(Till, name="till") as till:
            await till.stop()
            till.tell_nowait(Pay())
            if error is not None:
                raise error


async def test_a_dead_letter_fails_the_block_and_is_named() -> None:
    with pytest.raises(AssertionError, match=r"1 dead letters:\nPay for 'BrokenTill': crashed, ZeroDivisionError\(\)"):
        await crash_a_till()


@pytest.mark.parametrize("level", [logging.NOTSET, logging.CRITICAL])
async def test_a_dead_letter_that_was_only_logged_fails_the_block_too(level: int) -> None:
    logger = logging.getLogger("lightning_actors.actors.dead_letter")
    before = logger.level
    logger.setLevel(level)
    try:
        with pytest.raises(AssertionError, match=r"dead_letter actor=till message=Pay reason=stopped"):
            await pay_a_till_that_has_stopped()
        assert (logger.level, logger.handlers) == (level, [])
    finally:
        logger.setLevel(before)


async def test_an_error_of_the_block_is_not_hidden_by_dead_letters() -> None:
    with pytest.raises(KeyError) as caught:
        await pay_a_till_that_has_stopped(KeyError())
    assert caught.value.__notes__[0].startswith("and 1 dead letters:\ndead_letter actor=till")


async def test_a_block_that_cleans_up_leaves_nothing_running() -> None:
    async with nothing_left_running():
        threads = DaemonThreads(2)
        async with Supervisor() as supervisor, anyio.create_task_group() as group:
            await supervisor.start(Till)
            group.start_soon(checkpoint)
            await (await threads.start(int, "1", name="counting")).finished.wait()
        threads.close()


async def linger() -> None:
    await anyio.sleep_forever()


async def leave_a_task(calls: list[DetachedCall[None]], error: Exception | None = None) -> None:
    async with nothing_left_running():
        calls.append(detached_task(linger, name="the lingerer"))
        if error is not None:
            raise error


async def test_a_task_that_is_left_is_named() -> None:
    calls: list[DetachedCall[None]] = []
    with pytest.raises(AssertionError, match=r"left running: task 'the lingerer' in .*test_left_behind\.py:\d+\)$"):
        await leave_a_task(calls)
    assert await calls[0].end(1.0)


async def test_an_error_of_the_block_is_not_hidden_by_what_is_left() -> None:
    calls: list[DetachedCall[None]] = []
    with pytest.raises(KeyError) as caught:
        await leave_a_task(calls, KeyError())
    assert caught.value.__notes__[0].startswith("and left running: task 'the lingerer'")
    assert await calls[0].end(1.0)


async def test_a_thread_that_is_left_is_named_with_the_line_where_it_hangs() -> None:
    threads, release = DaemonThreads(1), threading.Event()
    calls: list[DetachedCall[bool]] = []

    async def leave_a_thread() -> None:
        async with nothing_left_running(thread_seconds=0.01):
            calls.append(await threads.start(release.wait, name="hanging"))

    with pytest.raises(
        AssertionError, match=r"thread 'lightning-actors agent thread' in wait \(.*threading\.py:\d+\)$"
    ):
        await leave_a_thread()
    release.set()
    await calls[0].finished.wait()
    threads.close()
