"""The error tree.

LightningError
├── ActorError
│   ├── ActorCrashed            the actor died while it was handling this ask
│   ├── ActorStopped            the actor has ended and will not answer
│   ├── AskCircle               actors would wait for each other for ever
│   ├── MailboxFull             a full mailbox that rejects
│   ├── RestartLimitExceeded    a child crashed more often than its supervisor allows
│   └── UnhandledMessage        (also TypeError) the actor has no handler for this message
├── StoreError
│   ├── AccessRefused           (also PermissionError) a store elsewhere does not let this client in
│   ├── AttemptNotFound         (also ValueError)
│   ├── BoundExceeded           more than the server takes or gives at once
│   ├── InvalidRequest          (also ValueError) a server cannot read what it was asked
│   ├── InvalidTransition       (also ValueError) an ended rollout or attempt does not change
│   ├── NotJson                 (also TypeError) it would leave this process, and JSON cannot hold it
│   ├── NumberReused            (also ValueError) what is asked again is not what was asked before
│   ├── OperationUnavailable    (also NotImplementedError) the server has no such operation
│   ├── ReplyForgotten          what was asked again was answered too long ago
│   ├── ResourcesNotFound       (also ValueError)
│   ├── RolloutNotEnded         (also ValueError) what was asked belongs to a rollout that has ended
│   ├── RolloutNotFound         (also ValueError)
│   ├── RunHeld                 somebody may be at this run of an algorithm
│   ├── SpansEvicted            (also RuntimeError) these spans were dropped to save memory
│   ├── StoreClosed             (also RuntimeError) the store was closed
│   ├── StoreFileError          the file of a durable store cannot be used
│   │   ├── StoreDamaged        it is no store, or what is in it is broken
│   │   ├── StoreInUse          somebody else has it open
│   │   ├── StoreNotWritten     it could not be written: nothing has changed
│   │   └── StoreTooNew         it was written by a newer version of this library
│   ├── StoreUnreachable        (also ConnectionError) no store answers at this address
│   └── WrongLoop               (also RuntimeError) the store is in use from another event loop
├── RunnerError
│   ├── AgentResultError        (also TypeError) the agent returned what no rollout can hold
│   ├── MissingResource         (also ValueError) the agent wants a resource that is not there
│   ├── RolloutCancelled        the rollout was cancelled while it ran
│   ├── RolloutTimeout          (also TimeoutError) the rollout reached a deadline
│   └── RunnerNotReady          (also RuntimeError) the runner has no agent or store yet
└── ConfigError                 (also ValueError)
    ├── InvalidAgent            (also TypeError) a function that cannot be an agent
    ├── MissingExtra            (also ImportError) an optional dependency is not installed
    ├── MissingPlaceholder      (also KeyError) a template wants a value that was not given
    ├── NotLearning             (also RuntimeError) feedback was given to who does not learn, or not any more
    └── PortInUse               (also OSError) something else listens at this address

Every error carries what it speaks of as attributes, so that code need not read the message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

__all__ = [
    "AccessRefused",
    "ActorCrashed",
    "ActorError",
    "ActorStopped",
    "AgentResultError",
    "AskCircle",
    "AttemptNotFound",
    "BoundExceeded",
    "ConfigError",
    "InvalidAgent",
    "InvalidRequest",
    "InvalidTransition",
    "LightningError",
    "MailboxFull",
    "MissingExtra",
    "MissingPlaceholder",
    "MissingResource",
    "NotJson",
    "NotLearning",
    "NumberReused",
    "OperationUnavailable",
    "PortInUse",
    "ReplyForgotten",
    "ResourcesNotFound",
    "RestartLimitExceeded",
    "RolloutCancelled",
    "RolloutNotEnded",
    "RolloutNotFound",
    "RolloutTimeout",
    "RunHeld",
    "RunnerError",
    "RunnerNotReady",
    "SpansEvicted",
    "StoreClosed",
    "StoreDamaged",
    "StoreError",
    "StoreFileError",
    "StoreInUse",
    "StoreNotWritten",
    "StoreTooNew",
    "StoreUnreachable",
    "UnhandledMessage",
    "WrongLoop",
]


def _rebuild(cls: type[LightningError], state: dict[str, Any], args: tuple[Any, ...]) -> LightningError:
    return cls.rebuilt(args, state)


class LightningError(Exception):
    """Root of all errors that this library raises on purpose."""

    @classmethod
    def rebuilt(cls, args: tuple[Any, ...], state: Mapping[str, Any]) -> Self:
        """An error of this class with these arguments and attributes, past its constructor."""
        error: Self = (OSError if issubclass(cls, OSError) else cls).__new__(cls, *args)  # a base with a way of its own
        error.args = args
        error.__dict__.update(state)
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state, so that subclasses may take any constructor arguments."""
        return _rebuild, (type(self), dict(self.__dict__), self.args)

    def __str__(self) -> str:
        """The message alone (KeyError would quote it)."""
        return str(self.args[0]) if self.args else ""


