"""The crew: the tasks that work for one actor beside its own, each in a cancel scope of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc

from lightning_actors.actors.ask import BEGUN, Ask
from lightning_actors.actors.clock import Clock
from lightning_actors.actors.dead_letter import DeadLetter
from lightning_actors.actors.ending import Crash, tell_apart
from lightning_actors.actors.mailbox import Mailbox
from lightning_actors.actors.turn import Turn, current_turn

__all__ = ["Crew"]


class Crew:
    """An actor's concurrent handlers and background tasks."""

    __slots__ = ("background", "clock", "concurrent", "mailbox", "shielded", "task_group")

    def __init__(self, mailbox: Mailbox, task_group: anyio.abc.TaskGroup, clock: Clock, *, shielded: bool) -> None:
        self.mailbox = mailbox
        self.task_group = task_group
        self.clock = clock
        self.shielded = shielded
        self.concurrent: dict[Turn, None] = {}
        self.background: dict[Turn, None] = {}

    def handle(
        self, handler: Callable[[Any, Any], Awaitable[Any]], actor: object, message: Any, ask: Ask[Any] | None
    ) -> None:
        """Run a concurrent handler."""
        turn = self._enlist(self.concurrent, message, live=True)
        if ask is not None:
            ask.state = BEGUN
            ask.turn = turn
        name = f"{self.mailbox.name}:{type(message).__name__}"
        self.task_group.start_soon(self._handle, turn, handler, actor, message, ask, name=name)

    def start(self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str | None) -> Turn:
        """Run a background task. It may ask its own actor, so its turn is never live."""
        turn = self._enlist(self.background, None, live=False)
        name = name or f"{self.mailbox.name}:{getattr(function, '__name__', 'background')}"
        self.task_group.start_soon(self._work, turn, function, args, name=name)
        return turn

    @property
    def is_working(self) -> bool:
        """Whether there is any task left."""
        return bool(self.concurrent or self.background)

    def cancel(self) -> None:
        """Cancel every task."""
        for turn in (*self.concurrent, *self.background):
            if turn.scope is not None:
                turn.scope.cancel()

    def _enlist(self, registry: dict[Turn, None], message: object, *, live: bool) -> Turn:
        turn = Turn(self.mailbox, message, self.clock.monotonic(), live=live)
        turn.scope = anyio.CancelScope(shield=self.shielded)
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
        scope = turn.scope
        assert scope is not None  # noqa: S101  # set when the turn was enlisted
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

    async def _guard(self, turn: Turn, function: Callable[..., Awaitable[object]], *args: Any) -> BaseException | None:
        """Run to the end, to an error, which is returned, or to a cancellation."""
        current_turn.set(turn)
        assert turn.scope is not None  # noqa: S101  # set when the turn was enlisted
        with turn.scope:
            if turn.scope.cancel_called:
                return None
            try:
                await function(*args)
            except BaseException as error:  # noqa: BLE001  # the boundary of the actor's tasks
                return tell_apart(error, self.mailbox.name)
        return None

    def _discharge(self, registry: dict[Turn, None], turn: Turn) -> None:
        turn.live = False
        del registry[turn]
        if self.mailbox.alarm is not None:
            self.mailbox.alarm.set()
