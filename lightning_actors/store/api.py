"""`LightningStore`: what a store can be asked, and the one function that a store must provide.

```
await store.enqueue_rollout(task)  ──builds──▶  EnqueueRollout(task)  ──deliver──▶  the store's home
await store.ask(EnqueueRollout(task))  ──▶  the same, by way of a method that a subclass overrides
```
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from types import MappingProxyType
from typing import Any, ClassVar, Concatenate, ParamSpec, Protocol, TypeVar, cast

import anyio
from pydantic import ValidationError
from typing_extensions import TypedDict

from lightning_actors.actors.clock import Clock, SystemClock
from lightning_actors.actors.message import Message
from lightning_actors.errors import ConfigError, StoreError
from lightning_actors.options import refused_arguments
from lightning_actors.store import messages
from lightning_actors.store.completions import Completions
from lightning_actors.store.once import Once, Repeats
from lightning_actors.store.run_ledger import RunLedger

__all__ = ["AtOnce", "LightningStore", "LightningStoreCapabilities", "Slot", "Submit", "store_operation"]

P = ParamSpec("P")
R = TypeVar("R")


class AtOnce(Protocol):
    """Carries out operations that do not wait, without being awaited."""

    def __call__(self, message: Message[R], /) -> R:
        """Carry one operation out. Raises StoreError as the operation says."""
        ...


class Slot(Protocol):
    """Where the outcome of an operation is put; the `Reply` of an actor is one."""

    def set(self, value: Any, /) -> object:
        """This is the reply."""
        ...

    def fail(self, error: BaseException, /) -> object:
        """It was not carried out, for this reason."""
        ...


class Submit(Protocol):
    """Takes operations in the order in which they are to be carried out, and puts their outcomes into slots later."""

    def __call__(self, message: Message[Any], slot: Slot, /) -> Callable[[], None]:
        """Take one operation; one that waits, waits without a limit unless its timeout is 0.

        Returns:
            A function that takes it back. If it was not begun it never will be; else a claim is undone and what else it
            does stands. The slot may be filled all the same.
        """
        ...


class LightningStoreCapabilities(TypedDict, total=False):
    """What a store can do; what is absent it cannot.

    Ours beside those of Agent Lightning: ``durable``, what it answered is there when it is opened again; and
    ``remembers_replies``, it takes the envelope `Once`.
    """

    thread_safe: bool
    async_safe: bool
    zero_copy: bool
    otlp_traces: bool
    durable: bool
    remembers_replies: bool


def store_operation(message: Callable[P, Message[R]]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """The method that goes with a message: its arguments build the message, its reply is what the method returns.

    Args:
        message: The message class.

    Returns:
        A method for the body of `LightningStore`; a subclass overrides it with one of the same signature.
    """
    kind = cast("type[Message[R]]", message)

    async def method(self: LightningStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            built = message(*args, **kwargs)
        except ValidationError:
            raise _refusal(kind, method.__name__, args, kwargs) from None
        return await self.deliver(built)

    parameters = [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY),
        *inspect.signature(kind).parameters.values(),
    ]
    method.__doc__ = kind.__doc__
    method.__signature__ = inspect.Signature(parameters, return_annotation=kind.reply_type())  # pyright: ignore[reportFunctionMemberAccess]  # what inspect reads
    method.__message__ = kind  # pyright: ignore[reportFunctionMemberAccess]  # what tells an operation from any other method
    return method


class LightningStore(ABC):
    """Where rollouts, attempts, spans, resources and workers are kept.

    A home of its own implements `deliver`. To change one operation of an existing store, override its method in a
    subclass and call ``super()``: messages take the same way, on every route. What is set on a
    class or an object later is not seen.

    Source: methods, arguments and replies are those of Agent Lightning 0.3, except ``release_attempt``,
    ``update_many_workers``, ``next_completion``, ``get_completion_cursor``, ``explain_rollout``, ``renew_leases``,
    ``publish_resources``, ``begin_run``, ``leave_run``, ``end_run``, ``start_rollout(begun=...)``,
    ``add_resources(publish=...)``, ``update_resources(publish=...)``, the ``key`` of what is enqueued and the
    ``lease`` of what is claimed.
    """

    operations: ClassVar[Mapping[str, type[Message[Any]]]] = {}
    """Every operation: the method's name and its message."""
    overridden: ClassVar[Mapping[type[Message[Any]], str]] = {}
    """The operations whose methods this class replaces."""
    clock: Clock = SystemClock()
    """Where its time comes from: deadlines, and how long its callers give it to answer."""
    at_once: AtOnce | None = None
    """What carries out operations that do not wait, without await; None where a store has to be awaited.

    It does the same as `ask`, for callers on the store's own event loop that are checkpoints themselves.
    """
    submit: Submit | None = None
    """What takes operations and answers later, on the loop, without await; None where a store has no such way."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note which operations the subclass replaces with methods of its own."""
        super().__init_subclass__(**kwargs)
        cls.overridden = {
            message: name
            for name, message in LightningStore.operations.items()
            if inspect.getattr_static(cls, name) is not inspect.getattr_static(LightningStore, name)
        }

    @abstractmethod
    async def deliver(self, message: Message[R], /) -> R:
        """Carry one operation out, or take it to whoever does.

        Args:
            message: The operation with its arguments.

        Returns:
            The operation's reply.

        Raises:
            StoreError: As the operation says.
        """

    @abstractmethod
    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Have ``ready`` called, on the store's loop, whenever a rollout may be waiting in the queue.

        Calls may be merged: one call stands for any number of rollouts. ``ready`` must be quick and must not raise.

        Returns:
            A function that ends the watch.
        """

    @abstractmethod
    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Have ``stop`` called once if the store ends this attempt before its worker does.

        The argument says why: "cancelled", "timeout", "unresponsive", "requeued", "released", "lease lapsed" or the
        rollout's new status. If it is over already, or no such attempt is known, ``stop`` is called at once, or as soon
        as a store that is elsewhere has said so.

        Returns:
            A function that ends the watch.
        """

    def completions(self, after: str | None = None) -> Completions:
        """The ended rollouts in the order in which they ended, those that are yet to end included.

        ``async for rollout in store.completions()`` never ends by itself; it gives every rollout, also those of
        ``step``, once for each time that it ends. See `Completions`.

        Args:
            after: A cursor from which to go on; None for the beginning. ``await store.get_completion_cursor()`` is the
                one from which only what ends from now on comes.

        Raises:
            ConfigError: ``after`` is no cursor. (One that this store has not given is an error of the iteration.)
        """
        return Completions(self.next_completion, after)

    def opened(self) -> AbstractAsyncContextManager[None]:
        """What whoever uses the store is in for as long as they do: trainers, runners that reside, ``iter``, servers.

        A store that is elsewhere keeps its connection in it; one that is here does nothing, and closes nothing.
        """
        return nullcontext()

    def leave_within(self, seconds: float, /) -> None:  # noqa: B027 - a store that is here always answers
        """Say that whoever is in ``opened`` will leave, and from when on a store that is gone is waited for no longer.

        Args:
            seconds: For how long there is still patience with it.
        """

    async def keep_time(self) -> None:
        """Settle deadlines as they fall due, until cancelled; a store whose home does so by itself just sleeps."""
        await anyio.sleep_forever()

    async def ask(self, message: Message[R], /) -> R:
        """Carry one operation out by the method that goes with it, an overriding one included."""
        name = self.overridden.get(type(message))
        if name is None:
            if isinstance(message, Once) and type(message.message) in self.overridden:
                return await self._repeats.answer(self, message)
            return await self.deliver(message)
        args, kwargs = _arguments(message)
        return await getattr(self, name)(*args, **kwargs)

    @functools.cached_property
    def run_ledger(self) -> RunLedger:
        """Which rollouts belong to which of the runs that share this store."""
        return RunLedger()

    @functools.cached_property
    def _repeats(self) -> Repeats:
        return Repeats()

    @property
    def capabilities(self) -> LightningStoreCapabilities:
        """What this store can do."""
        return LightningStoreCapabilities(async_safe=True)

    def otlp_traces_endpoint(self) -> str:
        """The address that takes OTLP traces.

        Raises:
            StoreError: This store takes none.
        """
        raise StoreError(
            f"{type(self).__name__} takes no OTLP traces: only a store that is served over HTTP has such an address"
        )

    statistics = store_operation(messages.Statistics)
    start_rollout = store_operation(messages.StartRollout)
    enqueue_rollout = store_operation(messages.EnqueueRollout)
    enqueue_many_rollouts = store_operation(messages.EnqueueManyRollouts)
    dequeue_rollout = store_operation(messages.DequeueRollout)
    dequeue_many_rollouts = store_operation(messages.DequeueManyRollouts)
    start_attempt = store_operation(messages.StartAttempt)
    renew_leases = store_operation(messages.RenewLeases)
    release_attempt = store_operation(messages.ReleaseAttempt)
    update_rollout = store_operation(messages.UpdateRollout)
    update_attempt = store_operation(messages.UpdateAttempt)
    query_rollouts = store_operation(messages.QueryRollouts)
    query_attempts = store_operation(messages.QueryAttempts)
    get_rollout_by_id = store_operation(messages.GetRolloutById)
    get_latest_attempt = store_operation(messages.GetLatestAttempt)
    query_resources = store_operation(messages.QueryResources)
    get_resources_by_id = store_operation(messages.GetResourcesById)
    get_latest_resources = store_operation(messages.GetLatestResources)
    add_resources = store_operation(messages.AddResources)
    update_resources = store_operation(messages.UpdateResources)
    publish_resources = store_operation(messages.PublishResources)
    add_span = store_operation(messages.AddSpan)
    add_many_spans = store_operation(messages.AddManySpans)
    add_otel_span = store_operation(messages.AddOtelSpan)
    get_next_span_sequence_id = store_operation(messages.GetNextSpanSequenceId)
    get_many_span_sequence_ids = store_operation(messages.GetManySpanSequenceIds)
    query_spans = store_operation(messages.QuerySpans)
    wait_for_rollouts = store_operation(messages.WaitForRollouts)
    next_completion = store_operation(messages.NextCompletion)
    get_completion_cursor = store_operation(messages.GetCompletionCursor)
    explain_rollout = store_operation(messages.ExplainRollout)
    begin_run = store_operation(messages.BeginRun)
    leave_run = store_operation(messages.LeaveRun)
    end_run = store_operation(messages.EndRun)
    query_workers = store_operation(messages.QueryWorkers)
    get_worker_by_id = store_operation(messages.GetWorkerById)
    update_worker = store_operation(messages.UpdateWorker)
    update_many_workers = store_operation(messages.UpdateManyWorkers)


