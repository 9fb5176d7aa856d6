"""Faults put between an actor's mailbox and its handlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from lightning_actors.actors import (
    Actor,
    ActorRef,
    Backoff,
    Batch,
    ChildSpec,
    DeadLetter,
    Message,
    Reply,
    Supervisor,
    defers,
    handles,
    hosted,
)
from lightning_actors.actors.testkit import (
    CrashActor,
    DelayMessage,
    DropMessage,
    Fault,
    Faults,
    InjectedCrash,
    Probe,
    VirtualClock,
    crash,
    settle,
)
from lightning_actors.errors import ActorCrashed, ActorStopped

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Plain(Message[int]):
    number: int


@dataclass(frozen=True)
class Slow(Message[int]):
    number: int


@dataclass(frozen=True)
class Beside(Message[int]):
    number: int


@dataclass(frozen=True)
class Kept(Message[int]):
    number: int


Kind = type[Plain] | type[Slow] | type[Beside] | type[Kept]
KINDS: list[Kind] = [Plain, Slow, Beside, Kept]

each_kind = pytest.mark.parametrize("kind", KINDS)


class Desk(Actor, handles_all=(Plain, Slow, Beside, Kept)):
    """One handler of each kind."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    @handles(Plain)
    def plain(self, message: Plain) -> int:
        return self.note(message)

    @handles(Slow)
    async def slow(self, message: Slow) -> int:
        await anyio.lowlevel.checkpoint()
        return self.note(message)

    @handles(Beside, concurrent=True)
    async def beside(self, message: Beside) -> int:
        return self.note(message)

    @defers(Kept)
    def kept(self, message: Kept, reply: Reply[int]) -> None:
        reply.set(self.note(message))

    def note(self, message: Any) -> int:
        if message.number < 0:
            raise KeyError(message.number)
        self.log.append(message)
        return message.number

    def withdrawn(self, message: Message[Any], reply: Reply[Any]) -> None:
        self.log.append(("withdrawn", message))

    def undelivered(self, message: Message[Any], value: Any) -> None:
        self.log.append(("undelivered", message))


class Batching(Desk):
    max_batch = 8

    async def receive_many(self, batch: Batch) -> None:
        await batch.handle_all()


def spec(faults: Faults, log: list[Any], kind: type[Desk] = Desk) -> ChildSpec[Desk]:
    return ChildSpec("desk", faults.injected_into(lambda: kind(log)), backoff=Backoff(first=0.0))


@each_kind
@pytest.mark.parametrize("desk", [Desk, Batching])
async def test_without_a_fault_nothing_changes(kind: Kind, desk: type[Desk]) -> None:
    log: list[Any] = []
    faults = Faults({})
    async with hosted(faults.injected_into(lambda: desk(log))) as ref:
        assert isinstance(ref, ActorRef)
        assert [await ref.ask(kind(n)) for n in (1, 2)] == [1, 2]
        with pytest.raises(KeyError):
            await ref.ask(kind(-1))
        await ref.tell(kind(3))
        await settle()
    assert log == [kind(1), kind(2), kind(3)]
    assert faults.seen == 4


def unchanged(factory: Any) -> Any:
    return factory


@each_kind
async def test_an_asker_that_leaves_without_a_fault_is_told_of_as_ever(kind: Kind) -> None:
    async def told(make: Any) -> list[Any]:
        log: list[Any] = []

        class Waiting(Desk):
            """Every handler waits for the gate."""

            @handles(Slow)
            async def slow(self, message: Slow) -> int:
                await gate.wait()
                return 1

            @defers(Kept)
            def kept(self, message: Kept, reply: Reply[int]) -> None:
                self.replies = reply

        gate = anyio.Event()
        async with hosted(make(lambda: Waiting(log))) as ref:
            async with anyio.create_task_group() as group:
                group.start_soon(ref.ask, kind(1))
                await settle()
                group.cancel_scope.cancel()
            gate.set()
            await settle()
        return log

    assert await told(unchanged) == await told(Faults({}).injected_into)


