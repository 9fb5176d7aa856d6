"""`Runner`: what every runner can do; `RunContext`: one object for ``with`` and ``async with``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, Generic, Self, TypeVar

from anyio import AsyncContextManagerMixin, ContextManagerMixin

from lightning_actors.litagent import LitAgent
from lightning_actors.store import LightningStore
from lightning_actors.types import Hook, ParallelWorkerBase, Resource, Rollout, RolloutConfig, RolloutMode

__all__ = ["RunContext", "Runner"]

T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", bound="Runner[Any]", covariant=True)


class RunContext(ContextManagerMixin, AsyncContextManagerMixin, Generic[R_co]):
    """A runner bound to an agent and a store for the length of a block, ``with`` or ``async with``."""

    def __init__(
        self, runner: R_co, bind: Callable[[], AbstractContextManager[None]], reside: Callable[[], Any]
    ) -> None:
        self._runner = runner
        self._bind = bind
        self._reside: Callable[[], AbstractAsyncContextManager[None]] = reside

    @contextmanager
    def __contextmanager__(self) -> Generator[R_co]:
        """Bound, without an actor of its own: each step makes one for itself."""
        with self._bind():
            yield self._runner

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[R_co]:
        """Bound, with a resident actor and its heartbeat."""
        with self._bind():
            async with self._reside():
                yield self._runner


class Runner(ParallelWorkerBase, ABC, Generic[T_contra]):
    """Runs an agent on tasks and reports to a store.

    Source: methods and signatures are those of Agent Lightning 0.3; ``config`` and ``metadata`` are ours.
    """

    @abstractmethod
    def init(self, agent: LitAgent[T_contra], *, hooks: Sequence[Hook] | None = None) -> None:
        """Take on an agent."""

    @abstractmethod
    def init_worker(self, worker_id: int, store: LightningStore) -> None:
        """Take on a number and a store."""

    @abstractmethod
    def run_context(
        self,
        *,
        agent: LitAgent[T_contra],
        store: LightningStore,
        hooks: Sequence[Hook] | None = None,
        worker_id: int | None = None,
    ) -> RunContext[Self]:
        """Be bound to an agent and a store for the length of a block."""

    @abstractmethod
    async def iter(self, *, event: Any = None) -> None:
        """Run what is in the store's queue, and what comes, until told to stop."""

    @abstractmethod
    async def step(
        self,
        input: T_contra,  # noqa: A002 - Agent Lightning's name
        *,
        resources: Mapping[str, Resource] | None = None,
        mode: RolloutMode | None = None,
        config: RolloutConfig | None = None,
        metadata: Mapping[str, Any] | None = None,
        event: Any = None,
    ) -> Rollout:
        """Run one rollout now, past the queue."""
