"""An actor that sleeps: asks whose handlers are not awaited are handled in the asker's turn, and in no other order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from lightning_actors.actors import Actor, ActorRef, Message, Outcome, Reply, defers, handles, hosted
from lightning_actors.actors.testkit import settle

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Add(Message[int]):
    number: int


@dataclass(frozen=True)
class Keep(Message[int]):
    """Answered later."""


@dataclass(frozen=True)
class AddSoon(Message[int]):
    """Handled by an async handler."""

    number: int


@dataclass(frozen=True)
class Fail(Message[int]):
    error: BaseException


class Adder(Actor):
    def __init__(self) -> None:
        self.added: list[int] = []
        self.kept: list[Reply[int]] = []

    @handles(Add)
    def add(self, message: Add) -> int:
        self.added.append(message.number)
        return sum(self.added)

    @defers(Keep)
    def keep(self, message: Keep, reply: Reply[int]) -> None:
        self.kept.append(reply)

    @handles(AddSoon)
    async def add_soon(self, message: AddSoon) -> int:
        self.added.append(message.number)
        return sum(self.added)

    @handles(Fail)
    def fail(self, message: Fail) -> int:
        raise message.error


@dataclass(frozen=True)
class Go(Message[None]):
    """Have the asker do all that it was told to."""


@dataclass
class Asker(Actor):
    """Asks in its handler, and notes what the adder had done when the handler went on."""

    adder: ActorRef[Adder]
    messages: list[Message[Any]]
    tells: list[Message[Any]] = field(default_factory=list[Message[Any]])
    outcomes: list[Outcome[Any]] = field(default_factory=list[Outcome[Any]])

    @handles(Go)
    def go(self, message: Go) -> None:
        for told in self.tells:
            self.adder.tell_nowait(told)
        for one in self.messages:
            self.request(self.adder, one, self.take)

    def take(self, outcome: Outcome[Any]) -> Awaitable[None] | None:
        self.outcomes.append(outcome)
        return None


async def run(messages: list[Message[Any]], tells: list[Message[Any]]) -> tuple[list[int], list[Any]]:
    """What was added, in order, and what the asker was answered."""
    adder = Adder()
    async with hosted(lambda: adder) as ref:
        asker = Asker(ref, messages, tells)
        async with hosted(lambda: asker) as asking:
            await settle()  # both sleep now
            await asking.ask(Go())
            await settle()
    return adder.added, [outcome.value for outcome in asker.outcomes]


async def test_an_ask_of_a_sleeping_actor_is_handled_before_the_asker_goes_on() -> None:
    adder = Adder()
    seen: list[list[int]] = []

    class Looking(Asker):
        @handles(Go)
        def go(self, message: Go) -> None:
            super().go(message)
            seen.append(list(adder.added))

    async with hosted(lambda: adder) as ref:
        asker = Looking(ref, [Add(1), Add(2), Add(4)])
        async with hosted(lambda: asker) as asking:
            await settle()
            await asking.ask(Go())
            await settle()
    assert seen == [[1, 2, 4]]
    assert [outcome.value for outcome in asker.outcomes] == [1, 3, 7]


async def test_what_the_asker_sent_before_comes_before() -> None:
    assert await run([Add(2), Add(3)], tells=[Add(1)]) == ([1, 2, 3], [3, 6])


async def test_async_and_sync_handlers_keep_the_order_of_asking() -> None:
    assert await run([Add(1), AddSoon(2), Add(3), AddSoon(4)], tells=[]) == ([1, 2, 3, 4], [1, 3, 6, 10])


async def test_a_deferred_reply_given_later_finds_its_asker() -> None:
    adder = Adder()
    async with hosted(lambda: adder) as ref, anyio.create_task_group() as tasks:
        await settle()
        replies: list[int] = []

        async def ask() -> None:
            replies.append(await ref.ask(Keep()))

        tasks.start_soon(ask)
        await settle()
        assert replies == []
        adder.kept[0].set(5)
        await settle()
        assert replies == [5]


async def test_an_error_is_the_askers_and_the_actor_lives_on() -> None:
    async with hosted(Adder) as ref:
        await settle()
        with pytest.raises(ValueError, match="boom"):
            await ref.ask(Fail(ValueError("boom")))
        await settle()
        assert await ref.ask(Add(1)) == 1


async def test_an_asker_that_is_cancelled_already_is_cancelled_all_the_same() -> None:
    adder = Adder()
    async with hosted(lambda: adder) as ref:
        await settle()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ref.ask(Add(1))
            raise AssertionError("it was not cancelled")
        assert await ref.ask(Add(2)) == 3


async def test_an_outcome_that_comes_by_a_bare_callback_of_the_loop_is_taken_in_a_task(anyio_backend_name: str) -> None:
    """A handler may want anyio there, which knows the loop by the task."""
    if anyio_backend_name != "asyncio":
        pytest.skip("trio has no callbacks outside of tasks")
    adder, taken, tasks = Adder(), anyio.Event(), list[object]()

    class Looking(Asker):
        def take(self, outcome: Outcome[Any]) -> None:
            tasks.append(asyncio.current_task())
            taken.set()

    async with hosted(lambda: adder) as ref:
        asker = Looking(ref, [Keep()])
        async with hosted(lambda: asker) as asking:
            await asking.ask(Go())
            await settle()
            asyncio.get_running_loop().call_soon(adder.kept[0].set, 1)
            with anyio.fail_after(30):
                await taken.wait()
    assert tasks != [None]