@each_kind
@pytest.mark.parametrize("desk", [Desk, Batching])
async def test_an_actor_crashes_at_its_nth_message(kind: Kind, desk: type[Desk]) -> None:
    log: list[Any] = []
    letters: list[DeadLetter] = []
    boom = ValueError("boom")
    async with Supervisor([spec(Faults({2: CrashActor(boom)}), log, desk)], dead_letters=letters.append) as supervisor:
        ref = supervisor.ref("desk")
        assert await ref.ask(kind(1)) == 1
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(kind(2))
        assert caught.value.__cause__ is boom
        assert await ref.ask(kind(3)) == 3
        assert [restart.cause for restart in ref.inspect().restarts] == [boom]
    assert log == [kind(1), kind(3)]
    assert [(letter.message, letter.reason, letter.error) for letter in letters] == [(kind(2), "crashed", boom)]


@each_kind
async def test_an_actor_crashes_at_its_nth_message_also_when_it_is_told(kind: Kind) -> None:
    log: list[Any] = []
    letters: list[DeadLetter] = []
    async with Supervisor([spec(Faults({1: CrashActor()}), log)], dead_letters=letters.append) as supervisor:
        ref = supervisor.ref("desk")
        await ref.tell(kind(1))
        await settle()
        await ref.tell(kind(2))
        await settle()
        (restart,) = ref.inspect().restarts
        assert isinstance(restart.cause, InjectedCrash)
    assert log == [kind(2)]
    assert [(letter.message, letter.reason) for letter in letters] == [(kind(1), "crashed")]


@each_kind
@pytest.mark.parametrize("desk", [Desk, Batching])
async def test_a_dropped_message_is_handled_by_nobody_and_its_asker_waits(kind: Kind, desk: type[Desk]) -> None:
    log: list[Any] = []
    clock = VirtualClock()
    faults = Faults({1: DropMessage(), 2: DropMessage()})
    async with (
        clock.autojump(),
        hosted(faults.injected_into(lambda: desk(log)), clock=clock, grace=0.5) as ref,
        anyio.create_task_group() as group,
    ):
        await ref.tell(kind(1))
        await settle()
        with clock.move_on_after(60) as scope:
            await ref.ask(kind(2))
        assert scope.cancelled_caught
        assert await ref.ask(kind(3)) == 3
        group.cancel_scope.cancel()
    assert log == [kind(3)] if kind is not Kept else [kind(3), ("withdrawn", kind(2))]


@each_kind
async def test_the_asker_of_a_dropped_message_is_answered_when_the_actor_ends(kind: Kind) -> None:
    clock = VirtualClock()
    ends: list[type[BaseException]] = []

    async def ask(ref: ActorRef[Desk]) -> None:
        try:
            await ref.ask(kind(1))
        except ActorStopped as error:
            ends.append(type(error))

    async with (
        clock.autojump(),
        Supervisor([spec(Faults({1: DropMessage()}), [])], clock=clock) as supervisor,
        anyio.create_task_group() as group,
    ):
        group.start_soon(ask, supervisor.ref("desk"))
        await settle()
        await supervisor.stop_child("desk")
    assert ends == [ActorStopped]


@each_kind
async def test_a_delayed_message_is_handled_when_its_time_has_come(kind: Kind) -> None:
    log: list[Any] = []
    clock = VirtualClock()
    async with hosted(Faults({1: DelayMessage(5.0)}).injected_into(lambda: Desk(log)), clock=clock) as ref:
        await ref.tell(kind(1))
        await settle()
        await ref.tell(Plain(2))
        await settle()
        assert log == ([Plain(2)] if kind is Beside else [])
        clock.advance(5.0)
        await settle()
    assert log == ([Plain(2), kind(1)] if kind is Beside else [kind(1), Plain(2)])


async def test_a_plan_may_look_at_the_message() -> None:
    log: list[Any] = []

    def plan(number: int, message: Message[Any]) -> Fault | None:
        return DropMessage() if isinstance(message, Slow) or number > 3 else None

    async with hosted(Faults(plan).injected_into(lambda: Desk(log))) as ref:
        for message in (Plain(1), Slow(2), Plain(3), Plain(4)):
            await ref.tell(message)
        await settle()
    assert log == [Plain(1), Plain(3)]


