"""Promise 7: every actor can be looked at without its help."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from lightning_actors.actors import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    Held,
    Message,
    Reply,
    Supervisor,
    defers,
    handles,
    hosted,
)
from lightning_actors.actors.testkit import VirtualClock, settle
from lightning_actors.log import LogEvent

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Hold(Message[None]):
    gate: anyio.Event


@dataclass(frozen=True)
class Run(Message[None]):
    gate: anyio.Event


@dataclass(frozen=True)
class Keep(Message[None]):
    pass


@dataclass(frozen=True)
class Fail(Message[None]):
    pass


class Busy(Actor):
    @handles(Hold)
    async def hold(self, message: Hold) -> None:
        await message.gate.wait()

    @handles(Run, concurrent=True)
    async def run(self, message: Run) -> None:
        await message.gate.wait()

    @defers(Keep)
    def keep(self, message: Keep, reply: Reply[None]) -> None:
        pass

    @handles(Fail)
    def fail(self, message: Fail) -> None:
        raise ValueError("boom")


async def test_promise_7_an_actor_shows_what_it_handles_and_for_how_long():
    clock, gate = VirtualClock(), anyio.Event()
    async with Supervisor([ChildSpec("busy", Busy)], clock=clock) as supervisor, anyio.create_task_group() as group:
        busy: ActorRef[Busy] = supervisor.ref("busy")
        info = busy.inspect()
        assert (info.name, info.state, info.handling, info.mailbox_depth) == ("busy", "running", None, 0)
        await busy.tell(Run(gate))
        group.start_soon(busy.ask, Keep())
        await settle()
        clock.advance(2.0)
        await busy.tell(Hold(gate))
        for _ in range(3):
            await busy.tell(Run(gate))
        await settle()
        clock.advance(1.5)
        info = busy.inspect()
        assert (info.handling, info.handling_seconds) == ("Hold", 1.5)
        assert (info.mailbox_depth, info.mailbox_size) == (3, 64)
        assert (info.concurrent, info.oldest_concurrent_seconds) == (1, 3.5)
        assert (info.kept_replies, info.processed) == (1, 3)
        group.cancel_scope.cancel()
        gate.set()


async def test_promise_7_restarts_are_listed_with_their_causes():
    clock = VirtualClock(start=1000.0)
    spec = ChildSpec("busy", Busy, backoff=Backoff(first=1.0, factor=2.0, jitter=0.0))
    async with Supervisor([spec], clock=clock) as supervisor:
        busy: ActorRef[Busy] = supervisor.ref("busy")
        for pause in (1.0, 2.0):
            await busy.tell(Fail())
            await settle()
            assert busy.inspect().state == "waiting"
            clock.advance(pause)
            await settle()
            assert busy.inspect().state == "running"
        restarts = busy.inspect().restarts
        assert [restart.when for restart in restarts] == [1000.0, 1001.0]
        assert [repr(restart.cause) for restart in restarts] == ["ValueError('boom')"] * 2


async def test_promise_7_hooks_are_shown_as_what_is_handled():
    gate = anyio.Event()

    class Slow(Busy):
        async def started(self) -> None:
            await gate.wait()

        async def stopping(self) -> None:
            await gate.wait()

    async with Supervisor() as supervisor, anyio.create_task_group() as group:

        async def start() -> None:
            await supervisor.start(ChildSpec("slow", Slow))

        group.start_soon(start)
        await settle()
        (info,) = supervisor.tree()
        assert (info.state, info.handling) == ("starting", "started")
        gate.set()
        await settle()
        gate = anyio.Event()
        group.start_soon(supervisor.stop_child, "slow")
        await settle()
        (info,) = supervisor.tree()
        assert (info.state, info.handling) == ("stopping", "stopping")
        gate.set()


async def test_promise_7_a_tree_lists_its_children_in_order_of_start():
    async with Supervisor([ChildSpec(name, Busy) for name in ("b", "a", "c")]) as supervisor:
        assert [info.name for info in supervisor.tree()] == ["b", "a", "c"]
        ref = supervisor.ref("a")
        assert (ref.name, repr(ref)) == ("a", "<ActorRef a>")
        await supervisor.stop_child("a")
        assert [info.name for info in supervisor.tree()] == ["b", "c"]
        assert ref.inspect().state == "stopped"
        with pytest.raises(ValueError, match="no child 'a': its children are b, c"):
            supervisor.ref("a")
    assert supervisor.tree() == ()


class Holder(Busy):
    """Says what it has in hand, or fails to."""

    def __init__(self, held: Sequence[Held] | None) -> None:
        self.held = held

    def holding(self) -> Sequence[Held]:
        if self.held is None:
            raise LookupError("nothing known")
        return self.held


async def test_promise_7_an_actor_shows_what_it_has_in_hand():
    held = [Held("job", "being done", 1.5)]
    specs = [ChildSpec("holder", lambda: Holder(held)), ChildSpec("broken", lambda: Holder(None))]
    async with Supervisor([*specs, ChildSpec("busy", Busy)]) as supervisor:
        assert [info.holds for info in supervisor.tree()] == [
            (Held("job", "being done", 1.5),),
            (Held("holding()", "raised LookupError('nothing known')", 0.0),),
            (),
        ]
        assert str(supervisor.tree()).splitlines() == [
            "holder  job: being done for 1.5 s",
            "broken  holding(): raised LookupError('nothing known') for 0.0 s",
            "busy    idle",
        ]


async def test_promise_7_a_tree_can_be_taken_from_another_thread_while_actors_come_and_go():
    trees: list[Any] = []
    done, seen = threading.Event(), threading.Event()

    def look(supervisor: Supervisor) -> None:
        while not done.is_set():
            try:
                trees.append(supervisor.tree())
            except RuntimeError as error:
                trees.append(error)
                break
            seen.set()
        seen.set()

    async with Supervisor() as supervisor:
        thread = threading.Thread(target=look, args=(supervisor,))
        thread.start()
        try:
            await anyio.to_thread.run_sync(seen.wait)
            for number in range(300):
                ref = await supervisor.start(ChildSpec(f"busy-{number}", Busy))
                if number % 3:
                    await ref.stop()
        finally:
            done.set()
            await anyio.to_thread.run_sync(thread.join)
    assert not [tree for tree in trees if isinstance(tree, RuntimeError)]


class Stubborn(Busy):
    async def stopping(self) -> None:
        await anyio.sleep_forever()


def grace_events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    messages = [record.msg for record in caplog.records]
    return [
        message.fields for message in messages if isinstance(message, LogEvent) and message.event == "grace_is_over"
    ]


async def test_promise_7_a_stop_that_outlasts_its_grace_shows_the_tree_once(caplog: pytest.LogCaptureFixture):
    clock = VirtualClock()
    stubborn = [ChildSpec(f"stubborn-{number}", Stubborn, group="stubborn", grace=10.0) for number in range(3)]
    with caplog.at_level(logging.WARNING, "lightning_actors"):
        supervisor = Supervisor([ChildSpec("busy", Busy), *stubborn], clock=clock)
        async with supervisor, anyio.create_task_group() as group:
            group.start_soon(supervisor.stop)
            await settle()
            clock.advance(9.9)
            await settle()
            assert grace_events(caplog) == []
            clock.advance(0.1)
    (event,) = grace_events(caplog)
    assert event["tree"].splitlines() == [
        "busy        idle",
        *(f"stubborn-{number}  stopping, handling stopping for 10.0 s" for number in range(3)),
    ]


async def test_promise_7_a_hosted_actor_that_outlasts_its_grace_is_shown(caplog: pytest.LogCaptureFixture):
    clock = VirtualClock()
    with caplog.at_level(logging.WARNING, "lightning_actors"):
        async with anyio.create_task_group() as group:

            async def host() -> None:
                async with hosted(Stubborn, name="stubborn", clock=clock, grace=2.0):
                    await settle()

            group.start_soon(host)
            await settle()
            await settle()  # the first is the actor's, the second that of its end
            clock.advance(2)
    (event,) = grace_events(caplog)
    assert event["tree"] == "stubborn  stopping, handling stopping for 2.0 s"


class StopSoon(Message[None]):
    """Ends the actor that is told so."""


class Leaving(Stubborn):
    @handles(StopSoon)
    def stop(self, message: StopSoon) -> None:
        self.stop_soon()


async def test_promise_7_an_actor_that_stops_itself_and_outlasts_its_grace_is_shown(
    caplog: pytest.LogCaptureFixture,
):
    clock = VirtualClock()
    children = [ChildSpec("busy", Busy), ChildSpec("leaving", Leaving, "temporary", grace=2.0)]
    with caplog.at_level(logging.WARNING, "lightning_actors"):
        async with Supervisor(children, clock=clock) as supervisor:
            leaving = supervisor.ref("leaving")
            await leaving.tell(StopSoon())
            await settle()
            clock.advance(1.9)
            await settle()
            assert grace_events(caplog) == []
            clock.advance(0.1)
            await settle()
            assert [info.name for info in supervisor.tree()] == ["busy"]
    (event,) = grace_events(caplog)
    assert event["actor"] == "leaving"
    assert event["tree"].splitlines() == ["busy     idle", "leaving  stopping, handling stopping for 2.0 s"]


async def test_promise_7_a_hosted_actor_that_stops_itself_and_outlasts_its_grace_is_shown(
    caplog: pytest.LogCaptureFixture,
):
    clock = VirtualClock()
    with caplog.at_level(logging.WARNING, "lightning_actors"):
        async with hosted(Leaving, name="leaving", clock=clock, grace=2.0) as leaving:
            await leaving.tell(StopSoon())
            await settle()
            clock.advance(2.0)
            await settle()
    (event,) = grace_events(caplog)
    assert event["tree"] == "leaving  stopping, handling stopping for 2.0 s"


async def test_promise_7_a_stop_at_once_has_no_grace_to_outlast(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "lightning_actors"):
        async with Supervisor([ChildSpec("stubborn", Stubborn)]) as supervisor:
            await supervisor.stop_child("stubborn", 0)
    assert grace_events(caplog) == []
