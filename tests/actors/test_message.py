"""What is checked when an actor class is made."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from pydantic import ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from lightning_actors.actors import Actor, Message, Reply, defers, handles, hosted
from lightning_actors.actors.testkit import settle
from lightning_actors.errors import ActorError

# pyright: reportUnusedClass=false, reportCallIssue=false, reportUntypedFunctionDecorator=false, reportArgumentType=false
# What these tests do wrong on purpose is refused by the type checker as well: see tests/typing/actors_typing.py.


@pydantic_dataclass(frozen=True)
class Add(Message[int]):
    amount: int


@dataclass(frozen=True)
class AddTwice(Add):
    pass


@dataclass(frozen=True)
class Find(Message[str | None]):
    pass


@dataclass(frozen=True)
class Scale(Message[float]):
    pass


@dataclass(frozen=True)
class Quoted(Message["int"]):
    pass


class Adder(Actor):
    @handles(Add)
    def add(self, message: Add) -> int:
        return message.amount


def test_a_message_knows_the_type_of_its_reply():
    assert Add.reply_type() is int
    assert AddTwice.reply_type() is int
    assert Find.reply_type() == str | None
    assert Message.reply_type() is Any


def test_a_message_is_checked_when_it_is_made():
    with pytest.raises(ValidationError):
        Add("many")


def test_a_reply_of_the_wrong_type_is_an_error_at_import():
    with pytest.raises(TypeError, match=r"add returns str, but the reply to Add is int"):

        class Wrong(Actor):
            @handles(Add)
            def add(self, message: Add) -> str:
                return ""

    with pytest.raises(TypeError, match=r"returns str \| int, but"):

        class WrongUnion(Actor):
            @handles(Find)
            async def find(self, message: Find) -> str | int:
                return 1

    with pytest.raises(TypeError, match="is int, with"):

        class WrongReply(Actor):
            @defers(Add)
            def add(self, message: Add, reply: Reply[str]) -> None:
                pass


def test_a_parameter_of_the_wrong_type_is_an_error_at_import():
    with pytest.raises(TypeError, match="handles Add, but its parameter is annotated Find"):

        class Wrong(Actor):
            @handles(Add)
            def add(self, message: Find) -> int:
                return 1


def test_a_handler_may_return_less_and_take_more_than_its_message_says():
    class Right(Actor):
        @handles(Find)
        def find(self, message: Find | Add) -> str:
            return ""

        @handles(Scale)
        async def scale(self, message: Message[Any]) -> int:
            return 1

        @handles(Add)
        def add(self, message: object) -> bool:
            return True

        @handles(AddTwice)
        def add_twice(self, message: Add) -> Awaitable[int]:
            raise NotImplementedError

        @handles(Quoted)
        def quoted(self, message: Quoted) -> Any:
            return 1

    assert len(Right.__handlers__) == 5


def test_a_handler_with_the_wrong_number_of_parameters_is_an_error_at_import():
    with pytest.raises(TypeError, match=r"must take \(self, message\)"):

        class Few(Actor):
            @handles(Add)
            def add(self) -> int:
                return 1

    with pytest.raises(TypeError, match=r"must take \(self, message, reply\)"):

        class Deferred(Actor):
            @defers(Add)
            def add(self, message: Add) -> None:
                pass


def test_a_concurrent_handler_that_is_not_async_is_an_error_at_import():
    with pytest.raises(TypeError, match="concurrent and must be async"):

        class Wrong(Actor):
            @handles(Add, concurrent=True)
            def add(self, message: Add) -> int:
                return 1


def test_only_messages_can_be_handled():
    for mark in (handles, defers):
        with pytest.raises(TypeError, match="is no message type"):
            mark(int)


def test_two_handlers_of_one_message_are_an_error_at_import():
    with pytest.raises(TypeError, match="handles Add twice, in one and in two"):

        class Twice(Actor):
            @handles(Add)
            def one(self, message: Add) -> int:
                return 1

            @handles(Add)
            def two(self, message: Add) -> int:
                return 2


def test_a_missing_handler_is_an_error_at_import():
    with pytest.raises(TypeError, match="Partial has no handler for Find, Scale"):

        class Partial(Adder, handles_all=(Add, AddTwice, Find, Scale)):
            pass


def test_what_overrides_a_handler_is_checked_as_one():
    with pytest.raises(TypeError, match="returns str"):

        class Wrong(Adder):
            def add(self, message: Add) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]  # on purpose
                return ""

    with pytest.raises(TypeError, match="overrides the handler of Add but is marked for Find"):

        class Other(Adder):
            @handles(Find)
            def add(self, message: Find) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]  # on purpose
                return ""

    with pytest.raises(TypeError, match="must be a method"):

        class Gone(Adder):
            add = None  # pyright: ignore[reportAssignmentType]  # on purpose


@pytest.mark.anyio
async def test_handlers_are_inherited_and_overridden_by_name():
    class Doubler(Adder):
        def add(self, message: Add) -> int:
            return 2 * super().add(message)

    class Tripler(Adder):
        @handles(Add)
        async def add(self, message: Add) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]  # async on purpose
            return 3 * super().add(message)

    class Other:
        pass

    class Mixed(Doubler, Other):
        pass

    for cls, expected in ((Adder, 1), (Doubler, 2), (Tripler, 3), (Mixed, 2)):
        async with hosted(cls) as ref:
            assert await ref.ask(Add(1)) == expected


@pytest.mark.anyio
async def test_a_subclass_of_a_message_goes_to_the_handler_of_its_nearest_ancestor():
    async with hosted(Adder) as adder:
        assert await adder.ask(AddTwice(2)) == 2

    class Both(Adder):
        @handles(AddTwice)
        def add_twice(self, message: AddTwice) -> int:
            return 2 * message.amount

    async with hosted(Both) as both:
        assert await both.ask(AddTwice(2)) == 4
        assert await both.ask(Add(2)) == 2


@pytest.mark.anyio
async def test_one_method_can_handle_several_messages():
    class Any2(Actor):
        @handles(Add)
        @handles(AddTwice)
        def add(self, message: Add) -> int:
            return message.amount

    async with hosted(Any2) as ref:
        assert await ref.ask(Add(1)) == 1
        assert await ref.ask(AddTwice(2)) == 2


def test_an_actor_that_was_not_started_says_so():
    with pytest.raises(ActorError, match="has not been started yet"):
        assert Adder().ref


@pytest.mark.anyio
async def test_a_reply_says_what_became_of_it():
    class Keeper(Actor):
        def __init__(self) -> None:
            self.replies: list[Reply[int]] = []

        @defers(Add)
        async def add(self, message: Add, reply: Reply[int]) -> None:
            assert repr(reply) == "<Reply to Add, open>"
            assert not reply.done
            self.replies.append(reply)

    actor = Keeper()
    async with hosted(lambda: actor) as keeper:
        await keeper.tell(Add(1))
        async with anyio.create_task_group() as group:
            group.start_soon(keeper.ask, Add(1))
            await settle()

            told, asked = actor.replies
            assert told != asked
            assert len({told, asked}) == 2
            assert told.set(1) is True
            group.cancel_scope.cancel()
    assert [repr(reply) for reply in actor.replies] == ["<Reply to Add, done>", "<Reply to Add, abandoned>"]
