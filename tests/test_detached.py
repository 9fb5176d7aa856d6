"""Calls outside any task group: ended when asked, or left behind."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import from_thread
from anyio.lowlevel import checkpoint, current_token

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.detached import DaemonThreads, await_on_home_loop, detached_task, home_loop
from lightning_actors.errors import RolloutCancelled, RunnerError

pytestmark = pytest.mark.anyio

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def double(number: int) -> int:
    await checkpoint()
    return 2 * number


async def test_a_task_returns_its_value() -> None:
    call = detached_task(double, 21, name="doubling")
    assert not call.finished.is_set()
    await call.finished.wait()
    assert call.value == 42
    assert call.error is None


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()], ids=repr)
async def test_what_a_task_raises_is_a_value(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    call = detached_task(fail, name="failing")
    await call.finished.wait()
    assert call.error is error
    with pytest.raises(type(error)):
        _ = call.value


async def test_a_task_sees_a_copy_of_the_callers_context() -> None:
    async def look() -> str:
        seen = variable.get()
        variable.set("changed within")
        return seen

    variable.set("of the caller")
    call = detached_task(look, name="looking")
    given = contextvars.copy_context()
    given.run(variable.set, "of the context given")
    other = detached_task(look, name="looking", context=given)
    await call.finished.wait()
    await other.finished.wait()
    assert (call.value, other.value, variable.get()) == ("of the caller", "of the context given", "of the caller")


async def test_whoever_wants_to_know_is_told_once_of_the_end() -> None:
    told: list[str] = []
    call = detached_task(double, 1, name="doubling")
    call.finished_with(lambda: told.append("at the end"))
    await call.finished.wait()
    call.finished_with(lambda: told.append("afterwards"))
    assert told == ["at the end", "afterwards"]


async def test_how_long_a_call_has_to_end_is_a_matter_of_the_clock_given() -> None:
    clock, gate = VirtualClock(), anyio.Event()

    async def swallow() -> None:
        while not gate.is_set():
            # A shield keeps a cancelled scope of anyio and trio out, and asyncio's cancellation of a task is swallowed.
            with suppress(anyio.get_cancelled_exc_class()), anyio.CancelScope(shield=True):
                await gate.wait()

    call = detached_task(swallow, name="swallowing")
    await checkpoint()
    async with clock.autojump():
        assert not await call.end(3600.0, clock)
    assert clock.monotonic() == 3600.0
    gate.set()
    await call.finished.wait()


async def test_a_task_ends_when_it_is_asked() -> None:
    cleaned: list[bool] = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append(True)

    call = detached_task(wait, name="waiting")
    await anyio.wait_all_tasks_blocked()
    assert await call.end(30.0)
    assert isinstance(call.error, anyio.get_cancelled_exc_class())
    assert cleaned == [True]


async def test_a_task_that_is_cancelled_before_it_began_has_ended() -> None:
    call = detached_task(double, 1, name="doubling")
    call.cancel()
    assert await call.end(30.0)
    assert isinstance(call.error, anyio.get_cancelled_exc_class())


async def test_a_task_that_has_ended_is_not_cancelled() -> None:
    call = detached_task(double, 1, name="doubling")
    await call.finished.wait()
    call.cancel()
    assert await call.end(0.0)
    assert call.value == 2


async def test_nobody_has_to_wait_for_a_task() -> None:
    gate = anyio.Event()
    call = detached_task(gate.wait, name="waiting")
    await anyio.lowlevel.checkpoint()
    assert not call.finished.is_set()
    gate.set()
    await call.finished.wait()


# Trio cancels again at each checkpoint, so a task there cannot swallow its cancellation and go on waiting.
@pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
async def test_a_task_that_does_not_end_is_left_after_the_time_it_was_given() -> None:
    gate, swallowed = anyio.Event(), list[str]()

    async def stubborn() -> str:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                swallowed.append("one")
        return "at last"

    call = detached_task(stubborn, name="stubborn")
    await anyio.wait_all_tasks_blocked()
    assert not await call.end(0.05)
    assert len(swallowed) == 3
    gate.set()
    await call.finished.wait()
    assert call.value == "at last"


# ── threads ──


async def test_a_thread_returns_its_value_and_is_a_daemon() -> None:
    threads = DaemonThreads(2)
    call = await threads.start(threading.current_thread, name="looking")
    await call.finished.wait()
    assert call.value.daemon
    threads.close()
    await anyio.to_thread.run_sync(call.value.join)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=repr)
async def test_what_a_thread_raises_is_a_value(error: BaseException) -> None:
    def fail() -> None:
        raise error

    threads = DaemonThreads(1)
    for _ in range(3):  # the thread is as good as before
        call = await threads.start(fail, name="failing")
        await call.finished.wait()
        assert call.error is error
    threads.close()


async def test_a_thread_sees_a_copy_of_the_callers_context_and_knows_the_loop_it_belongs_to() -> None:
    def look() -> tuple[str, Any]:
        return variable.get(), home_loop()

    variable.set("of the caller")
    threads = DaemonThreads(1)
    call = await threads.start(look, name="looking")
    await call.finished.wait()
    assert call.value == ("of the caller", current_token())
    assert home_loop() is None
    threads.close()


async def test_a_thread_can_call_into_the_loop() -> None:
    threads = DaemonThreads(1)

    def ask() -> int:
        return from_thread.run(double, 4, token=home_loop())

    call = await threads.start(ask, name="asking")
    await call.finished.wait()
    assert call.value == 8
    threads.close()


async def test_a_thread_may_run_a_loop_of_its_own() -> None:
    threads = DaemonThreads(1)
    for backend in ("asyncio", "trio"):
        call = await threads.start(partial(anyio.run, double, 5, backend=backend), name="running")
        await call.finished.wait()
        assert call.value == 10
    threads.close()


async def test_idle_threads_are_used_again() -> None:
    threads = DaemonThreads(4)
    seen: set[int] = set()
    for _ in range(10):
        call = await threads.start(threading.get_ident, name="looking")
        await call.finished.wait()
        seen.add(call.value)
    assert len(seen) == 1
    threads.close()


async def test_no_more_than_limit_run_at_once_and_the_others_wait_in_order() -> None:
    threads, release = DaemonThreads(2), [threading.Event() for _ in range(5)]
    given: list[int] = []

    async def one(number: int) -> None:
        call = await threads.start(release[number].wait, name="working")
        given.append(number)
        await call.finished.wait()

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(one, number)
            await anyio.wait_all_tasks_blocked()
        for number in range(5):
            assert given == list(range(min(number + 2, 5)))
            release[number].set()
            await until(lambda number=number: len(given) >= min(number + 3, 5))
    threads.close()


async def until(condition: Any) -> None:
    """Wait for what a thread does."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - a thread sets no event of the loop
            await anyio.sleep(0.001)


