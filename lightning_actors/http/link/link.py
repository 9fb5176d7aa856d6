"""`Link`: a client's asks and watches, over a connection that comes back.

```
opened ─▶ connect ─▶ hello ─▶ welcome ─▶ … asks, answers, watches, renewals … ─╮
             ▲                                                                 │ lost
             ╰── pause: back-off with jitter ◀─────────────────────────────────╯
```

What is in flight when a connection is lost is sent again over the next one, with the numbers it had: the server carries
no change out twice. Whoever has the link open lends it a task; where the first leaves, the next one goes on.
"""

from __future__ import annotations

import copy
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Final, TypeVar, cast

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from lightning_actors.actors import Clock, SystemClock
from lightning_actors.actors.message import Message
from lightning_actors.errors import BoundExceeded, LightningError, StoreError, StoreUnreachable, WrongLoop
from lightning_actors.http.link.backoff import Backoff
from lightning_actors.http.link.calls import Calls
from lightning_actors.http.link.channel import Bell, Channel, ChannelClosed
from lightning_actors.http.link.conversation import Conversation
from lightning_actors.http.link.frames import Welcome
from lightning_actors.http.link.limits import LinkOptions
from lightning_actors.http.paging import asks_for_all, page_by_page
from lightning_actors.log import get_logger
from lightning_actors.store.messages import StoreWait

__all__ = ["Connect", "Link"]

R = TypeVar("R")

log = get_logger("lightning_actors.http")

Connect = Callable[[], Awaitable[Channel]]
"""Makes a connection. Raises OSError or ChannelClosed where another try may help, a LightningError where none will."""

_LAST_WORDS_SECONDS: Final = 2.0
_LEAVER_SECONDS: Final = 5.0
"""For so long a link may be down before one who is about to leave gives up what is not answered."""


class _Opening:
    """From when the first opens a link until the last has left.

    Attributes:
        loop: The event loop.
        count: How many have it open.
        turn: Held by the one whose task keeps the link up.
        news: Set once it was up, or will never be.
        leaves_at: When the only one who has it open means to leave at the latest; endless where nobody does.
    """

    def __init__(self, loop: EventLoopToken) -> None:
        self.loop = loop
        self.count = 0
        self.turn = anyio.Lock()
        self.news = anyio.Event()
        self.leaves_at = math.inf


