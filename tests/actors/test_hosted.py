"""One actor in the caller's scope."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lightning_actors.actors import Actor, DeadLetter, Message, Reply, Supervisor, defers, handles, hosted
from lightning_actors.actors.testkit import VirtualClock, settle
from lightning_actors.errors import ActorError, ActorStopped

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Add(Message[int]):
    amount: int


@dataclass(frozen=True)
class End(Message[str]):
    pass


@dataclass(frozen=True)
class Keep(Message[int]):
    pass


class Counter(Actor):
    def __init__(self) -> None:
        self.total = 0
        self.fails_in = ""

    async def started(self) -> None:
        self.total = 100
        self.fail("started")

    async def stopping(self) -> None:
        self.fail("stopping")

    async def stopped(self) -> None:
        self.fail("stopped")

    def fail(self, where: str) -> None:
        if self.fails_in == where:
            raise ValueError(where)

    @handles(Add)
    def add(self, message: Add) -> int:
        self.total += message.amount
        return self.total

    @handles(End)
    def end(self, message: End) -> str:
        self.stop_soon()
        return "bye"

    @defers(Keep)
    def keep(self, message: Keep, reply: Reply[int]) -> None:
        pass


async def test_a_hosted_actor_lives_as_long_as_its_block():
    async with hosted(Counter, name="counter", mailbox_size=9) as counter:
        assert counter.name == "counter"
        assert await counter.ask(Add(1)) == 101
        assert counter.inspect().mailbox_size == 9
    assert counter.inspect().state == "stopped"
    assert counter.inspect().mailbox_depth == 0
    with pytest.raises(ActorStopped):
        await counter.ask(Add(1))
    await counter.stop()
    await counter.wait_stopped()


@pytest.mark.parametrize("where", ["started", "stopping", "stopped"])
async def test_an_error_in_a_hook_is_raised_by_the_block(where: str):
    actor = Counter()
    actor.fails_in = where
    with pytest.raises(ValueError, match=where):
        async with hosted(lambda: actor):
            pass


async def test_an_error_in_the_factory_is_raised_before_the_block():
    def make() -> Counter:
        raise ValueError("no counter today")

    with pytest.raises(ValueError, match="no counter today"):
        async with hosted(make):
            raise AssertionError


async def test_an_actor_can_end_itself_and_the_block_goes_on():
    errors: list[ActorStopped] = []

    async with hosted(Counter) as counter, anyio.create_task_group() as group:

        async def keep() -> None:
            try:
                await counter.ask(Keep())
            except ActorStopped as error:
                errors.append(error)

        group.start_soon(keep)
        await settle()
        assert await counter.ask(End()) == "bye"
        await counter.wait_stopped()
    assert len(errors) == 1
    assert errors[0].__cause__ is None


async def test_an_actor_that_ends_itself_has_its_grace_time():
    clock = VirtualClock()

    class Slow(Counter):
        async def stopping(self) -> None:
            await anyio.sleep_forever()

    async with hosted(Slow, clock=clock, grace=3.0) as slow:
        await slow.ask(End())
        await settle()
        assert slow.inspect().state == "stopping"
        clock.advance(3.0)
        await slow.wait_stopped()


async def test_a_crash_during_the_stop_is_raised_by_the_block():
    gate = anyio.Event()

    class Late(Actor):
        @handles(Keep)
        async def keep(self, message: Keep) -> int:
            await gate.wait()
            raise ValueError("late")

    async def host() -> None:
        async with hosted(Late, dead_letters=list[DeadLetter]().append) as late:
            await late.tell(Keep())
            await settle()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await late.stop()
            gate.set()

    with pytest.raises(ValueError, match="late"):
        await host()


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_ask_is_cancelled_though_its_actor_hears_of_that_first(turns: int):
    class Keeper(Actor):
        minds_replies = False

        async def started(self) -> None:
            await checkpoint()

        @defers(Keep)
        def keep(self, message: Keep, reply: Reply[int]) -> None:
            """It never answers."""

    scope = anyio.CancelScope()

    async def cancel() -> None:
        for _ in range(turns):
            await checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        with scope:
            async with hosted(Keeper) as keeper:
                await keeper.ask(Keep())
    assert scope.cancelled_caught


async def test_a_hosted_block_inside_a_handler_works():
    class Outer(Actor):
        @handles(Add)
        async def add(self, message: Add) -> int:
            async with hosted(Counter) as inner:
                return await inner.ask(message)

    async with hosted(Outer) as outer:
        assert await outer.ask(Add(5)) == 105


async def test_a_stop_inside_the_block_does_not_cancel_the_block():
    async with hosted(Counter) as counter:
        await counter.stop(grace=0)
        await anyio.lowlevel.checkpoint()


async def test_a_supervisor_that_was_not_entered_says_so():
    supervisor = Supervisor()
    for call in (supervisor.wait, supervisor.stop):
        with pytest.raises(ActorError, match="has not begun"):
            await call()
    with pytest.raises(ActorStopped, match="is not running"):
        await supervisor.start(Counter)
