"""`ServerEnd`: the server's side of one connection without any I/O: what the client asks for, within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Sequence

from lightning_actors.errors import BoundExceeded
from lightning_actors.http.link.frames import (
    FROM_CLIENT,
    VERSION,
    Ask,
    Bye,
    Cancel,
    Credit,
    Fault,
    Frame,
    Hello,
    Items,
    LinkProtocolError,
    Ping,
    Pong,
    Ready,
    Reply,
    Settled,
    Stopped,
    Unwatch,
    Watch,
    Welcome,
)
from lightning_actors.http.link.in_hand import InHand
from lightning_actors.http.link.inbox import Inbox
from lightning_actors.http.link.limits import LinkLimits
from lightning_actors.http.link.outbox import Outbox

__all__ = ["NOBODY_ASKS", "ServerEnd"]

NOBODY_ASKS = b"null"
"""The fault of an ask that was cancelled."""

_UNREAD = 2
"""A client that reads nothing while so many times `payload_bytes` wait for it is sent away."""


class ServerEnd:
    """One client's connection.

    Args:
        limits: What is taken, and how what is sent is cut.
        welcome: What a client is told that is let in.
        waiting: The names of the operations that wait.

    Attributes:
        hello: What the client said of itself; None until it has.
        settled: The lowest number whose answer the client still needs.
        is_over: Whether either side has said its last word.
    """

    def __init__(self, limits: LinkLimits, welcome: Welcome, *, waiting: Container[str] = ()) -> None:
        self.hello: Hello | None = None
        self.settled = 1
        self.is_over = False
        self._limits = limits
        self._welcome = welcome
        self._inbox = Inbox(FROM_CLIENT, limits, long_ones=1)
        self._outbox = Outbox(limits, in_order=False)
        self._come: deque[Ask] = deque()
        self._in_hand = InHand(limits, waiting)
        self._watched: set[str | None] = set()
        self._is_ready_said = False

    # ── what the client says ──

    def receive(self, message: bytes) -> Iterator[Frame]:
        """What the client says, but for its asks and for what this end deals with itself.

        Yields:
            Hello first; then Items of an ask that is to come, Cancel of one that was begun or of which items have come,
            Watch, Unwatch and Bye.

        Raises:
            LinkProtocolError: It says what has no meaning, or more than it may.
        """
        for frame in self._inbox.receive(message):
            if self.hello is None and not isinstance(frame, Hello):
                raise LinkProtocolError(f"a client says hello first, not {frame.verb.decode()}")
            if self._is_for_others(frame):
                yield frame
            if self.is_over:
                return
        self._say_credit()
        self._check_it_reads()

    def next_ask(self) -> Ask | None:
        """The next ask to carry out, in the order in which they came.

        Returns:
            None if there is none, or none that may be begun because too much waits to be sent.
        """
        if not self._come or self._outbox.waiting_bytes > self._limits.payload_bytes:
            return None
        return self._come.popleft()

    def refusal_of_waits(self) -> BoundExceeded | None:
        """Why no more of its asks may wait; None if they may."""
        return self._in_hand.refusal_of_waits()

    @property
    def bytes_in_hand(self) -> int:
        """How long its asks are that were not answered yet, with their items, but for those that wait."""
        return self._in_hand.size_bytes

    def _is_for_others(self, frame: Frame) -> bool:
        """Deal with a frame, or say that it is for the one who carries asks out."""
        match frame:
            case Items():
                self._in_hand.expect(frame)
                return True
            case Ask():
                self._asked(frame)
            case Settled(number=number):
                self.settled = max(self.settled, number)
            case Credit(number=number):
                self._outbox.credit(number)
            case Ping():
                self._outbox.say(Pong().line())
            case Pong():
                pass
            case _:
                return self._deal_with(frame)
        return False

    def _deal_with(self, frame: Frame) -> bool:
        """The same for frames that are for others, most of the time."""
        match frame:
            case Cancel(number=number):
                return self._cancelled(number)
            case Watch(attempt_id=attempt_id):
                return self._watch(attempt_id)
            case Unwatch(attempt_id=attempt_id):
                self._watched.discard(attempt_id)
            case Hello():
                self._greet(frame)
            case Bye():
                self.is_over = True
            case _:
                pass
        return True

    def _greet(self, hello: Hello) -> None:
        if self.hello is not None:
            raise LinkProtocolError("the client said hello twice")
        if hello.version != VERSION:
            raise LinkProtocolError(
                f"this server speaks version {VERSION} of the link's protocol, and the client version {hello.version}: "
                f"install the same release of lightning-actors on both sides"
            )
        self.hello = hello
        self.settled = hello.settled
        self._outbox.say(self._welcome.line())

    def _asked(self, ask: Ask) -> None:
        self._in_hand.take(ask)
        self._come.append(ask)

    def _cancelled(self, number: int) -> bool:
        if self._inbox.drop(number):
            self._in_hand.drop(number)
            self._outbox.say(Fault(number, NOBODY_ASKS).line())
            return True
        ask = self._in_hand.get(number)
        if ask in self._come:
            self._come.remove(ask)
            self.fault(number, NOBODY_ASKS)
            return False
        return ask is not None

    def _watch(self, attempt_id: str | None) -> bool:
        is_new = attempt_id not in self._watched
        self._watched.add(attempt_id)
        if len(self._watched) > self._limits.watches:
            raise LinkProtocolError(f"more than {self._limits.watches:,} attempts are watched (watches)")
        return is_new

    def _check_it_reads(self) -> None:
        waiting = self._outbox.waiting_bytes
        if waiting > _UNREAD * self._limits.payload_bytes:
            raise LinkProtocolError(
                f"{waiting:,} bytes wait for a client that says much and reads nothing; "
                f"{_UNREAD * self._limits.payload_bytes:,} may (twice payload_bytes)"
            )

    # ── what the server says ──

    def refusal(self, size_bytes: int) -> BoundExceeded | None:
        """Why an answer of this size may not be sent; None if it may."""
        allowed = self._limits.payload_bytes if self.hello is None else self.hello.payload_bytes
        waiting = self._outbox.waiting_bytes
        if size_bytes > allowed:
            why = f"the answer has {size_bytes:,} bytes, and this client takes {allowed:,} at a time"
        elif waiting + size_bytes > _UNREAD * allowed:
            why = f"the answer has {size_bytes:,} bytes, and {waiting:,} wait for this client already"
        else:
            return None
        return BoundExceeded(f"{why}: ask for pages, with limit and offset", bound="payload_bytes", allowed=allowed)

    def reply(self, number: int, payload: bytes, items: Sequence[bytes] = ()) -> None:
        """Answer an ask in hand: JSON, and the many things that belong to it as JSON lists."""
        ask = self._done(number)
        if ask is not None:
            lines = [*(Items(number, ask.operation, some).line() for some in items), Reply(number, payload).line()]
            self._outbox.put(number, lines)

    def fault(self, number: int, payload: bytes) -> None:
        """Say what an ask in hand raised, or `NOBODY_ASKS`."""
        if self._done(number) is not None:
            self._outbox.put(number, [Fault(number, payload).line()])

    def ready(self) -> None:
        """Say that something may be in the queue, if the client wants to know; once until it is sent."""
        if None in self._watched and not self._is_ready_said:
            self._is_ready_said = True
            self._outbox.say(Ready().line())

    def stopped(self, attempt_id: str, reason: str) -> None:
        """Say that the store has ended an attempt, if the client wants to know."""
        if attempt_id in self._watched:
            self._watched.discard(attempt_id)
            self._outbox.say(Stopped(attempt_id, reason).line())

    def is_watched(self, attempt_id: str) -> bool:
        """Whether the client wants to be told of this attempt, and has not been."""
        return attempt_id in self._watched

    def bye(self, reason: str, *, final: bool = False) -> None:
        """Say the last word."""
        if not self.is_over:
            self.is_over = True
            self._outbox.say(Bye(reason, final).line())

    def take(self) -> bytes | None:
        """The next message; None if there is nothing to send now."""
        self._is_ready_said = False
        return self._outbox.take()

    def _done(self, number: int) -> Ask | None:
        ask = self._in_hand.done(number)
        if ask is not None:
            self._say_credit()
        return ask

    def _say_credit(self) -> None:
        """Ask for more pieces, unless too much is in hand."""
        if self._in_hand.has_room:
            size_bytes = self._inbox.credit()
            if size_bytes:
                self._outbox.say(Credit(size_bytes).line())
