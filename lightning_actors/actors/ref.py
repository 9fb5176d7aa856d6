"""A reference to an actor: the one way to reach it."""

from __future__ import annotations

import math
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import anyio

from lightning_actors.actors.ask import GONE, Ask
from lightning_actors.actors.dead_letter import DeadLetter
from lightning_actors.actors.mailbox import Mailbox
from lightning_actors.actors.message import Message
from lightning_actors.actors.status import ActorState
from lightning_actors.actors.turn import Turn, Waited, current_turn, find_circle
from lightning_actors.errors import AskCircle

__all__ = ["ActorInfo", "ActorRef", "Held", "Restart", "current_actor"]

A_co = TypeVar("A_co", covariant=True)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Restart:
    """One restart: when (seconds since the epoch) and why (None: the actor had ended by itself)."""

    when: float
    cause: BaseException | None


@dataclass(frozen=True, slots=True)
class Held:
    """Something that an actor has in hand beside its messages: its name, what is being done with it, for how long."""

    name: str
    doing: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """What an actor is doing, seen from outside and without its help.

    Attributes:
        name: The actor's name.
        state: ``waiting`` is the pause before a restart.
        handling: The message type (or hook) that a plain async handler has in hand, or None.
        handling_seconds: For how long.
        mailbox_depth: Messages that wait, those whose senders wait for room included.
        mailbox_size: How many the mailbox holds before it is full.
        concurrent: How many concurrent handlers run.
        oldest_concurrent_seconds: For how long the oldest of them has run.
        kept_replies: How many deferred replies are still owed.
        processed: Messages taken over all incarnations.
        restarts: Every restart, oldest first (the last hundred).
        children: Those of a supervisor that is itself a child.
        holds: What the actor says that it has in hand (`Actor.holding`).
    """

    name: str
    state: ActorState
    handling: str | None
    handling_seconds: float
    mailbox_depth: int
    mailbox_size: int
    concurrent: int
    oldest_concurrent_seconds: float
    kept_replies: int
    processed: int
    restarts: tuple[Restart, ...]
    children: tuple[ActorInfo, ...] = ()
    holds: tuple[Held, ...] = ()


class Life(Protocol):
    """What a reference needs of the actor's life."""

    def info(self) -> ActorInfo:
        """What the actor is doing."""
        ...

    def request_stop(self, grace: float | None) -> None:
        """Begin to stop."""
        ...

    def until_stopped(self) -> Coroutine[Any, Any, None]:
        """Wait for the end."""
        ...


class _Room:
    """A wait for room in a full mailbox."""

    __slots__ = ("owner",)

    def __init__(self, owner: Mailbox) -> None:
        self.owner = owner

    @property
    def blocker(self) -> Turn | None:
        return self.owner.turn


