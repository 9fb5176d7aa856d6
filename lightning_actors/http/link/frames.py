"""Frames: what the two ends of a link say to each other.

A WebSocket message holds the frames that were waiting when it was sent, one a line, the verb first:

```
hello {"version":1,"client":"client-…","settled":17}     ▶  who is there, and below which number it needs nothing
welcome {"version":1,"asks":1024,"waits":16384}          ◀  come in, and keep to these bounds
ask 17 EnqueueRollout {"input":"task"}                   ▶  an operation
cancel 17                                                ▶  nobody waits for this answer any more
settled 17                                               ▶  every answer below this number has arrived
reply 17 {"rollout_id":"ro-…"}                           ◀  its answer, or
fault 17 {"kind":"RolloutNotFound",…}                    ◀  the error that it raised; each ask has one of both
watch {"attempt_id":"at-…"}   unwatch {…}                ▶  tell me of this attempt, or with null of the queue
ready                                                    ◀  something may be waiting in the queue
stopped {"attempt_id":"at-…","reason":"cancelled"}       ◀  the store has ended this attempt
items 17 AddManySpans [{…},{…},…]                       ◀▶  some of the many things of an ask or reply to come
part 17 …   last 17 …                                   ◀▶  pieces of a line that is too long to go at once
credit 262144                                           ◀▶  so many bytes of items and pieces more may be sent
ping   pong   bye {"reason":"…"}                        ◀▶  are you there?  yes.  this is the end of it
```

JSON has no line breaks, so a line is a frame whatever is in it; in pieces a frame is cut anywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, ClassVar, Final, Self, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

__all__ = [
    "FROM_CLIENT",
    "FROM_SERVER",
    "VERSION",
    "Ask",
    "Bye",
    "Cancel",
    "Credit",
    "Fault",
    "Frame",
    "Hello",
    "Items",
    "Kinds",
    "Last",
    "LinkProtocolError",
    "Part",
    "Ping",
    "Pong",
    "Ready",
    "Reply",
    "Settled",
    "Stopped",
    "Unwatch",
    "Watch",
    "Welcome",
    "parse",
]

VERSION: Final = 1
"""The form of the protocol that is spoken here; a server says no to any other by name."""

_DIGITS: Final = 18
_SHOWN: Final = 60
_LONGEST_NAME: Final = 200

Name = Annotated[str, Field(max_length=_LONGEST_NAME)]


class LinkProtocolError(ValueError):
    """The other end said what has no meaning in this protocol, or more than was agreed on.

    Args:
        what: What was wrong.
        line: What was said; the text of the error shows its beginning.

    Attributes:
        what: What was wrong, without anything of what was said: for logs, which are to tell nothing of tasks.
    """

    def __init__(self, what: str, line: bytes | None = None) -> None:
        super().__init__(what if line is None else f"{what}: {_shown(line)}")
        self.what = what


class Frame(ABC):
    """One thing said over a link."""

    __slots__ = ()

    verb: ClassVar[bytes]

    @abstractmethod
    def line(self) -> bytes:
        """The frame as it is sent, without a line break."""

    @classmethod
    @abstractmethod
    def parsed(cls, rest: bytes) -> Self:
        """The frame of what follows the verb and a space.

        Raises:
            LinkProtocolError: It is none.
        """


@dataclass(frozen=True, slots=True)
class _Word(Frame):
    """A verb alone."""

    def line(self) -> bytes:
        return self.verb

    @classmethod
    def parsed(cls, rest: bytes) -> Self:
        if rest:
            raise LinkProtocolError(f"{_text(cls.verb)} stands alone, and something follows it", rest)
        return cls()


@dataclass(frozen=True, slots=True)
class _Number(Frame):
    """A verb and a number."""

    number: int

    def line(self) -> bytes:
        return b"%b %d" % (self.verb, self.number)

    @classmethod
    def parsed(cls, rest: bytes) -> Self:
        return cls(_number(rest, cls.verb))


@dataclass(frozen=True, slots=True)
class _NumberAndBytes(Frame):
    """A verb, the number of an ask, and what belongs to it."""

    number: int
    payload: bytes

    def line(self) -> bytes:
        return b"%b %d %b" % (self.verb, self.number, self.payload)

    @classmethod
    def parsed(cls, rest: bytes) -> Self:
        number, _, payload = rest.partition(b" ")
        return cls(_number(number, cls.verb), payload)


class _Fields(Frame):
    """A verb and fields as JSON; fields that are not known here are passed over."""

    __slots__ = ()

    def line(self) -> bytes:
        return b"%b %b" % (self.verb, _adapter(type(self)).dump_json(self))

    @classmethod
    def parsed(cls, rest: bytes) -> Self:
        try:
            return _adapter(cls).validate_json(rest)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            what = f"{where}: {first['msg']}" if where else first["msg"]
            raise LinkProtocolError(f"{_text(cls.verb)} has fields that do not fit ({what})", rest) from None


@dataclass(frozen=True, slots=True)
class Hello(_Fields):
    """The client's first frame.

    Attributes:
        client: Who it is, the same after a reconnect: its asks are numbered by it, and its claims are leased to it.
        settled: The lowest number whose answer it still needs.
        payload_bytes: The longest line that it takes, in pieces or not.
        version: The protocol's.
        library: The version of this library, for logs.
    """

    verb: ClassVar[bytes] = b"hello"

    client: Annotated[Name, Field(min_length=1)]
    settled: Annotated[int, Field(ge=0)] = 1
    payload_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    version: int = VERSION
    library: str = ""


@dataclass(frozen=True, slots=True)
class Welcome(_Fields):
    """The server's first frame.

    Attributes:
        asks: How many operations this client may have in flight, those that wait not counted.
        waits: How many operations that wait it may have in flight; one more is refused.
        payload_bytes: The longest line that the server takes, in pieces or not.
        version: The protocol's.
        store: What the server calls its store, for logs.
        durable: Whether the store outlives its process.
        remembers_replies: Whether a change that is asked for again is not carried out again.
    """

    verb: ClassVar[bytes] = b"welcome"

    asks: int
    waits: int
    payload_bytes: int
    version: int = VERSION
    store: str = ""
    durable: bool = False
    remembers_replies: bool = False


@dataclass(frozen=True, slots=True)
class Ask(Frame):
    """An operation.

    Attributes:
        number: The client's, one higher with each ask; the same where an ask is sent again.
        operation: The name of the message's class.
        payload: The message's fields as JSON.
    """

    verb: ClassVar[bytes] = b"ask"

    number: int
    operation: str
    payload: bytes

    def line(self) -> bytes:
        """The frame as it is sent."""
        return b"%b %d %b %b" % (self.verb, self.number, self.operation.encode(), self.payload)

    @classmethod
    def parsed(cls, rest: bytes) -> Self:
        """The frame of what follows the verb."""
        number, _, named = rest.partition(b" ")
        name, space, payload = named.partition(b" ")
        if not space or not name.isalpha() or len(name) > _LONGEST_NAME:
            raise LinkProtocolError(f"{_text(cls.verb)} wants a number, the name of an operation and JSON", rest)
        return cls(_number(number, cls.verb), name.decode(), payload)


class Items(Ask):
    """Some of the many things that belong to an ask, or to the reply to it, which is still to come: a JSON list."""

    __slots__ = ()
    verb: ClassVar[bytes] = b"items"


class Reply(_NumberAndBytes):
    """The answer to an ask, as JSON."""

    __slots__ = ()
    verb: ClassVar[bytes] = b"reply"


class Fault(_NumberAndBytes):
    """The error that an ask raised, as JSON."""

    __slots__ = ()
    verb: ClassVar[bytes] = b"fault"


class Part(_NumberAndBytes):
    """A piece of a line about this ask; more come."""

    __slots__ = ()
    verb: ClassVar[bytes] = b"part"


class Last(_NumberAndBytes):
    """The last piece of a line about this ask."""

    __slots__ = ()
    verb: ClassVar[bytes] = b"last"


class Cancel(_Number):
    """Nobody waits for the answer to this ask any more."""

    __slots__ = ()
    verb: ClassVar[bytes] = b"cancel"


class Settled(_Number):
    """Answers to asks below this number need not be remembered."""

    __slots__ = ()
    verb: ClassVar[bytes] = b"settled"


class Credit(_Number):
    """So many bytes of items and pieces more may be sent."""

    __slots__ = ()
    verb: ClassVar[bytes] = b"credit"


@dataclass(frozen=True, slots=True)
class Watch(_Fields):
    """Tell me when the store ends this attempt over its worker's head; None: when something may be in the queue."""

    verb: ClassVar[bytes] = b"watch"

    attempt_id: Name | None = None


