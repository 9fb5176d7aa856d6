"""The cell: one actor's whole life, incarnation after incarnation. Private to the kernel.

    starting ──▶ running ──▶ stopping ──▶ waiting ──▶ starting      the host wants another incarnation
                                 │           │
                                 └───────────┴──────▶ stopped       it does not, or the actor was stopped

A cell is one task of its host's task group. The actor's concurrent handlers and background tasks are tasks of the same
group, each in a scope of its own, so an idle actor has neither a task group nor a second task.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Protocol

import anyio
import anyio.abc
import anyio.lowlevel

from lightning_actors.actors.actor import Actor
from lightning_actors.actors.ask import KEPT
from lightning_actors.actors.child import ChildSpec
from lightning_actors.actors.clock import Clock
from lightning_actors.actors.dead_letter import DeadLetters
from lightning_actors.actors.ending import Ending
from lightning_actors.actors.incarnation import Incarnation
from lightning_actors.actors.mailbox import HALT, STOP, Mailbox
from lightning_actors.actors.ref import ActorInfo, ActorRef, Held, Restart
from lightning_actors.actors.status import Status
from lightning_actors.actors.turn import Turn, current_turn

__all__ = ["Cell", "Host"]


class Host(Protocol):
    """Who runs cells: a supervisor, or a ``hosted`` block."""

    task_group: anyio.abc.TaskGroup
    clock: Clock
    shielded: bool
    """Whether the host itself cancels its actors, in order, when the scope around it is cancelled."""

    def incarnation_ended(self, cell: Cell, ending: Ending) -> float | None:
        """Decide: seconds until the next incarnation (infinite: until resumed), or None for no other."""
        ...

    def life_ended(self, cell: Cell) -> None:
        """The cell has ended."""
        ...

    def grace_is_over(self, cell: Cell) -> None:
        """The cell has not ended within its grace time, and is about to be cut short."""
        ...


class Cell:
    """One actor's life.

    Attributes:
        error: What it ended with for good, unless it was stopped.
        start_error: What its very first start failed with.
        was_running: It was started at least once.
    """

    __slots__ = (
        "_host",
        "_is_resumed",
        "_restarts",
        "error",
        "incarnation",
        "mailbox",
        "name",
        "ref",
        "spec",
        "start_error",
        "status",
        "was_running",
    )

    def __init__(self, host: Host, spec: ChildSpec[Any], dead_letters: DeadLetters) -> None:
        self._host = host
        self.spec = spec
        self.name = spec.name
        actor = self._make_actor()
        self.status = Status()
        self.mailbox = Mailbox(spec.name, size=spec.mailbox_size, overflow=spec.overflow, dead_letters=dead_letters)
        self.ref: ActorRef[Any] = ActorRef(self.mailbox, self)
        self.mailbox.ref = self.ref
        self.incarnation = self._incarnate(actor)
        self._restarts: deque[Restart] | None = None
        self._is_resumed = False
        self.was_running = False
        self.start_error: BaseException | None = None
        self.error: BaseException | None = None
        if not self.incarnation.has_start_hook:
            self.status.enter("running")

    # ── seen from outside ──

    def info(self) -> ActorInfo:
        """What the actor is doing. May be called from another thread, so collections are copied before a look."""
        now = self._host.clock.monotonic()
        mailbox, concurrent = self.mailbox, tuple(self.incarnation.crew.concurrent)
        turn = mailbox.turn
        return ActorInfo(
            name=self.name,
            state=self.status.state,
            handling=None if turn is None else turn.label,
            handling_seconds=0.0 if turn is None else now - turn.since,
            mailbox_depth=mailbox.depth,
            mailbox_size=self.spec.mailbox_size,
            concurrent=len(concurrent),
            oldest_concurrent_seconds=now - concurrent[0].since if concurrent else 0.0,
            kept_replies=sum(ask.state == KEPT for ask in tuple(mailbox.asks)),
            processed=mailbox.processed,
            restarts=tuple(self._restarts or ()),
            children=self.incarnation.actor.__children__(),
            holds=self._holds(),
        )

    def _holds(self) -> tuple[Held, ...]:
        try:
            return tuple(self.incarnation.actor.holding())
        except BaseException as error:  # noqa: BLE001  # the boundary to an actor that others must be seen beside
            return (Held("holding()", f"raised {error!r}", 0.0),)

    def record_restart(self, cause: BaseException | None) -> int:
        """Note a restart that is due.

        Returns:
            How many there were within the period, this one included.
        """
        if self._restarts is None:
            self._restarts = deque(maxlen=100)
        now = self._host.clock.time()
        self._restarts.append(Restart(now, cause))
        return sum(now - restart.when <= self.spec.period for restart in self._restarts)

    async def until_stopped(self) -> None:
        """Wait for the end."""
        await self.status.until("stopped")

    def request_stop(self, grace: float | None) -> None:
        """Begin to stop; after the grace time, cancel."""
        if self.status.state == "stopped":
            return
        seconds = self.spec.grace if grace is None else grace
        is_at_rest = self.mailbox.bell is not None and not self.incarnation.takes_leave
        if not self.mailbox.closed:
            self.mailbox.close()
            self.mailbox.post(STOP, first=True)
        if seconds <= 0:
            self.cut()
        elif not is_at_rest:
            self._watch_for(seconds)

    def cut(self) -> None:
        """Stop without any grace."""
        if self.status.state != "stopped":
            self.mailbox.close()
            self.incarnation.cut()
            self.mailbox.wake()

    @property
    def last_cause(self) -> BaseException | None:
        """What the last restart was for."""
        return self._restarts[-1].cause if self._restarts else None

    def halt(self, cause: BaseException | None) -> None:
        """End this incarnation gracefully and wait to be resumed; the mailbox stays open.

        Args:
            cause: What its sibling crashed with: the asks that were begun fail with it.
        """
        if self.status.state in {"starting", "running"} and not self.incarnation.is_halting:
            self.incarnation.is_halting = True
            self.incarnation.halt_cause = cause
            self.mailbox.post(HALT, first=True)
            self._watch_end()

    def resume(self) -> None:
        """Go on with the next incarnation."""
        self._is_resumed = True
        self.mailbox.wake()

    # ── its task ──

    async def run(self) -> None:
        """Live, incarnation after incarnation."""
        current_turn.set(Turn(self.mailbox, None, 0.0, live=False))
        try:
            while not self.mailbox.closed:
                ending = await self.incarnation.live()
                self.was_running = self.was_running or self.incarnation.was_running
                if self.mailbox.closed and ending.kind == "crashed":
                    self.incarnation.report(ending.error, "handler")
                    self._host.incarnation_ended(self, ending)
                self.error = self.incarnation.error
                if self.mailbox.closed or not await self._goes_on(ending):
                    return
        finally:
            self.mailbox.finish()
            self.status.enter("stopped")
            self._host.life_ended(self)

    async def _goes_on(self, ending: Ending) -> bool:
        """Ask the host, pause as it says, and make the next incarnation."""
        while True:
            if not self.was_running:
                self.start_error = ending.error
                return False
            pause = math.inf if ending.kind == "halted" else self._host.incarnation_ended(self, ending)
            if pause is None:
                self.error = self.mailbox.cause = ending.error
                return False
            await self._pause(pause)
            if self.mailbox.closed:
                return False
            self.status.enter("starting")
            try:
                self.incarnation = self._incarnate(self._make_actor())
            except BaseException as error:  # noqa: BLE001  # a factory that raises has crashed its actor
                ending = Ending("crashed", error)
            else:
                return True

    async def _pause(self, seconds: float) -> None:
        self._is_resumed = False
        self.status.enter("waiting")
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        with self._host.clock.move_on_after(None if seconds == math.inf else seconds):
            while not (self.mailbox.closed or self._is_resumed):
                await self.mailbox.until_alarm()

    def _watch_end(self) -> None:
        self._watch_for(self.spec.grace)

    def _watch_for(self, grace: float) -> None:
        self._host.task_group.start_soon(self._watch, self.incarnation, grace)

    async def _watch(self, incarnation: Incarnation, grace: float) -> None:
        """Cancel an incarnation that has not ended within its grace time."""
        with self._host.clock.move_on_after(grace) as scope:
            await self.status.until("waiting", "stopped")
        if scope.cancelled_caught and self.incarnation is incarnation:
            self._host.grace_is_over(self)
            incarnation.cut()

    def _make_actor(self) -> Actor:
        actor = self.spec.factory()
        if not isinstance(actor, Actor):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(f"the factory of {self.name!r} made {actor!r}, which is no Actor")
        return actor

    def _incarnate(self, actor: Actor) -> Incarnation:
        host = self._host
        return Incarnation(
            actor,
            self.mailbox,
            self.status,
            task_group=host.task_group,
            clock=host.clock,
            shielded=host.shielded,
            watch=self._watch_end,
        )
