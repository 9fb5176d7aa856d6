"""One actor in the caller's own scope, with no supervisor: ``async with hosted(Counter) as counter: ...``."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic, Literal, TypeVar

import anyio

from lightning_actors.actors.actor import Actor
from lightning_actors.actors.cell import Cell
from lightning_actors.actors.child import ChildSpec
from lightning_actors.actors.clock import Clock, SystemClock
from lightning_actors.actors.dead_letter import DeadLetters, log_dead_letter
from lightning_actors.actors.ending import Ending, tells_only_of
from lightning_actors.actors.ref import ActorRef
from lightning_actors.actors.tree import ActorTree
from lightning_actors.log import get_logger

__all__ = ["Hosted", "hosted"]

A = TypeVar("A", bound=Actor)
log = get_logger(__name__)


class Hosted(Generic[A]):
    """What ``hosted`` makes: an async context manager for one actor."""

    __slots__ = ("_cell", "_dead_letters", "_spec", "clock", "shielded", "task_group")

    def __init__(self, spec: ChildSpec[A], clock: Clock, dead_letters: DeadLetters) -> None:
        self._spec = spec
        self._dead_letters = dead_letters
        self.clock = clock
        self.shielded = False

    async def __aenter__(self) -> ActorRef[A]:
        self.task_group = anyio.create_task_group()
        self._cell = cell = Cell(self, self._spec, self._dead_letters)
        await self.task_group.__aenter__()
        self.task_group.start_soon(cell.run, name=cell.name)
        if cell.incarnation.has_start_hook:
            try:
                await cell.status.until_not("starting")
            except BaseException as error:
                await self.__aexit__(type(error), error, error.__traceback__)
                raise
            if cell.start_error is not None:
                await self.__aexit__(None, None, None)
        return cell.ref

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        cell = self._cell
        if isinstance(exc, anyio.get_cancelled_exc_class()):
            await self.task_group.__aexit__(exc_type, exc, traceback)
            return
        if exc is None or isinstance(exc, Exception):
            cell.request_stop(None)
        else:
            cell.cut()
        await self.task_group.__aexit__(None, None, None)
        error = cell.start_error or cell.error
        if error is not None and (exc is None or tells_only_of(exc, error)):
            error.__suppress_context__ = True
            raise error

    def incarnation_ended(self, cell: Cell, ending: Ending) -> float | None:  # a Host is asked with both
        """There is one incarnation only."""
        return None

    def life_ended(self, cell: Cell) -> None:  # a Host is told which
        """The exit notices by itself."""

    def grace_is_over(self, cell: Cell) -> None:
        """Say what the actor is doing instead of ending."""
        log.warning(
            "grace_is_over", actor=cell.name, grace_seconds=self._spec.grace, tree=str(ActorTree([cell.info()]))
        )


def hosted(
    factory: Callable[[], A],
    *,
    name: str = "actor",
    clock: Clock | None = None,
    dead_letters: DeadLetters | None = None,
    grace: float = 5.0,
    mailbox_size: int = 64,
    overflow: Literal["wait", "reject"] = "wait",
) -> Hosted[A]:
    """Host one actor for the length of an ``async with`` block.

    There is no restart: if the actor crashes, the asks that it had begun fail with ActorCrashed, later ones with
    ActorStopped, and the error is raised on exit unless the block raises its own. On exit the actor is stopped within
    its grace time; if the caller is cancelled, at once.

    Args:
        factory: Makes the actor; a class that takes no arguments will do.
        name: The actor's name.
        clock: The time; the machine's own by default.
        dead_letters: Called with what could not be delivered; logs a warning by default.
        grace: Seconds that the exit leaves for handlers to finish.
        mailbox_size: How many messages the mailbox holds.
        overflow: What a full mailbox does: let senders ``wait``, or ``reject``.
    """
    spec = ChildSpec(name, factory, "temporary", grace=grace, mailbox_size=mailbox_size, overflow=overflow)
    return Hosted(spec, clock or SystemClock(), dead_letters or log_dead_letter)
