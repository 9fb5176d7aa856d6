"""Work that an actor holds without a task of its own: waited for, cancelled and released."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import pytest

from lightning_actors.actors import Actor, Holding, Message, Reply, current_actor, defers, handles, hosted
from lightning_actors.actors.testkit import settle

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Begin(Message[str]):
    """Begin a piece of work; the reply is how it ended."""


@dataclass(frozen=True)
class Break(Message[None]):
    """Crash."""


class Job:
    """Work that ends when it is told to."""

    def __init__(self, reply: Reply[str]) -> None:
        self.reply = reply
        self.holding: Holding | None = None
        self.cancelled = 0
        self.ends_when_cancelled = True

    def cancel(self) -> None:
        self.cancelled += 1
        if self.ends_when_cancelled and self.cancelled == 1:
            assert self.holding is not None
            self.holding.start_soon(self.tidy_up)

    async def tidy_up(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.end("cut short")

    def end(self, how: str = "done") -> None:
        assert self.holding is not None
        if not self.reply.done:
            self.reply.set(how)
        self.holding.release()


class Foreman(Actor, handles_all=(Begin, Break)):
    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.left: list[bool] = []

    @defers(Begin)
    def begin(self, message: Begin, reply: Reply[str]) -> None:
        job = Job(reply)
        self.jobs.append(job)
        job.holding = self.hold_work(job, message)

    @handles(Break)
    def break_down(self, message: Break) -> None:
        raise RuntimeError("broken")

    def withdrawn(self, message: Message[str], reply: Reply[str]) -> None:
        for job in self.jobs:
            if job.reply == reply:
                job.cancel()

    async def stopped(self) -> None:
        self.left.append(all(job.reply.done for job in self.jobs))


async def test_work_goes_on_without_a_task_and_its_reply_comes_when_it_is_given() -> None:
    foreman, answers = Foreman(), list[str]()
    async with hosted(lambda: foreman) as ref, anyio.create_task_group() as tasks:

        async def ask() -> None:
            answers.append(await ref.ask(Begin()))

        tasks.start_soon(ask)
        await settle()
        assert not answers
        foreman.jobs[0].end()
    assert answers == ["done"]


async def test_a_stop_waits_for_work_within_the_grace_time() -> None:
    foreman, answers = Foreman(), list[str]()
    async with anyio.create_task_group() as tasks:
        async with hosted(lambda: foreman) as ref:

            async def ask() -> None:
                answers.append(await ref.ask(Begin()))

            async def end() -> None:
                await settle()
                foreman.jobs[0].end()

            tasks.start_soon(ask)
            await settle()
            tasks.start_soon(end)
        assert foreman.left == [True]
    assert answers == ["done"]
    assert foreman.jobs[0].cancelled == 0


async def test_work_is_cancelled_when_the_grace_time_is_over_and_may_tidy_up() -> None:
    foreman, answers = Foreman(), list[str]()
    async with anyio.create_task_group() as tasks, hosted(lambda: foreman, grace=0.01) as ref:

        async def ask() -> None:
            answers.append(await ref.ask(Begin()))

        tasks.start_soon(ask)
        await settle()
    assert answers == ["cut short"]
    assert foreman.jobs[0].cancelled >= 1
    assert foreman.left == [True]


async def test_a_crash_cancels_work_and_waits_until_it_is_released() -> None:
    foreman, answers = Foreman(), list[str]()

    async def run() -> None:
        async with hosted(lambda: foreman) as ref, anyio.create_task_group() as tasks:

            async def ask() -> None:
                answers.append(await ref.ask(Begin()))

            tasks.start_soon(ask)
            await settle()
            await ref.tell(Break())
            await settle()
            assert foreman.left == [True]

    with pytest.raises(RuntimeError, match="broken"):
        await run()
    assert answers == ["cut short"]


async def test_work_is_cancelled_with_its_asker() -> None:
    foreman = Foreman()
    async with hosted(lambda: foreman) as ref:
        with anyio.move_on_after(0.01):
            await ref.ask(Begin())
        await settle()
        assert foreman.jobs[0].cancelled == 1
    assert foreman.left == [True]


async def test_what_runs_for_the_work_counts_as_the_actors_until_the_release() -> None:
    foreman, seen = Foreman(), list[str | None]()
    async with hosted(lambda: foreman, name="foreman") as ref, anyio.create_task_group() as tasks:
        tasks.start_soon(ref.ask, Begin())
        await settle()
        job = foreman.jobs[0]
        assert job.holding is not None

        async def look() -> None:
            actor = current_actor()
            seen.append(None if actor is None else actor.name)
            job.end()

        job.holding.start_soon(look)
        await settle()
    assert seen == ["foreman"]


async def test_an_error_in_a_task_of_the_work_crashes_the_actor() -> None:
    foreman = Foreman()

    async def fail() -> None:
        raise RuntimeError("the work went wrong")

    async def run() -> None:
        async with hosted(lambda: foreman) as ref, anyio.create_task_group() as tasks:
            tasks.start_soon(ref.ask, Begin())
            await settle()
            job = foreman.jobs[0]
            assert job.holding is not None
            job.holding.start_soon(fail)
            await settle()

    with pytest.raises(RuntimeError, match="the work went wrong"):
        await run()
