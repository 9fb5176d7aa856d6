"""A supervisor as the child of another: what fails in it and is not mended there is its parent's to decide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from lightning_actors.actors.actor import Actor
from lightning_actors.actors.child import ChildSpec
from lightning_actors.actors.message import Message, handles
from lightning_actors.actors.ref import ActorInfo, ActorRef
from lightning_actors.actors.supervisor import Supervisor

__all__ = ["FindChild", "SupervisorActor"]


@dataclass(frozen=True, slots=True)
class FindChild(Message[ActorRef[Any]]):
    """Ask a SupervisorActor for the reference to one of its children; an unknown name is a ValueError."""

    name: str


class SupervisorActor(Actor):
    """A supervisor that is itself a child: ``ChildSpec("pool", lambda: SupervisorActor([...]), grace=30.0)``.

    Its failure crashes it, and its parent restarts it, with fresh children, as its spec says. When a significant
    child ends the tree, it ends normally. Its own grace time is for all its children together.

    Args:
        children: As for Supervisor.
        strategy: As for Supervisor.
    """

    def __init__(
        self,
        children: Iterable[ChildSpec[Any]] = (),
        *,
        strategy: Literal["one_for_one", "one_for_all"] = "one_for_one",
    ) -> None:
        self._children = tuple(children)
        self._strategy: Literal["one_for_one", "one_for_all"] = strategy
        self._supervisor: Supervisor | None = None
        self._start_error: Exception | None = None

    async def started(self) -> None:
        """Start the children."""
        self._supervisor = Supervisor(
            self._children,
            name=self.name,
            strategy=self._strategy,
            clock=self.clock,
            dead_letters=self.__cell__.bury,
        )
        opened = anyio.Event()
        self.start_soon(self._run, self._supervisor, opened, name=f"{self.name}:tree")
        await opened.wait()
        if self._start_error is not None:
            raise self._start_error

    async def stopping(self) -> None:
        """Stop the children."""
        if self._supervisor is not None:
            await self._supervisor.stop()

    @handles(FindChild)
    def find_child(self, message: FindChild) -> ActorRef[Any]:
        """The reference to a child."""
        assert self._supervisor is not None  # noqa: S101  # set by started()
        return self._supervisor.ref(message.name)

    def __children__(self) -> tuple[ActorInfo, ...]:
        """What the children are doing."""
        return () if self._supervisor is None else self._supervisor.tree()

    async def _run(self, supervisor: Supervisor, opened: anyio.Event) -> None:
        try:
            async with supervisor:
                opened.set()
                await supervisor.wait()
        except Exception as error:
            if opened.is_set():
                raise
            self._start_error = error
        finally:
            opened.set()
        self.stop_soon()
