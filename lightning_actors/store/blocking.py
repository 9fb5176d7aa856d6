"""A store without await, for code in threads: sync algorithms and sync agents.

```
worker thread                              the store's event loop
view.enqueue_rollout(task)   ──asks──▶     await store.enqueue_rollout(task)
      … waits …              ◀─reply──
```

The operations are those of the store, found by name in its list; none is written here again.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import anyio
from anyio import from_thread
from anyio.lowlevel import EventLoopToken, current_token

from lightning_actors.actors.message import Message
from lightning_actors.errors import StoreError, WrongLoop
from lightning_actors.store.api import LightningStore, LightningStoreCapabilities
from lightning_actors.store.completions import BlockingCompletions
from lightning_actors.store.messages import NextCompletion

__all__ = ["BlockingStore"]

R = TypeVar("R")


class BlockingStore:
    """The operations of a store as plain methods: same names, same arguments, and the reply itself is returned.

    Any thread may use it but that of the event loop. An operation that waits (``wait_for_rollouts``) blocks the
    calling thread alone. In a thread begun by anyio, cancelling its host ends the wait; in one's own threads, `close`
    does.

    Args:
        store: The store to look at.
        token: The event loop that owns the store; None for the running one, or if none is running here, for the one
            that began this thread (``anyio.to_thread``).
        within: What to enter, on that event loop, around each operation: it may refuse one by raising.
    """

    def __init__(
        self,
        store: LightningStore,
        token: EventLoopToken | None = None,
        *,
        within: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self._store = store
        self._token = token if token is not None else _running_loop()
        self._within = within
        self._waits: set[anyio.CancelScope] = set()
        self._closed = False

    def ask(self, message: Message[R], /) -> R:
        """Carry out an operation given as a message; this is the typed way in."""
        return self._wait(lambda: self._store.ask(message))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The operation of this name, to be called without await."""
        if name not in LightningStore.operations:
            raise AttributeError(
                f"a BlockingStore has the operations of the store, and {name!r} is none: "
                f"{', '.join(sorted(LightningStore.operations))}"
            )
        operation: Callable[..., Coroutine[Any, Any, Any]] = getattr(self._store, name)

        @functools.wraps(operation)
        def blocking(*args: Any, **kwargs: Any) -> Any:
            return self._wait(lambda: operation(*args, **kwargs))

        blocking.__signature__ = inspect.signature(operation)  # pyright: ignore[reportAttributeAccessIssue]  # what inspect reads
        setattr(self, name, blocking)  # found without this method from now on
        return blocking

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *LightningStore.operations})

    def completions(self, after: str | None = None) -> BlockingCompletions:
        """The ended rollouts in the order in which they ended; see `LightningStore.completions`."""
        return BlockingCompletions(lambda cursor: self.ask(NextCompletion(cursor)), after)

    @property
    def capabilities(self) -> LightningStoreCapabilities:
        """What the store can do; this view of it can also be used from any thread."""
        return {**self._store.capabilities, "thread_safe": True}

    def otlp_traces_endpoint(self) -> str:
        """The address that takes OTLP traces; a StoreError where there is none."""
        return self._store.otlp_traces_endpoint()

    def close(self) -> None:
        """End all waits and refuse further calls; to be called in the event loop that owns the store."""
        self._closed = True
        for scope in tuple(self._waits):
            scope.cancel()

    def _wait(self, operation: Callable[[], Coroutine[Any, Any, R]]) -> R:
        if _running_loop() is not None:
            raise WrongLoop(
                "a BlockingStore was used in an event loop, which it would block: await the store's own methods there, "
                "or call this one in a thread, as by anyio.to_thread.run_sync"
            )
        try:
            if self._token is None or _begun_by_anyio():
                with contextlib.suppress(_AnotherLoop):
                    return from_thread.run(self._carry_out, operation)  # cancelled together with the thread's host
            return from_thread.run(self._carry_out, operation, token=self._token)
        except (anyio.RunFinishedError, anyio.NoEventLoopError) as error:
            raise WrongLoop(
                "the event loop that owns this store has ended or is not known in this thread: make the BlockingStore "
                "in the loop, or in a thread begun by anyio.to_thread.run_sync"
            ) from error

    async def _carry_out(self, operation: Callable[[], Coroutine[Any, Any, R]]) -> R:
        if self._token is not None and current_token().native_token is not self._token.native_token:
            raise _AnotherLoop
        with anyio.CancelScope() as scope:
            if not self._closed:
                self._waits.add(scope)
                try:
                    with self._within():
                        return await operation()
                finally:
                    self._waits.discard(scope)
        raise StoreError("the run that this store belonged to has ended: its blocking view takes no more calls")


class _AnotherLoop(Exception):
    """This thread was begun by another loop than the store's."""


def _running_loop() -> EventLoopToken | None:
    try:
        return current_token()
    except anyio.NoEventLoopError:
        return None


def _begun_by_anyio() -> bool:
    try:
        from_thread.check_cancelled()
    except anyio.NoEventLoopError:
        return False
    return True
