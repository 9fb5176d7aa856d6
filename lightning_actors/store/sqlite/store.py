"""`SqliteLightningStore`: the store that outlives its process, in one file.

```
deliver, submit ──▶ Reception ──▶ Writer: what waits is one transaction ──▶ the file
 on the loop            ▲              in its own thread      │
                        └────────── after the commit ─────────┘
```
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

import anyio
import anyio.lowlevel
from anyio import to_thread

from lightning_actors.actors.clock import Clock, SystemClock
from lightning_actors.actors.message import Message
from lightning_actors.errors import ConfigError
from lightning_actors.store.api import LightningStore, LightningStoreCapabilities
from lightning_actors.store.messages import StoreWait
from lightning_actors.store.sqlite.opening import StoreFile, Synchronous
from lightning_actors.store.sqlite.reception import Reception
from lightning_actors.store.sqlite.writer import Writer
from lightning_actors.store.vain_waits import VainWaits

__all__ = ["SqliteLightningStore"]

R = TypeVar("R")


class SqliteLightningStore(LightningStore):
    """Rollouts, spans and resources in a file, for one event loop at a time.

    What was answered is in the file: it survives the end of the process, however that comes (``kill -9``). Opened again
    on the same file, it goes on where it stopped: queue, resources, cursors, sequence ids. Attempts of a process that
    is gone are given up and made again, not counted; those held under a lease go on.

    Operations that come together are one transaction, in a thread of the store's own; the event loop is never blocked,
    and nothing is answered before the commit. Usable bare, in a runner's ``run_context``, in a Trainer and behind a
    server, by one process at a time; others may read the file meanwhile. What JSON cannot hold is refused (`NotJson`).

    Nothing is ever dropped; ``statistics`` has the size of all spans as JSON, ``total_span_bytes``, and no thresholds.
    Memory does not grow with the store. A query of thousands of rollouts is read beside the others: it sees all that
    was answered before it was asked, and perhaps some of what was asked after it.

    Close it with `close`, `aclose`, ``with`` or ``async with``; where that is forgotten, nothing is lost.

    Args:
        path: The file, made if there is none. Beside it stand ``<path>-wal`` and ``<path>-shm``, which belong to it
            while it is open or was not closed, and ``<path>.lock``, which says who has it open.
        synchronous: When the disk has to have what was written. ``"normal"``: in time; where the machine loses power,
            or its operating system crashes, the last operations may be lost, the newest first and none by halves, and
            the file is not damaged by it. ``"full"``: before anything is answered, which takes as long as the disk
            does.
        clock: Where the time comes from.

    Raises:
        ConfigError: The path is none of a file, or an option makes no sense.
        StoreInUse: Somebody has the file open, and who that is.
        StoreTooNew: A newer version of this library has written it.
        StoreDamaged: It is no store's, or broken. It is left as it is.
        StoreFileError: It cannot be used otherwise: no folder, no right to write.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, synchronous: Synchronous = "normal", clock: Clock | None = None
    ) -> None:
        if cast("str", synchronous) not in {"normal", "full"}:
            raise ConfigError(f'synchronous={synchronous!r} is neither "normal" nor "full"')
        self._clock: Clock = clock or SystemClock()
        file = StoreFile(path, synchronous)
        self._path = file.path
        writer = Writer(file, self._clock)
        self._reception = Reception(type(self).__name__, writer, self._clock)
        self._vain_waits = VainWaits(self._clock)
        self._end = weakref.finalize(self, writer.close)
        self.submit = None if self._has_a_way_of_its_own() else self._reception.submit

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def capabilities(self) -> LightningStoreCapabilities:
        """Safe to use from many tasks of one loop; what was answered is kept."""
        return LightningStoreCapabilities(
            async_safe=True,
            thread_safe=False,
            zero_copy=False,
            otlp_traces=False,
            durable=True,
            remembers_replies=True,
        )

    def _has_a_way_of_its_own(self) -> bool:
        """Whether the class changes what happens on the way from a message to the writer."""
        kind = type(self)
        is_plain = kind.deliver is SqliteLightningStore.deliver and kind.ask is LightningStore.ask
        return bool(self.overridden) or not is_plain

    async def deliver(self, message: Message[R], /) -> R:
        """Carry one operation out; one that waits waits here. Raises StoreClosed after `close`.

        Cancelled, an operation that was not begun never will be. One that was stands, but for a claim, which is undone.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        if isinstance(message, StoreWait) and not (message.timeout is not None and message.timeout <= 0):
            return await self._wait(message)
        return await self._carry_out(message)

    async def _carry_out(self, message: Message[R]) -> R:
        done = anyio.Event()
        outcome = _Outcome[R](done.set)
        take_back = self._reception.submit(message, outcome)
        try:
            await done.wait()
        except BaseException:
            take_back()
            raise
        return outcome.take()

    async def _wait(self, message: StoreWait[R]) -> R:
        reception, sleepers = self._reception, self._reception.sleepers
        sleeper = sleepers.make()
        outcome = _Outcome[R](sleeper.wake)
        take_back = reception.submit(message, outcome)
        try:
            await sleepers.sleep(reception.settle, sleeper, seconds=message.timeout, until=lambda: outcome.is_there)
        finally:
            if not outcome.is_there:
                take_back()
        if outcome.is_there:
            return outcome.take()
        in_vain = await self._carry_out(message.with_timeout(0.0))
        await self._vain_waits.tell(self.ask, message, in_vain)
        return in_vain

    async def keep_time(self) -> None:
        """Settle deadlines as they fall due, until cancelled. Raises StoreClosed after `close`."""
        self._reception.guard.enter()
        try:
            await self._reception.sleepers.sleep(self._reception.settle)
        finally:
            self._reception.guard.leave()

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Have ``ready`` called whenever a rollout may be waiting in the queue."""
        return self._reception.watchers.watch_queue(ready)

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Have ``stop`` called once if the store ends this attempt before its worker does; soon, where it is over."""
        return self._reception.watch_attempt(attempt_id, stop)

    def close(self) -> None:
        """Carry out what was asked for, and let others have the file; a second time changes nothing.

        Whoever still waits for rollouts is told so by StoreClosed, as is every use from then on. It takes as long as
        what was asked for does, and blocks the caller for it, for 10 seconds at most; `aclose` blocks nobody.
        """
        self._reception.close()

    async def aclose(self) -> None:
        """The same without blocking the event loop, also while the caller is being cancelled."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.aclose()


class _Outcome(Generic[R]):
    """A slot for which a task waits.

    Attributes:
        is_there: It was filled.
    """

    __slots__ = ("_error", "_reply", "_wake", "is_there")

    _reply: R

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._error: BaseException | None = None
        self.is_there = False

    def set(self, value: R, /) -> None:
        """This is the reply."""
        self._reply = value
        self.is_there = True
        self._wake()

    def fail(self, error: BaseException, /) -> None:
        """It was not carried out."""
        self._error = error
        self.is_there = True
        self._wake()

    def take(self) -> R:
        """The reply, or the error."""
        if self._error is not None:
            raise self._error
        return self._reply
