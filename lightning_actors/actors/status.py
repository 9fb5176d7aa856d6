"""Where an actor is in its life, and waiting for that to change."""

from __future__ import annotations

from typing import Literal, TypeAlias

import anyio

__all__ = ["ActorState", "Status"]

ActorState: TypeAlias = Literal["starting", "running", "stopping", "waiting", "stopped"]


class Status:
    """An actor's state. Whoever waits for a change costs one event; if nobody does, there is none."""

    __slots__ = ("_changed", "_state")

    def __init__(self) -> None:
        self._state: ActorState = "starting"
        self._changed: anyio.Event | None = None

    @property
    def state(self) -> ActorState:
        """The state at this moment."""
        return self._state

    def enter(self, state: ActorState) -> None:
        """Change the state and tell those who wait."""
        self._state = state
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    async def until_not(self, *states: ActorState) -> None:
        """Wait as long as the state is one of these."""
        while self._state in states:
            await self.until_changed()

    async def until(self, *states: ActorState) -> None:
        """Wait until the state is one of these."""
        while self._state not in states:
            await self.until_changed()

    async def until_changed(self) -> None:
        """Wait for the next change, whatever it is."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()
