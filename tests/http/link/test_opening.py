"""A link is open while somebody has it open: who opens it lends it a task, and who is cancelled can still speak."""

from __future__ import annotations

import anyio
import pytest
from linked import LinkedStore, linked
from memory_wire import memory_wire
from store_homes import Later

from lightning_actors.actors.testkit import VirtualClock
from lightning_actors.errors import BoundExceeded, RolloutNotFound, StoreError, WrongLoop
from lightning_actors.http.link.limits import LinkLimits, LinkOptions
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.types import Rollout

pytestmark = pytest.mark.anyio


async def test_blocks_may_be_nested_and_share_one_connection() -> None:
    async with linked() as it:
        async with it.store.opened(), it.store.opened():
            await it.store.enqueue_rollout(1)
        await it.store.enqueue_rollout(2)
        assert it.wire.attempts == 1


async def test_where_the_first_who_opened_it_leaves_the_next_one_goes_on() -> None:
    clock = VirtualClock()
    async with memory_wire() as wire, clock.autojump():
        await wire.start(InMemoryLightningStore(clock=clock))
        store = LinkedStore(wire, clock)
        first_is_in, first_may_leave, first_has_left = anyio.Event(), anyio.Event(), anyio.Event()

        async def first() -> None:
            async with store.opened():
                first_is_in.set()
                await first_may_leave.wait()
            first_has_left.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await first_is_in.wait()
            async with store.opened():
                started = await store.start_rollout("task")
                later = Later()
                tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[started.rollout_id]))
                await store.statistics()
                first_may_leave.set()
                await first_has_left.wait()
                await store.update_attempt(started.rollout_id, started.attempt.attempt_id, status="succeeded")
                await later.done.wait()
                assert len(later.value) == 1
        assert wire.attempts == 2
        assert not store.link.is_open


async def test_whoever_is_cancelled_can_still_say_what_has_to_be_said() -> None:
    async with linked() as it:
        said: list[Rollout] = []
        async with anyio.create_task_group() as tasks:

            async def use() -> None:
                async with it.store.opened():
                    try:
                        await anyio.sleep_forever()
                    finally:
                        with anyio.CancelScope(shield=True):
                            said.append(await it.store.enqueue_rollout("last words"))

            tasks.start_soon(use)
            await it.store.statistics()
            tasks.cancel_scope.cancel()
        assert len(said) == 1


async def test_the_last_one_to_leave_has_said_all_before_the_connection_ends() -> None:
    clock = VirtualClock()
    home = InMemoryLightningStore(clock=clock)
    async with memory_wire() as wire:
        await wire.start(home)
        store = LinkedStore(wire, clock)
        await home.enqueue_rollout("task")
        async with store.opened(), anyio.create_task_group() as tasks:
            tasks.start_soon(store.dequeue_rollout, "Worker-1")
            while not any(b"DequeueRollout" in message for message in wire.connections[-1][0].sent):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await store.statistics()
        assert (await home.query_rollouts(status_in=["queuing"])).total == 1


async def test_what_is_asked_when_the_link_is_closed_fails_and_says_so() -> None:
    clock = VirtualClock()
    async with memory_wire() as wire, anyio.create_task_group() as tasks:
        await wire.start(InMemoryLightningStore(clock=clock))
        store, later = LinkedStore(wire, clock), Later()
        async with store.opened():
            started = await store.start_rollout("task")
            tasks.start_soon(later.run, lambda: store.wait_for_rollouts(rollout_ids=[started.rollout_id]))
            await store.statistics()
        await later.done.wait()
        assert isinstance(later.error, StoreError)
        assert str(later.error) == "WaitForRollouts was not answered: the client of memory:// was closed"


async def test_a_client_may_be_opened_again() -> None:
    clock = VirtualClock()
    async with memory_wire() as wire:
        await wire.start(InMemoryLightningStore(clock=clock))
        store = LinkedStore(wire, clock)
        for task in range(3):
            async with store.opened():
                await store.enqueue_rollout(task)
                assert [one.input for one in await store.query_rollouts()] == list(range(task + 1))


async def test_a_client_that_is_open_in_one_loop_is_not_used_in_another() -> None:
    async with linked() as it:

        async def elsewhere() -> bool:
            with pytest.raises(WrongLoop, match="open in another event loop or thread"):
                async with it.store.opened():
                    pytest.fail("it was opened twice")
            return it.store.link.is_open

        assert await anyio.to_thread.run_sync(anyio.run, elsewhere) is False
        assert it.store.link.is_open