def _name_operations() -> Mapping[str, type[Message[Any]]]:
    operations: dict[str, type[Message[Any]]] = {}
    for name, member in vars(LightningStore).items():
        message: type[Message[Any]] | None = getattr(member, "__message__", None)
        if message is not None:
            member.__name__, member.__qualname__ = name, f"{LightningStore.__name__}.{name}"
            operations[name] = message
    return MappingProxyType(operations)


LightningStore.operations = _name_operations()


def _arguments(message: Message[Any]) -> tuple[list[Any], dict[str, Any]]:
    """What a call of the method would look like: required arguments by place, the others by name where they are given.

    What is left at its default is not passed, so that an overriding method's own default counts on every route.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for parameter in _parameters(type(message)):
        value = getattr(message, parameter.name)
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            args.append(value)
        elif not _is_default(value, parameter.default):
            kwargs[parameter.name] = value
    return args, kwargs


def _refusal(message: type[Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ConfigError:
    """What is wrong with the arguments of an operation, those that were given by place called by their names."""
    places = [each.name for each in _parameters(message) if each.kind is each.POSITIONAL_OR_KEYWORD]
    if len(args) > len(places):
        takes = {0: "no arguments", 1: "1 argument by place"}.get(len(places), f"{len(places)} arguments by place")
        return ConfigError(f"{name}: it takes {takes}, and was given {len(args)}")
    try:
        message(**dict(zip(places, args, strict=False)), **kwargs)
    except ValidationError as error:
        return refused_arguments(name, error)
    raise AssertionError(f"the arguments of {name} were refused and then taken")


def _is_default(value: object, default: object) -> bool:
    return value is default or (type(value) is type(default) and value == default)


@functools.cache
def _parameters(message: type[Any]) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(message).parameters.values())
