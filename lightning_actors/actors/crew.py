"""The crew: the tasks that work for one actor beside its own, each in a cancel scope of its own, and held work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import anyio
import anyio.abc

from lightning_actors.actors.ask import BEGUN, Ask
from lightning_actors.actors.clock import Clock
from lightning_actors.actors.dead_letter import DeadLetter
from lightning_actors.actors.ending import Crash, tell_apart
from lightning_actors.actors.holding import Holding, Work
from lightning_actors.actors.mailbox import Mailbox
from lightning_actors.actors.turn import Turn, current_turn

__all__ = ["Crew"]

T = TypeVar("T", bound=Turn)


class Crew:
    """An actor's concurrent handlers and background tasks, and the work that it holds."""

    __slots__ = ("background", "clock", "concurrent", "held", "mailbox", "shielded", "task_group")

    def __init__(self, mailbox: Mailbox, task_group: anyio.abc.TaskGroup, clock: Clock, *, shielded: bool) -> None:
        self.mailbox = mailbox
        self.task_group = task_group
        self.clock = clock
        self.shielded = shielded
        self.concurrent: dict[Turn, None] = {}
        self.background: dict[Turn, None] = {}
        self.held: dict[Holding, None] = {}

    def handle(
        self, handler: Callable[[Any, Any], Awaitable[Any]], actor: object, message: Any, ask: Ask[Any] | None
    ) -> None:
        """Run a concurrent handler."""
        turn = self._enlist(self.concurrent, message, anyio.CancelScope(shield=self.shielded), live=True)
        if ask is not None:
            ask.state = BEGUN
            ask.turn = turn
        name = f"{self.mailbox.name}:{type(message).__name__}"
        self.task_group.start_soon(self._handle, turn, handler, actor, message, ask, name=name)

    def start(self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str | None) -> Turn:
        """Run a background task. It may ask its own actor, so its turn is never live."""
        turn = self._enlist(self.background, None, anyio.CancelScope(shield=self.shielded), live=False)
        self.task_group.start_soon(self._work, turn, function, args, name=self._name_of(function, name))
        return turn

    def hold_work(self, work: Work, message: object) -> Holding:
        """Hold work that goes on without a task."""
        holding = Holding(self, self.mailbox, message, self.clock.monotonic())
        holding.scope = work
        self.held[holding] = None
        return holding

    def release(self, work: Holding) -> None:
        """Held work is over."""
        self._discharge(self.held, work)

    def start_for_work(
        self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str | None
    ) -> None:
        """Run a task for held work, which alone may cancel it."""
        turn = self._enlist(self.background, None, None, live=False)
        self.task_group.start_soon(self._work_to_the_end, turn, function, args, name=self._name_of(function, name))

    def _name_of(self, function: object, name: str | None) -> str:
        return name or f"{self.mailbox.name}:{getattr(function, '__name__', 'background')}"

    @property
    def is_working(self) -> bool:
        """Whether there is any task left."""
        return bool(self.concurrent or self.background or self.held)

    @property
    def is_wanted(self) -> bool:
        """Whether there is anything that a stop waits for."""
        return bool(self.concurrent or self.held)

    def cancel(self) -> None:
        """Cancel every task and all work."""
        for turn in (*self.held, *self.concurrent, *self.background):
            if turn.scope is not None:
                turn.scope.cancel()

    def _enlist(
        self, registry: dict[Turn, None], message: object, scope: anyio.CancelScope | None, *, live: bool
    ) -> Turn:
        turn = Turn(self.mailbox, message, self.clock.monotonic(), live=live)
        turn.scope = scope
        registry[turn] = None
        return turn

    async def _handle(
        self,
        turn: Turn,
        handler: Callable[[Any, Any], Awaitable[Any]],
        actor: object,
        message: Any,
        ask: Ask[Any] | None,
    ) -> None:
        scope = cast("anyio.CancelScope", turn.scope)
        error: BaseException | None = None
        current_turn.set(turn)
        try:
            with scope:
                if not scope.cancel_called:
                    try:
                        value = await handler(actor, message)
                    except BaseException as raised:  # noqa: BLE001  # the boundary of the actor's tasks
                        error = tell_apart(raised, self.mailbox.name)
                    else:
                        if ask is not None:
                            ask.answer(value)
                elif ask is None:  # it never got to run
                    reason = "stopped" if self.mailbox.closed else "crashed"
                    self.mailbox.bury(DeadLetter(self.mailbox.name, message, reason))
            if error is None:
                return
            if ask is not None and isinstance(error, Exception):
                ask.fail(error)
            else:
                self.mailbox.post(Crash(error, message))
        finally:
            self._discharge(self.concurrent, turn)

    async def _work(self, turn: Turn, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        try:
            error = await self._guard(turn, function, *args)
            if error is not None:
                self.mailbox.post(Crash(error))
        finally:
            self._discharge(self.background, turn)

    async def _work_to_the_end(
        self, turn: Turn, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]
    ) -> None:
        current_turn.set(turn)
        try:
            with anyio.CancelScope(shield=True):
                await function(*args)
        except BaseException as error:  # noqa: BLE001  # the boundary of the actor's tasks
            self.mailbox.post(Crash(tell_apart(error, self.mailbox.name)))
        finally:
            self._discharge(self.background, turn)

    async def _guard(self, turn: Turn, function: Callable[..., Awaitable[object]], *args: Any) -> BaseException | None:
        """Run to the end, to an error, which is returned, or to a cancellation."""
        current_turn.set(turn)
        with cast("anyio.CancelScope", turn.scope) as scope:
            if scope.cancel_called:
                return None
            try:
                await function(*args)
            except BaseException as error:  # noqa: BLE001  # the boundary of the actor's tasks
                return tell_apart(error, self.mailbox.name)
        return None

    def _discharge(self, registry: dict[T, None], turn: T) -> None:
        """A task, or a piece of work, is over."""
        turn.live = False
        turn.scope = None  # the work holds its turn
        del registry[turn]
        if self.mailbox.alarm is not None:
            self.mailbox.alarm.set()
