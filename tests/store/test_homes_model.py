"""Every home of the store beside the model: the same rules as for the store in memory, asked from another thread."""

from __future__ import annotations

import math
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from anyio.from_thread import start_blocking_portal
from http_home import Opening, in_a_file, server_of
from hypothesis import settings
from link_home import linked
from store_model import Task
from test_store_model import StoreMachine

from lightning_actors import LightningStore, LightningStoreClient
from lightning_actors.actors import Clock
from lightning_actors.errors import RunHeld
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store import messages as say
from lightning_actors.store.once import Once


@asynccontextmanager
async def routes(opening: Opening, clock: Clock) -> AsyncGenerator[LightningStore]:
    """A store behind a server, asked by requests."""
    async with server_of(opening, clock) as server:
        client = LightningStoreClient(server.endpoint, clock=clock)
        try:
            yield client
        finally:
            await client.close()


class HomeMachine(StoreMachine):
    """The rules of the store in memory, on a home that is reached through its event loop.

    What tables show is asked for: the queue and the leases by explanations, and runs by beginning them.
    """

    kept: ClassVar[bool]

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.starting = start_blocking_portal("asyncio")
        self.portal = self.starting.__enter__()
        self.memory: InMemoryLightningStore | None = None
        super().__init__()

    def home(self) -> AbstractAsyncContextManager[LightningStore]:
        """The store, opened where it was before."""
        raise NotImplementedError

    @asynccontextmanager
    async def backing(self, clock: Clock) -> AsyncGenerator[LightningStore]:
        """What a server serves."""
        if self.kept:
            async with in_a_file(clock, Path(self.directory.name)) as store:
                yield store
            return
        self.memory = InMemoryLightningStore(clock=clock)
        yield self.memory

    def open(self) -> None:
        self.opened = self.portal.wrap_async_context_manager(self.home())
        self.there = self.opened.__enter__()

    def come_back_after(self, seconds: float) -> None:
        memory = self.memory
        if memory is None:
            self.opened.__exit__(None, None, None)
            self.advance(seconds)
            self.open()
            return

        def gone() -> None:
            """In one turn of the loop: a server that goes on would settle what falls due meanwhile."""
            self.clock.advance(seconds)
            memory.take_over()

        self.portal.call(gone)

    def teardown(self) -> None:
        self.opened.__exit__(None, None, None)
        self.starting.__exit__(None, None, None)
        self.directory.cleanup()

    def perform(self, message: Any) -> Any:
        """Carry an operation out; two in three that change something come again, under their number."""
        if not issubclass(type(message), say.StoreRead):
            self.asked += 1
            if self.asked % 3:
                message = Once("client-1", self.asked, settled_below=max(0, self.asked - 4), message=message)
        reply: Any = self.portal.call(self.there.ask, message)
        if isinstance(message, Once):
            assert self.portal.call(self.there.ask, message) == reply
        return reply

    def advance(self, seconds: float) -> None:
        self.portal.call(self.clock.advance, seconds)

    def settle_the_store(self) -> None:
        """Every operation does so first."""

    async def explained(self, rollout_ids: Sequence[str]) -> list[Any]:
        """What the store says of each."""
        return [await self.there.explain_rollout(rollout_id) for rollout_id in rollout_ids]

    def queued(self) -> list[str]:
        ahead = {one.rollout_id: one.ahead for one in self.portal.call(self.explained, self.model.queue)}
        assert sorted(ahead.values()) == list(range(len(ahead)))
        return sorted(ahead, key=lambda rollout_id: ahead[rollout_id])

    def check_leases(self, task: Task) -> None:
        if not task.tries:
            return
        (said,) = self.portal.call(self.explained, [self.id_of(task)])
        lease = task.tries[-1].lease
        assert (said.held_by, said.held_until) == ((lease.holder, lease.until) if lease else (None, None))

    def id_of(self, task: Task) -> str:
        return next(rollout_id for rollout_id, one in self.model.tasks.items() if one is task)

    def check_runs(self) -> None:
        """One that is in other hands is refused, for just as long as it is."""
        for name in {run.name for run in self.model.runs}:
            free_from = [run.free_from for run in self.model.runs if run.name == name]
            leased = [seconds for seconds in free_from if seconds < math.inf]
            if leased and min(leased) > self.now:
                with pytest.raises(RunHeld) as caught:
                    self.perform(say.BeginRun(name, "fingerprint"))
                assert caught.value.seconds == min(leased) - self.now


class InAFile(HomeMachine):
    """The store in a file, with its writer's thread."""

    kept = True

    def home(self) -> AbstractAsyncContextManager[LightningStore]:
        return self.backing(self.clock)


class ByRoutes(HomeMachine):
    """The store in memory behind a server, asked by requests."""

    kept = False

    def home(self) -> AbstractAsyncContextManager[LightningStore]:
        return routes(self.backing, self.clock)


class OverALink(HomeMachine):
    """The store in memory behind a server, asked over a link."""

    kept = False

    def home(self) -> AbstractAsyncContextManager[LightningStore]:
        return linked(self.backing, self.clock)


class InAFileByRoutes(ByRoutes):
    """The store in a file behind a server, asked by requests."""

    kept = True


class InAFileOverALink(OverALink):
    """The store in a file behind a server, asked over a link."""

    kept = True


def bounded(machine: type[HomeMachine], examples: int) -> Any:
    """A test of so many examples: few enough for every run, anew each time."""
    test = pytest.mark.timeout(300)(machine.TestCase)
    test.settings = settings(max_examples=examples, stateful_step_count=25, deadline=None)
    return test


TestInAFile = bounded(InAFile, 40)
TestByRoutes = bounded(ByRoutes, 12)
TestOverALink = bounded(OverALink, 20)
TestInAFileByRoutes = bounded(InAFileByRoutes, 8)
TestInAFileOverALink = bounded(InAFileOverALink, 14)
