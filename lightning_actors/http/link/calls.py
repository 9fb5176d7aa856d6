"""`Calls`: what a client asks and watches over its link, and who waits for what; it knows of no connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from pydantic_core import from_json

from lightning_actors.actors import Clock
from lightning_actors.actors.message import Message
from lightning_actors.errors import BoundExceeded, StoreError
from lightning_actors.http import wire_errors
from lightning_actors.http.link.asked import Asked
from lightning_actors.http.link.channel import Bell
from lightning_actors.http.link.client_end import ClientEnd
from lightning_actors.http.link.frames import Fault, Frame, Items, Ready, Reply, Stopped
from lightning_actors.http.link.held_claims import HeldClaims, claims_in
from lightning_actors.http.link.limits import LinkOptions
from lightning_actors.http.link.operations import WAITING, changes
from lightning_actors.http.link.payloads import write_message
from lightning_actors.http.link.watchers import Watchers
from lightning_actors.store.codec import as_data
from lightning_actors.store.messages import ReleaseAttempt

__all__ = ["Calls"]

R = TypeVar("R")

_LAPSED = "lease lapsed"


class Calls:
    """The asks and watches of one client.

    Args:
        client: Who it is.
        options: How its link behaves.
        clock: The time.
        library: The version of this library.

    Attributes:
        end: What they go through.
        bell: Rung when there is something to send.
        watchers: Who watches.
    """

    def __init__(self, client: str, options: LinkOptions, clock: Clock, *, library: str) -> None:
        self.end = ClientEnd(client, options.limits, library=library)
        self.bell = Bell()
        self.watchers = Watchers(self._watch, self._unwatch)
        self._payload_bytes = options.limits.payload_bytes
        self._claims = HeldClaims(client, options.lease_seconds)
        self._clock = clock
        self._asked: dict[int, Asked] = {}

    async def ask(self, message: Message[R], *, urgent: bool = False) -> R:
        """Ask, and wait for the answer.

        Args:
            message: What is asked.
            urgent: It passes everything that waits to be sent.

        Raises:
            NotJson: JSON cannot hold it.
            BoundExceeded: The server does not take so much at a time.
            StoreError: As the operation says.
        """
        number, asked = self._send(message, urgent=urgent)
        try:
            await asked.wait()
        except BaseException:
            self._abandon(number, asked)
            raise
        if asked.error is not None:
            raise asked.error
        return cast("R", asked.reply)

    async def renew(self) -> bool:
        """Prolong the leases on what is claimed, and stop what was lost; whether there was anything to renew."""
        if not self._claims:
            return False
        for attempt_id in self._claims.lost(await self.ask(self._claims.renewal(), urgent=True)):
            self.watchers.stopped(attempt_id, _LAPSED)
        return True

    def told(self, frame: Frame) -> None:
        """The server has said something."""
        match frame:
            case Reply(number=number, payload=payload):
                self._over(number, lambda asked: asked.answer(payload))
            case Fault(number=number, payload=payload):
                self._over(number, lambda asked: asked.fail(_raised(payload)))
            case Items(number=number) if number in self._asked:
                self._asked[number].take_items(frame)
            case Ready():
                self.watchers.ready()
            case Stopped(attempt_id=attempt_id, reason=reason) if not self._claims.is_ending(attempt_id):
                self._claims.stopped(attempt_id)
                self.watchers.stopped(attempt_id, reason)
            case _:
                pass

    def disconnected(self) -> None:
        """The connection is gone."""
        for number in self.end.disconnect():
            self._over(number, _end_unheard)

    @property
    def oldest(self) -> float | None:
        """Since when the first of them has waited; None if there is none."""
        first = next(iter(self._asked.values()), None)
        return None if first is None else first.since

    def give_up(self, why: str, make_error: Callable[[str], Exception]) -> None:
        """Give up what has waited longest.

        Args:
            why: The reason.
            make_error: Makes the error of the whole message.
        """
        number, asked = next(iter(self._asked.items()))
        name, was_sent = type(asked.message).__name__, self.end.was_sent(number)
        doubt = "; whether it was carried out is not known" if was_sent and changes(type(asked.message)) else ""
        self.end.cancel(number)
        self._over(number, lambda one: one.fail(make_error(f"{name} was not answered: {why}{doubt}")))

    def give_all_up(self, why: str, make_error: Callable[[str], Exception]) -> None:
        """The same for everything."""
        while self._asked:
            self.give_up(why, make_error)

    def _send(self, message: Message[Any], *, urgent: bool = False) -> tuple[int, Asked]:
        message = self._claims.leased(as_data(message))
        payload, name = write_message(message), type(message).__name__
        self._check_size(name, len(payload.body) + sum(map(len, payload.items)))
        number = self.end.ask(
            name, payload.body, payload.items, waits=name in WAITING, changes=changes(type(message)), urgent=urgent
        )
        asked = self._asked[number] = Asked(message, self._clock.monotonic())
        self._claims.asked(message)
        self.bell.ring()
        return number, asked

    def _check_size(self, name: str, size_bytes: int) -> None:
        allowed = self._payload_bytes if self.end.welcome is None else self.end.welcome.payload_bytes
        if size_bytes > allowed:
            raise BoundExceeded(
                f"this {name} has {size_bytes:,} bytes, and the store's server takes {allowed:,}: send less at a time",
                bound="payload_bytes",
                allowed=allowed,
            )

    def _over(self, number: int, end: Callable[[Asked], None]) -> None:
        asked = self._asked.pop(number, None)
        if asked is None:
            return  # it was given up
        end(asked)
        if asked.error is None:
            self._claims.answered(asked.message, asked.reply)
        else:
            self._claims.failed(asked.message)
        if asked.is_abandoned:
            self._give_back(asked)

    def _abandon(self, number: int, asked: Asked) -> None:
        """Whoever asked has gone."""
        if asked.is_over:
            self._give_back(asked)
            return
        asked.is_abandoned = True
        if not self.end.cancel(number):
            self._over(number, _end_unheard)
        self.bell.ring()

    def _give_back(self, asked: Asked) -> None:
        """Undo claims that nobody took, the last one first, so that their rollouts stand in the queue as before."""
        if asked.error is None:
            for claim in reversed(claims_in(asked.message, asked.reply)):
                self._send(ReleaseAttempt(claim.rollout_id, claim.attempt.attempt_id))

    def _watch(self, attempt_id: str | None) -> None:
        self.end.watch(attempt_id)
        self.bell.ring()

    def _unwatch(self, attempt_id: str | None) -> None:
        self.end.unwatch(attempt_id)
        self.bell.ring()


def _raised(payload: bytes) -> Exception:
    try:
        return wire_errors.from_data(from_json(payload))
    except (ValueError, AttributeError) as error:
        return StoreError(f"the store's server raised an error that cannot be read ({error}): {payload[:200]!r}")


def _end_unheard(asked: Asked) -> None:
    asked.fail(StoreError("nobody waits for the answer any more"))