class ActorRef(Generic[A_co]):
    """A reference to an actor. It stays good over restarts and can be handed around within the event loop.

    References are made by a supervisor or by ``hosted``, never by hand.
    """

    __slots__ = ("_life", "mailbox")

    def __init__(self, mailbox: Mailbox, life: Life) -> None:
        self.mailbox = mailbox
        """The way in, for the kernel's own use."""
        self._life = life

    @property
    def name(self) -> str:
        """The actor's name."""
        return self.mailbox.name

    def __repr__(self) -> str:
        return f"<ActorRef {self.name}>"

    async def ask(self, message: Message[R]) -> R:
        """Send a message and wait for its reply.

        If the caller is cancelled meanwhile, a message still in the mailbox is skipped, concurrent and deferred
        handling is cancelled, and a plain handler runs to its end.

        Raises:
            UnhandledMessage: The actor has no handler for this message.
            ActorStopped: The actor has ended, or ended before it came to this message.
            ActorCrashed: The actor died while it was handling this message.
            AskCircle: The actors would wait for each other for ever.
            MailboxFull: The mailbox is full and rejects.
            Exception: What the handler raised.
        """
        mailbox = self.mailbox
        if mailbox.closed or mailbox.handlers[type(message)] is None:
            raise mailbox.refusal(message)
        waker = mailbox.new_event()
        ask: Ask[R] = Ask(message, mailbox, waker)
        turn = current_turn.get()
        if turn is not None and turn.live:
            wait_in_turn(turn, ask)
        else:
            turn = None
        mailbox.asks[ask] = None
        try:
            if not mailbox.put_ask_nowait(ask):
                await mailbox.put_ask(ask)
            await waker.wait()
            if (mailbox.minds_replies or ask.state == GONE) and anyio.current_effective_deadline() == -math.inf:
                # Cancelled after the reply was given but before this task went on: it would be lost at the next await.
                # Or the cancellation reached the actor first, and what that said of it is no answer for this task.
                ask.withdraw()
                await anyio.sleep_forever()
        except BaseException:
            ask.withdraw()
            raise
        finally:
            if turn is not None:
                waited_in_turn(turn, ask)
        if ask.error is not None:
            try:
                raise ask.error
            finally:
                del ask  # the error's traceback would hold itself through this frame
        return ask.value

    async def tell(self, message: Message[Any]) -> None:
        """Send a message and wait for no reply, only for room in a full mailbox.

        A mailbox that rejects sends it to dead letters instead of raising here.

        Raises:
            UnhandledMessage: The actor has no handler for this message.
            ActorStopped: The actor has ended.
            AskCircle: The mailbox is full, and its actor waits for the one that tells.
        """
        mailbox = self.mailbox
        if mailbox.closed or mailbox.handlers[type(message)] is None:
            raise mailbox.refusal(message)
        if mailbox.put_nowait(message):
            return
        if mailbox.overflow == "reject":
            mailbox.bury(DeadLetter(mailbox.name, message, "mailbox_full"))
            return
        turn = current_turn.get()
        if turn is None or not turn.live:
            await mailbox.put(message)
            return
        room = _Room(mailbox)
        wait_in_turn(turn, room)
        try:
            await mailbox.put(message)
        finally:
            waited_in_turn(turn, room)

    def tell_nowait(self, message: Message[Any]) -> bool:
        """Send a message if there is room for it just now.

        Returns:
            Whether it was sent. If the mailbox is full or the actor has ended, it goes to dead letters.

        Raises:
            UnhandledMessage: The actor has no handler for this message.
        """
        mailbox = self.mailbox
        if mailbox.handlers[type(message)] is None:
            raise mailbox.refusal(message)
        if mailbox.closed:
            mailbox.bury(DeadLetter(mailbox.name, message, "stopped", mailbox.cause))
            return False
        if not mailbox.put_nowait(message):
            mailbox.bury(DeadLetter(mailbox.name, message, "mailbox_full"))
            return False
        return True

    def inspect(self) -> ActorInfo:
        """What the actor is doing, without asking it."""
        return self._life.info()

    async def stop(self, grace: float | None = None) -> None:
        """Stop the actor for good and wait until it has ended.

        Its mailbox closes at once. The handler in hand, the ``stopping`` hook and concurrent handlers may finish
        within the grace time, then they are cancelled. Pending asks fail with ActorStopped. The stop goes on even if
        the caller is cancelled.

        Args:
            grace: Seconds; None takes the actor's own. 0 cancels at once.

        Raises:
            AskCircle: A plain handler of the actor itself waits for its end: it should use ``stop_soon``.
        """
        turn = current_turn.get()
        if turn is not None and turn.live and turn is self.mailbox.turn:
            raise AskCircle(
                f"actor {self.name!r} waits in its own handler for its own end: use self.stop_soon()",
                circle=(self.name, self.name),
            )
        self._life.request_stop(grace)
        await self._life.until_stopped()

    async def wait_stopped(self) -> None:
        """Wait until the actor has ended for good."""
        await self._life.until_stopped()


def wait_in_turn(turn: Turn, waited: Waited) -> None:
    """Note that a turn waits, unless that would close a circle.

    Raises:
        AskCircle: It would.
    """
    circle = find_circle(turn, waited)
    if circle is not None:
        if len(circle) == 2:  # noqa: PLR2004  # there and back
            advice = "an actor cannot ask itself from a plain handler: call the method, or make the handler concurrent"
        else:
            advice = "make one of the handlers concurrent or deferred, or send a tell"
        raise AskCircle(f"actors would wait for each other for ever: {' → '.join(circle)}; {advice}", circle=circle)
    if turn.waits is None:
        turn.waits = []
    turn.waits.append(waited)


def waited_in_turn(turn: Turn, waited: Waited) -> None:
    """The wait is over."""
    if turn.waits is not None:
        turn.waits.remove(waited)


def current_actor() -> ActorRef[Any] | None:
    """The actor in whose handler, hook or task this code runs, or None outside of actors."""
    turn = current_turn.get()
    return None if turn is None else turn.owner.ref
