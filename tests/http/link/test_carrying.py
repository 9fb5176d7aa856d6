"""What cannot be carried out is told to whoever asked, and the connection goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from linked import linked
from memory_wire import memory_wire

from lightning_actors import SqliteLightningStore
from lightning_actors.errors import StoreClosed, StoreError
from lightning_actors.store import InMemoryLightningStore, LightningStore

pytestmark = pytest.mark.anyio


async def said_to(store: LightningStore, *messages: bytes) -> list[bytes]:
    """What a server says to messages of a client, until it has nothing more to say."""
    async with memory_wire() as wire:
        await wire.start(store)
        channel = await wire.connect()
        for message in (*messages, b"ping"):
            await channel.send(message)
        lines: list[bytes] = []
        while b"pong" not in lines:
            lines += (await channel.receive()).split(b"\n")
        return lines


@pytest.mark.parametrize("is_kept", [False, True], ids=["memory", "file"])
@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (b'Once {"around":["client-1",1,0,"Statistics"],"message":{}}', b"TypeError"),
        (b'Once {"around":["client-1",1,0,"Once"],"message":{}}', b"OperationUnavailable"),
        (b'Once {"around":["",1,0,"EnqueueRollout"],"message":{"input":1}}', b"InvalidRequest"),
        (b'EnqueueRollout {"input":' + b"[" * 200 + b"]" * 200 + b"}", b"NotJson"),
        (b'AddManySpans {"spans":1}', b"InvalidRequest"),
    ],
    ids=["a read in an envelope", "an envelope in one", "nobody's envelope", "deep", "no spans"],
)
async def test_what_makes_no_sense_is_a_fault_and_the_next_ask_is_answered(
    asked: bytes, kind: bytes, tmp_path: Path, *, is_kept: bool
) -> None:
    store = SqliteLightningStore(tmp_path / "store.db") if is_kept else InMemoryLightningStore()
    hello = b'hello {"client":"client-1"}'
    lines = await said_to(store, hello, b"ask 1 " + asked, b"ask 2 GetCompletionCursor {}\nask 3 QueryWorkers {}")
    (fault,) = [line for line in lines if line.startswith(b"fault ")]
    assert fault.startswith(b'fault 1 {"type":"%b"' % kind)


async def test_items_that_make_no_sense_are_the_fault_of_their_ask() -> None:
    deep = b"items 1 AddManySpans [" + b"[" * 200 + b"]" * 200 + b"]"
    lines = await said_to(
        InMemoryLightningStore(), b'hello {"client":"client-1"}', deep, b'ask 1 AddManySpans {"spans":[]}'
    )
    assert [line.split()[:2] for line in lines if line.startswith(b"fault")] == [[b"fault", b"1"]]


@pytest.mark.parametrize(
    "hello", [b'{"client":""}', b'{"client":"c","settled":-1}', b'{"client":"c","payload_bytes":-1}']
)
async def test_a_client_without_a_name_or_with_wrong_numbers_is_not_let_in(hello: bytes) -> None:
    async with memory_wire() as wire:
        await wire.start(InMemoryLightningStore())
        channel = await wire.connect()
        await channel.send(b"hello " + hello)
        assert b"hello has fields that do not fit" in await channel.receive()


async def test_a_store_that_was_closed_is_told_to_whoever_asks_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    store = SqliteLightningStore(tmp_path / "store.db")
    async with linked(home=store) as it:
        await it.store.enqueue_rollout(1)
        await store.aclose()
        for ask in (it.store.enqueue_rollout, it.store.start_rollout):
            with pytest.raises(StoreClosed, match="open it again"):
                await ask(2)
        with pytest.raises(StoreClosed, match="open it again"):
            await it.store.get_latest_resources()
        assert len(it.wire.connections) == 1


class Unwatched(InMemoryLightningStore):
    """Tells nobody of anything."""

    def watch_queue(self, ready: Callable[[], None], /) -> NoReturn:
        raise NotImplementedError("nobody is told here")


async def test_a_store_that_cannot_be_watched_is_told_to_its_client_and_not_tried_again() -> None:
    async with linked(home=Unwatched()) as it:
        it.store.watch_queue(lambda: None)
        with pytest.raises(StoreError, match="cannot be watched: NotImplementedError: nobody is told here"):
            await it.store.wait_for_rollouts(rollout_ids=[(await it.store.enqueue_rollout(1)).rollout_id])
        assert len(it.wire.connections) == 1