async def test_whatever_the_block_raises_comes_out_as_it_is() -> None:
    with pytest.raises(RolloutNotFound):
        async with linked() as it:
            await it.store.wait_for_rollouts(rollout_ids=["ro-none"])


async def test_a_wait_that_its_asker_leaves_is_ended_in_the_server() -> None:
    async with linked() as it:
        started = await it.store.start_rollout("task")
        with anyio.move_on_after(0.01):
            await it.store.wait_for_rollouts(rollout_ids=[started.rollout_id])
        await it.store.statistics()
        assert (await it.home.explain_rollout(started.rollout_id)).waiters == 0


async def test_the_waits_of_a_client_that_is_gone_are_ended_in_the_server() -> None:
    async with linked() as it, anyio.create_task_group() as tasks:
        started = await it.store.start_rollout("task")
        other = LinkedStore(it.wire, it.clock, client="client-2")
        async with other.opened():
            tasks.start_soon(Later().run, lambda: other.wait_for_rollouts(rollout_ids=[started.rollout_id]))
            await other.statistics()
            assert (await it.home.explain_rollout(started.rollout_id)).waiters == 1
        while (await it.home.explain_rollout(started.rollout_id)).waiters:
            await anyio.lowlevel.checkpoint()


async def test_more_clients_than_there_is_room_for_wait_outside() -> None:
    clock = VirtualClock()
    async with memory_wire() as wire, clock.autojump():
        await wire.start(InMemoryLightningStore(clock=clock), LinkLimits(clients=1))
        first, second = LinkedStore(wire, clock), LinkedStore(wire, clock, client="client-2")
        async with anyio.create_task_group() as tasks:
            later = Later()

            async def use() -> int:
                async with second.opened():
                    return (await second.query_rollouts()).total

            async with first.opened():
                tasks.start_soon(later.run, use)
                await clock.sleep(20)
                assert not later.done.is_set()
            await later.done.wait()
            assert later.value == 0


class Thoughtful(InMemoryLightningStore):
    """A store of the user's own, which thinks before it records."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.may_go_on = anyio.Event()
        self.begun = 0

    async def enqueue_rollout(self, *args: object, **kwargs: object) -> Rollout:
        self.begun += 1
        await self.may_go_on.wait()
        return await super().enqueue_rollout(*args, **kwargs)  # pyright: ignore[reportArgumentType]  # passed on


async def test_a_change_goes_on_when_its_connection_is_lost_and_is_not_begun_again() -> None:
    clock = VirtualClock()
    home = Thoughtful(clock)
    async with linked(home=home) as it, it.clock.autojump(), anyio.create_task_group() as tasks:
        later = Later()
        tasks.start_soon(later.run, lambda: it.store.enqueue_rollout("task"))
        await it.store.statistics()
        assert home.begun == 1
        it.wire.cut()
        await it.store.statistics()
        home.may_go_on.set()
        await later.done.wait()
        assert later.error is None
        assert home.begun == 1
        assert (await it.home.query_rollouts()).total == 1


async def test_operations_that_a_users_store_overrides_take_their_way_over_a_link_too() -> None:
    class Louder(InMemoryLightningStore):
        async def enqueue_rollout(self, input: object, **kwargs: object) -> Rollout:  # noqa: A002 - the store's name
            return await super().enqueue_rollout(f"{input}!", **kwargs)  # pyright: ignore[reportArgumentType]  # passed on

    home: LightningStore = Louder()
    async with linked(home=home) as it:
        assert (await it.store.enqueue_rollout("task")).input == "task!"


async def test_a_batch_that_is_too_long_is_refused_before_it_is_sent() -> None:
    clock = VirtualClock()
    async with memory_wire() as wire:
        await wire.start(InMemoryLightningStore(clock=clock), LinkLimits(payload_bytes=2000))
        store = LinkedStore(wire, clock)
        async with store.opened():
            await store.enqueue_rollout("x" * 1000)
            with pytest.raises(BoundExceeded, match=r"has 2,\d+ bytes, and the store's server takes 2,000"):
                await store.enqueue_rollout("x" * 2000)
            assert (await store.query_rollouts()).total == 1


async def test_an_answer_that_is_too_long_for_the_client_is_refused_and_says_what_to_do() -> None:
    async with linked(LinkOptions(limits=LinkLimits(payload_bytes=2000))) as it:
        for _ in range(10):
            await it.store.enqueue_rollout("x" * 500)
        with pytest.raises(BoundExceeded, match="ask for pages, with limit and offset"):
            await it.store.query_rollouts()
        assert len(await it.store.query_rollouts(limit=2)) == 2
