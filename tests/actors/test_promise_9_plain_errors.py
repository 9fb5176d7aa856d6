# ruff: noqa: PT012  # what is raised here is raised by leaving a block of several lines
"""Promise 9: the same semantics on every event loop, and no ExceptionGroup of our making reaches the user."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import anyio
import pytest

from lightning_actors.actors import Actor, ActorRef, ChildSpec, DeadLetter, Held, Message, Supervisor, handles, hosted
from lightning_actors.actors.hosted import Hosted
from lightning_actors.actors.testkit import VirtualClock, settle
from lightning_actors.errors import ActorStopped

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Fail(Message[None]):
    pass


@dataclass(frozen=True)
class Hold(Message[None]):
    gate: anyio.Event


@dataclass(frozen=True)
class Break(Message[None]):
    error: BaseException


class Child(Actor):
    @handles(Fail)
    def fail(self, message: Fail) -> None:
        raise OSError("of the child")

    @handles(Break)
    def shatter(self, message: Break) -> None:
        raise message.error

    @handles(Hold)
    async def hold(self, message: Hold) -> None:
        await message.gate.wait()


class Stuck(Actor):
    async def started(self) -> None:
        raise OSError("of the start")


class One:
    """A supervisor with one child, entered as its reference."""

    def __init__(self) -> None:
        spec = ChildSpec("child", Child, restart="temporary", significant=True)
        self.supervisor = Supervisor([spec], clock=VirtualClock(), dead_letters=list[DeadLetter]().append)

    async def __aenter__(self) -> ActorRef[Child]:
        await self.supervisor.__aenter__()
        return self.supervisor.ref("child")

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.supervisor.__aexit__(exc_type, exc, traceback)


def host(kind: str) -> One | Hosted[Child]:
    return (
        One() if kind == "supervisor" else hosted(Child, clock=VirtualClock(), dead_letters=list[DeadLetter]().append)
    )


KINDS = pytest.mark.parametrize("kind", ["supervisor", "hosted"])


@KINDS
async def test_promise_9_the_blocks_own_error_leaves_as_it_is(kind: str):
    error = ValueError("of the block")
    with pytest.raises(ValueError, match="of the block") as caught:
        async with host(kind):
            raise error
    assert caught.value is error
    assert caught.value.__cause__ is None


@KINDS
async def test_promise_9_the_blocks_own_error_wins_over_that_of_a_child(kind: str):
    with pytest.raises(ValueError, match="of the block"):
        async with host(kind) as child:
            await child.tell(Fail())
            try:
                await child.wait_stopped()
            finally:
                raise ValueError("of the block")


@KINDS
async def test_promise_9_a_childs_error_leaves_as_it_is(kind: str):
    with pytest.raises(OSError, match="of the child"):
        async with host(kind) as child:
            await child.tell(Fail())
            await child.wait_stopped()


@KINDS
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_promise_9_what_is_no_exception_leaves_the_block_as_it_is_and_at_once(
    kind: str, error: type[BaseException]
):
    outcomes: list[BaseException] = []

    async def hold(ref: ActorRef[Child]) -> None:
        try:
            await ref.ask(Hold(anyio.Event()))
        except ActorStopped as stopped:
            outcomes.append(stopped)

    async with anyio.create_task_group() as group:
        with pytest.raises(error):
            async with host(kind) as child:
                group.start_soon(hold, child)
                await settle()
                raise error
    assert len(outcomes) == 1


@KINDS
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr)
async def test_promise_9_what_broke_the_actor_leaves_the_block_that_was_told_of_its_crash(
    kind: str, error: BaseException
):
    with pytest.raises(type(error)) as caught:
        async with host(kind) as child:
            await child.ask(Break(error))
    assert caught.value is error


@KINDS
async def test_promise_9_a_block_that_asked_an_actor_which_had_crashed_leaves_with_what_it_crashed_with(kind: str):
    with pytest.raises(OSError, match="of the child"):
        async with host(kind) as child:
            await child.tell(Fail())
            await child.ask(Hold(anyio.Event()))


async def test_promise_9_a_block_that_starts_a_child_after_the_failure_leaves_with_the_failure():
    with pytest.raises(OSError, match="of the child"):
        async with Supervisor() as supervisor:
            child = await supervisor.start(ChildSpec("child", Child, restart="temporary", significant=True))
            await child.tell(Fail())
            with anyio.CancelScope(shield=True):
                await child.wait_stopped()
                await supervisor.start(ChildSpec("another", Child))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr)
async def test_promise_9_a_factory_that_fails_at_the_restart_leaves_as_it_is(error: BaseException):
    made: list[Child] = []

    def make() -> Child:
        if made:
            raise error
        made.append(Child())
        return made[0]

    clock, letters = VirtualClock(), list[DeadLetter]()
    with pytest.raises(type(error)) as caught:
        async with clock.autojump(), Supervisor(clock=clock, dead_letters=letters.append) as supervisor:
            child = await supervisor.start(ChildSpec("child", make))
            await child.tell(Fail())
            await supervisor.wait()
    assert caught.value is error


@pytest.mark.parametrize("error", [ValueError("of the callback"), SystemExit(3)], ids=repr)
async def test_promise_9_a_dead_letter_callback_that_raises_takes_nobody_down(
    error: BaseException, caplog: pytest.LogCaptureFixture
):
    def refuse(letter: DeadLetter) -> None:
        raise error

    clock = VirtualClock()
    async with clock.autojump(), Supervisor(clock=clock, dead_letters=refuse) as supervisor:
        child = await supervisor.start(ChildSpec("child", Child))
        await child.tell(Fail())
        gate = anyio.Event()
        gate.set()
        await child.ask(Hold(gate))
    assert "dead_letters_callback_failed" in caplog.text


class Mute(Child):
    def holding(self) -> Sequence[Held]:
        raise SystemExit(3)


async def test_promise_9_an_actor_that_cannot_say_what_it_holds_does_not_end_a_stop_that_takes_too_long():
    clock = VirtualClock()
    async with clock.autojump(), anyio.create_task_group() as group, Supervisor(clock=clock) as supervisor:
        child = await supervisor.start(Mute)
        group.start_soon(_ignore_stop, child)
        await settle()


async def _ignore_stop(child: ActorRef[Mute]) -> None:
    with suppress(ActorStopped):
        await child.ask(Hold(anyio.Event()))


async def test_promise_9_a_failing_start_leaves_as_it_is():
    with pytest.raises(OSError, match="of the start"):
        async with hosted(Stuck):
            raise AssertionError
    with pytest.raises(OSError, match="of the start"):
        async with Supervisor([ChildSpec("stuck", Stuck)]):
            raise AssertionError


@KINDS
async def test_promise_9_a_cancelled_block_is_cancelled_and_nothing_else(kind: str):
    with anyio.move_on_after(0.01) as scope:
        async with host(kind):
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_promise_9_a_supervisor_that_fails_cancels_its_block_and_says_why():
    ended = False
    with pytest.raises(OSError, match="of the child") as caught:
        async with One() as child:
            await child.tell(Fail())
            try:
                await anyio.sleep_forever()
            finally:
                ended = True
    assert ended
    assert caught.value.__suppress_context__


async def test_promise_9_another_task_that_waits_for_the_tree_gets_the_failure_too():
    errors: list[BaseException] = []

    async def wait(supervisor: Supervisor) -> None:
        try:
            await supervisor.wait()
        except OSError as error:
            errors.append(error)

    one = One()
    async with anyio.create_task_group() as group:
        with pytest.raises(OSError, match="of the child"):
            async with one as child:
                group.start_soon(wait, one.supervisor)
                await settle()
                await child.tell(Fail())
                await anyio.sleep_forever()
    assert len(errors) == 1


async def test_promise_9_a_supervisor_can_be_used_again_but_not_twice_at_once():
    supervisor = Supervisor([ChildSpec("child", Child)])
    for _ in range(2):
        async with supervisor:
            assert supervisor.ref("child").inspect().state == "running"
            with pytest.raises(Exception, match="is running already"):
                await supervisor.__aenter__()


def test_promise_9_a_supervisor_made_outside_of_a_loop_works_in_any():
    supervisor = Supervisor([ChildSpec("child", Child)])

    async def main() -> None:
        async with supervisor:
            with pytest.raises(OSError, match="of the child"):
                await supervisor.ref("child").ask(Fail())

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(main, backend=backend)