class Link:
    """The link of one client.

    Args:
        connect: Makes a connection.
        address: Where the store is, for messages.
        client: Who this is: an id that no other client has.
        options: How it behaves.
        clock: The time.
        random: Where the jitter of its pauses comes from.
        library: The version of this library.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        address: str,
        client: str,
        options: LinkOptions | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        library: str = "",
    ) -> None:
        self._connect = connect
        self._address = address
        self._options = options or LinkOptions()
        self._clock: Clock = clock or SystemClock()
        self._calls = Calls(client, self._options, self._clock, library=library)
        self._backoff = Backoff(random=random)
        self._patience = Bell()
        self._opening: _Opening | None = None
        self._conversation: Conversation | None = None
        self._refusal: LightningError | None = None
        self._down_since: float | None = None
        self._why_down = "no connection was made yet"
        self._is_told_down = False
        self._was_up = False

    # ── open ──

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep the link for the length of a block; several blocks may be open at a time.

        Raises:
            StoreUnreachable: Nobody answered for as long as there was patience.
            LightningError: The server does not want this client.
            WrongLoop: It is open in another event loop.
        """
        opening = self._enter()
        failure: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope(shield=True)  # whoever is cancelled may still have something to say to the store
            tasks.start_soon(self._serve, opening, scope)
            try:
                await self._until_linked(opening)
                yield
            except BaseException as error:  # noqa: BLE001 - raised outside the group, so that no ExceptionGroup wraps it
                failure = error
            await self._leave(opening)
            scope.cancel()
        if failure is not None:
            raise failure

    def leave_within(self, seconds: float) -> None:
        """Whoever has it open will leave, and wants no more patience than that of a link that is down.

        After that time, what a link that has been down for 5 seconds does not get answered fails with StoreUnreachable.
        Where several have it open, nothing changes.

        Args:
            seconds: How long there is still patience.
        """
        opening = self._opening
        if opening is not None and opening.count == 1:
            opening.leaves_at = min(opening.leaves_at, self._clock.monotonic() + seconds)
            self._patience.ring()

    @property
    def welcome(self) -> Welcome | None:
        """What the server says of itself; None while there is no connection."""
        return self._calls.end.welcome

    @property
    def is_open(self) -> bool:
        """Whether somebody has it open in the running event loop."""
        return self._opening is not None and self._opening.loop == current_token()

    def _enter(self) -> _Opening:
        here = current_token()
        if self._opening is None:
            self._opening = _Opening(here)
            self._refusal, self._down_since = None, self._clock.monotonic()
        elif here != self._opening.loop:
            raise WrongLoop(f"the client of {self._address} is open in another event loop or thread: make one for each")
        self._opening.count += 1
        self._opening.leaves_at = math.inf  # somebody else needs it
        return self._opening

    async def _until_linked(self, opening: _Opening) -> None:
        with self._clock.move_on_after(self._options.patience):
            await opening.news.wait()
        if self._refusal is not None:
            raise copy.copy(self._refusal)
        if not opening.news.is_set():
            raise self._unreachable(f"{self._address} did not answer: {self._down()}")

    async def _leave(self, opening: _Opening) -> None:
        opening.count -= 1
        if opening.count:
            return
        self._opening = None
        if self._conversation is not None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_WORDS_SECONDS):
                await self._conversation.say_bye()
        self._calls.give_all_up(f"the client of {self._address} was closed", StoreError)

    # ── asks and watches ──

    async def carry(self, message: Message[R], /) -> R:
        """Have the server's store carry an operation out.

        Raises:
            StoreUnreachable: There was no connection for as long as there was patience.
            StoreError: As the operation says.
        """
        if isinstance(message, StoreWait) and message.timeout is not None and message.timeout > 0:
            with self._clock.move_on_after(message.timeout):
                return await self._ask(message.with_timeout(None))
            return await self._ask(message.with_timeout(0.0))
        try:
            return await self._ask(message)
        except BoundExceeded as error:
            if not asks_for_all(message, error):
                raise
            return cast("R", await page_by_page(self._ask, message, error.allowed))

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Have ``ready`` called whenever a rollout may be waiting in the queue, and after each reconnect."""
        return self._calls.watchers.add_to_queue(ready)

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Have ``stop`` called once if the store ends this attempt, or its lease is lost."""
        return self._calls.watchers.add_to_attempt(attempt_id, stop)

    async def _ask(self, message: Message[R]) -> R:
        if self._refusal is not None:
            raise copy.copy(self._refusal)
        if self._down_since is not None:
            self._patience.ring()
        return await self._calls.ask(message)

    # ── the connection ──

    async def _serve(self, opening: _Opening, scope: anyio.CancelScope) -> None:
        """Keep the link up: one of those who have it open at a time."""
        with scope:
            async with opening.turn:
                try:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._keep_patience)
                        await self._keep_connected()
                        tasks.cancel_scope.cancel()
                except Exception as error:  # boundary: a fault of ours must not take down who has the link open
                    log.exception("link_failed", address=self._address)
                    self._refuse(StoreError(f"the link to {self._address} has failed: {error!r}"))

    async def _keep_connected(self) -> None:
        """Connect again and again, until the server does not want that."""
        while True:
            began = self._clock.monotonic()
            try:
                why = await self._converse()
            except LightningError as refusal:
                self._refuse(refusal)
                return
            except (ChannelClosed, OSError) as error:
                why = str(error) or type(error).__name__
            self._note_down(why)
            if self._clock.monotonic() - began > self._options.connect_seconds:
                self._backoff.reset()
            await self._clock.sleep(self._backoff.next())

    async def _converse(self) -> str:
        with self._clock.move_on_after(self._options.connect_seconds) as scope:
            channel = await self._connect()
        if scope.cancelled_caught:
            return f"no connection within {self._options.connect_seconds:g} s"
        try:
            self._conversation = Conversation(self._calls, channel, self._clock, self._options, self._note_up)
            return await self._conversation.run()
        finally:
            self._conversation = None
            with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_WORDS_SECONDS):
                await channel.aclose()

    def _note_up(self, welcome: Welcome) -> None:
        log.info("linked", address=self._address, store=welcome.store, again=self._was_up)
        self._down_since, self._is_told_down = None, False
        self._patience.ring()
        self._tell_opener()
        if self._was_up:
            self._calls.watchers.ready()  # what came meanwhile was not told
        self._was_up = True

    def _note_down(self, why: str) -> None:
        self._why_down = why
        if self._down_since is None:
            self._down_since = self._clock.monotonic()
        if not self._is_told_down:
            self._is_told_down = True
            hint = "it is tried again; lightning-actors store serves one"
            log.warning("store_unreachable", address=self._address, why=why, patience=self._options.patience, hint=hint)
        self._patience.ring()

    def _refuse(self, refusal: LightningError) -> None:
        self._refusal = refusal
        self._tell_opener()
        self._calls.give_all_up(str(refusal), lambda _: copy.copy(refusal))

    def _tell_opener(self) -> None:
        if self._opening is not None:
            self._opening.news.set()

    async def _keep_patience(self) -> None:
        """Give up what has waited too long without a connection."""
        while True:
            since, down_since = self._calls.oldest, self._down_since
            if since is None or down_since is None:
                await self._patience.wait()
                continue
            leaves_at = math.inf if self._opening is None else self._opening.leaves_at
            ends_at = min(max(since, down_since) + self._options.patience, max(leaves_at, down_since + _LEAVER_SECONDS))
            left = ends_at - self._clock.monotonic()
            if left > 0:
                with self._clock.move_on_after(left):
                    await self._patience.wait()
            else:
                self._calls.give_up(self._down(), self._unreachable)

    def _down(self) -> str:
        now = self._clock.monotonic()
        seconds = now - (now if self._down_since is None else self._down_since)
        return f"there was no connection for {round(seconds, 1):g} s ({self._why_down})"

    def _unreachable(self, message: str) -> StoreUnreachable:
        return StoreUnreachable(message, address=self._address)
