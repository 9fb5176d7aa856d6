"""`ServedStore`: one store, as all connections of a server use it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import anyio

from lightning_actors.actors import Clock, SystemClock
from lightning_actors.errors import BoundExceeded
from lightning_actors.http.limits import ServerLimits
from lightning_actors.store import LightningStore
from lightning_actors.store.messages import (
    QueryAttempts,
    QueryResources,
    QueryRollouts,
    QuerySpans,
    QueryWorkers,
    Statistics,
    StoreMessage,
    StoreWait,
)
from lightning_actors.types import PaginatedResult

__all__ = ["QUERIES", "ServedStore"]

QUERIES: Final = (QueryRollouts, QueryAttempts, QueryResources, QuerySpans, QueryWorkers)
"""Operations that are answered by a page."""


class ServedStore:
    """Carries operations out on a store within the bounds of a server.

    Args:
        store: The store, whatever its home.
        limits: The bounds.
        clock: Whose time a ``timeout`` is.

    Attributes:
        store: The store.
        limits: The bounds.
        unfiled_spans: How many spans arrived by OTLP that no attempt of this store could be given.
    """

    def __init__(
        self, store: LightningStore, *, limits: ServerLimits | None = None, clock: Clock | None = None
    ) -> None:
        self.store = store
        self.limits = limits or ServerLimits()
        self.unfiled_spans = 0
        self._clock = clock or SystemClock()
        self._waiters = 0

    @functools.cached_property
    def stopping(self) -> anyio.Event:
        """Set once the server is about to stop: who waits is answered with what there is."""
        return anyio.Event()

    @property
    def remembers_replies(self) -> bool:
        """Whether what is asked for again is answered from memory."""
        return self.store.capabilities.get("remembers_replies", False)

    @property
    def waiters(self) -> int:
        """How many requests wait for rollouts to end."""
        return self._waiters

    async def carry(self, message: StoreMessage[Any], gone: Callable[[], Awaitable[object]] | None = None) -> Any:
        """Carry an operation out.

        Args:
            message: The operation.
            gone: Returns when whoever asks has gone away, which ends a wait.

        Returns:
            The operation's reply.

        Raises:
            BoundExceeded: It asks for more than a bound allows.
            StoreError: As the operation says.
        """
        if isinstance(message, StoreWait):
            return await self._wait(message, gone or anyio.sleep_forever)
        if isinstance(message, QUERIES):
            return await self._query(message)
        reply = await self.store.ask(message)
        if isinstance(message, Statistics):
            return {**reply, "unfiled_spans": self.unfiled_spans}
        return reply

    def check_batch(self, count: int) -> None:
        """Refuse more than one request may bring. Raises BoundExceeded."""
        if count > self.limits.batch:
            raise self._too_many("batch", f"there are at least {count:,} items in the request")

    async def _query(self, message: Any) -> PaginatedResult[Any]:
        """A page; all that there is only where that is no more than a page may hold."""
        most = self.limits.page
        asked: int = message.limit
        if 0 <= asked <= most:
            return await self.store.ask(message)
        page: PaginatedResult[Any] = await self.store.ask(replace(message, limit=most))
        if most <= len(page) < page.total - message.offset:
            raise self._too_many("page", f"there are {page.total - message.offset:,} records")
        return replace(page, limit=asked)

    async def _wait(self, message: StoreWait[Any], gone: Callable[[], Awaitable[object]]) -> Any:
        """A wait; it ends early where nobody would hear its answer, or the server stops."""
        if message.timeout is not None and message.timeout <= 0:
            return await self.store.ask(message)
        if self._waiters >= self.limits.waiters:
            raise self._too_many("waiters", "as many requests wait already")
        self._waiters += 1
        try:
            outcome = await self._raced(message, gone)
        finally:
            self._waiters -= 1
        if outcome is None:
            return await self.store.ask(message.with_timeout(0.0))
        return outcome()

    async def _raced(self, message: StoreWait[Any], gone: Callable[[], Awaitable[object]]) -> Callable[[], Any] | None:
        """How the wait ended, as a function that answers or raises; None where its time was up."""
        outcome: list[Callable[[], Any]] = []

        async def until(over: Callable[[], Awaitable[object]]) -> None:
            await over()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(until, gone)
            group.start_soon(until, self.stopping.wait)
            with self._clock.move_on_after(message.timeout):
                outcome.append(await _outcome(self.store, message.with_timeout(None)))
            group.cancel_scope.cancel()
        return outcome[0] if outcome else None

    def _too_many(self, bound: str, why: str) -> BoundExceeded:
        allowed = getattr(self.limits, bound)
        return BoundExceeded(
            f"{why}, and this server's bound for {bound} is {allowed:,}: ask for less at a time, or raise "
            f"ServerLimits({bound}=...) where the server is started",
            bound=bound,
            allowed=allowed,
        )


async def _outcome(store: LightningStore, message: StoreWait[Any]) -> Callable[[], Any]:
    try:
        reply = await store.ask(message)
    except Exception as error:  # noqa: BLE001 - boundary: it is raised outside of the task group
        return functools.partial(_raise, error)
    return lambda: reply


def _raise(error: Exception) -> Any:
    raise error
