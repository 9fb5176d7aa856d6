"""Promise 8: an actor may take its mailbox in batches; replies leave after the batch; one bad message fails alone."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
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
from lightning_actors.actors.testkit import DeadLetterBox, VirtualClock, settle
from lightning_actors.errors import ActorCrashed, ActorError, ActorStopped

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Put(Message[str]):
    key: str


@dataclass(frozen=True)
class WaitFor(Message[str]):
    key: str


class Disk:
    """Survives its actor."""

    def __init__(self) -> None:
        self.committed: list[str] = []
        self.commits: list[int] = []
        self.gate: anyio.Event | None = None
        self.broken = False
        self.lazy = False


class Table(Actor):
    max_batch = 4

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.pending: list[str] = []
        self.waiting: dict[str, list[Reply[str]]] = {}

    async def receive_many(self, batch: Batch) -> None:
        self.pending = []
        for delivery in batch:
            if self.disk.lazy and len(self.pending) == 1:
                break
            before = len(self.pending)
            if not await delivery.handle():
                del self.pending[before:]
        if self.disk.gate is not None:
            await self.disk.gate.wait()
        if self.disk.broken:
            raise OSError("disk full")
        self.disk.committed += self.pending
        self.disk.commits.append(len(batch))

    @handles(Put)
    def put(self, message: Put) -> str:
        self.pending.append(message.key)
        if message.key == "bad":
            raise ValueError("bad key")
        for reply in self.waiting.pop(message.key, ()):
            reply.set(message.key)
        return message.key

    @defers(WaitFor)
    def wait_for(self, message: WaitFor, reply: Reply[str]) -> None:
        self.waiting.setdefault(message.key, []).append(reply)


async def ask(ref: ActorRef[Table], message: Message[str], into: list[object]) -> None:
    try:
        into.append(await ref.ask(message))
    except (ActorError, ValueError, OSError) as error:
        into.append(repr(error))


async def test_promise_8_replies_leave_only_after_the_batch_is_done():
    disk, results = Disk(), list[object]()
    disk.gate = anyio.Event()
    async with hosted(lambda: Table(disk)) as table, anyio.create_task_group() as group:
        group.start_soon(ask, table, WaitFor("b"), results)
        await settle()
        disk.gate.set()
        await settle()
        disk.gate = anyio.Event()
        for key in "abcdef":
            group.start_soon(ask, table, Put(key), results)
        await settle()
        assert (results, disk.committed) == ([], [])
        assert table.inspect().handling == "receive_many"
        disk.gate.set()
    assert sorted(disk.committed) == list("abcdef")
    assert sum(disk.commits) == 7
    assert max(disk.commits) == 4
    assert sorted(map(str, results)) == ["a", "b", "b", "c", "d", "e", "f"]


async def test_promise_8_one_bad_message_fails_alone():
    disk, results = Disk(), list[object]()
    async with hosted(lambda: Table(disk)) as table, anyio.create_task_group() as group:
        for key in ("a", "bad", "c"):
            group.start_soon(ask, table, Put(key), results)
    assert sorted(map(str, results)) == ["ValueError('bad key')", "a", "c"]
    assert sorted(disk.committed) == ["a", "c"]


async def test_promise_8_a_batch_that_fails_fails_all_its_asks_and_the_actor_lives_on():
    disk, results = Disk(), list[object]()
    async with hosted(lambda: Table(disk)) as table, anyio.create_task_group() as group:
        group.start_soon(ask, table, WaitFor("a"), results)
        await settle()
        disk.broken = True
        for message in (Put("a"), Put("b"), WaitFor("z")):
            group.start_soon(ask, table, message, results)
        await settle()
        assert results == ["OSError('disk full')"] * 4
        disk.broken = False
        assert await table.ask(Put("c")) == "c"
    assert disk.committed == ["c"]


async def test_promise_8_a_batch_that_fails_with_a_tell_in_it_crashes_the_actor():
    disk, letters = Disk(), list[DeadLetter]()
    spec = ChildSpec("table", lambda: Table(disk), backoff=Backoff(first=0.0))
    async with Supervisor([spec], dead_letters=letters.append) as supervisor:
        table = supervisor.ref("table")
        disk.broken = True
        await table.tell(Put("a"))
        await table.tell(Put("b"))
        await settle()
        disk.broken = False
        assert len(table.inspect().restarts) == 1
        assert await table.ask(Put("c")) == "c"
    assert {(letter.message.key, letter.reason) for letter in letters} == {("a", "crashed"), ("b", "crashed")}


async def test_promise_8_a_bad_tell_crashes_the_actor_after_the_batch():
    disk, results = Disk(), list[object]()
    spec = ChildSpec("table", lambda: Table(disk), backoff=Backoff(first=0.0))
    async with Supervisor([spec], dead_letters=list[DeadLetter]().append) as supervisor:
        table = supervisor.ref("table")
        async with anyio.create_task_group() as group:
            disk.gate = anyio.Event()
            await table.tell(Put("bad"))
            group.start_soon(ask, table, Put("b"), results)
            await settle()
            disk.gate.set()
        assert results == ["b"]
        await settle()
        assert len(table.inspect().restarts) == 1
    assert disk.committed == ["b"]


async def test_promise_8_what_receive_many_leaves_alone_is_an_error():
    disk, results = Disk(), list[object]()
    disk.lazy, disk.gate = True, anyio.Event()
    async with hosted(lambda: Table(disk)) as table, anyio.create_task_group() as group:
        await table.tell(Put("first"))  # held at the gate, so that the next two make one batch
        await settle()
        group.start_soon(ask, table, Put("a"), results)
        group.start_soon(ask, table, Put("b"), results)
        await settle()
        disk.gate.set()
    handled, left = sorted(map(str, results), key=len)
    assert disk.committed == ["first", handled]
    assert disk.commits == [1, 2]
    assert "left Put alone" in left


async def test_promise_8_a_stop_in_the_middle_of_a_batch_answers_everybody():
    disk, results = Disk(), list[object]()
    disk.gate = anyio.Event()
    async with hosted(lambda: Table(disk)) as table, anyio.create_task_group() as group:
        for key in "abcdef":
            group.start_soon(ask, table, Put(key), results)
        await settle()
        await table.stop(grace=0)
    assert len(results) == 6
    assert all("has stopped" in str(result) for result in results)
    assert disk.committed == []


async def test_promise_8_a_reply_held_back_whose_asker_leaves_comes_back_after_the_batch():
    disk = Disk()
    disk.gate = anyio.Event()
    back: list[object] = []

    class Undoing(Table):
        def undelivered(self, message: Message[str], value: object) -> None:
            back.append(value)

    async with hosted(lambda: Undoing(disk)) as table:
        async with anyio.create_task_group() as group:
            group.start_soon(table.ask, Put("a"))
            await settle()
            group.cancel_scope.cancel()
        assert back == []
        disk.gate.set()
        await settle()
    assert back == ["a"]


class Fuse(Actor):
    @handles(Put)
    def put(self, message: Put) -> str:
        raise ValueError(message.key)


async def test_promise_8_what_a_batch_held_back_fails_with_the_crash_for_which_it_was_cut_short():
    disk, clock, outcomes = Disk(), VirtualClock(), list[BaseException]()
    disk.gate = anyio.Event()

    async def put(table: ActorRef[Table], key: str) -> None:
        try:
            await table.ask(Put(key))
        except ActorError as error:
            outcomes.append(error)

    children = [ChildSpec("fuse", Fuse), ChildSpec("table", lambda: Table(disk), grace=3.0)]
    async with (
        Supervisor(children, strategy="one_for_all", clock=clock, dead_letters=DeadLetterBox()) as supervisor,
        anyio.create_task_group() as group,
    ):
        table = supervisor.ref("table")
        await table.tell(Put("first"))
        await settle()
        gate, disk.gate = disk.gate, anyio.Event()
        for key in ("a", "b", "bad"):
            group.start_soon(put, table, key)
        await settle()
        gate.set()
        await settle()
        await supervisor.ref("fuse").tell(Put("blown"))
        await settle()
        clock.advance(3.0)
        await settle()
        assert [type(error) for error in outcomes] == [ActorCrashed] * 3
        assert [repr(error.__cause__) for error in outcomes] == ["ValueError('blown')"] * 3
        assert "table" in str(outcomes[0])


async def test_promise_8_what_a_batch_held_back_fails_with_the_stop_that_cut_it_short():
    disk, clock, results = Disk(), VirtualClock(), list[object]()
    disk.gate = anyio.Event()
    async with (
        Supervisor([ChildSpec("table", lambda: Table(disk))], clock=clock) as supervisor,
        anyio.create_task_group() as group,
    ):
        group.start_soon(ask, supervisor.ref("table"), Put("a"), results)
        await settle()
        await supervisor.stop_child("table", 0)
    assert results == ["ActorStopped(\"actor 'table' has stopped and will not answer\")"]


async def test_promise_8_without_receive_many_a_batch_is_its_messages_in_order():
    class Simple(Actor):
        max_batch = 8

        def __init__(self) -> None:
            self.keys: list[str] = []

        @handles(Put)
        async def put(self, message: Put) -> str:
            self.keys.append(message.key)
            return "".join(self.keys)

    async with hosted(Simple) as simple:
        for key in "abc":
            await simple.tell(Put(key))
        assert await simple.ask(Put("d")) == "abcd"
    with pytest.raises(ActorStopped):
        await simple.ask(Put("e"))