@dataclass(frozen=True, slots=True)
class Unwatch(_Fields):
    """Tell me no more."""

    verb: ClassVar[bytes] = b"unwatch"

    attempt_id: Name | None = None


class Ready(_Word):
    """Something may be waiting in the queue."""

    __slots__ = ()
    verb: ClassVar[bytes] = b"ready"


@dataclass(frozen=True, slots=True)
class Stopped(_Fields):
    """The store has ended this attempt."""

    verb: ClassVar[bytes] = b"stopped"

    attempt_id: Name
    reason: str


class Ping(_Word):
    """Are you there?"""

    __slots__ = ()
    verb: ClassVar[bytes] = b"ping"


class Pong(_Word):
    """I am."""

    __slots__ = ()
    verb: ClassVar[bytes] = b"pong"


@dataclass(frozen=True, slots=True)
class Bye(_Fields):
    """The last frame of this connection.

    Attributes:
        reason: Why, for a person.
        final: Whether coming back is no use: what is wrong will be wrong again.
    """

    verb: ClassVar[bytes] = b"bye"

    reason: str
    final: bool = field(default=False)


Kinds = Mapping[bytes, Callable[[bytes], Frame]]


def _kinds(*frames: type[Frame]) -> Kinds:
    return {frame.verb: frame.parsed for frame in frames}


