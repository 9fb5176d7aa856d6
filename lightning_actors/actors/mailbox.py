"""The mailbox: everything that reaches an actor.

    senders ──▶ bounded memory stream ──▶ messages, in order        ask, tell; a full one waits or rejects
    kernel  ──▶ control deque ──────────▶ notices, between messages   stop, crash, undelivered, outcomes

An actor with nothing to do sleeps on a bell that both ring: it takes from the stream without waiting there, so that no
receive is ever cancelled and no message can get lost. An ask whose handler is not to be awaited need not ring: nothing
came before it, so it is handled in the asker's turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from lightning_actors.actors.ask import Ask
from lightning_actors.actors.dead_letter import DeadLetter, DeadLetters
from lightning_actors.actors.turn import Turn
from lightning_actors.errors import ActorStopped, MailboxFull, UnhandledMessage
from lightning_actors.log import get_logger

__all__ = ["END", "HALT", "NOTHING", "STOP", "AskerLeft", "Mailbox", "Undelivered"]

log = get_logger(__name__)

STOP: Final = object()
HALT: Final = object()
END: Final = object()
NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Notice: this reply found no asker."""

    message: Any
    value: Any


@dataclass(frozen=True, slots=True)
class AskerLeft:
    """Notice: the asker of this kept reply went away."""

    ask: Ask[Any]


class Sleeper(Protocol):
    """What the mailbox knows of the actor that sleeps on its bell."""

    def conclude_asleep(self, request: Any) -> bool:
        """Conclude one of its requests now; tells whether it did."""
        ...

    def handle_asleep(self, ask: Ask[Any]) -> bool:
        """Handle an ask now; tells whether it did."""
        ...


