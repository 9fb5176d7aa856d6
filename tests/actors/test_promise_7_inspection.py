"""Promise 7: every actor can be looked at without its help."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import pytest

from lightning_actors.actors import Actor, ActorRef, Backoff, ChildSpec, Message, Reply, Supervisor, defers, handles
from lightning_actors.actors.testkit import VirtualClock, settle

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