class ActorError(LightningError):
    """Something went wrong between actors; ``actor`` is the name of the one spoken of."""

    def __init__(self, message: str, *, actor: str = "") -> None:
        super().__init__(message)
        self.actor = actor


class ActorCrashed(ActorError):
    """The actor died while it was handling this ask; ``__cause__`` is what killed it."""


class ActorStopped(ActorError):
    """The actor has ended for good and will not answer."""


class AskCircle(ActorError):
    """Actors would wait for each other for ever; ``circle`` names them in order of asking."""

    def __init__(self, message: str, *, circle: Sequence[str]) -> None:
        super().__init__(message, actor=circle[0] if circle else "")
        self.circle = tuple(circle)


class MailboxFull(ActorError):
    """The actor's mailbox is full and it rejects instead of letting the sender wait."""


class RestartLimitExceeded(ActorError):
    """A child crashed more often than its supervisor allows; ``__cause__`` is its last error."""


class UnhandledMessage(ActorError, TypeError):
    """The actor has no handler for a message of this type."""


class StoreError(LightningError):
    """The store could not do what was asked."""


class AccessRefused(StoreError, PermissionError):
    """A store elsewhere does not let this client in: the token is missing or wrong, or it comes from a foreign page."""


class BoundExceeded(StoreError):
    """More than a server takes or gives at once; ``bound`` names the bound and ``allowed`` says how much it is."""

    def __init__(self, message: str, *, bound: str, allowed: int) -> None:
        super().__init__(message)
        self.bound = bound
        self.allowed = allowed


class InvalidRequest(StoreError, ValueError):
    """A server cannot read what it was asked; ``fields`` names what is wrong, where it is a field."""

    def __init__(self, message: str, *, fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.fields = tuple(fields)


class OperationUnavailable(StoreError, NotImplementedError):
    """The server has no such operation; ``operation`` names it."""

    def __init__(self, message: str, *, operation: str) -> None:
        super().__init__(message)
        self.operation = operation


class StoreClosed(StoreError, RuntimeError):
    """The store was closed, and does nothing any more."""


class StoreFileError(StoreError):
    """The file of a durable store cannot be used; ``path`` says which."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class StoreDamaged(StoreFileError):
    """The file is no store, or what is in it is broken. It is left as it is."""


class StoreInUse(StoreFileError):
    """Somebody else has the file open; ``pid``, ``host`` and ``since`` say who, as far as is known."""

    def __init__(
        self, message: str, *, path: str, pid: int | None = None, host: str | None = None, since: float | None = None
    ) -> None:
        super().__init__(message, path=path)
        self.pid = pid
        self.host = host
        self.since = since


class StoreNotWritten(StoreFileError):
    """The file could not be written, as where the disk is full. What was asked for has changed nothing."""


class StoreTooNew(StoreFileError):
    """A newer version of this library has written the file; ``version`` is its form, ``known`` the newest one here."""

    def __init__(self, message: str, *, path: str, version: int, known: int) -> None:
        super().__init__(message, path=path)
        self.version = version
        self.known = known


class StoreUnreachable(StoreError, ConnectionError):
    """No store answers at this address, or the connection was lost before it did; ``address`` says where."""

    def __init__(self, message: str, *, address: str) -> None:
        super().__init__(message)
        self.address = address


class RolloutNotFound(StoreError, ValueError):
    """No rollout has this id."""

    def __init__(self, rollout_id: str) -> None:
        super().__init__(f"there is no rollout {rollout_id!r} in this store: check the id, or enqueue it first")
        self.rollout_id = rollout_id


class AttemptNotFound(StoreError, ValueError):
    """The rollout has no attempt with this id."""

    def __init__(self, rollout_id: str, attempt_id: str) -> None:
        super().__init__(
            f"rollout {rollout_id!r} has no attempt {attempt_id!r}: "
            f"query_attempts({rollout_id!r}) lists those it has, dequeue or start_attempt makes one"
        )
        self.rollout_id = rollout_id
        self.attempt_id = attempt_id


class NumberReused(StoreError, ValueError):
    """A client asks under the number of another operation; nothing has changed. ``operation`` is the one it had."""

    def __init__(self, client: str, number: int, operation: str) -> None:
        super().__init__(
            f"number {number} of client {client!r} was a {operation}, whose answer is remembered: each operation wants "
            f"a number of its own, greater than those before"
        )
        self.client = client
        self.number = number
        self.operation = operation


class ReplyForgotten(StoreError):
    """What a client asks for again was answered, and the reply is remembered no more; nothing has changed now."""

    def __init__(self, client: str, number: int) -> None:
        super().__init__(
            f"operation {number} of client {client!r} was answered before, and its reply is remembered no more: a "
            f"client may ask again for what it has had no answer to, and for the last 1,024 operations alone"
        )
        self.client = client
        self.number = number


class ResourcesNotFound(StoreError, ValueError):
    """No resources have this id."""

    def __init__(self, resources_id: str) -> None:
        super().__init__(
            f"there are no resources {resources_id!r} in this store: add_resources gives an id, "
            f"update_resources makes this one"
        )
        self.resources_id = resources_id


class InvalidTransition(StoreError, ValueError):
    """An ended rollout or attempt does not change; ``before`` and ``after`` are its statuses."""

    def __init__(self, message: str, *, before: str, after: str) -> None:
        super().__init__(message)
        self.before = before
        self.after = after


class NotJson(StoreError, TypeError):
    """What is to leave this process cannot be held by JSON; ``place`` says where it is, as in ``input['when']``."""

    def __init__(self, message: str, *, place: str) -> None:
        super().__init__(message)
        self.place = place


class RolloutNotEnded(StoreError, ValueError):
    """The rollout has not ended yet; ``status`` says where it stands."""

    def __init__(self, rollout_id: str, status: str) -> None:
        super().__init__(
            f"rollout {rollout_id!r} is {status} and has not ended: await wait_for_rollouts(rollout_ids=[...]) first; "
            f"while it runs, its agent gives rewards with emit_reward"
        )
        self.rollout_id = rollout_id
        self.status = status


class RunHeld(StoreError):
    """Somebody elsewhere may be at such a run: its lease lapses in ``seconds``, unless it is renewed."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(
            f"a run of {name} with the same datasets is held elsewhere, for {seconds:.1f} s more unless its lease is "
            f"renewed: ask again then, to go on with it if whoever held it is gone, or begin another with anew=True"
        )
        self.name = name
        self.seconds = seconds


