"""Promise 4: a full mailbox waits or rejects and never crashes its sender; what was not delivered is a dead letter."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import pytest

from lightning_actors.actors import Actor, ActorRef, ChildSpec, DeadLetter, Message, Supervisor, handles, hosted
from lightning_actors.actors.testkit import settle
from lightning_actors.errors import ActorStopped, MailboxFull, UnhandledMessage

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Hold(Message[None]):
    gate: anyio.Event


@dataclass(frozen=True)
class Note(Message[int]):
    number: int


@dataclass(frozen=True)
class Forward(Message[None]):
    to: ActorRef[Slow]
    count: int


@dataclass(frozen=True)
class Strange(Message[int]):
    pass


class Slow(Actor):
    def __init__(self) -> None:
        self.numbers: list[int] = []

    @handles(Hold)
    async def hold(self, message: Hold) -> None:
        await message.gate.wait()

    @handles(Note)
    def note(self, message: Note) -> int:
        self.numbers.append(message.number)
        return len(self.numbers)

    @handles(Forward)
    async def forward(self, message: Forward) -> None:
        for number in range(message.count):
            await message.to.tell(Note(number))


async def test_promise_4_a_full_mailbox_lets_its_senders_wait_and_loses_nothing():
    gate = anyio.Event()
    async with hosted(Slow, mailbox_size=3) as slow, anyio.create_task_group() as group:
        await slow.tell(Hold(gate))
        await settle()
        for number in range(10):
            group.start_soon(slow.tell, Note(number))
        await settle()
        assert slow.inspect().mailbox_depth == 10
        gate.set()
        await settle()
        assert await slow.ask(Note(10)) == 11


async def test_promise_4_a_full_mailbox_that_rejects_sends_tells_to_dead_letters_and_raises_in_asks():
    gate = anyio.Event()
    letters: list[DeadLetter] = []
    async with hosted(Slow, mailbox_size=2, overflow="reject", dead_letters=letters.append) as slow:
        await slow.tell(Hold(gate))
        await settle()
        for number in range(4):
            await slow.tell(Note(number))
        with pytest.raises(MailboxFull, match="holds 2 messages"):
            await slow.ask(Note(4))
        gate.set()
        await settle()
        assert await slow.ask(Note(5)) == 3
    assert [(letter.message, letter.reason) for letter in letters] == [
        (Note(2), "mailbox_full"),
        (Note(3), "mailbox_full"),
    ]


async def test_promise_4_a_rejecting_mailbox_does_not_crash_the_actor_that_tells_it_too_much():
    gate = anyio.Event()
    specs = [ChildSpec("slow", Slow, mailbox_size=1, overflow="reject"), ChildSpec("sender", Slow)]
    async with Supervisor(specs, dead_letters=list[DeadLetter]().append) as supervisor:
        slow, sender = supervisor.ref("slow"), supervisor.ref("sender")
        await slow.tell(Hold(gate))
        await settle()
        await sender.tell(Forward(slow, 5))
        assert await sender.ask(Note(0)) == 1
        assert sender.inspect().restarts == ()
        assert supervisor.dead_letter_count == 4
        gate.set()


async def test_promise_4_tell_nowait_says_whether_there_was_room():
    gate = anyio.Event()
    letters: list[DeadLetter] = []
    async with hosted(Slow, mailbox_size=1, dead_letters=letters.append) as slow:
        await slow.tell(Hold(gate))
        await settle()
        assert slow.tell_nowait(Note(1)) is True
        assert slow.tell_nowait(Note(2)) is False
        gate.set()
    assert slow.tell_nowait(Note(3)) is False
    assert [(letter.message, letter.reason) for letter in letters] == [
        (Note(2), "mailbox_full"),
        (Note(1), "stopped"),
        (Note(3), "stopped"),
    ]


async def test_promise_4_a_message_that_the_actor_does_not_handle_is_an_error_at_the_sender():
    async with hosted(Slow, name="slow") as slow:
        for send in (slow.ask, slow.tell):
            with pytest.raises(UnhandledMessage, match="'slow' has no handler for Strange: it handles Forward, Hold"):
                await send(Strange())
        with pytest.raises(UnhandledMessage):
            slow.tell_nowait(Strange())
        with pytest.raises(UnhandledMessage):
            await slow.ask("text")  # pyright: ignore[reportArgumentType]  # what an unchecked caller might do
        assert await slow.ask(Note(1)) == 1


async def test_promise_4_a_stop_with_a_full_mailbox_frees_the_senders_that_wait():
    gate = anyio.Event()
    ended: list[str] = []
    letters: list[DeadLetter] = []

    async def ask(ref: ActorRef[Slow], number: int) -> None:
        with pytest.raises(ActorStopped):
            await ref.ask(Note(number))
        ended.append("ask")

    async with hosted(Slow, mailbox_size=1, dead_letters=letters.append) as slow, anyio.create_task_group() as group:
        await slow.tell(Hold(gate))
        await settle()
        for number in range(5):
            group.start_soon(ask, slow, number)

        async def tell() -> None:
            await slow.tell(Note(5))
            ended.append("tell")

        group.start_soon(tell)
        await settle()
        group.start_soon(slow.stop)
        await settle()
        assert ended == ["tell"]
        with pytest.raises(ActorStopped):
            await slow.tell(Note(6))
        gate.set()
    assert ended == ["tell", *["ask"] * 5]
    assert [(letter.message, letter.reason) for letter in letters] == [(Note(5), "stopped")]


async def test_promise_4_a_tell_that_finds_room_because_of_a_stop_is_an_error_or_a_dead_letter():
    gate = anyio.Event()
    letters: list[DeadLetter] = []
    async with hosted(Slow, mailbox_size=1, dead_letters=letters.append) as slow, anyio.create_task_group() as group:
        await slow.tell(Hold(gate))
        await settle()
        await slow.tell(Note(1))

        async def tell() -> None:
            try:
                await slow.tell(Note(2))
            except ActorStopped:  # trio chose to run this task after the stop
                letters.append(DeadLetter("slow", Note(2), "stopped"))

        group.start_soon(tell)
        await anyio.lowlevel.checkpoint()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await slow.stop()
        await settle()
        gate.set()
    assert {(letter.message, letter.reason) for letter in letters} == {(Note(1), "stopped"), (Note(2), "stopped")}


async def test_promise_4_a_dead_letter_callback_that_raises_takes_nobody_down():
    def bad(letter: DeadLetter) -> None:
        raise ValueError(letter)

    gate = anyio.Event()
    async with hosted(Slow, mailbox_size=1, dead_letters=bad) as slow:
        await slow.tell(Hold(gate))
        await settle()
        assert slow.tell_nowait(Note(1))
        assert not slow.tell_nowait(Note(2))
        gate.set()
        await settle()
        assert await slow.ask(Note(3)) == 2


async def test_promise_4_a_supervisor_keeps_the_last_dead_letters_and_counts_them_all():
    async with Supervisor(dead_letters=list[DeadLetter]().append) as supervisor:
        slow = await supervisor.start(Slow)
        await slow.stop()
        for number in range(120):
            assert not slow.tell_nowait(Note(number))
    assert supervisor.dead_letter_count == 120
    assert [letter.message.number for letter in supervisor.recent_dead_letters] == list(range(20, 120))
