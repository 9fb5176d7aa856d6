# ruff: noqa: PT012  # what is raised here is raised by leaving a block of several lines
"""A task group that raises what went wrong, and nothing around it."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from lightning_actors.actors.plain_group import PlainTaskGroup

pytestmark = pytest.mark.anyio


class Fatal(BaseException):
    """Of a user's own, and no Exception."""


ERRORS = pytest.mark.parametrize(
    "error", [ValueError("no"), Fatal("no"), SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__
)


async def fail(error: BaseException) -> None:
    raise error


@ERRORS
async def test_what_a_task_raises_cancels_the_others_and_leaves_the_block_as_it_is(error: BaseException) -> None:
    ended: list[str] = []

    async def wait(name: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(name)

    with pytest.raises(type(error)) as caught:
        async with PlainTaskGroup() as group:
            group.start_soon(wait, "task")
            await anyio.wait_all_tasks_blocked()
            group.start_soon(fail, error)
            await wait("block")
    assert caught.value is error
    assert caught.value.__suppress_context__, "the cancellation of the block is not what it came of"
    assert sorted(ended) == ["block", "task"]


@ERRORS
async def test_what_the_block_raises_cancels_the_tasks_and_leaves_it_as_it_is(error: BaseException) -> None:
    ended = anyio.Event()

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    with pytest.raises(type(error)) as caught:
        async with PlainTaskGroup() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            raise error
    assert caught.value is error
    assert ended.is_set()


async def test_the_first_error_wins() -> None:
    with pytest.raises(ValueError, match="first"):
        async with PlainTaskGroup() as group:
            group.start_soon(fail, ValueError("first"))
            try:
                await anyio.sleep_forever()
            finally:
                raise LookupError("second")


async def test_the_tasks_are_waited_for() -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        done.append(number)

    async with PlainTaskGroup() as group:
        for number in range(3):
            group.start_soon(work, number)
    assert sorted(done) == [0, 1, 2]


async def test_cancelling_its_own_scope_ends_it_without_an_error() -> None:
    async with PlainTaskGroup() as group:
        group.start_soon(anyio.sleep_forever)
        group.cancel_scope.cancel()
        await anyio.sleep_forever()
    assert group.cancel_scope.cancelled_caught


async def test_the_cancellation_of_a_scope_around_it_goes_through() -> None:
    after: list[str] = []
    with anyio.CancelScope() as scope:
        async with PlainTaskGroup() as group:
            group.start_soon(anyio.sleep_forever)
            scope.cancel()
            await anyio.sleep_forever()
        after.append("the block")
    assert scope.cancelled_caught
    assert after == []


async def test_an_error_in_a_block_that_is_being_cancelled_is_not_lost() -> None:
    with pytest.raises(ValueError, match="while leaving"), anyio.CancelScope() as scope:
        async with PlainTaskGroup() as group:

            async def leave() -> None:
                try:
                    await anyio.sleep_forever()
                finally:
                    raise ValueError("while leaving")

            group.start_soon(leave)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()


# On trio this is an exception like any other; anyio's own group on asyncio would end as if nothing had happened.
async def test_a_cancellation_that_a_task_picked_up_elsewhere_is_an_error() -> None:
    with pytest.raises(asyncio.CancelledError):
        async with PlainTaskGroup() as group:
            group.start_soon(fail, asyncio.CancelledError())
            await anyio.sleep_forever()


async def test_an_exception_group_of_the_users_own_is_left_alone() -> None:
    error = ExceptionGroup("of the user", [ValueError("one")])
    with pytest.raises(ExceptionGroup) as caught:
        async with PlainTaskGroup() as group:
            group.start_soon(fail, error)
    assert caught.value is error
