"""The actor: what the user subclasses.

you write                          the kernel does
─────────────────────────────────  ───────────────────────────────────────────────────────────
__init__                           calls it for every incarnation
started()                          awaits it before the first message
@handles, @defers methods          calls them, one message at a time
undelivered(), withdrawn()         calls them when an asker has gone, between messages
stopping()                         awaits it when a stop begins; the mailbox is closed
stopped()                          awaits it last, shielded, also after a crash or a cancellation
holding()                          calls it for whoever inspects the actor
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar, TypeVarTuple, Unpack

from lightning_actors.actors.batch import Batch
from lightning_actors.actors.clock import Clock
from lightning_actors.actors.dead_letter import DeadLetter
from lightning_actors.actors.handlers import HandlerTable, build_table
from lightning_actors.actors.holding import Holding, Work
from lightning_actors.actors.message import Message, Reply
from lightning_actors.actors.ref import ActorInfo, ActorRef, Held
from lightning_actors.actors.request import Outcome, PendingRequest
from lightning_actors.errors import ActorError

__all__ = ["Actor"]

Arguments = TypeVarTuple("Arguments")
R = TypeVar("R")


class Core(Protocol):
    """What an actor needs of the kernel while it lives."""

    @property
    def name(self) -> str:
        """The actor's name."""
        ...

    @property
    def ref(self) -> ActorRef[Any]:
        """The reference to the actor."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    def start_background(
        self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str | None
    ) -> None:
        """Start a background task."""
        ...

    def hold_work(self, work: Work, message: object) -> Holding:
        """Hold work that goes on without a task."""
        ...

    def request(
        self,
        ref: ActorRef[Any],
        message: Message[R],
        then: Callable[[Outcome[R]], Awaitable[None] | None],
    ) -> PendingRequest[R]:
        """Ask without waiting."""
        ...

    def bury(self, letter: DeadLetter) -> None:
        """Hand over a dead letter."""
        ...

    def end_soon(self) -> None:
        """End after the message in hand."""
        ...


class Actor:
    """Something that handles one message at a time, in order per sender.

    An error raised while an ask is handled goes to the asker. While a tell is handled, or in a hook or a background
    task, it crashes the actor: the asks it had begun fail with ActorCrashed, queued messages stay for the next
    incarnation, and the supervisor decides whether there is one.

    Class keywords:
        handles_all: Message types that this class must handle: a missing handler is a TypeError at import.

    Attributes:
        max_batch: How many messages ``receive_many`` takes at most. 1, the default: no batches.
        minds_replies: Whether ``undelivered`` must be told also of replies whose asker was cancelled in the moment in
            which they were given. None, the default: if the class has an ``undelivered`` of its own.
        crash: What this incarnation crashed with, known to its tasks and handlers while they are cancelled, and to
            ``stopped``; None while it lives and after an orderly end.
    """

    __handlers__: ClassVar[HandlerTable] = HandlerTable()
    __cell__: Core
    max_batch: ClassVar[int] = 1
    minds_replies: ClassVar[bool | None] = None
    crash: BaseException | None = None

    def __init_subclass__(cls, *, handles_all: Iterable[type[Message[Any]]] = (), **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = HandlerTable()
        for base in reversed(cls.__mro__[1:]):
            inherited.update(vars(base).get("__handlers__", ()))
        cls.__handlers__ = build_table(cls, inherited, handles_all)

    @property
    def ref(self) -> ActorRef[Self]:
        """The reference to this actor. Available from ``started`` on."""
        return self._core.ref

    @property
    def name(self) -> str:
        """The actor's name. Available from ``started`` on."""
        return self._core.name

    @property
    def clock(self) -> Clock:
        """The time, as the actor should see it. Available from ``started`` on."""
        return self._core.clock

    @property
    def _core(self) -> Core:
        try:
            return self.__cell__
        except AttributeError:
            raise ActorError(
                f"{type(self).__name__} has not been started yet: use ref, name and clock from started() on"
            ) from None

    def __children__(self) -> tuple[ActorInfo, ...]:
        """What actors that this one supervises are doing."""
        return ()

    # ── hooks ──

    def holding(self) -> Sequence[Held]:
        """What this actor has in hand beside its messages, for whoever inspects it; nothing by default.

        Called from outside at any moment, perhaps in another thread or in a signal handler: it only looks, takes no
        locks, and copies a collection (``tuple(self._jobs)``) before it goes through it.
        """
        return ()

    async def started(self) -> None:
        """Called before the first message. An error here crashes the actor."""

    async def stopping(self) -> None:
        """Called when a stop begins: the mailbox is closed, concurrent handlers and background tasks still run."""

    async def stopped(self) -> None:
        """Called last, whatever ended the actor, once ``started`` was called. Shielded; has five seconds."""

    def undelivered(self, message: Message[Any], value: Any) -> Awaitable[None] | None:
        """Called between messages when a reply of this actor found no asker: undo what it stands for.

        It comes here too when the incarnation that gave the reply has crashed. The default sends it to dead letters,
        and spares the askers a look at whether they were cancelled since the reply was given: only an actor that
        overrides this is told of those.

        Args:
            message: What was asked.
            value: The reply that nobody took.
        """
        self._core.bury(DeadLetter(self.name, message, "undelivered", value=value))

    def withdrawn(self, message: Message[Any], reply: Reply[Any]) -> Awaitable[None] | None:
        """Called between messages when the asker of a kept reply went away: forget the reply.

        Args:
            message: What was asked.
            reply: The reply that a deferred handler was given.
        """

    async def receive_many(self, batch: Batch) -> None:
        """Handle several messages as one; called only if ``max_batch`` is more than 1.

        No reply that is given in the batch leaves before this returns (concurrent handlers that run beside it are not
        part of it). One bad message fails alone. If this raises, every ask of the batch fails with the error and, if
        there was a tell among them, the actor crashes.

        Args:
            batch: What was in the mailbox, in order, at most ``max_batch`` messages.
        """
        await batch.handle_all()

    # ── what an actor can do ──

    def start_soon(
        self,
        func: Callable[[Unpack[Arguments]], Awaitable[object]],
        *args: *Arguments,
        name: str | None = None,
    ) -> None:
        """Start a background task that this actor owns.

        It is cancelled when the actor ends. An error in it crashes the actor, between two messages.

        Args:
            func: An async function.
            *args: Its arguments.
            name: The task's name, for debuggers.
        """
        self._core.start_background(func, args, name)

    def hold_work(self, work: Work, message: object) -> Holding:
        """Hold work that goes on without a task of this actor: what it began elsewhere, and answers for.

        A stop waits for it within the grace time, as for a concurrent handler. Then, and when the actor crashes, the
        work is cancelled; the actor has ended only when all its work is released.

        Args:
            work: What is cancelled.
            message: What it is done for, as `inspect` names it.

        Returns:
            The holding, to be released when the work is over.
        """
        return self._core.hold_work(work, message)

    def request(
        self, ref: ActorRef[Any], message: Message[R], then: Callable[[Outcome[R]], Awaitable[None] | None]
    ) -> PendingRequest[R]:
        """Ask another actor without waiting and without a task.

        When the reply comes, ``then`` is called between two messages of this actor; an error in it crashes the actor.
        If the actor ends first, the request is withdrawn.

        Args:
            ref: Whom to ask.
            message: What to ask.
            then: Called with the outcome; sync or async.

        Returns:
            The request, which can be cancelled.

        Raises:
            UnhandledMessage: The other actor has no handler for this message.
        """
        return self._core.request(ref, message, then)

    def stop_soon(self) -> None:
        """End normally after the message in hand."""
        self._core.end_soon()
