# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What a type checker must know of actors. This file is checked, never run.

A line that must be refused carries an ignore of its rule: if it were accepted, the ignore itself would be the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from pydantic.dataclasses import dataclass as pydantic_dataclass

from lightning_actors.actors import (
    Actor,
    ActorRef,
    ChildSpec,
    Message,
    Outcome,
    PendingRequest,
    Reply,
    Supervisor,
    defers,
    handles,
    hosted,
)


@dataclass(frozen=True)
class Add(Message[int]):
    amount: int


@pydantic_dataclass(frozen=True)
class Rename(Message[str | None]):
    name: str
    loudly: bool = False


@dataclass(frozen=True)
class Reset(Message[None]):
    pass


@dataclass(frozen=True)
class Await(Message[int]):
    pass


class Counter(Actor, handles_all=(Add, Rename, Reset, Await)):
    @handles(Add)
    def add(self, message: Add) -> int:
        return message.amount

    @handles(Rename)
    async def rename(self, message: Rename) -> str | None:
        return message.name

    @handles(Reset, concurrent=True)
    async def reset(self, message: Reset) -> None:
        await self.check(self.ref)

    async def check(self, counter: ActorRef[Counter]) -> None:
        assert_type(await counter.ask(Add(1)), int)

    @defers(Await)
    def wait(self, message: Await, reply: Reply[int]) -> None:
        assert_type(reply.set(1), bool)
        reply.set("one")  # pyright: ignore[reportArgumentType]  # the reply to Await is an int


class Louder(Counter):
    @handles(Add)
    def add(self, message: Add) -> int:
        assert_type(super().add(message), int)
        return super().add(message) * 2

    async def rename(self, message: Rename) -> str:
        return message.name.upper()


class Narrow(Actor):
    """A handler may return less than the message promises, and take more than it."""

    @handles(Rename)
    def rename(self, message: Rename) -> str:
        return message.name

    @handles(Add)
    def add(self, message: Add | Reset) -> bool:
        return isinstance(message, Add)

    @defers(Await)
    async def wait(self, message: Await, reply: Reply[bool]) -> None:
        reply.set(True)


class Wrong(Actor):
    @handles(Add)  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]  # the reply to Add is an int
    def add_text(self, message: Add) -> str:
        return str(message.amount)

    @handles(Add)  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]  # the reply to Add is an int, async or not
    async def add_text_later(self, message: Add) -> str:
        return str(message.amount)

    @handles(Add)  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]  # the parameter must take an Add
    def add_name(self, message: Rename) -> int:
        return len(message.name)

    @handles(Reset, concurrent=True)  # pyright: ignore[reportArgumentType]  # a concurrent handler is async
    def reset(self, message: Reset) -> None:
        pass

    @defers(Await)  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]  # the reply to Await is an int
    def wait(self, message: Await, reply: Reply[str]) -> None:
        reply.set("one")

    @handles(int)  # pyright: ignore[reportArgumentType]  # int is no message
    def number(self, message: int) -> int:
        return message


class Asker(Actor):
    @handles(Reset)
    async def reset(self, message: Reset) -> None:
        def then(outcome: Outcome[int]) -> None:
            assert_type(outcome.value, int)
            assert_type(outcome.error, BaseException | None)

        def wrong(outcome: Outcome[str]) -> None:
            assert outcome.value

        counter = await Supervisor().start(Counter)
        assert_type(self.request(counter, Add(1), then), PendingRequest[int])
        self.request(counter, Add(1), wrong)  # pyright: ignore[reportArgumentType]  # the outcome of Add is an int
        self.start_soon(self.work, 1)
        self.start_soon(self.work, "1")  # pyright: ignore[reportArgumentType]  # work takes an int
        self.start_soon(self.work)  # pyright: ignore[reportArgumentType]  # work takes an argument

    async def work(self, number: int) -> None:
        pass


async def check(supervisor: Supervisor) -> None:
    counter = await supervisor.start(Counter)
    assert_type(counter, ActorRef[Counter])
    assert_type(await counter.ask(Add(1)), int)
    assert_type(await counter.ask(Rename("n", loudly=True)), str | None)
    assert_type(await counter.ask(Reset()), None)
    assert_type(await supervisor.start(ChildSpec("counter", Counter)), ActorRef[Counter])
    assert_type(counter.tell_nowait(Reset()), bool)
    async with hosted(Louder) as louder:
        assert_type(louder, ActorRef[Louder])
        wider: ActorRef[Counter] = louder
        assert_type(await wider.ask(Add(1)), int)


async def refuse(counter: ActorRef[Counter], supervisor: Supervisor) -> None:
    await counter.ask(Add("1"))  # pyright: ignore[reportArgumentType]  # an amount is an int
    await counter.ask(Add())  # pyright: ignore[reportCallIssue]  # an amount is needed
    await counter.ask(1)  # pyright: ignore[reportArgumentType]  # 1 is no message
    await counter.tell(Add)  # pyright: ignore[reportArgumentType]  # a message type is no message
    _: str = await counter.ask(Add(1))  # pyright: ignore[reportAssignmentType]  # the reply to Add is an int
    _: ActorRef[Louder] = counter  # pyright: ignore[reportAssignmentType]  # not every counter is louder
    await supervisor.start(int)  # pyright: ignore[reportCallIssue, reportArgumentType]  # int makes no actor