async def test_the_class_itself_and_its_other_actors_are_not_touched() -> None:
    table = dict(Desk.__handlers__)
    faults = Faults({1: CrashActor()})
    make = faults.injected_into(lambda: Desk([]))
    assert type(make()) is type(make())
    assert type(make()) is not Desk
    assert isinstance(make(), Desk)
    assert dict(Desk.__handlers__) == table
    async with hosted(lambda: Desk([])) as ref:
        assert await ref.ask(Plain(1)) == 1


async def test_an_actor_object_that_is_used_again_suffers_each_fault_once() -> None:
    probe, faults = Probe(), Faults({2: CrashActor()})
    async with Supervisor() as supervisor:
        ref = await supervisor.start(faults.injected_into(lambda: probe), backoff=Backoff(first=0.0))
        for number in range(4):
            await ref.tell(Plain(number))
            await settle()
    assert probe.received == [Plain(0), Plain(2), Plain(3)]
    assert faults.seen == 4


async def test_an_actor_can_be_crashed_whatever_it_does() -> None:
    log: list[Any] = []
    async with Supervisor([spec(Faults({}), log)]) as supervisor:
        ref = supervisor.ref("desk")
        crash(ref)
        assert await ref.ask(Plain(1)) == 1
        crash(ref, KeyError("again"))
        assert await ref.ask(Plain(2)) == 2
        assert [type(restart.cause) for restart in ref.inspect().restarts] == [InjectedCrash, KeyError]
        await supervisor.stop_child("desk")
        crash(ref)


@pytest.mark.parametrize(
    ("plan", "error", "said"),
    [
        ({1: "x"}, TypeError, r"message 1 is 'x': give a CrashActor, DropMessage or DelayMessage"),
        ({1: CrashActor}, TypeError, r"message 1 is <class .*CrashActor'>: give a CrashActor"),
        ({1: None}, TypeError, r"message 1 is None"),
        ({0: DropMessage()}, ValueError, r"counted from 1, .* got 0"),
        ({-1: DropMessage()}, ValueError, r"counted from 1, .* got -1"),
        ({True: DropMessage()}, ValueError, r"counted from 1, .* got True"),
        ({"1": DropMessage()}, ValueError, r"counted from 1, .* got '1'"),
        ({1.0: DropMessage()}, ValueError, r"counted from 1, .* got 1\.0"),
        (None, TypeError, r"a dict of faults by number of the message, .* got None"),
        ([DropMessage()], TypeError, r"got \[DropMessage\(\)\]"),
    ],
)
def test_a_plan_that_would_do_nothing_is_refused(plan: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Faults(plan)


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("-inf")])
def test_a_message_is_not_delayed_into_the_past(seconds: float) -> None:
    with pytest.raises(ValueError, match="0 or more seconds, infinite for an actor that hangs"):
        DelayMessage(seconds)


@pytest.mark.parametrize("seconds", ["1", None, True])
def test_a_delay_is_a_number(seconds: Any) -> None:
    with pytest.raises(TypeError, match="0 or more seconds"):
        DelayMessage(seconds)


@pytest.mark.parametrize("error", ["boom", ValueError, KeyboardInterrupt(), None])
def test_an_actor_crashes_with_an_exception(error: Any) -> None:
    with pytest.raises(TypeError, match="an Exception, such as"):
        CrashActor(error)


async def test_a_plan_that_answers_something_else_tells_the_asker_so() -> None:
    def plan(number: int, message: Message[Any]) -> Any:
        return "x"

    async with hosted(Faults(plan).injected_into(lambda: Desk([]))) as ref:
        with pytest.raises(TypeError, match="message 1 is 'x'"):
            await ref.ask(Plain(1))


async def test_a_plan_is_that_of_the_time_it_was_given() -> None:
    plan: dict[int, Fault] = {}
    faults = Faults(plan)
    plan[1] = DropMessage()
    async with hosted(faults.injected_into(lambda: Desk([]))) as ref:
        assert await ref.ask(Plain(1)) == 1
