"""`DetachedCall`: what the owner of a detached task or thread has in hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar, cast

import anyio

from lightning_actors.actors import Clock, SystemClock

__all__ = ["DetachedCall"]

R = TypeVar("R")

_SHARES: Final = (0.5, 0.25, 0.25)
"""A call is asked to end once for each of these, and then has this share of the time: it may have swallowed the first
cancellation, but clean-up that has begun should not be cut short at once."""


class DetachedCall(Generic[R]):
    """A call under way outside any task group; its result or error is a value."""

    __slots__ = (
        "_finished",
        "_is_finished",
        "_value",
        "error",
        "has_begun",
        "is_asked_to_end",
        "name",
        "on_cancel",
        "on_finish",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self._finished: anyio.Event | None = None
        self._is_finished = False
        self.has_begun = False
        self.is_asked_to_end = False
        self.error: BaseException | None = None
        self._value: R | None = None
        self.on_cancel: Callable[[], object] | None = None
        self.on_finish: Callable[[], object] | None = None

    @property
    def finished(self) -> anyio.Event:
        """Set once it has ended. Made for whoever wants it, which are few."""
        if self._finished is None:
            self._finished = anyio.Event()
            if self._is_finished:
                self._finished.set()
        return self._finished

    @property
    def value(self) -> R:
        """What it returned. Raises what it raised."""
        if self.error is not None:
            raise self.error
        return cast("R", self._value)

    def cancel(self) -> None:
        """Ask it to end. A thread hears of it when it waits on its event loop, now or the next time."""
        if self._is_finished:
            return
        self.is_asked_to_end = True
        self._cancel()

    def _cancel(self) -> None:
        if self.on_cancel is not None:
            self.on_cancel()

    async def end(self, seconds: float, clock: Clock | None = None) -> bool:
        """Ask it to end, again if need be, and wait so long at most.

        Args:
            seconds: How long.
            clock: Whose time that is; the machine's own by default.

        Returns:
            Whether it has ended.
        """
        clock = clock or SystemClock()
        for share in _SHARES:
            self.cancel()
            with clock.move_on_after(seconds * share):
                await self.finished.wait()
                return True
        return self._is_finished

    def settle(self, value: R | None, error: BaseException | None) -> None:
        """Note how it ended; whoever runs it says so, and the first word counts."""
        if self._is_finished:
            return
        self._value, self.error = value, error
        self.on_cancel = None  # what it holds may hold this call: a circle that only the collector could undo
        self._is_finished = True
        if self._finished is not None:
            self._finished.set()
        notify, self.on_finish = self.on_finish, None
        if notify is not None:
            notify()

    def finished_with(self, notify: Callable[[], object]) -> None:
        """Have this called once it has ended, or now if it has."""
        if self._is_finished:
            notify()
        else:
            self.on_finish = notify
