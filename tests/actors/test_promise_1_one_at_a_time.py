"""Promise 1: one message at a time, in order per sender; three kinds of handler; control work never queues."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lightning_actors.actors import Actor, ActorRef, Message, Reply, current_actor, defers, handles, hosted
from lightning_actors.actors.testkit import settle

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Note(Message[None]):
    sender: str
    number: int


@dataclass(frozen=True)
class Log(Message[list[tuple[str, int]]]):
    pass


@dataclass(frozen=True)
class Work(Message[str]):
    gate: anyio.Event


@dataclass(frozen=True)
class Hold(Message[str]):
    gate: anyio.Event


@dataclass(frozen=True)
class Take(Message[int]):
    pass


@dataclass(frozen=True)
class Offer(Message[int]):
    value: int


class Clerk(Actor):
    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []
        self.inside = 0
        self.kept: list[Reply[int]] = []

    @handles(Note)
    async def note(self, message: Note) -> None:
        self.inside += 1
        assert self.inside == 1
        await checkpoint()
        self.log.append((message.sender, message.number))
        self.inside -= 1

    @handles(Log)
    def get_log(self, message: Log) -> list[tuple[str, int]]:
        return list(self.log)

    @handles(Hold)
    async def hold(self, message: Hold) -> str:
        await message.gate.wait()
        return "held"

    @handles(Work, concurrent=True)
    async def work(self, message: Work) -> str:
        await message.gate.wait()
        return f"worked in {self.name}"

    @defers(Take)
    def take(self, message: Take, reply: Reply[int]) -> None:
        self.kept.append(reply)

    @handles(Offer)
    def offer(self, message: Offer) -> int:
        kept, self.kept = self.kept, []
        return sum(reply.set(message.value) for reply in kept)


@dataclass
class Outcome:
    value: object = None
    error: BaseException | None = None
    done: bool = field(default=False)


async def ask(ref: ActorRef[Clerk], message: Message[object], outcome: Outcome) -> None:
    outcome.value = await ref.ask(message)
    outcome.done = True


async def test_promise_1_messages_are_handled_one_at_a_time_and_in_order_per_sender():
    async with hosted(Clerk, mailbox_size=2) as clerk:

        async def send(sender: str) -> None:
            for number in range(50):
                if number % 3:
                    await clerk.tell(Note(sender, number))
                else:
                    await clerk.ask(Note(sender, number))

        async with anyio.create_task_group() as group:
            for sender in "abc":
                group.start_soon(send, sender)
        log = await clerk.ask(Log())
    assert len(log) == 150
    for sender in "abc":
        assert [number for who, number in log if who == sender] == list(range(50))


async def test_promise_1_concurrent_handlers_run_beside_the_messages_that_follow():
    first, second = anyio.Event(), anyio.Event()
    one, two = Outcome(), Outcome()
    async with hosted(Clerk, name="clerk") as clerk, anyio.create_task_group() as group:
        group.start_soon(ask, clerk, Work(first), one)
        group.start_soon(ask, clerk, Work(second), two)
        await settle()
        assert clerk.inspect().concurrent == 2
        assert await clerk.ask(Log()) == []
        second.set()
        await settle()
        assert (one.done, two.done) == (False, True)
        first.set()
    assert one.value == "worked in clerk"


async def test_promise_1_a_deferred_handler_keeps_the_reply_and_costs_no_task():
    outcomes = [Outcome() for _ in range(3)]
    async with hosted(Clerk) as clerk, anyio.create_task_group() as group:
        for outcome in outcomes:
            group.start_soon(ask, clerk, Take(), outcome)
        await settle()
        assert clerk.inspect().kept_replies == 3
        assert clerk.inspect().concurrent == 0
        assert await clerk.ask(Offer(7)) == 3
    assert [outcome.value for outcome in outcomes] == [7, 7, 7]


async def test_promise_1_stop_and_inspect_do_not_queue_behind_the_mailbox():
    gate, held = anyio.Event(), Outcome()
    async with hosted(Clerk) as clerk, anyio.create_task_group() as group:
        group.start_soon(ask, clerk, Hold(gate), held)
        await settle()
        for number in range(20):
            assert clerk.tell_nowait(Note("a", number))
        assert clerk.inspect().handling == "Hold"
        assert clerk.inspect().mailbox_depth == 20
        group.start_soon(clerk.stop)
        await settle()
        gate.set()
        await clerk.wait_stopped()
        assert clerk.inspect().processed == 1
    assert held.value == "held"


async def test_promise_1_a_sync_function_that_returns_an_awaitable_is_an_async_handler():
    class Wrapped(Actor):
        @handles(Offer)
        def offer(self, message: Offer):
            return self.later(message.value)

        async def later(self, value: int) -> int:
            await checkpoint()
            return value + 1

    async with hosted(Wrapped) as wrapped:
        assert await wrapped.ask(Offer(1)) == 2


async def test_promise_1_the_current_actor_is_known_in_handlers_and_background_tasks():
    seen: list[object] = []

    class Curious(Actor):
        async def started(self) -> None:
            self.start_soon(self.look)

        async def look(self) -> None:
            seen.append(current_actor())

        @handles(Take)
        async def take(self, message: Take) -> int:
            seen.append(current_actor())
            return 1

        @handles(Offer)
        def offer(self, message: Offer) -> int:
            seen.append(current_actor())
            return 1

        @handles(Work, concurrent=True)
        async def work(self, message: Work) -> str:
            seen.append(current_actor())
            return ""

    assert current_actor() is None
    async with hosted(Curious) as curious:
        await curious.ask(Take())
        await curious.ask(Offer(1))
        await curious.ask(Work(anyio.Event()))
        await settle()
        assert current_actor() is None
    assert seen == [curious] * 4
