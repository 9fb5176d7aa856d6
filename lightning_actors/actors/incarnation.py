"""One incarnation of an actor: from its ``started`` hook to its ``stopped`` hook. Private to the kernel.

    start ──▶ serve ──▶ stop, end, halt ──▶ let finish: stopping(), then concurrent handlers
      │         │                                │ within the grace time, else cancelled
      └─────────┴──▶ crash ──────────────────────┴──▶ end tasks ──▶ settle asks ──▶ stopped()

Control work is taken between messages, from the mailbox's notices; an idle actor is woken for it, never cancelled. The
outcome of a request is taken without waking an idle actor: where the reply is given, but in the actor's own context.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.abc
import anyio.lowlevel

from lightning_actors.actors.actor import Actor
from lightning_actors.actors.ask import BEGUN, KEPT, QUEUED, Ask
from lightning_actors.actors.clock import Clock
from lightning_actors.actors.crew import Crew
from lightning_actors.actors.dead_letter import DeadLetter
from lightning_actors.actors.desk import Desk
from lightning_actors.actors.ending import Crash, Ending, tell_apart
from lightning_actors.actors.holding import Holding, Work
from lightning_actors.actors.mailbox import END, HALT, NOTHING, STOP, AskerLeft, Mailbox, Undelivered
from lightning_actors.actors.message import Message, Reply
from lightning_actors.actors.ref import ActorRef
from lightning_actors.actors.request import Outcome, PendingRequest
from lightning_actors.actors.status import Status
from lightning_actors.errors import ActorCrashed, ActorStopped
from lightning_actors.log import get_logger

__all__ = ["Incarnation"]

log = get_logger(__name__)

STOPPED_SECONDS: Final = 5.0
"""What the ``stopped`` hook has at most, so that a stop is bounded."""

STOPPED: Final = Ending("stopped")

SPREE: Final = 32
"""Messages taken in a row before the event loop gets a turn."""


@dataclass(frozen=True, slots=True)
class More:
    """Notice: something was done while the actor slept, and this is to be awaited for it."""

    awaitable: Awaitable[Any]


class Incarnation:
    """An actor, its tasks and its requests, while it lives.

    Attributes:
        error: The first error of a hook or a task while it was ending.
        halt_cause: What the sibling crashed with for which it halts.
        is_halting: Its supervisor restarts it together with its siblings.
        was_running: Its ``started`` hook went well.
    """

    __slots__ = (
        "_context",
        "_desk",
        "_has_begun",
        "_is_over",
        "_mailbox",
        "_requests",
        "_scope",
        "_status",
        "_watch",
        "actor",
        "clock",
        "crew",
        "error",
        "halt_cause",
        "is_halting",
        "was_running",
    )

    def __init__(
        self,
        actor: Actor,
        mailbox: Mailbox,
        status: Status,
        *,
        task_group: anyio.abc.TaskGroup,
        clock: Clock,
        shielded: bool,
        watch: Callable[[], None],
    ) -> None:
        self.actor = actor
        self._mailbox = mailbox
        self._status = status
        self.clock = clock
        self._watch = watch
        self.crew = Crew(mailbox, task_group, clock, shielded=shielded)
        self._desk = Desk(mailbox, self.crew, clock)
        self._scope = anyio.CancelScope(shield=shielded)
        self._requests: dict[PendingRequest[Any], None] = {}
        self._context: Context | None = None
        self._has_begun = False
        self._is_over = False
        self.is_halting = False
        self.halt_cause: BaseException | None = None
        self.was_running = False
        self.error: BaseException | None = None
        mailbox.handlers = type(actor).__handlers__
        minds = type(actor).minds_replies
        mailbox.minds_replies = type(actor).undelivered is not Actor.undelivered if minds is None else minds

    @property
    def has_start_hook(self) -> bool:
        """Whether there is anything to wait for before the actor runs."""
        return type(self.actor).started is not Actor.started

    @property
    def takes_leave(self) -> bool:
        """Whether there is anything to wait for when it is stopped."""
        return self.crew.is_wanted or type(self.actor).stopping is not Actor.stopping

    def cut(self) -> None:
        """Cancel whatever it is doing. It still settles its asks and calls ``stopped``."""
        self._scope.cancel()
        self.crew.cancel()

    async def live(self) -> Ending:
        """From start to end. Raises only the cancellation of a scope around the host."""
        ending = STOPPED
        with self._scope:
            try:
                ending = await self._start() or await self._serve()
            except BaseException as error:  # noqa: BLE001  # the boundary of the actor's task
                try:
                    ending = Ending("crashed", tell_apart(error, self.name))
                except BaseException:
                    ending = self._halted() if self.is_halting else STOPPED
                    raise
                finally:
                    await self._wind_up(ending)
            else:
                await self._wind_up(ending)
        return ending

    # ── for its actor ──

    @property
    def name(self) -> str:
        """The actor's name."""
        return self._mailbox.name

    @property
    def ref(self) -> ActorRef[Any]:
        """The reference to the actor."""
        return self._mailbox.ref

    def start_background(
        self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str | None
    ) -> None:
        """Start a background task."""
        self._must_live()
        self.crew.start(function, args, name)

    def hold_work(self, work: Work, message: object) -> Holding:
        """Hold work that goes on without a task."""
        self._must_live()
        return self.crew.hold_work(work, message)

    def request(
        self, ref: ActorRef[Any], message: Message[Any], then: Callable[[Outcome[Any]], Awaitable[None] | None]
    ) -> PendingRequest[Any]:
        """Ask without waiting; every outcome, a full mailbox included, comes back as a notice."""
        self._must_live()
        target = ref.mailbox
        if target.handlers[type(message)] is None:
            raise target.unhandled(message)
        pending: PendingRequest[Any] = PendingRequest(message, target, self._mailbox, then)
        ask = pending.ask
        self._requests[pending] = None
        target.asks[ask] = None
        if target.closed:
            ask.close(target.stopped_error())
        elif not target.put_ask_nowait(ask):
            if target.overflow == "reject":
                ask.close(target.full_error())
            else:
                pending.waiting = self.crew.start(_put, (target, ask), f"{self.name}:room")
        return pending

    def bury(self, letter: DeadLetter) -> None:
        """Hand over a dead letter."""
        self._mailbox.bury(letter)

    def end_soon(self) -> None:
        """End after the message in hand."""
        if not self._is_over:
            self._mailbox.post(END, first=True)

    def _must_live(self) -> None:
        if self._is_over:
            raise ActorStopped(f"this incarnation of {self.name!r} has ended", actor=self.name)

    # ── its life ──

    async def _start(self) -> Ending | None:
        self._has_begun = True
        actor = self.actor
        actor.__cell__ = self
        if self.has_start_hook:
            error = await self._desk.call("started", actor.started)
            if error is not None:
                return Ending("crashed", error)
        self.was_running = True
        self._status.enter("running")
        return None

    async def _serve(self) -> Ending:
        actor, mailbox, control = self.actor, self._mailbox, self._mailbox.control
        leftover = mailbox.leftover
        self._context = copy_context()
        mailbox.sleeper = self
        handle, max_batch = self._desk.handle, actor.max_batch
        taken = 0
        while True:
            if control:
                ending = await self._heed(control.popleft())
                if ending is not None:
                    return ending
                continue
            is_empty = mailbox.backlog <= 0 and not leftover
            if is_empty and not taken:
                await mailbox.sleep()
                continue
            if is_empty or taken >= SPREE:  # others' turn: often an asker's, whose next message then needs no bell
                taken = 0
                await anyio.lowlevel.checkpoint()
                continue
            taken += 1
            item = mailbox.take_nowait()
            if item is NOTHING:
                continue
            if max_batch > 1:
                await self._desk.handle_many(actor, item, max_batch, self._cut_error)
            else:
                done = handle(actor, item)
                if done is not True and done is not False:
                    await done

    async def _heed(self, notice: object) -> Ending | None:
        """Take a notice; returns the ending if there is one."""
        if notice is STOP:
            return STOPPED
        if notice is HALT:
            return self._halted()
        if notice is END:
            return Ending("ended")
        if isinstance(notice, Crash):
            return Ending("crashed", notice.error, notice.message)
        error = await self._notify(notice)
        return None if error is None else Ending("crashed", error)

    def _halted(self) -> Ending:
        return Ending("halted", self.halt_cause)

    async def _notify(self, notice: object) -> BaseException | None:
        """Tell the actor what a notice says; returns the error if that raised one."""
        actor = self.actor
        if isinstance(notice, Undelivered):
            return await self._desk.call("undelivered", actor.undelivered, notice.message, notice.value)
        if isinstance(notice, AskerLeft):
            return await self._desk.call("withdrawn", actor.withdrawn, notice.ask.message, Reply(notice.ask))
        if isinstance(notice, More):
            return await self._desk.call("request", lambda: notice.awaitable)
        if notice in self._requests:
            request: PendingRequest[Any] = notice  # pyright: ignore[reportAssignmentType]  # it was found among them
            del self._requests[request]
            return await self._desk.call("request", request.conclude)
        return None

    def handle_asleep(self, ask: Ask[Any]) -> bool:
        """Handle an ask in the asker's turn, while this actor sleeps: nothing came before it, so it need not wake.

        Returns:
            Whether that was done; not where the handler is to be awaited, or something is being handled so already.
        """
        context, handler = self._context, self._mailbox.handlers[type(ask.message)]
        if context is None or handler is None or handler.is_async or self.actor.max_batch > 1 or not _is_in_a_task():
            return False
        self._context = None
        try:
            done = context.run(self._desk.handle, self.actor, ask)
        finally:
            self._context = context
        if not isinstance(done, bool):
            self._mailbox.post(More(done))
        return True

    def conclude_asleep(self, request: PendingRequest[Any]) -> bool:
        """Conclude a request while this actor sleeps between two messages.

        Returns:
            Whether that was done; not where one is being concluded already, for that too comes in between, nor in a
            callback of the event loop, where there is no task that anything could be begun by.
        """
        context = self._context
        if context is None or request not in self._requests or not _is_in_a_task():
            return False
        self._context = None
        del self._requests[request]
        try:
            more = context.run(request.conclude)
        except BaseException as error:  # noqa: BLE001  # the boundary of a hook
            self._mailbox.post(Crash(error))
        else:
            if more is not None:
                self._mailbox.post(More(more))
        finally:
            self._context = context
        return True

    # ── its end ──

    async def _wind_up(self, ending: Ending) -> None:
        """Let the actor finish as far as it may, then end its tasks, answer its asks and call ``stopped``."""
        self._status.enter("stopping")
        self._mailbox.sleeper = None
        if ending.kind == "crashed":
            self.actor.crash = ending.error
        try:
            if ending.kind != "crashed" and self.takes_leave:
                if ending.kind == "ended":  # else whoever stops it watches the time
                    self._watch()
                await self._let_finish()
        finally:
            if self.crew.is_working:
                with anyio.CancelScope(shield=True):
                    await self._end_tasks()
            self._settle(ending)
            if self._has_begun and self._has_farewell():
                with anyio.CancelScope(shield=True):
                    await self._bid_farewell()
                    await self._end_tasks()
                self._let_go()  # what the hook has begun
            self._is_over = True

    async def _end_tasks(self) -> None:
        while self.crew.is_working:
            self.crew.cancel()
            await self._mailbox.until_alarm()

    async def _let_finish(self) -> None:
        if type(self.actor).stopping is not Actor.stopping:
            self.report(await self._desk.call("stopping", self.actor.stopping), "stopping")
        while self.crew.is_wanted:
            if not self._mailbox.control:
                await self._mailbox.until_alarm()
                continue
            notice = self._mailbox.control.popleft()
            if isinstance(notice, Crash):
                self._report_crash(notice)
            else:
                self.report(await self._notify(notice), "notice")

    def _settle(self, ending: Ending) -> None:
        """Answer every ask that this incarnation had begun and, if it was the last, every other one."""
        mailbox = self._mailbox
        if ending.message is not None:
            mailbox.bury(DeadLetter(self.name, ending.message, "crashed", ending.error))
        self._let_go()
        for ask in list(mailbox.asks) if mailbox.asks else ():
            if ask.state in {BEGUN, KEPT}:
                ask.close(self._begun_error(ending.error))
        if mailbox.closed or ending.kind == "stopped":
            mailbox.close()
            mailbox.close_asks()

    def _let_go(self) -> None:
        """Withdraw its requests, and leave the next incarnation no notice that was meant for this one."""
        while self._requests:
            self._requests.popitem()[0].cancel()
        control = self._mailbox.control
        notices = list(control) if control else ()
        control.clear()
        for notice in notices:
            if isinstance(notice, Undelivered):
                control.append(notice)
            elif isinstance(notice, Crash):
                self._report_crash(notice)

    def _begun_error(self, cause: BaseException | None) -> ActorCrashed | ActorStopped:
        if cause is None:
            return self._mailbox.stopped_error()
        error = ActorCrashed(f"actor {self.name!r} crashed while it was handling this: {cause!r}", actor=self.name)
        error.__cause__ = cause
        return error

    def _cut_error(self) -> ActorCrashed | ActorStopped:
        """What those are told whose messages were in hand when it was cancelled."""
        return self._begun_error(self.halt_cause if self.is_halting else None)

    def _has_farewell(self) -> bool:
        mailbox = self._mailbox
        return type(self.actor).stopped is not Actor.stopped or (mailbox.closed and bool(mailbox.control))

    async def _bid_farewell(self) -> None:
        """Call ``stopped``, after what must be undone if there will be no other incarnation to do it."""
        mailbox = self._mailbox
        with self.clock.move_on_after(STOPPED_SECONDS) as scope:
            while mailbox.closed and mailbox.control:
                self.report(await self._notify(mailbox.control.popleft()), "undelivered")
            self.report(await self._desk.call("stopped", self.actor.stopped), "stopped")
        if scope.cancelled_caught:
            log.error("actor_stopped_hook_took_too_long", actor=self.name, seconds=STOPPED_SECONDS)

    def report(self, error: BaseException | None, where: str) -> None:
        """Log an error of an actor that is ending anyway; a ``hosted`` block raises it as well."""
        if error is not None:
            self.error = self.error or error
            log.error("actor_failed_while_ending", actor=self.name, where=where, error=repr(error), exc_info=error)

    def _report_crash(self, crash: Crash) -> None:
        self.report(crash.error, "task")
        if crash.message is not None:
            self._mailbox.bury(DeadLetter(self.name, crash.message, "crashed", crash.error))


async def _put(target: Mailbox, ask: Ask[Any]) -> None:
    """Wait for room for a request's ask."""
    if ask.state == QUEUED:
        try:
            await target.put(ask)
        except ActorStopped as error:
            ask.close(error)


def _is_in_a_task() -> bool:
    """Whether this runs in a task, and not in a bare callback of asyncio's loop, where anyio knows no loop."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return True  # on trio, where every callback runs in a task
