"""`PlainTaskGroup`: a task group that raises what went wrong in it, and no ExceptionGroup around that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVarTuple, Unpack

import anyio

from lightning_actors.actors.ending import is_cancelled

__all__ = ["PlainTaskGroup"]

Arguments = TypeVarTuple("Arguments")


class PlainTaskGroup:
    """Tasks of one block. The first error, of a task or of the block, cancels the rest and is raised as it is.

    A cancellation that a task picked up elsewhere, such as that of an awaited future, is such an error. That of a scope
    around the block goes through, but an error is not lost for it.
    """

    def __init__(self) -> None:
        self._group = anyio.create_task_group()
        self._failure: BaseException | None = None

    @property
    def cancel_scope(self) -> anyio.CancelScope:
        """The scope of the block and of its tasks."""
        return self._group.cancel_scope

    def start_soon(
        self, function: Callable[[Unpack[Arguments]], Awaitable[object]], *args: *Arguments, name: object = None
    ) -> None:
        """Begin a task."""
        self._group.start_soon(self._run, function, args, name=name)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        is_swallowed = False
        try:
            if error is None or not _is_ours(error):
                if error is not None:
                    self._fail(error)
                await self._group.__aexit__(None, None, None)
            else:
                is_swallowed = bool(await self._group.__aexit__(kind, error, traceback))
        except anyio.get_cancelled_exc_class():
            if self._failure is None:
                raise
        if self._failure is not None and self._failure is not error:
            self._failure.__suppress_context__ = True  # the cancellation that it brought about
            raise self._failure
        return is_swallowed

    async def _run(self, function: Callable[[Unpack[Arguments]], Awaitable[object]], args: tuple[*Arguments]) -> None:
        try:
            await function(*args)
        except BaseException as error:
            if _is_ours(error):
                raise
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self.cancel_scope.cancel()


def _is_ours(error: BaseException) -> bool:
    """Whether this is the cancellation of a scope around the running task."""
    return isinstance(error, anyio.get_cancelled_exc_class()) and is_cancelled()