FROM_CLIENT: Final = _kinds(Hello, Ask, Items, Part, Last, Cancel, Settled, Credit, Watch, Unwatch, Ping, Pong, Bye)
"""What a client says."""
FROM_SERVER: Final = _kinds(Welcome, Reply, Fault, Items, Part, Last, Credit, Ready, Stopped, Ping, Pong, Bye)
"""What a server says."""

F = TypeVar("F", bound=Frame)


def parse(line: bytes, kinds: Kinds) -> Frame:
    """The frame that a line holds.

    Args:
        line: Without its line break.
        kinds: Which frames may come: `FROM_CLIENT` or `FROM_SERVER`.

    Raises:
        LinkProtocolError: It is none of these.
    """
    verb, _, rest = line.partition(b" ")
    parsed = kinds.get(verb)
    if parsed is None:
        known = ", ".join(_text(one) for one in kinds)
        raise LinkProtocolError(f"a frame begins with one of {known}, and this does not", line)
    return parsed(rest)


@cache
def _adapter(kind: type[F]) -> TypeAdapter[F]:
    return TypeAdapter(kind)


def _number(text: bytes, verb: bytes) -> int:
    if not text.isdigit() or len(text) > _DIGITS:
        raise LinkProtocolError(f"{_text(verb)} wants a number of at most {_DIGITS} digits", text)
    return int(text)


def _text(verb: bytes) -> str:
    return verb.decode()


def _shown(line: bytes) -> str:
    """Enough of it to be recognised: what is wrong may be long."""
    return repr(line[:_SHOWN]) + (f" and {len(line) - _SHOWN:,} bytes more" if len(line) > _SHOWN else "")
