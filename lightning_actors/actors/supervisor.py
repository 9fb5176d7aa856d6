"""Supervision: children are started left to right, restarted as their specs say, and stopped right to left.

    async with Supervisor([ChildSpec("store", StoreActor, significant=True, restart="temporary")]) as supervisor:
        counter = await supervisor.start(Counter)        you write ↔ we start it, restart it, stop it
        await counter.ask(Add(1))
                                                          leaving the block stops the tree

A child that crashes is restarted after a pause; one that crashes too often is a failure of the supervisor. A failure
cancels the block, stops the tree and is raised as one plain exception when the block is left.

A stop is bounded in time for everything that honours cancellation. A handler that swallows it is a task of this scope
all the same, and no scope is left before its tasks have ended: such code belongs into a thread or process of its own.
An actor inherits the context variables of whoever started it, and keeps them over its restarts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar, cast, overload

import anyio
import anyio.abc
import anyio.lowlevel

from lightning_actors.actors.actor import Actor
from lightning_actors.actors.cell import Cell
from lightning_actors.actors.child import Backoff, ChildSpec
from lightning_actors.actors.clock import Clock, SystemClock
from lightning_actors.actors.dead_letter import DeadLetter, DeadLetters, log_dead_letter
from lightning_actors.actors.ending import Ending, tells_only_of
from lightning_actors.actors.ref import ActorRef
from lightning_actors.actors.tree import ActorTree
from lightning_actors.errors import ActorError, ActorStopped, RestartLimitExceeded
from lightning_actors.log import get_logger

__all__ = ["Supervisor"]

A = TypeVar("A", bound=Actor)
log = get_logger(__name__)

_TELL_SECONDS: Final = 1.0


class Supervisor:
    """Starts actors, restarts those that crash, and stops them all in order.

    Args:
        children: What to start when the block is entered, left to right.
        name: For logs and errors.
        strategy: ``one_for_one``: a crash restarts that child. ``one_for_all``: it restarts them all.
        clock: The time; the machine's own by default.
        dead_letters: Called with what could not be delivered; logs a warning by default.

    Attributes:
        dead_letter_count: How many dead letters there were.
        recent_dead_letters: The last hundred of them.
    """

    def __init__(
        self,
        children: Iterable[ChildSpec[Any]] = (),
        *,
        name: str = "supervisor",
        strategy: Literal["one_for_one", "one_for_all"] = "one_for_one",
        clock: Clock | None = None,
        dead_letters: DeadLetters | None = None,
    ) -> None:
        if strategy not in {"one_for_one", "one_for_all"}:
            raise ValueError(f"strategy of {name!r} is {strategy!r}: use one_for_one or one_for_all")
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.shielded = True
        self.dead_letter_count = 0
        self.recent_dead_letters: deque[DeadLetter] = deque(maxlen=100)
        self.task_group: anyio.abc.TaskGroup
        self._specs = tuple(children)
        self._strategy = strategy
        self._dead_letters = log_dead_letter if dead_letters is None else dead_letters
        self._letters: DeadLetters = self._receive_dead_letter  # bound once, for all children
        self._cells: dict[str, Cell] = {}
        self._crashed: list[tuple[Cell, float]] = []
        self._failure: BaseException | None = None
        self._state: Literal["new", "open", "closing", "ended"] = "new"
        self._news: anyio.Event
        self._ended: anyio.Event
        self._body: anyio.CancelScope
        self._restart_scope: anyio.CancelScope | None = None
        self._start_scope: anyio.CancelScope | None = None
        self._told_of_grace = -math.inf

    # ── the block ──

    async def __aenter__(self) -> Self:
        if self._state not in {"new", "ended"}:
            raise ActorError(f"supervisor {self.name!r} is running already: make one for each block", actor=self.name)
        self._state, self._failure = "open", None
        self._news, self._ended = anyio.Event(), anyio.Event()
        self.task_group = anyio.create_task_group()
        await self.task_group.__aenter__()
        self._body = anyio.CancelScope()
        self._body.__enter__()
        self.task_group.start_soon(self._keep, name=self.name)
        try:
            for spec in self._specs:
                await self.start(spec)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        is_ours = bool(self._body.__exit__(exc_type, exc, traceback))
        if exc is not None and not is_ours and isinstance(exc, anyio.get_cancelled_exc_class()):
            await self.task_group.__aexit__(exc_type, exc, traceback)
            return
        if exc is None or is_ours or isinstance(exc, Exception):
            self._close()
        else:
            self.task_group.cancel_scope.cancel()
        await self.task_group.__aexit__(None, None, None)
        if self._failure is not None and (exc is None or is_ours or tells_only_of(exc, self._failure)):
            self._failure.__suppress_context__ = True
            raise self._failure

    @overload
    async def start(self, child: ChildSpec[A], /) -> ActorRef[A]: ...
    @overload
    async def start(
        self,
        child: Callable[[], A],
        /,
        *,
        name: str | None = None,
        restart: Literal["permanent", "transient", "temporary"] = "permanent",
        significant: bool = False,
        group: str = "",
        grace: float = 5.0,
        mailbox_size: int = 64,
        overflow: Literal["wait", "reject"] = "wait",
        intensity: int = 3,
        period: float = 5.0,
        backoff: Backoff | None = None,
    ) -> ActorRef[A]: ...
    async def start(self, child: ChildSpec[A] | Callable[[], A], /, **options: Any) -> ActorRef[A]:
        """Start a child and wait until its ``started`` hook is done.

        Args:
            child: A spec; or a factory, with the fields of a ChildSpec as keywords. The name is then the factory's
                own, made unique.
            **options: Those fields.

        Raises:
            ActorStopped: The supervisor is stopping.
            ValueError: There is a child of this name.
            Exception: What the factory or ``started`` raised: a first start is not tried again.
        """
        spec = cast("ChildSpec[A]", child) if isinstance(child, ChildSpec) else self._spec_of(child, options)
        if self._state != "open":
            stopped = ActorStopped(
                f"supervisor {self.name!r} is not running and starts no {spec.name!r}", actor=self.name
            )
            raise stopped from self._failure
        if spec.name in self._cells:
            raise ValueError(f"supervisor {self.name!r} has a child {spec.name!r} already: give this one another name")
        cell = Cell(self, spec, self._letters)
        self._cells[spec.name] = cell
        self.task_group.start_soon(cell.run, name=spec.name)
        await self._until_started(cell)
        return cell.ref

    def ref(self, name: str) -> ActorRef[Any]:
        """The reference to a child.

        Raises:
            ValueError: There is none of this name.
        """
        return self._cell(name).ref

    async def stop_child(self, name: str, grace: float | None = None) -> None:
        """Stop a child for good.

        Raises:
            ValueError: There is none of this name.
        """
        await self._cell(name).ref.stop(grace)

    async def wait(self) -> None:
        """Wait until the tree has ended: a significant child ended, it was stopped, or it failed.

        Raises:
            Exception: The failure, in a task other than the block's own (which is cancelled and left with it).
        """
        self._must_have_begun()
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """Stop every child, right to left, and wait until the tree has ended."""
        self._must_have_begun()
        self._close()
        await self._ended.wait()

    def tree(self) -> ActorTree:
        """What every child is doing, in order of start: a tuple, whose ``str()`` is a readable tree.

        May be called from any thread and from a signal handler.
        """
        return ActorTree(cell.info() for cell in tuple(self._cells.values()))

    # ── as the host of its cells ──

    def incarnation_ended(self, cell: Cell, ending: Ending) -> float | None:
        """Decide what becomes of a child whose incarnation has ended."""
        spec, error = cell.spec, ending.error
        if error is not None and not isinstance(error, Exception):
            self._fail(error)
        if self._state != "open":
            return None
        if spec.restart == "temporary" or (spec.restart == "transient" and error is None):
            if spec.significant and error is not None:
                self._fail(error)
            elif spec.significant:
                self._close()
            elif error is not None:
                log.error("actor_crashed", actor=cell.name, error=repr(error), exc_info=error)
            return None
        count = cell.record_restart(error)
        if count > spec.intensity:
            self._fail(self._limit_error(spec, error))
            return None
        delay = spec.backoff.delay(count)
        log.warning("actor_restarts", actor=cell.name, error=repr(error), seconds=round(delay, 3))
        if self._strategy == "one_for_one":
            return delay
        self._crashed.append((cell, delay))
        self._news.set()
        if self._start_scope is not None:
            self._start_scope.cancel()
        return math.inf

    def life_ended(self, cell: Cell) -> None:
        """Forget a child that has ended."""
        if self._cells.get(cell.name) is cell:
            del self._cells[cell.name]

    def grace_is_over(self, cell: Cell) -> None:
        """Say what everybody is doing when a stop takes too long; once where many are cut short together."""
        now = self.clock.monotonic()
        if now - self._told_of_grace >= _TELL_SECONDS:
            self._told_of_grace = now
            log.warning("grace_is_over", supervisor=self.name, actor=cell.name, tree=str(self.tree()))

    # ── the keeper ──

    async def _keep(self) -> None:
        """Carry out what takes time: restarting them all, and the end of the tree."""
        try:
            while self._state == "open":
                if self._crashed:
                    with anyio.CancelScope() as self._restart_scope:
                        await self._restart_all()
                    self._restart_scope = None
                else:
                    self._news = anyio.Event()
                    await self._news.wait()
            await self._stop_children(None)
        finally:
            # Reached at once when the scope around the supervisor is cancelled: still in order, but with no grace.
            self._state = "closing"
            with anyio.CancelScope(shield=True):
                await self._stop_children(0.0)
            self._state = "ended"
            self._ended.set()

    async def _restart_all(self) -> None:
        """One for all: halt the others right to left, pause, and go on left to right."""
        while self._crashed:
            cause = self._crashed[0][0].last_cause
            for cell in reversed(tuple(self._cells.values())):
                cell.halt(cause)
                await cell.status.until("waiting", "stopped")
            delay = max(delay for _, delay in self._crashed)
            self._crashed.clear()
            await self.clock.sleep(delay)
            for cell in tuple(self._cells.values()):
                if self._crashed:
                    break
                if cell.status.state == "waiting":
                    cell.resume()
                    await cell.status.until_changed()
                    await self._until_started_or_crash(cell)

    async def _until_started_or_crash(self, cell: Cell) -> None:
        """Wait for a restarted child, but no longer once any has crashed: it may be that one which it waits for."""
        if not self._crashed:
            with anyio.CancelScope() as self._start_scope:
                await cell.status.until_not("starting")
            self._start_scope = None

    async def _stop_children(self, grace: float | None) -> None:
        """Stop the children right to left, neighbours of one group together."""
        while self._cells:
            cells = list(self._cells.values())
            last = cells.pop()
            together = [last]
            while cells and last.spec.group and cells[-1].spec.group == last.spec.group:
                together.append(cells.pop())
            for cell in together:
                cell.request_stop(grace)
            for cell in together:
                await cell.until_stopped()

    def _must_have_begun(self) -> None:
        if self._state == "new":
            raise ActorError(f"supervisor {self.name!r} has not begun: enter it with async with", actor=self.name)

    def _close(self) -> None:
        """Let the tree end."""
        if self._state == "open":
            self._state = "closing"
            self._news.set()
            if self._restart_scope is not None:
                self._restart_scope.cancel()

    def _fail(self, error: BaseException) -> None:
        """End the tree with an error, and the block with it."""
        if self._failure is None:
            self._failure = error
            log.error("supervisor_failed", supervisor=self.name, error=repr(error))
        self._close()
        self._body.cancel()

    async def _until_started(self, cell: Cell) -> None:
        try:
            if cell.incarnation.has_start_hook:
                await cell.status.until_not("starting")
            else:
                await anyio.lowlevel.checkpoint()
        except BaseException:
            cell.cut()
            with anyio.CancelScope(shield=True):
                await cell.until_stopped()
            raise
        if cell.start_error is not None:
            raise cell.start_error
        if cell.status.state == "stopped" and not cell.was_running:
            raise cell.mailbox.stopped_error()

    def _cell(self, name: str) -> Cell:
        try:
            return self._cells[name]
        except KeyError:
            known = ", ".join(self._cells) or "none"
            raise ValueError(f"supervisor {self.name!r} has no child {name!r}: its children are {known}") from None

    def _spec_of(self, factory: Callable[[], A], options: dict[str, Any]) -> ChildSpec[A]:
        name = options.pop("name", None)
        backoff = options.pop("backoff", None)
        if name is None:
            base = name = getattr(factory, "__name__", "actor").replace("<lambda>", "actor")
            number = 2
            while name in self._cells:
                name, number = f"{base}-{number}", number + 1
        return ChildSpec(name, factory, backoff=backoff or Backoff(), **options)

    def _limit_error(self, spec: ChildSpec[Any], cause: BaseException | None) -> RestartLimitExceeded:
        error = RestartLimitExceeded(
            f"child {spec.name!r} of {self.name!r} ended more than {spec.intensity} times in {spec.period:g} s; "
            f"the last time with {cause!r}",
            actor=spec.name,
        )
        error.__cause__ = cause
        return error

    def _receive_dead_letter(self, letter: DeadLetter) -> None:
        self.dead_letter_count += 1
        self.recent_dead_letters.append(letter)
        self._dead_letters(letter)
