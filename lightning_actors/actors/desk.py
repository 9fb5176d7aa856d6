"""The desk: what an actor does with one message, with a batch of them, and with a call to one of its hooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, cast

from lightning_actors.actors.actor import Actor
from lightning_actors.actors.ask import ANSWERED, BEGUN, KEPT, NOBODY, QUEUED, Ask
from lightning_actors.actors.batch import Batch, Delivery
from lightning_actors.actors.clock import Clock
from lightning_actors.actors.crew import Crew
from lightning_actors.actors.dead_letter import DeadLetter
from lightning_actors.actors.ending import Crash, tell_apart
from lightning_actors.actors.handlers import Handler
from lightning_actors.actors.mailbox import NOTHING, Mailbox
from lightning_actors.actors.message import Kind, Message, Reply
from lightning_actors.actors.turn import Turn, current_turn
from lightning_actors.errors import ActorError

__all__ = ["Desk"]

PLAIN: Final = Kind.PLAIN
CONCURRENT: Final = Kind.CONCURRENT


class Desk:
    """Handles what an actor's own task has taken up. Nothing here raises but cancellation."""

    __slots__ = ("clock", "crew", "mailbox")

    def __init__(self, mailbox: Mailbox, crew: Crew, clock: Clock) -> None:
        self.mailbox = mailbox
        self.crew = crew
        self.clock = clock

    def handle(self, actor: Actor, item: Message[Any] | Ask[Any]) -> Coroutine[Any, Any, bool] | bool:
        """Handle one message or ask.

        Returns:
            Whether it went well, or a coroutine that returns that. An error is with the asker, or is a Crash notice.
        """
        if type(item) is Ask:
            ask: Ask[Any] | None = item
            if item.state != QUEUED:  # its asker went away
                return True
            item.state = BEGUN
            message = item.message
        else:
            ask = None
            message = item
        mailbox = self.mailbox
        handler: Handler | None = mailbox.handlers[type(message)]
        if handler is None:
            return self._failed(mailbox.unhandled(message), message, ask)
        mailbox.processed += 1
        if not handler.is_simple:
            return self._handle_otherwise(handler, actor, message, ask)
        try:
            value: object = handler.function(actor, message)
        except BaseException as error:  # noqa: BLE001  # the boundary of a handler
            return self._failed(tell_apart(error, self.mailbox.name), message, ask)
        if hasattr(type(value), "__await__"):  # a function around an async one
            return self._converse(cast("Awaitable[Any]", value), message, ask)
        if ask is not None:
            ask.answer(value)
        return True

    def _handle_otherwise(
        self, handler: Handler, actor: Actor, message: Any, ask: Ask[Any] | None
    ) -> Coroutine[Any, Any, bool] | bool:
        if handler.kind is PLAIN:
            return self._converse(handler.function(actor, message), message, ask)
        if handler.kind is CONCURRENT:
            self.crew.handle(handler.function, actor, message, ask)
            return True
        return self._defer(handler, actor, message, ask)

    async def handle_many(
        self,
        actor: Actor,
        first: Message[Any] | Ask[Any],
        most: int,
        cut_error: Callable[[], BaseException],
    ) -> None:
        """Handle a batch, and let its replies leave when it is done.

        Args:
            actor: The actor.
            first: Its first message.
            most: How many messages it may hold.
            cut_error: Makes the error that replaces the replies of a batch that is cancelled.
        """
        deliveries = self._collect(actor, first, most)
        if not deliveries:
            return
        mailbox = self.mailbox
        mailbox.held = []
        error: BaseException | None = None
        try:
            error = await self.call("receive_many", actor.receive_many, Batch(deliveries))
        except BaseException:
            error = cut_error()
            # Still the mailbox's: for the next incarnation, or to be answered at the end.
            mailbox.leftover.extendleft(delivery.item for delivery in reversed(deliveries) if not delivery.handled)
            raise
        finally:
            held, mailbox.held = mailbox.held, None
            for ask in held:
                ask.release(error)
        self._close_batch(deliveries, error)

    async def call(
        self, label: str, function: Callable[..., Awaitable[None] | None], *args: Any
    ) -> BaseException | None:
        """Call a hook as a turn of its own.

        Returns:
            Its error, or None.
        """
        try:
            result = function(*args)
            if result is not None:
                await self._take_turn(label, result, None)
        except BaseException as error:  # noqa: BLE001  # the boundary of a hook
            return tell_apart(error, self.mailbox.name)
        return None

    async def _take_turn(self, message: object, awaitable: Awaitable[Any], ask: Ask[Any] | None) -> Any:
        mailbox = self.mailbox
        outer = mailbox.turn
        turn = mailbox.turn = Turn(mailbox, message, self.clock.monotonic())
        if ask is not None:
            ask.turn = turn
        current_turn.set(turn)
        try:
            return await awaitable
        finally:
            turn.live = False
            mailbox.turn = outer
            if outer is not None:
                current_turn.set(outer)

    async def _converse(self, awaitable: Awaitable[Any], message: Any, ask: Ask[Any] | None) -> bool:
        try:
            value = await self._take_turn(message, awaitable, ask)
        except BaseException as error:  # noqa: BLE001  # the boundary of a handler
            return self._failed(tell_apart(error, self.mailbox.name), message, ask)
        if ask is not None:
            ask.answer(value)
        return True

    def _defer(
        self, handler: Handler, actor: Actor, message: Any, ask: Ask[Any] | None
    ) -> Coroutine[Any, Any, bool] | bool:
        kept = ask
        if kept is None:
            kept = Ask[Any](message, self.mailbox, NOBODY)
            self.mailbox.asks[kept] = None
        kept.state = KEPT
        try:
            result = handler.function(actor, message, Reply(kept))
        except BaseException as error:  # noqa: BLE001  # the boundary of a handler
            return self._failed(tell_apart(error, self.mailbox.name), message, ask)
        return True if result is None else self._converse_deferred(result, message, kept, ask)

    async def _converse_deferred(
        self, awaitable: Awaitable[None], message: Any, kept: Ask[Any], ask: Ask[Any] | None
    ) -> bool:
        try:
            await self._take_turn(message, awaitable, kept)
        except BaseException as error:  # noqa: BLE001  # the boundary of a handler
            return self._failed(tell_apart(error, self.mailbox.name), message, ask)
        return True

    def _failed(self, error: BaseException, message: Any, ask: Ask[Any] | None) -> bool:
        """An ask's error goes to the asker; a tell's, and whatever is no Exception, crashes the actor."""
        if ask is None or not isinstance(error, Exception):
            self.mailbox.post(Crash(error, message), first=True)
        elif ask.state == ANSWERED:  # a deferred handler that answered and then raised
            self.mailbox.error_unheard(ask, error)
        else:
            ask.fail(error)
        return False

    # ── batches ──

    def _collect(self, actor: Actor, first: Message[Any] | Ask[Any], most: int) -> list[Delivery]:
        mailbox = self.mailbox
        deliveries: list[Delivery] = []

        async def handle(item: Message[Any] | Ask[Any]) -> bool:
            done = self.handle(actor, item)
            return done if isinstance(done, bool) else await done

        item: Any = first
        while True:
            if item is not NOTHING and not (isinstance(item, Ask) and item.state != QUEUED):
                deliveries.append(Delivery(cast("Message[Any]", item), handle))
            if len(deliveries) >= most:
                return deliveries
            if not mailbox.has_more():
                return deliveries
            item = mailbox.take_nowait()

    def _close_batch(self, deliveries: list[Delivery], error: BaseException | None) -> None:
        """Fail what is left: everything if the batch failed, else what ``receive_many`` did not handle."""
        told: list[Delivery] = []
        for delivery in deliveries:
            if error is None and delivery.handled:
                continue
            item = delivery.item
            if not isinstance(item, Ask):
                told.append(delivery)
            elif item.state in {QUEUED, KEPT}:
                item.fail(self._batch_error(delivery, error))
        if told:
            self.mailbox.post(Crash(self._batch_error(told[0], error), told[0].message), first=True)
            for delivery in told[1:]:
                self.mailbox.bury(DeadLetter(self.mailbox.name, delivery.message, "crashed", error))
        elif error is not None and not isinstance(error, Exception):
            self.mailbox.post(Crash(error), first=True)

    def _batch_error(self, delivery: Delivery, error: BaseException | None) -> BaseException:
        return error or ActorError(
            f"receive_many of {self.mailbox.name!r} left {type(delivery.message).__name__} alone: "
            f"await delivery.handle() for each delivery, or batch.handle_all()",
            actor=self.mailbox.name,
        )
