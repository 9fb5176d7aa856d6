"""Promise 6: an ask to oneself, or a live circle of asks, is an error that names the circle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

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
from lightning_actors.actors.testkit import settle
from lightning_actors.errors import AskCircle

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Ping(Message[str]):
    pass


@dataclass(frozen=True)
class Pass(Message[str]):
    """Ask along a route."""

    route: tuple[ActorRef[Any], ...]
    gate: anyio.Event | None = None


@dataclass(frozen=True)
class PassBeside(Message[str]):
    route: tuple[ActorRef[Any], ...]


@dataclass(frozen=True)
class Keep(Message[str]):
    pass


@dataclass(frozen=True)
class Flood(Message[int]):
    to: ActorRef[Any]
    gate: anyio.Event


@dataclass(frozen=True)
class Do(Message[None]):
    what: Callable[[Node], Awaitable[None]] = field(hash=False)


class Node(Actor):
    @handles(Ping)
    def ping(self, message: Ping) -> str:
        return self.name

    @handles(Pass)
    async def pass_on(self, message: Pass) -> str:
        if message.gate is not None:
            await message.gate.wait()
        if not message.route:
            return self.name
        return f"{self.name}{await message.route[0].ask(Pass(message.route[1:]))}"

    @handles(PassBeside, concurrent=True)
    async def pass_beside(self, message: PassBeside) -> str:
        return f"{self.name}{await message.route[0].ask(Pass(message.route[1:]))}"

    @defers(Keep)
    def keep(self, message: Keep, reply: Reply[str]) -> None:
        self.reply = reply

    @handles(Flood)
    async def flood(self, message: Flood) -> int:
        await message.gate.wait()
        for _ in range(10):
            await message.to.tell(Ping())
        return 10

    @handles(Do)
    async def do(self, message: Do) -> None:
        await message.what(self)


async def start(supervisor: Supervisor, *names: str) -> list[ActorRef[Node]]:
    return [await supervisor.start(ChildSpec(name, Node, mailbox_size=2)) for name in names]


async def test_promise_6_an_ask_to_oneself_from_a_plain_handler_is_an_error_that_names_it():
    async with hosted(Node, name="a") as a:
        with pytest.raises(AskCircle, match="a → a; an actor cannot ask itself") as caught:
            await a.ask(Pass((a,)))
        assert caught.value.circle == ("a", "a")
        assert await a.ask(Ping()) == "a"


async def test_promise_6_a_live_circle_is_an_error_that_names_the_circle():
    async with Supervisor() as supervisor:
        a, b, c = await start(supervisor, "a", "b", "c")
        with pytest.raises(AskCircle, match="c → a → b → c") as caught:
            await a.ask(Pass((b, c, a)))
        assert caught.value.circle == ("c", "a", "b", "c")
        assert await a.ask(Pass((b, c))) == "abc"


async def test_promise_6_two_actors_that_ask_each_other_at_once_do_not_wait_for_ever():
    gate = anyio.Event()
    results: list[str] = []

    async def ask(ref: ActorRef[Node], message: Pass) -> None:
        try:
            results.append(await ref.ask(message))
        except AskCircle as error:
            results.append("circle " + "".join(error.circle))

    async with Supervisor() as supervisor, anyio.create_task_group() as group:
        a, b = await start(supervisor, "a", "b")
        group.start_soon(ask, a, Pass((b,), gate))
        group.start_soon(ask, b, Pass((a,), gate))
        await settle()
        gate.set()
    assert sorted(results) in (["ab", "circle bab"], ["ba", "circle aba"])


async def test_promise_6_a_circle_through_a_concurrent_handler_is_found():
    async with Supervisor() as supervisor:
        a, b = await start(supervisor, "a", "b")

        async def ask_beside(_: Node) -> None:
            await b.ask(PassBeside((a,)))

        with pytest.raises(AskCircle) as caught:
            await a.ask(Do(ask_beside))
        assert caught.value.circle == ("b", "a", "b")


async def test_promise_6_an_ask_to_oneself_from_a_concurrent_handler_or_a_background_task_is_no_circle():
    results: list[str] = []

    class Own(Node):
        async def started(self) -> None:
            self.start_soon(self.look)

        async def look(self) -> None:
            results.append(await self.ref.ask(Ping()))

    async with hosted(Own, name="own") as own:
        assert await own.ask(PassBeside((own,))) == "ownown"
        await settle()
    assert results == ["own"]


async def test_promise_6_a_background_task_started_in_a_handler_may_ask_its_own_actor_at_once():
    results: list[str] = []

    async def look(node: Node) -> None:
        results.append(await node.ref.ask(Ping()))

    async def begin(node: Node) -> None:
        node.start_soon(look, node)
        await anyio.lowlevel.checkpoint()

    async with hosted(Node, name="a") as a:
        await a.ask(Do(begin))
        await settle()
    assert results == ["a"]


async def test_promise_6_a_task_spawned_in_a_handler_long_gone_is_no_circle():
    gate = anyio.Event()
    results: list[str] = []

    async with hosted(Node, name="a") as a, anyio.create_task_group() as group:

        async def later() -> None:
            await gate.wait()
            results.append(await a.ask(Ping()))

        async def spawn(_: Node) -> None:
            group.start_soon(later)

        await a.ask(Do(spawn))
        gate.set()
    assert results == ["a"]


async def test_promise_6_a_kept_reply_is_no_circle_since_anybody_may_give_it():
    nodes: list[Node] = []

    def make() -> Node:
        nodes.append(Node())
        return nodes[-1]

    async with Supervisor() as supervisor, anyio.create_task_group() as group:
        a = await supervisor.start(ChildSpec("a", make))
        b = await supervisor.start(ChildSpec("b", make))

        async def ask_to_keep(_: Node) -> None:
            assert await b.ask(Keep()) == "from outside"

        group.start_soon(a.ask, Do(ask_to_keep))
        await settle()
        group.start_soon(b.ask, Pass((a,)))
        await settle()
        nodes[1].reply.set("from outside")


async def test_promise_6_what_a_task_of_a_handler_long_gone_waits_for_is_no_part_of_a_circle():
    replies: list[Reply[str]] = []
    results: list[str] = []

    async with Supervisor() as supervisor, anyio.create_task_group() as group:

        class Keeper(Actor):
            @defers(Keep)
            async def keep(self, message: Keep, reply: Reply[str]) -> None:
                replies.append(reply)
                group.start_soon(ask_c)

        async def ask_c() -> None:
            await anyio.lowlevel.checkpoint()
            results.append(await c.ask(Ping()))

        async def ask_keeper(_: Node) -> None:
            results.append(await keeper.ask(Keep()))

        keeper = await supervisor.start(Keeper)
        (c,) = await start(supervisor, "c")
        group.start_soon(c.ask, Do(ask_keeper))
        await settle()
        assert replies[0].set("kept")
    assert results == ["kept", "c"]


async def test_promise_6_hooks_that_ask_their_own_actor_are_circles_too():
    class Early(Node):
        async def started(self) -> None:
            await self.ref.ask(Ping())

    with pytest.raises(AskCircle):
        async with hosted(Early):
            raise AssertionError


async def test_promise_6_two_full_mailboxes_that_wait_for_each_other_are_a_circle():
    gate = anyio.Event()
    errors: list[AskCircle] = []

    async def ask(ref: ActorRef[Node], message: Flood) -> None:
        try:
            await ref.ask(message)
        except AskCircle as error:
            errors.append(error)

    async with Supervisor(dead_letters=list[DeadLetter]().append) as supervisor, anyio.create_task_group() as group:
        a, b = await start(supervisor, "a", "b")
        group.start_soon(ask, a, Flood(b, gate))
        group.start_soon(ask, b, Flood(a, gate))
        await settle()
        gate.set()
    assert len(errors) == 1


async def test_promise_6_a_handler_that_waits_for_its_own_end_is_a_circle():
    async with hosted(Node, name="a") as a:

        async def end(node: Node) -> None:
            await node.ref.stop()

        with pytest.raises(AskCircle, match="stop_soon"):
            await a.ask(Do(end))


async def test_promise_6_waits_are_forgotten_when_they_end():
    async with Supervisor() as supervisor:
        a, b = await start(supervisor, "a", "b")

        async def give_up(_: Node) -> None:
            with anyio.move_on_after(0.001):
                await b.ask(Keep())
            assert await b.ask(Pass(())) == "b"

        await a.ask(Do(give_up))
        assert await b.ask(Pass((a,))) == "ba"
