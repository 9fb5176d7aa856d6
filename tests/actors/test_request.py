"""Requests: asks that cost no task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import anyio
import pytest

from lightning_actors.actors import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    DeadLetter,
    Message,
    Outcome,
    PendingRequest,
    Reply,
    Supervisor,
    defers,
    handles,
)
from lightning_actors.actors.testkit import settle
from lightning_actors.errors import ActorStopped, MailboxFull, UnhandledMessage

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Take(Message[str]):
    pass


@dataclass(frozen=True)
class Offer(Message[bool]):
    value: str | BaseException


@dataclass(frozen=True)
class Hold(Message[None]):
    gate: anyio.Event


@dataclass(frozen=True)
class Begin(Message[None]):
    then: Callable[[Asker], None]


@dataclass(frozen=True)
class Strange(Message[None]):
    pass


class Giver(Actor):
    def __init__(self) -> None:
        self.kept: list[Reply[str]] = []
        self.back: list[str] = []

    @defers(Take)
    def take(self, message: Take, reply: Reply[str]) -> None:
        self.kept.append(reply)

    @handles(Offer)
    def offer(self, message: Offer) -> bool:
        reply = self.kept.pop(0)
        return reply.fail(message.value) if isinstance(message.value, BaseException) else reply.set(message.value)

    @handles(Hold)
    async def hold(self, message: Hold) -> None:
        await message.gate.wait()

    def withdrawn(self, message: Message[Any], reply: Reply[Any]) -> None:
        self.back.append("withdrawn")
        self.kept.remove(reply)

    def undelivered(self, message: Message[Any], value: Any) -> None:
        self.back.append(f"undelivered {value}")


class Asker(Actor):
    def __init__(self, giver: ActorRef[Giver]) -> None:
        self.giver = giver
        self.got: list[str] = []
        self.pending: PendingRequest[str] | None = None

    @handles(Begin)
    def begin(self, message: Begin) -> None:
        message.then(self)

    @handles(Hold)
    async def hold(self, message: Hold) -> None:
        await message.gate.wait()

    def take(self) -> None:
        self.pending = self.request(self.giver, Take(), self.taken)

    def taken(self, outcome: Outcome[str]) -> None:
        self.got.append(repr(outcome.error) if outcome.error else outcome.value)

    def withdraw(self) -> None:
        assert self.pending is not None
        self.pending.cancel()
        assert self.pending.done

    def fail(self) -> None:
        raise ValueError("crash")


class World:
    """A giver and an asker under a supervisor."""

    def __init__(self, **giver_options: Any) -> None:
        self.giver_actor = Giver()
        self.askers: list[Asker] = []
        self.letters: list[DeadLetter] = []
        self.options = giver_options
        self.supervisor = Supervisor(dead_letters=self.letters.append)

    async def __aenter__(self) -> Self:
        supervisor = await self.supervisor.__aenter__()
        self.giver = await supervisor.start(ChildSpec("giver", lambda: self.giver_actor, **self.options))
        self.asker = await supervisor.start(ChildSpec("asker", self.make_asker, backoff=Backoff(first=0.0)))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.supervisor.__aexit__(exc_type, exc, traceback)

    def make_asker(self) -> Asker:
        self.askers.append(Asker(self.giver))
        return self.askers[-1]

    async def do(self, then: Callable[[Asker], None]) -> None:
        await self.asker.ask(Begin(then))
        await settle()


async def test_a_request_costs_no_task_and_its_outcome_comes_between_messages():
    gate = anyio.Event()
    async with World() as world, anyio.create_task_group() as group:
        await world.do(Asker.take)
        assert world.giver.inspect().kept_replies == 1
        assert world.asker.inspect().concurrent == 0
        group.start_soon(world.asker.ask, Hold(gate))
        await settle()
        assert await world.giver.ask(Offer("claim")) is True
        await settle()
        assert world.askers[0].got == []
        gate.set()
        await settle()
        assert world.askers[0].got == ["claim"]


async def test_a_request_that_fails_has_the_error_as_its_outcome():
    async with World() as world:
        await world.do(Asker.take)
        await world.giver.ask(Offer(ValueError("none left")))
        await settle()
        await world.do(Asker.take)
        await world.giver.stop()
        await settle()
        await world.do(Asker.take)
        first, *others = world.askers[0].got
        assert first == "ValueError('none left')"
        assert len(others) == 2
        assert all(other.startswith("ActorStopped") for other in others)


async def test_an_outcome_raises_its_error_when_asked_for_its_value():
    outcome = Outcome[str](None, ValueError("boom"))
    with pytest.raises(ValueError, match="boom"):
        assert outcome.value
    assert repr(outcome) == "Outcome(error=ValueError('boom'))"
    assert repr(Outcome(1, None)) == "Outcome(value=1)"


async def test_a_cancelled_request_is_withdrawn_at_the_giver():
    async with World() as world:
        await world.do(Asker.take)
        await world.do(Asker.withdraw)
        assert world.giver_actor.back == ["withdrawn"]
        assert world.giver_actor.kept == []
        assert world.askers[0].got == []


async def test_a_reply_to_a_request_cancelled_before_its_outcome_is_taken_goes_back():
    async with World() as world:
        await world.do(Asker.take)

        def answer_and_withdraw(asker: Asker) -> None:
            assert world.giver_actor.kept[0].set("claim") is True
            asker.withdraw()

        await world.do(answer_and_withdraw)
        assert world.giver_actor.back == ["undelivered claim"]
        assert world.askers[0].got == []


@pytest.mark.parametrize("end", ["crash", "stop"])
async def test_a_request_is_withdrawn_when_its_actor_ends(end: str):
    async with World() as world:
        await world.do(Asker.take)
        if end == "crash":
            await world.asker.tell(Begin(Asker.fail))
        else:
            await world.asker.stop()
        await settle()
        assert world.giver_actor.back == ["withdrawn"]
        assert not any(asker.got for asker in world.askers)


async def test_a_reply_to_an_actor_that_crashed_before_it_took_the_outcome_goes_back():
    async with World() as world:
        await world.do(Asker.take)

        def answer_and_crash(_: Asker) -> None:
            world.giver_actor.kept[0].set("claim")
            raise ValueError("crash")

        await world.asker.tell(Begin(answer_and_crash))
        await settle()
        assert world.giver_actor.back == ["undelivered claim"]
        assert [asker.got for asker in world.askers] == [[], []]


async def test_a_request_to_a_full_mailbox_waits_for_room_in_a_task():
    gate = anyio.Event()
    async with World(mailbox_size=1) as world, anyio.create_task_group() as group:
        group.start_soon(world.giver.ask, Hold(gate))
        await settle()
        for _ in range(3):
            await world.do(Asker.take)
        assert world.giver.inspect().mailbox_depth == 3
        await world.do(Asker.withdraw)
        assert world.giver.inspect().mailbox_depth == 2
        gate.set()
        await settle()
        assert world.giver.inspect().kept_replies == 2


async def test_a_request_that_waits_for_room_ends_when_the_giver_does():
    async with World(mailbox_size=1) as world, anyio.create_task_group() as group:

        async def hold() -> None:
            with pytest.raises(ActorStopped):
                await world.giver.ask(Hold(anyio.Event()))

        group.start_soon(hold)
        await settle()
        for _ in range(3):
            await world.do(Asker.take)
        await world.giver.stop(grace=0)
        await settle()
        assert len(world.askers[0].got) == 3


async def test_a_request_to_a_mailbox_that_rejects_fails_as_an_outcome():
    gate = anyio.Event()
    async with World(mailbox_size=1, overflow="reject") as world, anyio.create_task_group() as group:
        group.start_soon(world.giver.ask, Hold(gate))
        await settle()
        for _ in range(2):
            await world.do(Asker.take)
        (error,) = world.askers[0].got
        assert error.startswith(MailboxFull.__name__)
        gate.set()


async def test_a_request_that_nobody_handles_is_an_error_at_the_sender():
    async with World() as world:
        with pytest.raises(UnhandledMessage):
            await world.do(lambda asker: asker.request(asker.giver, Strange(), lambda _: None) and None)


async def test_an_error_in_then_crashes_the_actor():
    async with World() as world:

        async def fail(outcome: Outcome[str]) -> None:
            raise ValueError(outcome.value)

        await world.do(lambda asker: asker.request(asker.giver, Take(), fail) and None)
        await world.giver.ask(Offer("claim"))
        await settle()
        assert [repr(restart.cause) for restart in world.asker.inspect().restarts] == ["ValueError('claim')"]


async def test_an_incarnation_that_has_ended_can_neither_request_nor_start_tasks():
    async with World() as world:
        await world.asker.tell(Begin(Asker.fail))
        await settle()
        with pytest.raises(ActorStopped, match="incarnation"):
            world.askers[0].take()
        with pytest.raises(ActorStopped, match="incarnation"):
            world.askers[0].start_soon(anyio.sleep_forever)
        world.askers[0].stop_soon()
        await settle()
        assert world.asker.inspect().state == "running"