async def test_whoever_gives_up_waiting_for_a_place_leaves_it_to_the_next() -> None:
    threads, release = DaemonThreads(1), threading.Event()
    first = await threads.start(release.wait, name="first")
    started: list[str] = []

    async def one(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            call = await threads.start(started.append, name, name=name)
            await call.finished.wait()

    async with anyio.create_task_group() as tasks:
        impatient = anyio.CancelScope()
        tasks.start_soon(one, "impatient", impatient)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(one, "patient", anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        impatient.cancel()
        await anyio.wait_all_tasks_blocked()
        release.set()
        await first.finished.wait()
    assert started == ["patient"]
    threads.close()


async def test_a_place_granted_to_one_who_is_cancelled_at_that_moment_is_not_lost() -> None:
    threads, release = DaemonThreads(1), threading.Event()
    first = await threads.start(release.wait, name="first")

    async def one(scope: anyio.CancelScope) -> None:
        with scope:
            await threads.start(release.wait, name="never begun")

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, scope)
        await anyio.wait_all_tasks_blocked()
        first.finished_with(scope.cancel)  # called in the moment in which the place is handed over
        release.set()
    call = await threads.start(threading.get_ident, name="next")
    await call.finished.wait()
    threads.close()


async def test_a_thread_left_behind_gives_its_place_away_up_to_a_bound() -> None:
    threads, release = DaemonThreads(2), threading.Event()
    hanging = [await threads.start(release.wait, name="hanging") for _ in range(2)]
    try:
        assert threads.replace(hanging[0])
        assert threads.replace(hanging[1])
        hanging += [await threads.start(release.wait, name="hanging too") for _ in range(2)]
        assert not threads.replace(hanging[2])
        waiting: list[RunnerError] = []

        async def wait() -> None:
            try:
                await threads.start(release.wait, name="waiting")
            except RunnerError as error:
                waiting.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not waiting
            assert not threads.replace(hanging[3])
        assert "all 4 threads" in str(waiting[0])
        with pytest.raises(RunnerError, match="all 4 threads"):
            await threads.start(release.wait, name="hopeless")
    finally:
        release.set()
    for call in hanging:
        await call.finished.wait()
    call = await threads.start(threading.get_ident, name="there are places again")
    await call.finished.wait()
    threads.close()


async def test_closing_lets_idle_threads_go_and_busy_ones_when_they_are_done() -> None:
    threads, release = DaemonThreads(2), threading.Event()

    def busy() -> threading.Thread:
        release.wait()
        return threading.current_thread()

    call = await threads.start(busy, name="busy")
    idle = await threads.start(threading.current_thread, name="idle")
    await idle.finished.wait()
    threads.close()
    await anyio.to_thread.run_sync(idle.value.join)
    release.set()
    await call.finished.wait()
    await anyio.to_thread.run_sync(call.value.join)
    again = await threads.start(threading.current_thread, name="again")
    await again.finished.wait()
    threads.close()
    await anyio.to_thread.run_sync(again.value.join)


def test_what_a_loop_left_behind_does_not_count_in_the_next() -> None:
    threads, release = DaemonThreads(1), threading.Event()

    async def leave() -> None:
        await threads.start(release.wait, name="hanging")

    async def use() -> int:
        call = await threads.start(threading.get_ident, name="next")
        await call.finished.wait()
        return call.value

    try:
        for backend in ("asyncio", "trio", "asyncio"):
            anyio.run(leave, backend=backend)
        assert anyio.run(use, backend="trio") != threading.get_ident()
    finally:
        release.set()
        threads.close()


async def test_a_thread_is_refused_once_it_was_asked_to_end_and_is_cut_short_where_it_waits() -> None:
    threads, release, waiting = DaemonThreads(1), threading.Event(), anyio.Event()
    errors: list[BaseException] = []

    async def wait() -> None:
        waiting.set()
        await anyio.sleep_forever()

    def work() -> None:
        for _ in range(2):
            try:
                await_on_home_loop(wait)
            except RolloutCancelled as error:
                errors.append(error)
        release.wait()

    call = await threads.start(work, name="worker")
    await waiting.wait()
    assert not call.is_asked_to_end
    call.cancel()
    release.set()
    assert await call.end(30.0)
    assert call.error is None
    assert ["the worker was asked to end" in str(error) for error in errors] == [True, True]
    threads.close()


async def test_a_wait_that_ends_in_the_moment_in_which_its_thread_is_asked_to_end_has_its_value() -> None:
    threads = DaemonThreads(1)

    async def ask_and_return() -> int:
        call.cancel()
        return 42

    begun = anyio.Event()

    def work() -> int:
        await_on_home_loop(begun.wait)
        return await_on_home_loop(ask_and_return)

    call = await threads.start(work, name="worker")
    begun.set()
    await call.finished.wait()
    assert call.value == 42
    threads.close()


async def test_a_place_is_not_taken_back_for_a_thread_that_has_ended_meanwhile() -> None:
    """It gave its context to another thread, and did not wait for that."""
    threads, gate, waiting = DaemonThreads(1), anyio.Event(), threading.Event()
    helpers: list[threading.Thread] = []

    async def wait() -> None:
        waiting.set()
        await gate.wait()

    def work() -> None:
        helpers.append(
            threading.Thread(target=contextvars.copy_context().run, args=(await_on_home_loop, wait), daemon=True)
        )
        helpers[0].start()
        waiting.wait()

    call = await threads.start(work, name="worker")
    await call.finished.wait()
    gate.set()
    await anyio.to_thread.run_sync(helpers[0].join)
    for _ in range(2):
        with anyio.fail_after(30):
            await (await threads.start(threading.get_ident, name="next")).finished.wait()
    threads.close()
