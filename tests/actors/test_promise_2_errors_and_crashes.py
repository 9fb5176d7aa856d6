# ruff: noqa: PT012  # what is raised here is raised by leaving a block of several lines
"""Promise 2: an ask's error goes to the asker; a tell's crashes the actor, and the supervisor decides."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import anyio
import pytest

from lightning_actors.actors import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    DeadLetter,
    Message,
    Reply,
    Supervisor,
    defers,
    handles,
    hosted,
)
from lightning_actors.actors.testkit import settle
from lightning_actors.errors import ActorCrashed, ActorError, ActorStopped

pytestmark = pytest.mark.anyio

AT_ONCE = Backoff(first=0.0)


@dataclass(frozen=True)
class Add(Message[int]):
    amount: int


@dataclass(frozen=True)
class Fail(Message[None]):
    error: BaseException


@dataclass(frozen=True)
class FailNow(Message[None]):
    error: BaseException


@dataclass(frozen=True)
class FailLater(Message[None]):
    gate: anyio.Event
    error: BaseException


@dataclass(frozen=True)
class Hold(Message[str]):
    gate: anyio.Event


@dataclass(frozen=True)
class Keep(Message[str]):
    pass


@dataclass(frozen=True)
class Run(Message[str]):
    gate: anyio.Event


class Counter(Actor):
    def __init__(self) -> None:
        self.total = 0
        self.kept: list[Reply[str]] = []

    @handles(Add)
    def add(self, message: Add) -> int:
        self.total += message.amount
        return self.total

    @handles(Fail)
    async def fail(self, message: Fail) -> None:
        raise message.error

    @handles(FailNow)
    def fail_now(self, message: FailNow) -> None:
        raise message.error

    @handles(FailLater, concurrent=True)
    async def fail_later(self, message: FailLater) -> None:
        await message.gate.wait()
        raise message.error

    @handles(Hold)
    async def hold(self, message: Hold) -> str:
        await message.gate.wait()
        return f"held with {self.total}"

    @defers(Keep)
    def keep(self, message: Keep, reply: Reply[str]) -> None:
        self.kept.append(reply)

    @handles(Run, concurrent=True)
    async def run(self, message: Run) -> str:
        await message.gate.wait()
        return "ran"


async def collect(ref: ActorRef[Counter], message: Message[object], into: list[object]) -> None:
    try:
        into.append(await ref.ask(message))
    except ActorError as error:
        into.append(error)


async def test_promise_2_an_error_in_an_ask_goes_to_the_asker_and_the_actor_lives_on():
    boom = ValueError("boom")
    async with hosted(Counter) as counter:
        await counter.ask(Add(2))
        with pytest.raises(ValueError, match="boom") as caught:
            await counter.ask(Fail(boom))
        assert caught.value is boom
        assert await counter.ask(Add(1)) == 3


async def test_promise_2_an_error_in_a_tell_crashes_the_actor_and_the_supervisor_restarts_it():
    boom = ValueError("boom")
    async with Supervisor([ChildSpec("counter", Counter, backoff=AT_ONCE)]) as supervisor:
        counter: ActorRef[Counter] = supervisor.ref("counter")
        await counter.ask(Add(5))
        await counter.tell(Fail(boom))
        assert await counter.ask(Add(1)) == 1
        (restart,) = counter.inspect().restarts
        assert restart.cause is boom


async def test_promise_2_a_crash_fails_the_asks_begun_and_keeps_those_queued_for_the_next_incarnation():
    gate, boom = anyio.Event(), ValueError("boom")
    letters: list[DeadLetter] = []
    kept: list[object] = []
    running: list[object] = []
    queued: list[object] = []
    spec = ChildSpec("counter", Counter, backoff=AT_ONCE)
    async with Supervisor([spec], dead_letters=letters.append) as supervisor, anyio.create_task_group() as group:
        counter: ActorRef[Counter] = supervisor.ref("counter")
        group.start_soon(collect, counter, Keep(), kept)
        group.start_soon(collect, counter, Run(anyio.Event()), running)
        await settle()
        group.start_soon(collect, counter, Hold(gate), list[object]())
        await settle()
        await counter.tell(Fail(boom))
        await counter.tell(Add(4))
        group.start_soon(collect, counter, Add(1), queued)
        await settle()
        gate.set()
        await settle()
        for (error,) in (kept, running):
            assert isinstance(error, ActorCrashed)
            assert error.__cause__ is boom
            assert error.actor == "counter"
        assert queued == [5]
    assert [(letter.message, letter.reason, letter.error) for letter in letters] == [(Fail(boom), "crashed", boom)]


async def test_promise_2_a_concurrent_crash_is_taken_between_messages():
    crash, gate, boom = anyio.Event(), anyio.Event(), ValueError("boom")
    held: list[object] = []
    async with (
        Supervisor([ChildSpec("counter", Counter, backoff=AT_ONCE)]) as supervisor,
        anyio.create_task_group() as group,
    ):
        counter: ActorRef[Counter] = supervisor.ref("counter")
        await counter.ask(Add(3))
        await counter.tell(FailLater(crash, boom))
        group.start_soon(collect, counter, Hold(gate), held)
        await settle()
        crash.set()
        await settle()
        assert counter.inspect().restarts == ()
        gate.set()
        await settle()
        assert held == ["held with 3"]
        assert await counter.ask(Add(1)) == 1


async def test_promise_2_an_idle_actor_takes_a_concurrent_crash_at_once():
    crash, boom = anyio.Event(), ValueError("boom")
    async with Supervisor([ChildSpec("counter", Counter, backoff=AT_ONCE)]) as supervisor:
        counter: ActorRef[Counter] = supervisor.ref("counter")
        await counter.tell(FailLater(crash, boom))
        await settle()
        crash.set()
        await settle()
        assert [restart.cause for restart in counter.inspect().restarts] == [boom]


async def test_promise_2_two_concurrent_crashes_are_one_restart_and_neither_is_lost():
    crash = anyio.Event()
    letters: list[DeadLetter] = []
    async with Supervisor([ChildSpec("c", Counter, backoff=AT_ONCE)], dead_letters=letters.append) as supervisor:
        counter: ActorRef[Counter] = supervisor.ref("c")
        await counter.tell(FailLater(crash, ValueError("one")))
        await counter.tell(FailLater(crash, ValueError("two")))
        await settle()
        crash.set()
        await settle()
        assert len(counter.inspect().restarts) == 1
    assert sorted(str(letter.error) for letter in letters) == ["one", "two"]


async def test_promise_2_an_error_in_a_background_task_crashes_the_actor():
    boom = ValueError("boom")

    class Worker(Counter):
        async def started(self) -> None:
            self.start_soon(self.work, anyio.Event())

        async def work(self, gate: anyio.Event) -> None:
            self.gate = gate
            await gate.wait()
            raise boom

    workers: list[Worker] = []

    def make() -> Worker:
        workers.append(Worker())
        return workers[-1]

    async with Supervisor([ChildSpec("worker", make, backoff=AT_ONCE)]) as supervisor:
        await settle()
        workers[0].gate.set()
        await settle()
        assert len(workers) == 2
        assert [restart.cause for restart in supervisor.ref("worker").inspect().restarts] == [boom]


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})])
async def test_promise_2_a_cancellation_picked_up_elsewhere_is_an_error_and_no_silent_end():
    async with Supervisor([ChildSpec("counter", Counter, backoff=AT_ONCE)]) as supervisor:
        counter: ActorRef[Counter] = supervisor.ref("counter")
        with pytest.raises(ActorError, match="cancelled elsewhere"):
            await counter.ask(Fail(asyncio.CancelledError()))
        assert counter.inspect().restarts == ()
        gate = anyio.Event()
        gate.set()
        with pytest.raises(ActorError, match="cancelled elsewhere"):
            await counter.ask(FailLater(gate, asyncio.CancelledError()))
        await counter.tell(Fail(asyncio.CancelledError()))
        assert await counter.ask(Add(1)) == 1
        (restart,) = counter.inspect().restarts
        assert isinstance(restart.cause, ActorError)


async def test_promise_2_a_hosted_crash_fails_asks_and_is_raised_on_exit():
    boom = ValueError("boom")
    kept: list[object] = []
    with pytest.raises(ValueError, match="boom") as caught:
        async with hosted(Counter) as counter, anyio.create_task_group() as group:
            group.start_soon(collect, counter, Keep(), kept)
            await settle()
            await counter.tell(Fail(boom))
            await counter.wait_stopped()
            with pytest.raises(ActorStopped) as stopped:
                await counter.ask(Add(1))
            assert stopped.value.__cause__ is boom
    assert caught.value is boom
    assert isinstance(kept[0], ActorCrashed)


async def test_promise_2_a_reply_given_after_the_crash_finds_no_asker():
    letters: list[DeadLetter] = []
    kept: list[object] = []
    counters: list[Counter] = []

    def make() -> Counter:
        counters.append(Counter())
        return counters[-1]

    spec = ChildSpec("counter", make, backoff=AT_ONCE)
    async with Supervisor([spec], dead_letters=letters.append) as supervisor, anyio.create_task_group() as group:
        counter = supervisor.ref("counter")
        group.start_soon(collect, counter, Keep(), kept)
        await settle()
        await counter.tell(Fail(ValueError("boom")))
        await settle()
        (reply,) = counters[0].kept
        assert (reply.done, reply.abandoned) == (True, True)
        assert reply.set("too late") is False
        await settle()
    assert [(letter.reason, letter.value) for letter in letters] == [("crashed", None), ("undelivered", "too late")]


async def test_promise_2_a_reply_is_given_once():
    kept: list[object] = []
    counter_actor = Counter()
    async with hosted(lambda: counter_actor) as counter, anyio.create_task_group() as group:
        group.start_soon(collect, counter, Keep(), kept)
        await settle()
        (reply,) = counter_actor.kept
        assert reply.set("one")
        with pytest.raises(ActorError, match="already answered"):
            reply.set("two")
        with pytest.raises(ActorError, match="already answered"):
            reply.fail(ValueError("three"))
    assert kept == ["one"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
async def test_promise_2_what_is_no_exception_ends_the_whole_tree_as_itself(error: BaseException):
    with pytest.raises(type(error)) as caught:
        async with Supervisor([ChildSpec("counter", Counter)]) as supervisor:
            counter: ActorRef[Counter] = supervisor.ref("counter")
            with pytest.raises(ActorCrashed):
                await counter.ask(Fail(error))
            await anyio.sleep_forever()
    assert caught.value is error


async def test_promise_2_tasks_and_the_last_hook_of_an_actor_that_crashed_know_what_it_crashed_with():
    boom, seen = ValueError("boom"), list[BaseException | None]()

    class Curious(Counter):
        @handles(Run, concurrent=True)
        async def run(self, message: Run) -> str:
            try:
                await message.gate.wait()
            finally:
                seen.append(self.crash)
            return "ran"

        async def stopped(self) -> None:
            seen.append(self.crash)

    async with Supervisor([ChildSpec("c", Curious, backoff=AT_ONCE)], dead_letters=list[DeadLetter]().append) as tree:
        curious = tree.ref("c")
        await curious.tell(Run(anyio.Event()))
        await settle()
        await curious.tell(Fail(boom))
        await settle()
    assert seen == [boom, boom, None]


async def test_promise_2_a_concurrent_tell_that_never_got_to_run_is_a_dead_letter():
    boom, letters, never = ValueError("boom"), list[DeadLetter](), Run(anyio.Event())
    async with Supervisor([ChildSpec("c", Counter, backoff=AT_ONCE)], dead_letters=letters.append) as tree:
        counter = tree.ref("c")
        await counter.tell(never)
        await counter.tell(FailNow(boom))
        await settle()
    assert {(letter.message, letter.reason) for letter in letters} == {(never, "crashed"), (FailNow(boom), "crashed")}
