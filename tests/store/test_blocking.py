"""The blocking view of a store, from threads of all sorts."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from lightning_actors.errors import RolloutNotFound, StoreError, WrongLoop
from lightning_actors.store.api import LightningStore
from lightning_actors.store.blocking import BlockingStore
from lightning_actors.store.memory import InMemoryLightningStore
from lightning_actors.store.messages import EnqueueRollout

pytestmark = pytest.mark.anyio


async def in_own_thread(work: Callable[[], Any]) -> Any:
    """Run this in a daemon thread that anyio knows nothing of."""
    result: Future[Any] = Future()

    def target() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed over to the test
            result.set_exception(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    while thread.is_alive():  # joining here would block the loop that the thread needs
        await checkpoint()
        await to_thread.run_sync(thread.join, 0.01)
    return result.result()


@pytest.fixture(params=[to_thread.run_sync, in_own_thread], ids=["anyio-thread", "own-thread"])
def in_thread(request: pytest.FixtureRequest) -> Any:
    return request.param


def whole_life(view: BlockingStore) -> list[str]:
    rollout = view.enqueue_rollout("task", mode="train")
    claimed = view.dequeue_rollout("Worker-1")
    assert claimed.rollout_id == rollout.rollout_id
    view.update_attempt(rollout.rollout_id, "latest", status="succeeded")
    return [ended.status for ended in view.wait_for_rollouts(rollout_ids=[rollout.rollout_id])]


async def test_operations_return_their_replies_without_await(in_thread: Any) -> None:
    view = BlockingStore(InMemoryLightningStore())
    assert await in_thread(lambda: whole_life(view)) == ["succeeded"]


async def test_a_view_made_in_a_thread_of_anyio_finds_the_loop() -> None:
    store = InMemoryLightningStore()
    assert await to_thread.run_sync(lambda: whole_life(BlockingStore(store))) == ["succeeded"]


async def test_a_message_is_asked_with_its_reply_typed(in_thread: Any) -> None:
    view = BlockingStore(InMemoryLightningStore())
    assert (await in_thread(lambda: view.ask(EnqueueRollout("task")).input)) == "task"


async def test_an_overriding_method_is_called() -> None:
    class Loud(InMemoryLightningStore):
        async def enqueue_rollout(self, input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 - the name of the operation's own parameter
            return await super().enqueue_rollout(f"{input}!", *args, **kwargs)

    view = BlockingStore(Loud())
    assert (await to_thread.run_sync(lambda: view.enqueue_rollout("task").input)) == "task!"
    assert (await to_thread.run_sync(lambda: view.ask(EnqueueRollout("task")).input)) == "task!"


async def test_an_error_reaches_the_thread(in_thread: Any) -> None:
    view = BlockingStore(InMemoryLightningStore())
    with pytest.raises(RolloutNotFound):
        await in_thread(lambda: view.wait_for_rollouts(rollout_ids=["ro-none"]))


async def test_a_waiting_thread_does_not_hold_up_the_loop(in_thread: Any) -> None:
    store = InMemoryLightningStore()
    view = BlockingStore(store)
    rollout = await store.enqueue_rollout("task")
    replies: list[Any] = []

    async def wait() -> None:
        replies.extend(await in_thread(lambda: view.wait_for_rollouts(rollout_ids=[rollout.rollout_id])))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        while not store._clerk.waiters:
            await checkpoint()
        await store.update_rollout(rollout.rollout_id, status="cancelled")
    assert [reply.status for reply in replies] == ["cancelled"]


async def test_a_thread_reads_completions_as_they_come(in_thread: Any) -> None:
    store = InMemoryLightningStore()
    view = BlockingStore(store)
    first, second = [await store.enqueue_rollout(task) for task in ("first", "second")]
    await store.update_rollout(second.rollout_id, status="cancelled")
    read: list[Any] = []

    def reading() -> None:
        feed = view.completions()
        read.extend(next(feed).input for _ in range(2))
        read.append(feed.cursor)

    async with anyio.create_task_group() as group:
        group.start_soon(in_thread, reading)
        while not store._clerk.waiters:
            await checkpoint()
        await store.update_rollout(first.rollout_id, status="cancelled")
    assert read == ["second", "first", await store.get_completion_cursor()]


async def test_cancelling_the_host_of_a_thread_ends_its_wait() -> None:
    store = InMemoryLightningStore()
    view = BlockingStore(store)
    rollout = await store.enqueue_rollout("task")
    async with anyio.create_task_group() as group:
        group.start_soon(to_thread.run_sync, lambda: view.wait_for_rollouts(rollout_ids=[rollout.rollout_id]))
        while not store._clerk.waiters:
            await checkpoint()
        group.cancel_scope.cancel()
    assert not store._clerk.waiters


async def test_closing_the_view_ends_waits_and_refuses_calls(in_thread: Any) -> None:
    store = InMemoryLightningStore()
    view = BlockingStore(store)
    rollout = await store.enqueue_rollout("task")
    async with anyio.create_task_group() as group:

        async def close_once_it_waits() -> None:
            while not store._clerk.waiters:
                await checkpoint()
            view.close()

        group.start_soon(close_once_it_waits)
        with pytest.raises(StoreError, match="has ended"):
            await in_thread(lambda: view.wait_for_rollouts(rollout_ids=[rollout.rollout_id]))
    assert not store._clerk.waiters
    with pytest.raises(StoreError, match="no more calls"):
        await in_thread(lambda: view.enqueue_rollout("another"))
    assert (await store.query_rollouts()).total == 1


async def test_in_the_loop_itself_it_is_an_error_that_says_what_to_do() -> None:
    view = BlockingStore(InMemoryLightningStore())
    with pytest.raises(WrongLoop, match=r"anyio\.to_thread"):
        view.enqueue_rollout("task")


def test_without_a_loop_it_is_an_error_that_says_what_to_do() -> None:
    view = BlockingStore(InMemoryLightningStore())
    with pytest.raises(WrongLoop, match=r"anyio\.to_thread"):
        view.enqueue_rollout("task")


def test_after_its_loop_has_ended_it_is_an_error(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    async def make() -> BlockingStore:
        return BlockingStore(InMemoryLightningStore())

    view = anyio.run(make, backend=anyio_backend[0], backend_options=anyio_backend[1])
    with pytest.raises(WrongLoop, match="has ended"):
        view.enqueue_rollout("task")


def test_a_thread_of_another_loop_reaches_the_stores_own(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    async def outer() -> list[str]:
        store = InMemoryLightningStore()
        view = BlockingStore(store)

        async def inner() -> list[str]:
            return await to_thread.run_sync(lambda: whole_life(view))

        def another_loop() -> list[str]:
            return anyio.run(inner, backend=anyio_backend[0], backend_options=anyio_backend[1])

        stop_watching = store.watch_queue(lambda: None)  # the store is in use, and refuses other loops
        try:
            return await to_thread.run_sync(another_loop)
        finally:
            stop_watching()

    assert anyio.run(outer, backend=anyio_backend[0], backend_options=anyio_backend[1]) == ["succeeded"]


def test_it_has_every_operation_of_the_store_and_nothing_else() -> None:
    view = BlockingStore(InMemoryLightningStore())
    for name in LightningStore.operations:
        assert name in dir(view)
        operation, plain = getattr(InMemoryLightningStore(), name), getattr(view, name)
        assert (plain.__name__, plain.__doc__) == (name, operation.__doc__)
        assert inspect.signature(plain) == inspect.signature(operation)
        assert not inspect.iscoroutinefunction(plain)
    assert view.capabilities.get("thread_safe")
    with pytest.raises(AttributeError, match="'enqueue' is none"):
        view.enqueue("task")
    with pytest.raises(StoreError, match="OTLP"):
        view.otlp_traces_endpoint()
