"""`Rig`: what a runner works with; hooks are called here, so that one that raises changes nothing else."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, TypeVar

import anyio

from lightning_actors.actors import ActorRef, Clock, Message, Outcome, SystemClock
from lightning_actors.detached import DaemonThreads, DetachedCall, is_called_by
from lightning_actors.litagent import LitAgent
from lightning_actors.log import get_logger
from lightning_actors.options import shown
from lightning_actors.store import LightningStore
from lightning_actors.store.actor import ActorStore, StoreActor
from lightning_actors.store.api import AtOnce
from lightning_actors.store.in_one_go import in_one_go
from lightning_actors.store.local import LocalStore
from lightning_actors.store.messages import StoreMessage
from lightning_actors.tracer import Tracer
from lightning_actors.types import Hook

__all__ = ["Rig", "checked_hooks", "is_cancelled", "is_in_hook"]

R = TypeVar("R")

log = get_logger("lightning_actors.runner")

_HOOK_SECONDS = 5.0


@dataclass(slots=True)
class Count:
    """A number that goes up."""

    total: int = 0


@dataclass(frozen=True)
class Rig:
    """Everything that the rollouts of one runner, or of a pool, have in common.

    Attributes:
        agent: What is run.
        tracer: What records it.
        store: What remembers it.
        runner: What hooks and the agent are told to be their runner.
        hooks: Who is told, in this order.
        threads: Where sync agents run.
        patience: Seconds that an agent has to end once it was asked to.
        clock: The time.
        running: The attempts under way: attempt id to rollout id.
        begun: Counts the attempts that have begun; all views of the rig share it.
        calls: The agent calls under way.
        closing: Set once a signal has come: from then on no runner begins another rollout, even where the event loop
            is too busy to hear of it.
        aborting: Set once everything is to be cancelled, by a signal that the event loop is yet to hear of.
        left_behind: The names of agent calls that did not end when asked to.
    """

    agent: LitAgent[Any]
    tracer: Tracer
    store: LightningStore
    runner: Any
    hooks: Sequence[Hook] = ()
    threads: DaemonThreads = field(default_factory=lambda: DaemonThreads(256))
    patience: float = 2.0
    clock: Clock = field(default_factory=SystemClock)
    running: dict[str, str] = field(default_factory=dict[str, str])
    begun: Count = field(default_factory=Count)
    calls: set[DetachedCall[Any]] = field(default_factory=set[DetachedCall[Any]])
    closing: threading.Event = field(default_factory=threading.Event)
    aborting: threading.Event = field(default_factory=threading.Event)
    left_behind: list[str] = field(default_factory=list[str])

    @functools.cached_property
    def agent_is_here(self) -> Callable[[], object]:
        """Tells the agent in the current context, and in tasks begun there, that this is its runner."""
        return self.agent.on_runner(self.runner)

    @functools.cached_property
    def at_once(self) -> AtOnce | None:
        """What carries out the store's operations without await; None where it has to be awaited."""
        return self.store.at_once

    @functools.cached_property
    def in_one_go(self) -> Callable[[Sequence[StoreMessage[Any]]], Sequence[Outcome[Any]]] | None:
        """The same for several operations, in order up to the first that fails."""
        if self.at_once is None:
            return None
        return (
            self.store.in_one_go if isinstance(self.store, LocalStore) else functools.partial(in_one_go, self.at_once)
        )

    @functools.cached_property
    def store_ref(self) -> ActorRef[StoreActor] | None:
        """The store's actor, where the store is behind one."""
        return self.store.ref if isinstance(self.store, ActorStore) else None

    @functools.cached_property
    def needs_no_task(self) -> bool:
        """Whether in an attempt there is nothing to await but its agent, so that the attempt can do without a task."""
        return (
            (self.at_once is not None or self.store_ref is not None)
            and not self.hooks
            and self.agent.is_async()
            and type(self.tracer).trace_context is Tracer.trace_context
        )

    async def ask(self, message: Message[R]) -> R:
        """Have the store carry out an operation that does not wait."""
        return await self.store.ask(message) if self.at_once is None else self.at_once(message)

    def seeing(self, store: LightningStore) -> Rig:
        """The same rig with another view of the store; counts and threads are shared."""
        return replace(self, store=store)

    def with_threads(self, threads: DaemonThreads) -> Rig:
        """The same rig with other threads for sync agents."""
        return replace(self, threads=threads)

    @contextmanager
    def patient_until_cut_short(self) -> Generator[None]:
        """Where this block is cut short, a store that is gone is waited for no longer than last words may take."""
        try:
            yield
        except BaseException:
            self.store.leave_within(0.0)
            raise

    def abort(self) -> None:
        """Ask every agent to end, and begin no other. May be called from a signal handler."""
        self.closing.set()
        self.aborting.set()
        for call in tuple(self.calls):
            call.cancel()

    async def unless_aborted(self) -> None:
        """Go on, unless everything is to be cancelled: then wait for the cancellation, which is on its way."""
        if self.aborting.is_set():
            await anyio.sleep_forever()

    async def call_hooks(self, which: str, call: Callable[[Hook], Awaitable[None]]) -> None:
        """Call one method of every hook, in order; what a hook raises is logged."""
        for hook in self.hooks:
            await _call(which, hook, call)

    async def call_last_hooks(self, which: str, call: Callable[[Hook], Awaitable[None]]) -> None:
        """The same for hooks that are called however the rollout ends.

        A hook that has begun is cancelled together with its rollout; those that come after that are shielded, and have
        5 seconds.
        """
        cut_short: BaseException | None = None
        for hook in self.hooks:
            try:
                if is_cancelled():
                    await self._call_shielded(which, hook, call)
                else:
                    await _call(which, hook, call)
            except anyio.get_cancelled_exc_class() as cancellation:
                cut_short = cancellation
        if cut_short is not None:
            raise cut_short

    async def _call_shielded(self, which: str, hook: Hook, call: Callable[[Hook], Awaitable[None]]) -> None:
        with anyio.CancelScope(shield=True), self.clock.move_on_after(_HOOK_SECONDS) as scope:
            await _call(which, hook, call)
        if scope.cancelled_caught:
            log.warning("hook_too_slow", hook=type(hook).__name__, method=which, seconds=_HOOK_SECONDS)


def checked_hooks(hooks: Hook | Iterable[Hook] | None) -> tuple[Hook, ...]:
    """One hook, several or none, as a tuple.

    Args:
        hooks: What a caller gave, who may have no type checker.

    Raises:
        TypeError: There is something else among them.
    """
    if hooks is not None and not isinstance(hooks, Hook | Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TypeError(f"hooks is {shown(hooks)}: give a lightning_actors.Hook, or a list of them")
    given = () if hooks is None else (hooks,) if isinstance(hooks, Hook) else tuple(hooks)
    for hook in given:
        if not isinstance(hook, Hook):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(f"hooks holds {hook!r}, which is no Hook: subclass lightning_actors.Hook")
    return given


def is_cancelled() -> bool:
    """Whether a scope around the running task is cancelled, so that what it awaits next will be."""
    return anyio.current_effective_deadline() == float("-inf")


def is_in_hook(frame: FrameType | None) -> bool:
    """Whether this is code of a hook, and not code of this package that it called."""
    return is_called_by(frame, _call.__code__)


async def _call(which: str, hook: Hook, call: Callable[[Hook], Awaitable[None]]) -> None:
    try:
        await call(hook)
    except BaseException as error:
        if isinstance(error, anyio.get_cancelled_exc_class()) and is_cancelled():
            raise
        log.exception("hook_failed", hook=type(hook).__name__, method=which)