class Mailbox:
    """An actor's mailbox, and the state that its senders may see.

    Attributes:
        asks: Every ask that is not over yet, in order of arrival.
        bell: What the actor sleeps on; None while it is awake, or about to be.
        backlog: About how many messages are in the stream: a hint that spares the actor a look.
        closed: No more messages are taken.
        finished: The actor has ended; nothing that is posted would ever be read.
        held: Replies that wait for the end of a batch, or None outside of one.
        processed: Messages handled, over all incarnations.
        minds_replies: The actor undoes replies that found no asker, so none may be taken by a cancelled one.
        new_event: Makes an event of the loop's own kind, which anyio would look up each time.
        leftover: Messages taken from the stream but not begun; they come before those in it.
        sleeper: The incarnation that serves, which can conclude a request in its sleep; None while none does.
        turn: The plain handler or hook that has the actor to itself just now.
    """

    __slots__ = (
        "alarm",
        "asks",
        "backlog",
        "bell",
        "cause",
        "closed",
        "control",
        "dead_letters",
        "finished",
        "handlers",
        "held",
        "leftover",
        "minds_replies",
        "name",
        "new_event",
        "overflow",
        "processed",
        "receive",
        "ref",
        "send",
        "send_nowait",
        "size",
        "sleeper",
        "turn",
    )

    def __init__(
        self,
        name: str,
        *,
        size: int,
        overflow: Literal["wait", "reject"],
        dead_letters: DeadLetters,
    ) -> None:
        self.name = name
        self.size = size
        self.overflow = overflow
        self.handlers: Mapping[type[Any], Any] = {}
        self.dead_letters = dead_letters
        streams: tuple[MemoryObjectSendStream[Any], MemoryObjectReceiveStream[Any]]
        streams = anyio.create_memory_object_stream(size)
        self.send, self.receive = streams
        self.send_nowait = self.send.send_nowait
        self.control: deque[Any] = deque()
        self.leftover: deque[Any] = deque()
        self.asks: dict[Ask[Any], None] = {}
        self.held: list[Ask[Any]] | None = None
        self.turn: Turn | None = None
        self.ref: Any = None
        self.alarm: anyio.Event | None = None
        self.bell: anyio.Event | None = None
        self.new_event: Callable[[], anyio.Event] = anyio.Event
        self.sleeper: Sleeper | None = None
        self.cause: BaseException | None = None
        self.backlog = 0
        self.processed = 0
        self.closed = False
        self.minds_replies = False
        self.finished = False

    @property
    def depth(self) -> int:
        """How many messages wait: those in the mailbox and those whose senders wait for room."""
        if self.finished:
            return 0
        statistics = self.send.statistics()
        return len(self.leftover) + statistics.current_buffer_used + statistics.tasks_waiting_send

    # ── the senders' side ──

    def refusal(self, message: object) -> UnhandledMessage | ActorStopped:
        """Why a message cannot be sent: the actor has no handler for it, or it has ended or is about to."""
        return self.unhandled(message) if self.handlers[type(message)] is None else self.stopped_error()

    def put_ask_nowait(self, ask: Ask[Any]) -> bool:
        """Have an ask handled now where the actor sleeps, else put it into the stream unless that is full."""
        if self.bell is not None and self.sleeper is not None and self.sleeper.handle_asleep(ask):
            return True
        return self.put_nowait(ask)

    def put_nowait(self, item: object) -> bool:
        """Put something into the stream unless it is full."""
        try:
            self.send_nowait(item)
        except anyio.WouldBlock:
            return False
        self.backlog += 1
        if self.bell is not None:
            self.wake()
        return True

    async def put(self, item: object) -> None:
        """Put something into the stream, waiting for room.

        Raises:
            ActorStopped: The actor ended meanwhile.
        """
        try:
            await self.send.send(item)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise self.stopped_error() from None
        finally:
            self.backlog += 1  # also for a sender that was cancelled in the moment in which there was room
            self.wake()

    async def put_ask(self, ask: Ask[Any]) -> None:
        """Put an ask into a full stream as the actor states: wait for room, or refuse.

        Raises:
            MailboxFull: The mailbox rejects.
            ActorStopped: The actor ended meanwhile.
        """
        if self.overflow == "reject":
            raise self.full_error()
        await self.put(ask)

    def stopped_error(self) -> ActorStopped:
        """A fresh error that says that the actor has ended, and why if it crashed."""
        error = ActorStopped(f"actor {self.name!r} has stopped and will not answer", actor=self.name)
        error.__cause__ = self.cause
        return error

    def full_error(self) -> MailboxFull:
        """A fresh error that says that the mailbox is full."""
        return MailboxFull(
            f"the mailbox of {self.name!r} holds {self.size} messages and rejects more: "
            f"send less at a time, or give it a larger mailbox_size",
            actor=self.name,
        )

    def unhandled(self, message: object) -> UnhandledMessage:
        """A fresh error that says what the actor handles instead."""
        known = (
            ", ".join(sorted(kind.__name__ for kind, handler in self.handlers.items() if handler is not None))
            or "nothing"
        )
        return UnhandledMessage(
            f"actor {self.name!r} has no handler for {type(message).__name__}: it handles {known}", actor=self.name
        )

    # ── the actor's side ──

    def post(self, notice: object, *, first: bool = False) -> None:
        """Leave a notice for the actor to take between two messages, and wake it."""
        if first:
            self.control.appendleft(notice)
        else:
            self.control.append(notice)
        self.wake()

    def wake(self) -> None:
        """Wake the actor if it waits."""
        bell = self.bell
        if bell is not None:
            self.bell = None
            bell.set()
        elif self.alarm is not None:
            self.alarm.set()

    async def sleep(self) -> None:
        """Sleep until there is a message or a notice; called where there is none."""
        bell = self.bell = self.new_event()
        self.new_event = type(bell)
        try:
            await bell.wait()
        finally:
            self.bell = None

    def has_more(self) -> bool:
        """Whether a message can most likely be had without waiting."""
        return self.backlog > 0 or bool(self.leftover)

    def take_nowait(self) -> Any:
        """Take a message without waiting; NOTHING if there was none after all."""
        if self.leftover:
            return self.leftover.popleft()
        try:
            item = self.receive.receive_nowait()
        except anyio.WouldBlock:
            self.backlog = 0
            return NOTHING
        self.backlog -= 1
        return item

    async def until_alarm(self) -> None:
        """Wait for a notice, or for the end of one of the actor's tasks."""
        self.alarm = anyio.Event()
        try:
            await self.alarm.wait()
        finally:
            self.alarm = None

    def close(self) -> None:
        """Take no more messages; senders that wait for room need not wait longer."""
        if not self.closed:
            self.closed = True
            self.drain()

    def drain(self) -> None:
        """Move what is in the stream, and what waits to get into it, to ``leftover``."""
        while True:
            statistics = self.send.statistics()
            if not statistics.current_buffer_used and not statistics.tasks_waiting_send:
                return
            self.leftover.append(self.receive.receive_nowait())

    def finish(self) -> None:
        """End the mailbox: answer every ask, send the rest to dead letters, close the streams."""
        self.close()
        self.drain()
        self.finished = True
        self.receive.close()
        self.send.close()
        self.close_asks()
        while self.control:
            notice = self.control.popleft()
            if isinstance(notice, Undelivered):
                self.bury(DeadLetter(self.name, notice.message, "undelivered", value=notice.value))

    def close_asks(self) -> None:
        """Fail every pending ask with ActorStopped and send queued tells to dead letters."""
        if self.asks:
            for ask in list(self.asks):
                ask.close(self.stopped_error())
        while self.leftover:
            item = self.leftover.popleft()
            if not isinstance(item, Ask):
                self.bury(DeadLetter(self.name, item, "stopped", self.cause))

    def bury(self, letter: DeadLetter) -> None:
        """Hand over a dead letter. A callback that raises is logged: it must not take the actor down."""
        try:
            self.dead_letters(letter)
        except BaseException:  # the boundary to the user's callback
            log.exception("dead_letters_callback_failed", actor=self.name)

    # ── the asks' side ──

    def take_back(self, ask: Ask[Any], value: Any) -> None:
        """A reply found no asker: it goes to the actor's ``undelivered``, or to dead letters if there is no actor."""
        if self.finished:
            self.bury(DeadLetter(self.name, ask.message, "undelivered", value=value))
        else:
            self.post(Undelivered(ask.message, value))

    def asker_left(self, ask: Ask[Any]) -> None:
        """The asker of a kept reply went away."""
        if not self.finished:
            self.post(AskerLeft(ask))

    def error_unheard(self, ask: Ask[Any], error: BaseException) -> None:
        """An error found no asker."""
        self.bury(DeadLetter(self.name, ask.message, "undelivered", error))
