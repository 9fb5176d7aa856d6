"""`Conversation`: the client's side of one connection, from hello until it is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from lightning_actors.actors import Clock
from lightning_actors.errors import StoreError
from lightning_actors.http.link.calls import Calls
from lightning_actors.http.link.channel import Channel, ChannelClosed
from lightning_actors.http.link.frames import Bye, Frame, LinkProtocolError, Welcome
from lightning_actors.http.link.limits import LinkOptions
from lightning_actors.log import get_logger

__all__ = ["Conversation"]

log = get_logger("lightning_actors.http")

_BEATS: Final = 3
"""So many beats in each lease; a server that is silent for as many is taken for gone."""
_BEAT_SECONDS: Final = 10.0
"""Between two beats, where claims have no lease."""


class Conversation:
    """One connection.

    Args:
        calls: What is asked over it.
        channel: The connection.
        clock: The time.
        options: How it behaves.
        welcomed: Called when the server has let the client in.
    """

    def __init__(
        self, calls: Calls, channel: Channel, clock: Clock, options: LinkOptions, welcomed: Callable[[Welcome], None]
    ) -> None:
        self._calls = calls
        self._channel = channel
        self._clock = clock
        self._options = options
        self._welcomed = welcomed
        self._silent_beats = 0
        self._tasks: TaskGroup | None = None
        self._why: str | None = None
        self._refusal: StoreError | None = None
        self._flushed: anyio.Event | None = None

    async def run(self) -> str:
        """Talk until the connection is lost.

        Returns:
            Why it was.

        Raises:
            StoreError: The server does not want to be asked again.
        """
        self._calls.end.connect()
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._until_lost, self._write)
                self._tasks.start_soon(self._until_lost, self._listen)
        finally:
            self._calls.disconnected()
        if self._refusal is not None:
            raise self._refusal
        return self._why or "the connection was lost"

    async def say_bye(self) -> None:
        """Say that the client is done, and wait until all that it had to say is sent."""
        self._flushed = anyio.Event()
        self._calls.end.bye("the client is done")
        self._calls.bell.ring()
        await self._flushed.wait()

    async def _until_lost(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except ChannelClosed as closed:
            self._end(str(closed))
        except LinkProtocolError as error:
            self._end(f"the server said what has no meaning: {error}")

    def _end(self, why: str) -> None:
        self._why = self._why or why
        if self._flushed is not None:
            self._flushed.set()
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def _write(self) -> None:
        end, bell = self._calls.end, self._calls.bell
        while True:
            message = end.take()
            if message is not None:
                await self._channel.send(message)
                continue
            if self._flushed is not None and not end.has_more_to_say:
                self._flushed.set()
            await bell.wait()

    async def _listen(self) -> None:
        with self._clock.move_on_after(self._options.connect_seconds) as scope:
            message = await self._channel.receive()
        if scope.cancelled_caught:
            raise ChannelClosed(f"the server did not say welcome within {self._options.connect_seconds:g} s")
        while True:
            self._silent_beats = 0
            for frame in self._calls.end.receive(message):
                self._told(frame)
                if isinstance(frame, Bye):
                    return  # what a server that stops has to say after it counts no more: the next one is asked
            if self._calls.end.has_more_to_say:
                self._calls.bell.ring()
            message = await self._channel.receive()

    def _told(self, frame: Frame) -> None:
        if isinstance(frame, Bye):
            if frame.final:
                self._refusal = StoreError(f"the store's server does not go on with this client: {frame.reason}")
            self._end(frame.reason)
        elif isinstance(frame, Welcome):
            self._welcomed(frame)
            if self._tasks is not None:
                self._tasks.start_soon(self._until_lost, self._beat)
        else:
            self._calls.told(frame)

    async def _beat(self) -> None:
        """Renew leases, or see whether the server is there, again and again; the first time at once."""
        lease = self._options.lease_seconds
        pause = _BEAT_SECONDS if lease is None else lease / _BEATS
        while True:
            began = self._clock.monotonic()
            if self._silent_beats >= _BEATS:
                raise ChannelClosed(f"the server has been silent for {_BEATS * pause:g} s")
            self._silent_beats += 1
            with self._clock.move_on_after(pause):
                await self._renew()
            await self._clock.sleep(began + pause - self._clock.monotonic())

    async def _renew(self) -> None:
        try:
            if await self._calls.renew():
                return
        except StoreError as error:
            log.warning("leases_not_renewed", error=repr(error))
        self._calls.end.ping()
        self._calls.bell.ring()
