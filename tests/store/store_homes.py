"""The homes that are put through the store contract, one entry each in HOMES, and what its tests share.

To add a home, write a function that opens it and name it in HOMES:

```
@asynccontextmanager
async def my_home(clock: Clock, place: Path) -> AsyncGenerator[LightningStore]:
    async with MyStore(place / "store", clock=clock) as store:      place is an empty folder, the test's own
        yield store                                                 opened at the same place again, the same store

HOMES = {..., "mine": Home(my_home, kind="MyStore", is_kept=True)}
```

Every file ``test_contract_*.py`` then runs on it unchanged, on each event loop. What a home cannot do its entry says,
and the tests that need it are left out: a test that lets time pass takes the fixture ``clock``, one that records what
JSON cannot hold asks for ``any_object``. A home may answer from another thread or process: tests wait for what they are
told (`Told`, `Later`), and `everyone_waits` goes to the store and back. What comes of the store's own accord is to be
there before the answer to whatever is asked after it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from http_home import in_a_file, in_memory, over_http, over_http_to_a_file, requests_have_arrived
from link_home import over_a_link, over_a_link_to_a_file

from lightning_actors.actors import Clock, hosted
from lightning_actors.store import (
    InMemoryLightningStore,
    LightningStore,
    LightningStoreCapabilities,
)
from lightning_actors.store.actor import ActorStore, ForwardingStoreActor, store_actor
from lightning_actors.store.local import LocalStore
from lightning_actors.store.memory_tables import MemoryTables
from lightning_actors.store.rules import span_size_bytes
from lightning_actors.store.span_shelf import SpanShelf
from lightning_actors.types import AttemptedRollout, AttemptStatus, Rollout, RolloutConfig, Span

ALL_LOOPS: Final = frozenset({"asyncio", "uvloop", "trio"})


@dataclass(frozen=True)
class Home:
    """A home of the store, and what it can do.

    Attributes:
        open: Opens the store at a place, empty or as it was left there.
        kind: The class that its statistics name.
        loops: The event loops that it is put on. One made of parts that other homes put on every loop needs only one.
        takes_clock: Its time is the clock that it is opened with; otherwise the machine's own.
        holds_any_object: A task may be any object; otherwise what JSON can hold.
        is_kept: Opened again at the same place, it has what it had.
        tells_of_work: It can be watched, so that runners can work with it as it is.
    """

    open: Callable[[Clock, Path], AbstractAsyncContextManager[LightningStore]]
    kind: str = "InMemoryLightningStore"
    loops: frozenset[str] = ALL_LOOPS
    takes_clock: bool = True
    holds_any_object: bool = True
    is_kept: bool = False
    tells_of_work: bool = True


@asynccontextmanager
async def bare(clock: Clock, _place: Path) -> AsyncGenerator[LightningStore]:
    """The bare store in memory."""
    async with in_memory(clock) as store:
        yield store


@asynccontextmanager
async def behind_its_actor(clock: Clock, _place: Path) -> AsyncGenerator[LightningStore]:
    """The store in memory, spoken to through its actor."""
    store = InMemoryLightningStore(clock=clock)
    async with hosted(lambda: store_actor(store)) as ref:
        yield ActorStore(ref, store, clock=clock)


@asynccontextmanager
async def behind_a_forwarding_actor(clock: Clock, _place: Path) -> AsyncGenerator[LightningStore]:
    """The store in memory, behind the actor that any other store gets."""
    store = InMemoryLightningStore(clock=clock)
    async with hosted(lambda: ForwardingStoreActor(store)) as ref:
        yield ActorStore(ref, store, clock=clock)


class KeptStore(LocalStore):
    """Stands in for a durable store: its tables are in memory, and outlive the store object.

    Args:
        place: Stores that are opened at one place, one after another, have the same tables.
        clock: Where the time comes from.
    """

    _tables_at: Final[dict[Path, MemoryTables]] = {}

    def __init__(self, place: Path, *, clock: Clock | None = None) -> None:
        bound = 2**40
        tables = self._tables_at.setdefault(place, MemoryTables(SpanShelf(bound, bound, span_size_bytes)))
        super().__init__(tables, clock=clock)
        self.take_over()

    @classmethod
    def kill(cls, place: Path, new_place: Path) -> None:
        """Have a store at a new place what a process that is killed now would leave at this one."""
        cls._tables_at[new_place] = copy.deepcopy(cls._tables_at[place])

    @property
    def capabilities(self) -> LightningStoreCapabilities:
        """As durable as the process."""
        return {**super().capabilities, "durable": True}


@asynccontextmanager
async def kept(clock: Clock, place: Path) -> AsyncGenerator[LightningStore]:
    """Tables in memory that outlive the store object."""
    yield KeptStore(place, clock=clock)


@asynccontextmanager
async def in_a_file_behind_its_actor(clock: Clock, place: Path) -> AsyncGenerator[LightningStore]:
    """The store in a file, spoken to through its actor."""
    async with in_a_file(clock, place) as store, hosted(lambda: store_actor(store)) as ref:
        yield ActorStore(ref, store, clock=clock)


HOMES: dict[str, Home] = {
    "memory": Home(bare),
    "actor": Home(behind_its_actor),
    "forwarding": Home(behind_a_forwarding_actor, loops=frozenset({"asyncio"})),
    "file": Home(in_a_file, kind="SqliteLightningStore", holds_any_object=False, is_kept=True),
    "file-actor": Home(in_a_file_behind_its_actor, kind="SqliteLightningStore", holds_any_object=False, is_kept=True),
    "kept": Home(kept, kind="KeptStore", loops=frozenset({"asyncio"}), is_kept=True),
    "http": Home(over_http, holds_any_object=False, tells_of_work=False),
    "file-http": Home(
        over_http_to_a_file,
        kind="SqliteLightningStore",
        loops=frozenset({"asyncio", "trio"}),
        holds_any_object=False,
        is_kept=True,
        tells_of_work=False,
    ),
    "link": Home(over_a_link, holds_any_object=False),
    "file-link": Home(
        over_a_link_to_a_file,
        kind="SqliteLightningStore",
        loops=frozenset({"asyncio", "trio"}),
        holds_any_object=False,
        is_kept=True,
    ),
}

_numbers = itertools.count(1)


def span_of(rollout_id: str, attempt_id: str, **changes: Any) -> Span:
    """A span with an id of its own."""
    number = next(_numbers)
    fields: dict[str, Any] = {
        "rollout_id": rollout_id,
        "attempt_id": attempt_id,
        "sequence_id": 0,
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "name": "step",
    }
    return Span(**{**fields, **changes})


def span_in(claimed: AttemptedRollout, **changes: Any) -> Span:
    """A span of the attempt that was claimed."""
    return span_of(claimed.rollout_id, claimed.attempt.attempt_id, **changes)


async def claim(store: LightningStore, worker_id: str | None = None) -> AttemptedRollout:
    """Claim what must be there."""
    claimed = await store.dequeue_rollout(worker_id)
    assert claimed is not None
    return claimed


async def running(store: LightningStore, config: RolloutConfig | None = None) -> AttemptedRollout:
    """A rollout whose first attempt is running."""
    claimed = await store.start_rollout("task", config=config)
    await store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status="running")
    return claimed


async def ended(store: LightningStore, status: AttemptStatus = "succeeded", task: Any = "task") -> Rollout:
    """A rollout that has ended after one attempt."""
    claimed = await store.start_rollout(task)
    await store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status=status)
    return await get(store, claimed.rollout_id)


async def get(store: LightningStore, rollout_id: str) -> Rollout:
    """The rollout, which must be there."""
    rollout = await store.get_rollout_by_id(rollout_id)
    assert rollout is not None
    return rollout


async def end(store: LightningStore, claimed: AttemptedRollout, status: AttemptStatus = "succeeded") -> None:
    """Report how the attempt ended."""
    await store.update_attempt(claimed.rollout_id, claimed.attempt.attempt_id, status=status)


async def dump(store: LightningStore) -> dict[str, Any]:
    """All that a store holds, as far as its queries show it."""
    rollouts = await store.query_rollouts()
    statistics = dict(await store.statistics())
    statistics.pop("uptime")
    return {
        "rollouts": [rollout.model_dump() for rollout in rollouts],
        "attempts": [(await store.query_attempts(r.rollout_id)).items for r in rollouts],
        "spans": [(await store.query_spans(r.rollout_id)).items for r in rollouts],
        "resources": (await store.query_resources()).items,
        "latest": await store.get_latest_resources(),
        "workers": (await store.query_workers()).items,
        "statistics": statistics,
    }


async def everyone_waits(store: LightningStore | None = None) -> None:
    """Let all tasks run until each waits for something; the turns first, for a task that is new costs a long look.

    With a store, also until it has taken up what was asked before: it is asked once more, which is answered after that.
    """
    for _ in range(8):
        await checkpoint()
    await wait_all_tasks_blocked()
    if store is not None:
        await store.get_worker_by_id("nobody")
        await wait_all_tasks_blocked()
    await requests_have_arrived()


class Later:
    """The result of something that is waited for in the background."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.value: Any = None
        self.error: Exception | None = None

    async def run(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Wait for it and keep what comes."""
        try:
            self.value = await work()
        except Exception as error:  # noqa: BLE001 - kept for the test to look at
            self.error = error
        self.done.set()


class Told:
    """What a watcher was told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.times = 0
        self._stopped = anyio.Event()

    def stop(self, reason: str) -> None:
        """For `watch_attempt`."""
        self.reasons.append(reason)
        self._stopped.set()

    async def stopped(self) -> str:
        """Why, once `stop` was called."""
        await self._stopped.wait()
        return self.reasons[0]

    def ready(self) -> None:
        """For `watch_queue`."""
        self.times += 1

    def taken(self) -> bool:
        """Whether it was told since last asked."""
        times, self.times = self.times, 0
        return times > 0
