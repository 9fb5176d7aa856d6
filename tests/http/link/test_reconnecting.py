"""A link whose connection is lost comes back, and what was asked is carried out once."""

from __future__ import annotations

from random import Random

import anyio
import pytest
from linked import LinkedStore, linked
from memory_wire import memory_wire
from store_homes import Later, Told

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import AccessRefused, StoreError, StoreUnreachable
from lightning_actors.http.link.backoff import Backoff
from lightning_actors.http.link.channel import Channel
from lightning_actors.http.link.limits import LinkOptions
from lightning_actors.http.link.link import Link
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.messages import EnqueueRollout, QueryRollouts

pytestmark = pytest.mark.anyio


async def test_a_change_whose_answer_is_lost_is_made_once() -> None:
    async with linked() as it, it.clock.autojump():
        it.wire.lose_the_next_answer()
        rollout = await it.store.enqueue_rollout("task")
        assert it.wire.attempts == 2
        held = await it.home.query_rollouts()
        assert [one.rollout_id for one in held] == [rollout.rollout_id]


async def test_a_claim_whose_answer_is_lost_is_claimed_once() -> None:
    async with linked() as it, it.clock.autojump():
        for task in range(3):
            await it.store.enqueue_rollout(task)
        it.wire.lose_the_next_answer()
        claimed = await it.store.dequeue_rollout("Worker-1")
        assert claimed is not None
        assert claimed.input == 0
        assert (await it.home.query_rollouts(status_in=["queuing"])).total == 2


async def test_many_changes_in_flight_are_all_made_once_and_in_order() -> None:
    async with linked() as it, it.clock.autojump():
        it.wire.lose_the_next_answer()
        async with anyio.create_task_group() as tasks:
            for task in range(200):
                tasks.start_soon(it.store.enqueue_rollout, task)
        assert sorted(one.input for one in await it.home.query_rollouts()) == list(range(200))


async def test_a_wait_goes_on_over_the_next_connection() -> None:
    async with linked() as it, it.clock.autojump(), anyio.create_task_group() as tasks:
        started = await it.store.start_rollout("task")
        later = Later()
        tasks.start_soon(later.run, lambda: it.store.wait_for_rollouts(rollout_ids=[started.rollout_id]))
        await it.store.statistics()
        it.wire.cut()
        await it.store.statistics()
        await it.store.update_attempt(started.rollout_id, started.attempt.attempt_id, status="succeeded")
        await later.done.wait()
        assert [one.status for one in later.value] == ["succeeded"]


async def test_who_watches_hears_over_the_next_connection_too() -> None:
    async with linked() as it, it.clock.autojump():
        started, told, of_queue = await it.store.start_rollout("task"), Told(), Told()
        it.store.watch_attempt(started.attempt.attempt_id, told.stop)
        it.store.watch_queue(of_queue.ready)
        await it.store.statistics()
        it.wire.cut()
        await it.store.statistics()
        assert of_queue.taken(), "what came while nobody listened"
        await it.store.enqueue_rollout("another")
        assert of_queue.taken()
        await it.home.update_rollout(started.rollout_id, status="cancelled")
        await it.store.statistics()
        assert told.reasons == ["cancelled"]


async def test_what_ended_while_the_connection_was_away_is_told_when_it_is_back() -> None:
    async with linked() as it, it.clock.autojump():
        started, told = await it.store.start_rollout("task"), Told()
        it.store.watch_attempt(started.attempt.attempt_id, told.stop)
        await it.store.statistics()
        it.wire.cut()
        await it.home.update_rollout(started.rollout_id, status="cancelled")
        await it.store.statistics()
        assert told.reasons == ["cancelled"]


async def test_a_server_that_is_started_again_is_found_again() -> None:
    async with linked() as it, it.clock.autojump(), anyio.create_task_group() as tasks:
        await it.store.enqueue_rollout(1)
        await it.wire.stop()
        later = Later()
        tasks.start_soon(later.run, lambda: it.store.enqueue_rollout(2))
        await it.clock.sleep(20)
        assert not later.done.is_set()
        await it.wire.start(it.home)
        await later.done.wait()
        assert later.error is None
        assert [one.input for one in await it.store.query_rollouts()] == [1, 2]


async def test_a_server_that_drains_says_so_and_its_clients_come_back() -> None:
    async with linked() as it, it.clock.autojump():
        assert it.wire.hub is not None
        assert it.wire.hub.clients == 1
        await it.wire.hub.drain("the server stops")
        assert it.wire.hub.clients == 0
        await it.wire.stop()
        await it.wire.start(it.home)
        await it.store.enqueue_rollout("task")


async def test_patience_has_an_end_and_says_what_happened() -> None:
    async with linked(LinkOptions(patience=60)) as it, it.clock.autojump():
        it.wire.is_down = True
        it.wire.cut()
        await it.clock.sleep(0.01)
        began = it.clock.monotonic()
        with pytest.raises(StoreUnreachable) as raised:
            await it.store.enqueue_rollout("task")
        assert it.clock.monotonic() - began == pytest.approx(60, abs=1)
        assert str(raised.value) == (
            "EnqueueRollout was not answered: there was no connection for 60 s (nobody listens there)"
        )
        assert raised.value.address == "memory://"


async def test_of_a_change_that_was_sent_it_is_said_that_nobody_knows() -> None:
    async with linked(LinkOptions(patience=60)) as it, it.clock.autojump():
        it.wire.is_down = True
        it.wire.lose_the_next_answer()
        with pytest.raises(StoreUnreachable, match="whether it was carried out is not known"):
            await it.store.enqueue_rollout("task")
        assert (await it.home.query_rollouts()).total == 1


