"""Promise 3 where it is easily broken: between a look and a wait, and where two things happen at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import anyio
import pytest

from lightning_actors.actors import (
    Actor,
    ActorRef,
    Backoff,
    Batch,
    ChildSpec,
    Message,
    Supervisor,
    handles,
    hosted,
)
from lightning_actors.actors.testkit import VirtualClock, settle
from lightning_actors.errors import ActorError

pytestmark = pytest.mark.anyio

HOUR = 3600.0


@dataclass(frozen=True)
class Count(Message[int]):
    pass


@dataclass(frozen=True)
class Again(Message[None]):
    pass


@dataclass(frozen=True)
class Fail(Message[None]):
    pass


class Counter(Actor):
    count = 0

    @handles(Count)
    def get_count(self, message: Count) -> int:
        self.count += 1
        return self.count

    @handles(Again)
    def again(self, message: Again) -> None:
        self.count += 1
        self.ref.tell_nowait(message)

    @handles(Fail)
    def fail(self, message: Fail) -> None:
        raise LookupError("lost")


async def collect(ref: ActorRef[Any], message: Message[Any], into: list[object]) -> None:
    try:
        into.append(await ref.ask(message))
    except (ActorError, LookupError) as error:
        into.append(type(error).__name__)


def wake_with_a_message_before_the_notice(counter: Counter) -> None:
    """What wakes the waiting actor is the message: the sentinel for the notice stays in its stream."""
    assert counter.ref.tell_nowait(Count())
    counter.stop_soon()


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
async def test_a_stop_during_the_pause_finds_an_actor_that_a_message_had_woken_before_a_notice(
    strategy: Literal["one_for_one", "one_for_all"],
) -> None:
    counter, answers = Counter(), list[object]()
    spec = ChildSpec("counter", lambda: counter, backoff=Backoff(first=HOUR, maximum=HOUR))
    with anyio.fail_after(30):
        async with (
            anyio.create_task_group() as group,
            Supervisor([spec], strategy=strategy, clock=VirtualClock()) as supervisor,
        ):
            ref = supervisor.ref("counter")
            await settle()
            wake_with_a_message_before_the_notice(counter)
            await settle()
            assert ref.inspect().state == "waiting"
            group.start_soon(collect, ref, Count(), answers)
            await settle()
            group.start_soon(ref.stop)
            await settle()
            assert ref.inspect().state == "stopped"
            assert answers == ["ActorStopped"]


async def test_a_stop_that_empties_the_mailbox_whose_messages_were_to_wake_the_actor_wakes_it() -> None:
    counter = Counter()

    async def notify_and_stop() -> None:
        # The actor is on its way to the one message that fills its mailbox, which leaves no room for a sentinel.
        assert counter.count
        counter.stop_soon()
        await counter.ref.stop()

    with anyio.fail_after(30):
        async with (
            anyio.create_task_group() as group,
            hosted(lambda: counter, mailbox_size=1, grace=HOUR, clock=VirtualClock()) as ref,
        ):
            ref.tell_nowait(Again())
            await settle()
            group.start_soon(notify_and_stop)
            await settle()
            assert ref.inspect().state == "stopped"


class Dependent(Counter):
    """Asks its sibling when it starts; the second time it makes it crash before."""

    starts = 0

    def __init__(self, siblings: list[ActorRef[Any]]) -> None:
        self.siblings = siblings

    async def started(self) -> None:
        Dependent.starts += 1
        for sibling in self.siblings:
            if Dependent.starts == 2:
                await sibling.tell(Fail())
            await sibling.ask(Count())


async def test_one_for_all_restarts_a_child_that_crashes_while_a_later_one_waits_for_it_in_its_start() -> None:
    Dependent.starts = 0
    clock, siblings, answers = VirtualClock(), list[ActorRef[Any]](), list[object]()
    at_once = Backoff(first=0.0)
    with anyio.fail_after(30):
        async with (
            anyio.create_task_group() as group,
            Supervisor(strategy="one_for_all", clock=clock) as supervisor,
        ):
            first = await supervisor.start(Counter, name="first", backoff=at_once)
            siblings.append(first)
            second = await supervisor.start(lambda: Dependent(siblings), name="second", grace=1.0, backoff=at_once)
            await second.tell(Fail())
            await settle()
            assert Dependent.starts == 2
            for ref in (first, second):
                group.start_soon(collect, ref, Count(), answers)
            await settle()
            clock.advance(1.0)
            await settle()
            assert Dependent.starts == 3
            assert len(answers) == 2


class Batching(Counter):
    """Waits in the middle of a batch, after its first message."""

    max_batch = 8

    def __init__(self, gates: list[anyio.Event]) -> None:
        self.gates = gates

    async def receive_many(self, batch: Batch) -> None:
        await batch[0].handle()
        if self.gates:
            await self.gates.pop(0).wait()
        for delivery in batch[1:]:
            await delivery.handle()


async def test_what_a_batch_that_was_cut_short_by_one_for_all_had_not_begun_is_handled_after_the_restart() -> None:
    gates, answers, clock = [anyio.Event(), anyio.Event()], list[object](), VirtualClock()
    first_gate, at_once = gates[0], Backoff(first=0.0)
    specs: list[ChildSpec[Any]] = [
        ChildSpec("batching", lambda: Batching(gates), grace=1.0, backoff=at_once),
        ChildSpec("counter", Counter, backoff=at_once),
    ]
    with anyio.fail_after(30):
        async with (
            anyio.create_task_group() as group,
            Supervisor(specs, strategy="one_for_all", clock=clock) as supervisor,
        ):
            batching = supervisor.ref("batching")
            await batching.tell(Count())
            await settle()
            for _ in range(2):
                await batching.tell(Count())
            for _ in range(3):
                group.start_soon(collect, batching, Count(), answers)
            await settle()
            first_gate.set()
            await settle()
            assert not gates
            await supervisor.ref("counter").tell(Fail())
            await settle()
            clock.advance(1.0)
            await settle()
            # The new incarnation had the second tell as its first message.
            assert sorted(answers, key=str) == [2, 3, 4]


class LateStarter(Counter):
    """Goes on in its last hook."""

    def __init__(self, gate: anyio.Event, ended: list[str]) -> None:
        self.gate, self.ended = gate, ended

    async def stopped(self) -> None:
        self.start_soon(self.linger)
        self.stop_soon()
        await settle()

    async def linger(self) -> None:
        try:
            await self.gate.wait()
        finally:
            self.ended.append("in time" if not self.gate.is_set() else "late")


async def test_what_a_stopped_hook_begins_outlives_neither_the_actor_nor_its_incarnation() -> None:
    gate, ended = anyio.Event(), list[str]()
    async with Supervisor(clock=VirtualClock()) as supervisor:
        try:
            ref = await supervisor.start(lambda: LateStarter(gate, ended), backoff=Backoff(first=0.0))
            await ref.tell(Fail())
            for _ in range(3):
                await settle()
            restarts = ref.inspect().restarts
            await ref.stop()
        finally:
            gate.set()  # or the supervisor would wait for what outlived its actor
    assert [type(restart.cause) for restart in restarts] == [LookupError]
    assert ended == ["in time", "in time"]
