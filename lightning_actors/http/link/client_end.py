"""`ClientEnd`: the client's side of a link without any I/O; its asks outlive the connections that carry them.

```
ask ─▶ in flight ─▶ outbox of the connection ─▶ … ─▶ reply or fault
            ╰── the connection is lost: what is in flight is sent again over the next one, with the same numbers
```
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from lightning_actors.http.link.frames import (
    FROM_SERVER,
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
    Reply,
    Settled,
    Unwatch,
    Watch,
    Welcome,
)
from lightning_actors.http.link.inbox import Inbox
from lightning_actors.http.link.limits import LinkLimits
from lightning_actors.http.link.outbox import Outbox

__all__ = ["ClientEnd"]

_SETTLED_EVERY = 64


class _InFlight:
    """An ask that is not answered yet."""

    __slots__ = ("is_abandoned", "is_counted", "is_sent", "is_urgent", "lines", "was_sent")

    def __init__(self, lines: Sequence[bytes], *, is_counted: bool, is_urgent: bool) -> None:
        self.lines = lines
        self.is_counted = is_counted
        """It is among those of which the server takes only so many at a time."""
        self.is_urgent = is_urgent
        self.is_sent = False
        self.was_sent = False
        self.is_abandoned = False


class ClientEnd:
    """One client's asks and watches.

    Args:
        client: Who it is; see `Hello`.
        limits: What it takes, and how it cuts what it sends.
        library: The version of this library.

    Attributes:
        client: Who it is.
        welcome: What the server said when it let the client in; None while there is no connection.
    """

    def __init__(self, client: str, limits: LinkLimits, *, library: str = "") -> None:
        self.client = client
        self.welcome: Welcome | None = None
        self._limits = limits
        self._library = library
        self._last_number = 0
        self._in_flight: dict[int, _InFlight] = {}
        self._changes: dict[int, None] = {}
        self._held: deque[int] = deque()
        self._counted = 0
        self._watched: dict[str | None, None] = {}
        self._told_settled = 1
        self._outbox = Outbox(limits, in_order=True)
        self._inbox = self._new_inbox()

    # ── a connection ──

    def connect(self) -> None:
        """A connection is there: say hello."""
        self.disconnect()
        self._inbox = self._new_inbox()
        self._told_settled = self.settled
        hello = Hello(self.client, self.settled, payload_bytes=self._limits.payload_bytes, library=self._library)
        self._outbox.say(hello.line())
        self._say_credit()

    def disconnect(self) -> Sequence[int]:
        """The connection is gone: keep what is in flight for the next.

        Returns:
            The asks that nobody waits for any more: they are forgotten.
        """
        self.welcome = None
        unsent = self._outbox.unsent()
        for number, one in self._in_flight.items():
            one.was_sent = one.was_sent or (one.is_sent and number not in unsent)
        self._outbox = Outbox(self._limits, in_order=True)
        forgotten = [number for number, one in self._in_flight.items() if one.is_abandoned]
        for number in forgotten:
            self._forget(number)
        self._held = deque(self._in_flight)
        self._counted = 0
        for one in self._in_flight.values():
            one.is_sent = False
        return forgotten

    def take(self) -> bytes | None:
        """The next message; None if there is nothing to send now."""
        return self._outbox.take()

    @property
    def has_more_to_say(self) -> bool:
        """Whether anything waits to be sent, also if it may not be sent yet."""
        return bool(self._outbox)

    def receive(self, message: bytes) -> Iterator[Frame]:
        """What the server says, but for what this end deals with itself.

        Yields:
            Welcome, Items, Reply, Fault, Ready, Stopped, Pong and Bye. What is said about an ask is about one that was
            not answered before.

        Raises:
            LinkProtocolError: It says what has no meaning, or too much.
        """
        for frame in self._inbox.receive(message):
            match frame:
                case Reply(number=number) | Fault(number=number):
                    if self._answered(number):
                        yield frame
                case Items(number=number):
                    if number in self._in_flight:
                        yield frame
                case Credit(number=number):
                    self._outbox.credit(number)
                case Ping():
                    self._outbox.say(Pong().line())
                case Welcome():
                    self._welcomed(frame)
                    yield frame
                case _:
                    yield frame
        self._say_credit()

    # ── what the client says ──

    def ask(
        self,
        operation: str,
        payload: bytes,
        items: Sequence[bytes] = (),
        *,
        waits: bool = False,
        changes: bool = True,
        urgent: bool = False,
    ) -> int:
        """Ask for an operation; it is sent when there is a connection, and again after each that is lost.

        Args:
            operation: The name of the message's class.
            payload: Its fields as JSON.
            items: The many things that belong to it, as JSON lists.
            waits: It may take any time.
            changes: It changes the store, so that the server remembers its answer until that has arrived.
            urgent: It is short, and passes everything that waits to be sent.

        Returns:
            Its number.
        """
        self._last_number += 1
        number = self._last_number
        lines = [*(Items(number, operation, some).line() for some in items), Ask(number, operation, payload).line()]
        one = self._in_flight[number] = _InFlight(lines, is_counted=not (waits or urgent), is_urgent=urgent)
        if changes:
            self._changes[number] = None
        if urgent and self.welcome is not None:
            self._send(number, one)
        else:
            self._held.append(number)
            self._send_held()
        return number

    def cancel(self, number: int) -> bool:
        """Nobody waits for this answer any more: what was not sent never is.

        Returns:
            Whether an answer is still to come.
        """
        one = self._in_flight.get(number)
        if one is None:
            return False
        if not one.is_sent:
            self._forget(number)
            return False
        if self._outbox.withdraw(number):
            self._answered(number)
            return False
        one.is_abandoned = True
        self._outbox.say(Cancel(number).line())
        return True

    def was_sent(self, number: int) -> bool:
        """Whether the server may have heard of this ask over an earlier connection."""
        one = self._in_flight.get(number)
        return one is not None and one.was_sent

    def watch(self, attempt_id: str | None) -> None:
        """Be told of this attempt, or with None of the queue; also over later connections."""
        self._watched[attempt_id] = None
        if self.welcome is not None:
            self._outbox.say(Watch(attempt_id).line())

    def unwatch(self, attempt_id: str | None) -> None:
        """Be told no more."""
        if attempt_id in self._watched:
            del self._watched[attempt_id]
            if self.welcome is not None:
                self._outbox.say(Unwatch(attempt_id).line())

    def ping(self) -> None:
        """Have the server say that it is there."""
        self._outbox.say(Ping().line())

    def bye(self, reason: str) -> None:
        """Say that this client goes."""
        self._outbox.say(Bye(reason).line())

    @property
    def settled(self) -> int:
        """The lowest number of a change whose answer is still needed."""
        return next(iter(self._changes), self._last_number + 1)

    @property
    def in_flight(self) -> int:
        """How many asks are not answered."""
        return len(self._in_flight)

    # ── within ──

    def _welcomed(self, welcome: Welcome) -> None:
        if self.welcome is not None:
            raise LinkProtocolError("the server said welcome twice")
        self.welcome = welcome
        for attempt_id in self._watched:
            self._outbox.say(Watch(attempt_id).line())
        self._send_held()

    def _send_held(self) -> None:
        """Send what is held back, in order, as far as the server takes it."""
        welcome = self.welcome
        while welcome is not None and self._held:
            one = self._in_flight.get(self._held[0])
            if one is not None and one.is_counted and self._counted >= welcome.asks:
                return
            number = self._held.popleft()
            if one is not None:
                self._send(number, one)

    def _send(self, number: int, one: _InFlight) -> None:
        one.is_sent = True
        self._counted += one.is_counted
        if one.is_urgent:
            self._outbox.say(one.lines[-1])
        else:
            self._outbox.put(number, one.lines)

    def _answered(self, number: int) -> bool:
        one = self._in_flight.get(number)
        if one is None or not one.is_sent:
            return False
        self._counted -= one.is_counted
        self._forget(number)
        self._send_held()
        return True

    def _forget(self, number: int) -> None:
        del self._in_flight[number]
        if number in self._changes:
            del self._changes[number]
            if self.welcome is not None and self.settled - self._told_settled >= _SETTLED_EVERY:
                self._told_settled = self.settled
                self._outbox.say(Settled(self._told_settled).line())

    def _say_credit(self) -> None:
        size_bytes = self._inbox.credit()
        if size_bytes:
            self._outbox.say(Credit(size_bytes).line())

    def _new_inbox(self) -> Inbox:
        return Inbox(FROM_SERVER, self._limits, long_ones=self._limits.asks + self._limits.waits)