async def test_each_ask_has_its_own_patience_and_the_link_its_own_life() -> None:
    async with linked(LinkOptions(patience=60)) as it, it.clock.autojump(), anyio.create_task_group() as tasks:
        it.wire.is_down = True
        it.wire.cut()
        first, second = Later(), Later()
        tasks.start_soon(first.run, lambda: it.store.enqueue_rollout(1))
        await it.clock.sleep(40)
        tasks.start_soon(second.run, lambda: it.store.enqueue_rollout(2))
        await first.done.wait()
        assert isinstance(first.error, StoreUnreachable)
        it.wire.is_down = False
        await second.done.wait()
        assert second.error is None
        assert [one.input for one in await it.home.query_rollouts()] == [2]


async def test_pauses_grow_and_differ_and_do_not_end() -> None:
    pauses = [Backoff(random=Random(seed)) for seed in range(20)]  # noqa: S311 - seeds
    for number in range(12):
        longest = min(0.1 * 2**number, 5.0)
        drawn = [one.next() for one in pauses]
        assert all(longest / 2 <= pause <= longest for pause in drawn)
        assert len(set(drawn)) == 20
    pauses[0].reset()
    assert pauses[0].next() <= 0.1


async def test_a_server_that_is_down_is_tried_again_and_again_but_not_too_often() -> None:
    async with linked(LinkOptions(patience=600)) as it, it.clock.autojump():
        it.wire.is_down = True
        it.wire.cut()
        before = it.wire.attempts
        await it.clock.sleep(300)
        assert 300 / 5 <= it.wire.attempts - before <= 300 / 2.5 + 10


async def test_who_opens_a_link_waits_for_its_server() -> None:
    clock = VirtualClock()
    async with memory_wire() as wire, clock.autojump(), anyio.create_task_group() as tasks:
        store = LinkedStore(wire, clock)
        later = Later()

        async def use() -> int:
            async with store.opened():
                return (await store.query_rollouts()).total

        tasks.start_soon(later.run, use)
        await clock.sleep(30)
        await wire.start(InMemoryLightningStore(clock=clock))
        await later.done.wait()
        assert later.value == 0


async def test_who_opens_a_link_to_nobody_is_told_so() -> None:
    clock = VirtualClock()
    async with memory_wire() as wire, clock.autojump():
        with pytest.raises(StoreUnreachable, match="memory:// did not answer: there was no connection for 60 s"):
            async with LinkedStore(wire, clock).opened():
                pytest.fail("there is nobody")


async def test_a_server_that_refuses_is_not_asked_again() -> None:
    clock, attempts = VirtualClock(), 0

    async def connect() -> Channel:
        nonlocal attempts
        attempts += 1
        await anyio.lowlevel.checkpoint()
        raise AccessRefused("this server wants a token")

    link = Link(connect, address="memory://", client="client-1", clock=clock)
    async with clock.autojump():
        with pytest.raises(AccessRefused, match="wants a token"):
            async with link.opened():
                pytest.fail("it was refused")
    assert attempts == 1


async def test_a_client_that_is_refused_later_fails_what_it_asked_with_that() -> None:
    async with linked() as it, it.clock.autojump():

        async def refuse() -> Channel:
            await anyio.lowlevel.checkpoint()
            raise AccessRefused("another token now")

        it.store.link._connect = refuse
        it.wire.cut()
        for _ in range(2):
            with pytest.raises(AccessRefused, match="another token now"):
                await it.store.enqueue_rollout("task")


async def test_a_silent_server_is_taken_for_gone() -> None:
    class Deaf:
        """Takes everything and says nothing after its welcome."""

        def __init__(self, channel: Channel) -> None:
            self._channel = channel
            self._count = 0

        async def send(self, message: bytes) -> None:
            await self._channel.send(message)

        async def receive(self) -> bytes:
            self._count += 1
            if self._count > 1:
                await anyio.sleep_forever()
            return await self._channel.receive()

        async def aclose(self) -> None:
            await self._channel.aclose()

    clock = VirtualClock()
    async with memory_wire() as wire, clock.autojump():
        await wire.start(InMemoryLightningStore(clock=clock))
        is_deaf = True

        async def connect() -> Channel:
            channel = await wire.connect()
            return Deaf(channel) if is_deaf else channel

        link = Link(connect, address="memory://", client="client-1", clock=clock)
        async with link.opened(), anyio.create_task_group() as tasks:
            later = Later()
            tasks.start_soon(later.run, lambda: link.carry(EnqueueRollout("task")))
            await clock.sleep(29)
            assert wire.attempts == 1
            is_deaf = False
            await clock.sleep(5)
            assert wire.attempts == 2
            await later.done.wait()
            assert (await link.carry(QueryRollouts())).total == 1


async def test_a_server_that_talks_nonsense_is_left_and_tried_again() -> None:
    async with linked() as it, it.clock.autojump():
        await it.wire.connections[-1][1].send(b"what?")
        await it.store.enqueue_rollout("task")
        assert it.wire.attempts == 2


async def test_a_client_that_misbehaves_is_told_and_does_not_come_back() -> None:
    async with linked() as it, it.clock.autojump():
        await it.wire.connections[-1][0].send(b"what?")
        with pytest.raises(StoreError, match="does not go on with this client: a frame begins with one of hello"):
            await it.store.enqueue_rollout("task")
        assert it.wire.attempts == 1
