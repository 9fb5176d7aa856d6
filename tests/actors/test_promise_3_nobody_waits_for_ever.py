"""Promise 3: nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lightning_actors.actors import (
    Actor,
    ActorRef,
    ChildSpec,
    DeadLetter,
    Message,
    Reply,
    Supervisor,
    defers,
    handles,
    hosted,
)
from lightning_actors.actors.testkit import VirtualClock, settle
from lightning_actors.errors import ActorStopped

pytestmark = pytest.mark.anyio

ASYNCIO = [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})]


@dataclass(frozen=True)
class Hold(Message[str]):
    gate: anyio.Event


@dataclass(frozen=True)
class Run(Message[str]):
    gate: anyio.Event


@dataclass(frozen=True)
class Keep(Message[str]):
    pass


@dataclass(frozen=True)
class Give(Message[bool]):
    value: str
    then: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Seen(Message[list[str]]):
    note: str = ""


class Desk(Actor):
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.kept: list[Reply[str]] = []

    @handles(Hold)
    async def hold(self, message: Hold) -> str:
        try:
            await message.gate.wait()
        except BaseException:
            self.seen.append("hold cancelled")
            raise
        self.seen.append("held")
        return "held"

    @handles(Run, concurrent=True)
    async def run(self, message: Run) -> str:
        try:
            await message.gate.wait()
        except BaseException:
            self.seen.append("run cancelled")
            raise
        return "ran"

    @defers(Keep)
    def keep(self, message: Keep, reply: Reply[str]) -> None:
        self.kept.append(reply)

    @handles(Give)
    def give(self, message: Give) -> bool:
        went_out = self.kept.pop(0).set(message.value)
        message.then()
        return went_out

    @handles(Seen)
    def get_seen(self, message: Seen) -> list[str]:
        if message.note:
            self.seen.append(message.note)
        return self.seen

    def undelivered(self, message: Message[Any], value: Any) -> None:
        self.seen.append(f"undelivered {type(message).__name__} {value}")

    def withdrawn(self, message: Message[Any], reply: Reply[Any]) -> None:
        self.seen.append(f"withdrawn {type(message).__name__}")
        self.kept.remove(reply)

    async def stopped(self) -> None:
        self.seen.append("stopped")


async def ask(ref: ActorRef[Desk], message: Message[str], into: list[object]) -> None:
    try:
        into.append(await ref.ask(message))
    except ActorStopped:
        into.append("ActorStopped")
    except BaseException:
        into.append("cancelled")
        raise


async def test_promise_3_a_final_stop_fails_every_pending_ask_with_actor_stopped():
    letters: list[DeadLetter] = []
    outcomes: list[object] = []
    clock = VirtualClock()
    async with (
        Supervisor([ChildSpec("desk", Desk, grace=2.0)], clock=clock, dead_letters=letters.append) as supervisor,
        anyio.create_task_group() as group,
    ):
        desk: ActorRef[Desk] = supervisor.ref("desk")
        for message in (Keep(), Run(anyio.Event()), Keep(), Hold(anyio.Event()), Keep(), Hold(anyio.Event())):
            group.start_soon(ask, desk, message, outcomes)
            await settle()
        await desk.tell(Seen("queued"))
        group.start_soon(desk.stop)
        await settle()
        assert outcomes == []
        assert desk.inspect().state == "running"
        clock.advance(2.0)
        await desk.wait_stopped()
    assert outcomes == ["ActorStopped"] * 6
    assert [(letter.message, letter.reason) for letter in letters] == [(Seen("queued"), "stopped")]


async def test_promise_3_a_stop_lets_plain_and_concurrent_handlers_finish_within_the_grace_time():
    hold, run = anyio.Event(), anyio.Event()
    outcomes: list[object] = []
    async with hosted(Desk, clock=VirtualClock()) as desk, anyio.create_task_group() as group:
        group.start_soon(ask, desk, Run(run), outcomes)
        await settle()
        group.start_soon(ask, desk, Hold(hold), outcomes)
        await settle()
        group.start_soon(desk.stop)
        await settle()
        hold.set()
        await settle()
        assert (outcomes, desk.inspect().state) == (["held"], "stopping")
        run.set()
    assert outcomes == ["held", "ran"]


async def test_promise_3_a_stop_cancels_what_does_not_finish_within_the_grace_time_and_still_calls_stopped():
    clock = VirtualClock()
    actor = Desk()
    outcomes: list[object] = []
    async with hosted(lambda: actor, clock=clock, grace=2.0) as desk, anyio.create_task_group() as group:
        group.start_soon(ask, desk, Run(anyio.Event()), outcomes)
        await settle()
        group.start_soon(ask, desk, Hold(anyio.Event()), outcomes)
        await settle()
        group.start_soon(desk.stop)
        await settle()
        clock.advance(1.9)
        await settle()
        assert outcomes == []
        clock.advance(0.2)
    assert outcomes == ["ActorStopped"] * 2
    assert sorted(actor.seen[:2]) == ["hold cancelled", "run cancelled"]
    assert actor.seen[2:] == ["stopped"]


async def test_promise_3_a_stop_goes_on_when_its_caller_is_cancelled():
    clock = VirtualClock()
    async with hosted(Desk, clock=clock) as desk, anyio.create_task_group() as group:
        group.start_soon(ask, desk, Hold(anyio.Event()), list[object]())
        await settle()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await desk.stop(grace=3.0)
        await settle()
        clock.advance(3.0)
        await desk.wait_stopped()


async def test_promise_3_a_cancelled_askers_queued_message_is_skipped():
    gate = anyio.Event()
    async with hosted(Desk) as desk:
        async with anyio.create_task_group() as group:
            group.start_soon(desk.ask, Hold(gate))
            await settle()
            async with anyio.create_task_group() as askers:
                askers.start_soon(desk.ask, Seen("asked"))
                askers.start_soon(desk.ask, Keep())
                await settle()
                askers.cancel_scope.cancel()
            gate.set()
        assert await desk.ask(Seen()) == ["held"]
        assert desk.inspect().kept_replies == 0


async def test_promise_3_a_cancelled_askers_concurrent_and_deferred_handling_is_cancelled():
    async with hosted(Desk) as desk:
        async with anyio.create_task_group() as group:
            group.start_soon(desk.ask, Run(anyio.Event()))
            group.start_soon(desk.ask, Keep())
            await settle()
            group.cancel_scope.cancel()
        await settle()
        assert sorted(await desk.ask(Seen())) == ["run cancelled", "withdrawn Keep"]
        assert desk.inspect().concurrent == 0


async def test_promise_3_a_cancelled_askers_plain_handler_runs_to_its_end_and_the_reply_comes_back():
    gate = anyio.Event()
    async with hosted(Desk) as desk:
        async with anyio.create_task_group() as group:
            group.start_soon(desk.ask, Hold(gate))
            await settle()
            group.cancel_scope.cancel()
        gate.set()
        await settle()
        assert await desk.ask(Seen()) == ["held", "undelivered Hold held"]


async def test_promise_3_a_reply_set_before_its_asker_is_cancelled_comes_back_to_the_giver():
    async with hosted(Desk) as desk, anyio.create_task_group() as group:
        outcomes: list[object] = []
        scope = anyio.CancelScope()

        async def ask_in_scope() -> None:
            with scope:
                await ask(desk, Keep(), outcomes)

        group.start_soon(ask_in_scope)
        await settle()
        assert await desk.ask(Give("claim", then=scope.cancel)) is True
        await settle()
        assert outcomes == ["cancelled"]
        assert await desk.ask(Seen()) == ["undelivered Keep claim"]


@pytest.mark.parametrize("anyio_backend", ASYNCIO)
async def test_promise_3_a_reply_set_before_its_asker_is_cancelled_natively_comes_back_to_the_giver():
    async with hosted(Desk) as desk:
        task = asyncio.create_task(desk.ask(Keep()))
        await settle()
        assert await desk.ask(Give("claim", then=task.cancel)) is True
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await desk.ask(Seen()) == ["undelivered Keep claim"]


async def test_promise_3_a_reply_set_after_its_asker_left_comes_back_to_the_giver():
    actor = Desk()
    async with hosted(lambda: actor) as desk:
        replies: list[Reply[str]] = []
        async with anyio.create_task_group() as group:
            group.start_soon(desk.ask, Keep())
            await settle()
            replies += actor.kept
            group.cancel_scope.cancel()
        assert replies[0].abandoned
        assert replies[0].set("claim") is False
        await settle()
        assert await desk.ask(Seen()) == ["withdrawn Keep", "undelivered Keep claim"]


async def test_promise_3_a_reply_that_finds_no_asker_is_a_dead_letter_by_default_and_after_the_end():
    letters: list[DeadLetter] = []

    class Plain(Actor):
        def __init__(self) -> None:
            self.kept: list[Reply[str]] = []

        @defers(Keep)
        def keep(self, message: Keep, reply: Reply[str]) -> None:
            self.kept.append(reply)

    actor = Plain()
    async with hosted(lambda: actor, name="plain", dead_letters=letters.append) as plain:
        for _ in range(3):
            with anyio.move_on_after(0):
                await plain.ask(Keep())
            async with anyio.create_task_group() as group:
                group.start_soon(plain.ask, Keep())
                await settle()
                group.cancel_scope.cancel()
        assert actor.kept[0].set("while it lives") is False
        assert actor.kept[1].fail(ValueError("nobody hears")) is False
        await settle()
    assert actor.kept[2].set("after its end") is False
    assert [(letter.actor, letter.reason, letter.value) for letter in letters] == [
        ("plain", "undelivered", None),
        ("plain", "undelivered", "while it lives"),
        ("plain", "undelivered", "after its end"),
    ]
    assert isinstance(letters[0].error, ValueError)


async def test_promise_3_what_comes_back_during_a_stop_is_undone_before_stopped():
    gate = anyio.Event()
    actor = Desk()
    async with hosted(lambda: actor) as desk, anyio.create_task_group() as group:
        async with anyio.create_task_group() as askers:
            askers.start_soon(desk.ask, Hold(gate))
            await settle()
            askers.cancel_scope.cancel()
        group.start_soon(desk.stop)
        await settle()
        gate.set()
    assert actor.seen == ["held", "undelivered Hold held", "stopped"]


async def test_promise_3_a_deadline_of_the_asker_fires_without_the_other_sides_help():
    async with hosted(Desk) as desk:
        for message in (Hold(anyio.Event()), Hold(anyio.Event()), Keep(), Run(anyio.Event())):
            with pytest.raises(TimeoutError), anyio.fail_after(0.01):
                await desk.ask(message)
        await desk.stop(grace=0)


async def test_promise_3_an_outer_cancellation_answers_every_pending_ask_and_calls_stopped_shielded():
    actor = Desk()
    outcomes: list[object] = []

    async def farewell() -> None:
        await checkpoint()
        actor.seen.append("stopped shielded")

    actor.stopped = farewell
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with hosted(lambda: actor) as desk:
                for message in (Keep(), Run(anyio.Event()), Hold(anyio.Event()), Keep()):
                    group.start_soon(ask, desk, message, outcomes)
                    await settle()
                scope.cancel()
    assert outcomes == ["ActorStopped"] * 4
    assert sorted(actor.seen) == ["hold cancelled", "run cancelled", "stopped shielded"]


async def test_promise_3_an_outer_cancellation_of_a_supervisor_stops_its_children_right_to_left_at_once():
    order: list[str] = []

    class Child(Desk):
        async def stopped(self) -> None:
            await checkpoint()
            order.append(self.name)

    outcomes: list[object] = []
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with Supervisor([ChildSpec(name, Child) for name in "abc"]) as supervisor:
                for name in "abc":
                    group.start_soon(ask, supervisor.ref(name), Hold(anyio.Event()), outcomes)
                    group.start_soon(ask, supervisor.ref(name), Keep(), outcomes)
                await settle()
                scope.cancel()
    assert order == ["c", "b", "a"]
    assert outcomes == ["ActorStopped"] * 6


async def test_promise_3_a_second_cancellation_ends_a_graceful_stop_at_once():
    outcomes: list[object] = []
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:

            async def cancel_soon() -> None:
                await settle()
                scope.cancel()

            async with Supervisor([ChildSpec("desk", Desk)], clock=VirtualClock()) as supervisor:
                group.start_soon(ask, supervisor.ref("desk"), Hold(anyio.Event()), outcomes)
                await settle()
                group.start_soon(cancel_soon)
    assert outcomes == ["ActorStopped"]


@pytest.mark.parametrize("anyio_backend", ASYNCIO)
@pytest.mark.parametrize("supervised", [True, False])
async def test_promise_3_a_native_cancellation_of_the_host_leaves_nobody_waiting(supervised: bool):  # noqa: FBT001  # a parameter of the test
    refs: list[ActorRef[Desk]] = []

    async def host() -> None:
        if supervised:
            async with Supervisor() as supervisor:
                refs.append(await supervisor.start(Desk))
                await anyio.sleep_forever()
        else:
            async with hosted(Desk) as desk:
                refs.append(desk)
                await anyio.sleep_forever()

    outcomes: list[object] = []
    task = asyncio.create_task(host())
    await settle()
    async with anyio.create_task_group() as group:
        for message in (Keep(), Run(anyio.Event()), Hold(anyio.Event()), Keep()):
            group.start_soon(ask, refs[0], message, outcomes)
            await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert outcomes == ["ActorStopped"] * 4
    assert refs[0].inspect().state == "stopped"
