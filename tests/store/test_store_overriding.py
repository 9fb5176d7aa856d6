"""One operation replaced in a subclass: the method and the message agree on every route."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import to_thread
from http_home import served

from lightning_actors import LightningStoreClient
from lightning_actors.actors import hosted
from lightning_actors.actors.message import Message
from lightning_actors.errors import NumberReused, ReplyForgotten
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.store.actor import ActorStore, store_actor
from lightning_actors.store.blocking import BlockingStore
from lightning_actors.store.messages import (
    DequeueRollout,
    EnqueueRollout,
    GetRolloutById,
    QueryRollouts,
    UpdateRollout,
    WaitForRollouts,
)
from lightning_actors.store.once import Once
from lightning_actors.types import (
    AttemptedRollout,
    PaginatedResult,
    Rollout,
    RolloutConfig,
    RolloutMode,
    TaskInput,
)

pytestmark = pytest.mark.anyio


class Marking(InMemoryLightningStore):
    """Notes on each rollout that it came this way, and trains unless told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    async def enqueue_rollout(
        self,
        input: TaskInput,  # noqa: A002 - the operation's own name
        mode: RolloutMode | None = "train",
        resources_id: str | None = None,
        config: RolloutConfig | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Rollout:
        self.seen.append("enqueue")
        return await super().enqueue_rollout(
            input, mode, resources_id, config, metadata={**(metadata or {}), "marked": True}
        )

    async def query_rollouts(self, **options: Any) -> PaginatedResult[Rollout]:
        self.seen.append("query")
        options["limit"] = 1
        return await super().query_rollouts(**options)

    async def wait_for_rollouts(self, **options: Any) -> list[Rollout]:
        self.seen.append("wait")
        return await super().wait_for_rollouts(**options)


class Narrow(InMemoryLightningStore):
    """Takes fewer arguments than it might, and names its own."""

    async def enqueue_rollout(self, task: TaskInput) -> Rollout:
        return await super().enqueue_rollout(task, metadata={"narrow": True})


class Inherited(Marking):
    """Overrides nothing itself."""


@asynccontextmanager
async def itself(store: LightningStore) -> AsyncGenerator[LightningStore]:
    yield store


@asynccontextmanager
async def its_actor(store: LightningStore) -> AsyncGenerator[LightningStore]:
    async with hosted(lambda: store_actor(store)) as ref:
        yield ActorStore(ref, store)


@asynccontextmanager
async def its_server(store: LightningStore) -> AsyncGenerator[LightningStore]:
    async with served(store) as server:
        client = LightningStoreClient(server.endpoint)
        yield client
        await client.close()


Call = Callable[[LightningStore, Message[Any]], Awaitable[Any]]


async def by_method(store: LightningStore, message: Message[Any]) -> Any:
    names = {kind: name for name, kind in LightningStore.operations.items()}
    given = {
        name: getattr(message, name)
        for name, parameter in inspect.signature(type(message)).parameters.items()
        if getattr(message, name) is not parameter.default
    }
    return await getattr(store, names[type(message)])(**given)


async def by_message(store: LightningStore, message: Message[Any]) -> Any:
    return await store.ask(message)


async def by_thread(store: LightningStore, message: Message[Any]) -> Any:
    view = BlockingStore(store)
    return await to_thread.run_sync(view.ask, message)


routes = pytest.mark.parametrize("call", [by_method, by_message, by_thread])
ways = pytest.mark.parametrize("way", [itself, its_actor, its_server])
kinds = pytest.mark.parametrize("kind", [Marking, Inherited])


@routes
@ways
@kinds
async def test_an_overridden_operation_is_reached_on_every_route(
    kind: type[Marking], way: Callable[[LightningStore], Any], call: Call
) -> None:
    marking = kind()
    async with way(marking) as store:
        rollout = await call(store, EnqueueRollout("task", metadata={"note": 1}))
        assert (rollout.metadata, rollout.mode) == ({"note": 1, "marked": True}, "train")
        named = await call(store, EnqueueRollout(input="other", mode="val"))
        assert (named.metadata, named.mode) == ({"marked": True}, "val")
        assert marking.seen == ["enqueue", "enqueue"]
        page = await call(store, QueryRollouts(status_in=["queuing"], offset=1))
        assert [found.rollout_id for found in page] == [named.rollout_id]
        await call(store, UpdateRollout(rollout.rollout_id, status="cancelled"))
        waited = await call(store, WaitForRollouts(rollout_ids=[rollout.rollout_id], timeout=0))
        assert [found.status for found in waited] == ["cancelled"]
        assert marking.seen == ["enqueue", "enqueue", "query", "wait"]
        assert (await call(store, GetRolloutById(rollout.rollout_id))).status == "cancelled"
        assert (await call(store, DequeueRollout())).rollout_id == named.rollout_id


@pytest.mark.parametrize("call", [by_message, by_thread])
@ways
async def test_an_envelope_takes_the_way_of_what_it_holds(way: Callable[[LightningStore], Any], call: Call) -> None:
    marking = Marking()
    async with way(marking) as store:
        envelope = Once("client-1", 1, message=EnqueueRollout("task"))
        rollout = await call(store, envelope)
        assert (rollout.metadata, rollout.mode) == ({"marked": True}, "train")
        assert (await call(store, envelope)).rollout_id == rollout.rollout_id
        with pytest.raises(NumberReused):
            await call(store, Once("client-1", 1, message=DequeueRollout()))
        assert marking.seen == ["enqueue"]
        claims = [await call(store, Once("client-1", 2, message=DequeueRollout())) for _ in range(2)]
        assert claims[0] == claims[1]
        await call(store, Once("client-1", 3, settled_below=3, message=EnqueueRollout("other")))
        with pytest.raises(ReplyForgotten):
            await call(store, envelope)
        assert marking.seen == ["enqueue", "enqueue"]


async def test_a_repeat_waits_for_an_override_that_is_under_way() -> None:
    class Slow(Marking):
        async def enqueue_rollout(self, input: TaskInput, *args: Any, **kwargs: Any) -> Rollout:  # noqa: A002 - the operation's own name
            await anyio.wait_all_tasks_blocked()
            return await super().enqueue_rollout(input, *args, **kwargs)

    slow, ids = Slow(), list[str]()
    envelope = Once("client-1", 1, message=EnqueueRollout("task"))

    async def ask() -> None:
        ids.append((await slow.ask(envelope)).rollout_id)

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as given_up:
            given_up.cancel()
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await slow.ask(envelope)
    assert len(set(ids)) == 1
    assert slow.seen == ["enqueue"]


async def test_an_override_that_raises_is_tried_again() -> None:
    class Failing(InMemoryLightningStore):
        tried = 0

        async def enqueue_rollout(self, *args: Any, **kwargs: Any) -> Rollout:
            self.tried += 1
            if self.tried == 1:
                raise OSError("not yet")
            return await super().enqueue_rollout(*args, **kwargs)

    store, envelope = Failing(), Once("client-1", 1, message=EnqueueRollout("task"))
    with pytest.raises(OSError, match="not yet"):
        await store.ask(envelope)
    first = await store.ask(envelope)
    assert await store.ask(envelope) == first
    assert store.tried == 2


@ways
async def test_an_override_may_name_its_required_arguments_itself(way: Callable[[LightningStore], Any]) -> None:
    async with way(Narrow()) as store:
        for rollout in (await store.ask(EnqueueRollout("task")), await store.enqueue_rollout("task")):
            assert (rollout.input, rollout.metadata) == ("task", {"narrow": True})


async def test_an_argument_that_an_override_does_not_take_is_an_error_on_both_routes() -> None:
    store = Narrow()
    with pytest.raises(TypeError, match="mode"):
        await store.ask(EnqueueRollout("task", mode="train"))
    with pytest.raises(TypeError, match="mode"):
        await store.enqueue_rollout("task", mode="train")  # pyright: ignore[reportCallIssue]  # the point of the test


async def test_only_what_is_overridden_is_noted() -> None:
    assert set(Marking.overridden.values()) == {"enqueue_rollout", "query_rollouts", "wait_for_rollouts"}
    assert Inherited.overridden == Marking.overridden
    assert InMemoryLightningStore.overridden == {}


async def test_the_library_version_of_an_operation_can_be_called_past_the_override() -> None:
    rollout = await LightningStore.enqueue_rollout(Marking(), "task")
    assert (rollout.metadata, rollout.mode) == ({}, None)


async def test_every_operation_has_the_signature_and_the_words_of_its_message() -> None:
    assert len(LightningStore.operations) == 38
    for name, message in LightningStore.operations.items():
        method = getattr(LightningStore, name)
        assert (method.__name__, method.__doc__) == (name, message.__doc__)
        assert inspect.iscoroutinefunction(method)
        signature = inspect.signature(getattr(InMemoryLightningStore(), name))
        assert list(signature.parameters.values()) == list(inspect.signature(message).parameters.values())
        assert signature.return_annotation == message.reply_type()
    signature = inspect.signature(InMemoryLightningStore.dequeue_rollout)
    assert signature.return_annotation == AttemptedRollout | None


async def test_an_operation_can_be_started_in_a_task_group() -> None:
    store = InMemoryLightningStore()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.enqueue_rollout, "task")
    assert (await store.query_rollouts()).total == 1