class SpansEvicted(StoreError, RuntimeError):
    """The spans of this rollout were dropped because the store reached its memory threshold."""

    def __init__(self, rollout_id: str) -> None:
        super().__init__(
            f"the spans of rollout {rollout_id!r} were evicted to keep the store within its memory threshold: "
            f"read spans sooner, or raise eviction_memory_threshold"
        )
        self.rollout_id = rollout_id


class WrongLoop(StoreError, RuntimeError):
    """The store is in use from another event loop or thread."""


class RunnerError(LightningError):
    """A rollout could not be run to its end; ``rollout_id`` says which."""

    def __init__(self, message: str, *, rollout_id: str | None = None) -> None:
        super().__init__(message)
        self.rollout_id = rollout_id


class AgentResultError(RunnerError, TypeError):
    """The agent returned something that is neither None, a number nor a list of spans."""


class MissingResource(RunnerError, ValueError):
    """The agent wants a resource that is not there; ``wanted`` and ``available`` say which."""

    def __init__(
        self, message: str, *, wanted: str, available: Sequence[str] = (), rollout_id: str | None = None
    ) -> None:
        super().__init__(message, rollout_id=rollout_id)
        self.wanted = wanted
        self.available = tuple(available)


class RolloutCancelled(RunnerError):
    """The rollout was cancelled while it ran."""


class RolloutTimeout(RunnerError, TimeoutError):
    """The rollout reached a deadline; ``seconds`` is the limit that it reached."""

    def __init__(self, message: str, *, rollout_id: str | None = None, seconds: float | None = None) -> None:
        super().__init__(message, rollout_id=rollout_id)
        self.seconds = seconds


class RunnerNotReady(RunnerError, RuntimeError):
    """The runner has no agent or no store yet."""


class ConfigError(LightningError, ValueError):
    """An option, a component or a combination of them makes no sense."""


class InvalidAgent(ConfigError, TypeError):
    """This function cannot be an agent; the message shows a form that can."""


class MissingExtra(ConfigError, ImportError):
    """An optional dependency is not installed; ``extra`` is what brings it."""

    def __init__(self, feature: str, *, extra: str) -> None:
        super().__init__(f"{feature} needs the extra {extra!r}: pip install 'lightning-actors[{extra}]'")
        self.extra = extra


class MissingPlaceholder(ConfigError, KeyError):
    """A template has placeholders that were given no value; ``missing`` names them."""

    def __init__(self, message: str, *, missing: Sequence[str]) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


class NotLearning(ConfigError, RuntimeError):
    """An algorithm does not learn, or not any more, from this feedback.

    Attributes:
        rollout_id: The rollout that the feedback was for.
        kept: Whether the store has kept the reward, which happens just before it is learned from.
    """

    def __init__(self, message: str, *, rollout_id: str, kept: bool = False) -> None:
        super().__init__(message)
        self.rollout_id = rollout_id
        self.kept = kept


class PortInUse(ConfigError, OSError):
    """Something else listens at this address; ``host`` and ``port`` say where."""

    def __init__(self, message: str, *, host: str, port: int) -> None:
        super().__init__(message)
        self.host = host
        self.port = port
