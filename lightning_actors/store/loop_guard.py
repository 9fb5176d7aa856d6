"""`LoopGuard`: a store is used from one event loop at a time, and says so where it is not."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel

from lightning_actors.errors import WrongLoop

__all__ = ["LoopGuard", "running_loop"]


class LoopGuard:
    """Knows the loop that a store is used from while somebody waits or watches there.

    Args:
        kind: What the store is called in errors.

    Attributes:
        users: How many wait or watch; while there are none, any loop may be the next.
    """

    __slots__ = ("_kind", "_loop", "users")

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._loop: object = None
        self.users = 0

    def check(self) -> None:
        """Refuse another loop or thread.

        Raises:
            WrongLoop: The store is in use from another one.
        """
        if self.users and running_loop() != self._loop:
            raise WrongLoop(
                f"this {self._kind} is in use from another event loop or thread. From a worker thread, call it with "
                f"anyio.from_thread.run(store.enqueue_rollout, task); two loops want a store each"
            )

    def enter(self) -> None:
        """One more waits or watches, on the running loop. Raises WrongLoop."""
        self.check()
        if not self.users:
            self._loop = running_loop()
        self.users += 1

    def leave(self) -> None:
        """One of them is gone."""
        self.users -= 1
        if not self.users:
            self._loop = None


def running_loop() -> object:
    """The event loop, or trio's token, of the caller; None outside of any."""
    try:
        return asyncio.get_running_loop()  # the quick answer, which is nearly always the right one
    except RuntimeError:
        pass
    try:
        return anyio.lowlevel.current_token().native_token
    except anyio.NoEventLoopError:
        return None
