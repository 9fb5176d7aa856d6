"""A block that is cancelled after any number of steps leaves no actor, no waiter and no group of errors behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from lightning_actors.actors import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    DeadLetter,
    Message,
    Reply,
    Supervisor,
    SupervisorActor,
    defers,
    handles,
    hosted,
)
from lightning_actors.errors import ActorError

pytestmark = pytest.mark.anyio

STEPS = 45


@dataclass(frozen=True)
class Plain(Message[int]):
    pass


@dataclass(frozen=True)
class Beside(Message[int]):
    pass


@dataclass(frozen=True)
class Kept(Message[int]):
    pass


@dataclass(frozen=True)
class Crash(Message[None]):
    pass


class Life:
    """What must balance at the end."""

    def __init__(self) -> None:
        self.living = 0
        self.waiting = 0
        self.refs: list[ActorRef[Child]] = []


class Child(Actor):
    def __init__(self, life: Life) -> None:
        self.life = life

    async def started(self) -> None:
        self.life.living += 1
        self.life.refs.append(self.ref)
        await checkpoint()
        self.start_soon(anyio.sleep_forever)

    async def stopping(self) -> None:
        await checkpoint()

    async def stopped(self) -> None:
        await checkpoint()
        self.life.living -= 1

    @handles(Plain)
    async def plain(self, message: Plain) -> int:
        await checkpoint()
        return 1

    @handles(Beside, concurrent=True)
    async def beside(self, message: Beside) -> int:
        await checkpoint()
        return 1

    @defers(Kept)
    def kept(self, message: Kept, reply: Reply[int]) -> None:
        pass

    @handles(Crash)
    def crash_now(self, message: Crash) -> None:
        raise ValueError


async def ask(life: Life, ref: ActorRef[Child], message: Message[int]) -> None:
    life.waiting += 1
    try:
        await ref.ask(message)
    except ActorError:
        return
    finally:
        life.waiting -= 1


async def use_hosted(life: Life, others: TaskGroup) -> None:
    async with hosted(lambda: Child(life)) as child:
        for message in (Kept(), Plain(), Beside()):
            others.start_soon(ask, life, child, message)
        await child.ask(Plain())
        others.start_soon(child.stop)
        await checkpoint()


async def use_supervisor(life: Life, others: TaskGroup) -> None:
    def spec(name: str) -> ChildSpec[Child]:
        return ChildSpec(name, lambda: Child(life), backoff=Backoff(first=0.0))

    async with Supervisor(
        [spec("a"), ChildSpec("pool", lambda: SupervisorActor([spec("x"), spec("y")]))],
        strategy="one_for_all",
        dead_letters=list[DeadLetter]().append,
    ) as supervisor:
        late = await supervisor.start(spec("b"))
        for message in (Kept(), Plain(), Beside()):
            others.start_soon(ask, life, late, message)
        await late.tell(Crash())
        await late.ask(Plain())
        await supervisor.stop_child("a")


@pytest.mark.parametrize("use", [use_hosted, use_supervisor])
async def test_a_block_cancelled_after_any_number_of_steps_leaves_nothing_behind(
    use: Callable[[Life, TaskGroup], Awaitable[None]],
) -> None:
    for steps in range(STEPS):
        life = Life()
        async with anyio.create_task_group() as others:
            with anyio.CancelScope() as scope:

                async def cancel_later(scope: anyio.CancelScope = scope, steps: int = steps) -> None:
                    for _ in range(steps):
                        await checkpoint()
                    scope.cancel()

                others.start_soon(cancel_later)
                await use(life, others)
        assert life.living == 0
        assert life.waiting == 0
        assert {ref.inspect().state for ref in life.refs} <= {"stopped"}
