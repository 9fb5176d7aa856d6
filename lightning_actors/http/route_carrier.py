"""`RouteCarrier`: operations as requests over the REST interface, each one by itself."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

import httpx2
from anyio import create_task_group
from pydantic import ValidationError
from pydantic_core import from_json

from lightning_actors.actors import Clock, Message
from lightning_actors.errors import BoundExceeded, RolloutNotFound, StoreError, StoreUnreachable
from lightning_actors.http import agent_lightning
from lightning_actors.http.asking import Ask, ask_by_name, ask_for
from lightning_actors.http.envelopes import ONCE_HEADER, Numbers, header_of, is_repeatable
from lightning_actors.http.paging import asks_for_all, page_by_page
from lightning_actors.http.polling import Polling
from lightning_actors.http.routes import HEALTH, SERVER_HEADER
from lightning_actors.http.sessions import Session, Sessions
from lightning_actors.http.wire_errors import from_data
from lightning_actors.store.messages import (
    AddSpan,
    GetNextSpanSequenceId,
    Statistics,
    StoreMessage,
    StoreWait,
    WaitForRollouts,
)
from lightning_actors.store.once import Once

__all__ = ["RouteCarrier"]

R = TypeVar("R")

_CHUNK_SECONDS: Final = 20.0
"""How long a server is asked to wait at a time; a longer wait is several."""
_EARLY_SECONDS: Final = 1.0
"""A pause after a wait that was answered before its time, and not in full: the server may be about to stop."""
_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_LATER: Final = frozenset({429, 503})
_SUCCESS: Final = range(200, 300)


class RouteCarrier:
    """Carries operations out by requests.

    Args:
        address: The server, for messages.
        sessions: Its connections.
        retry_delays: The pauses in seconds before each further try.
        clock: Whose time a ``timeout`` is.

    Attributes:
        is_ours: Whether the server is one of ours; None until it has answered.
        about: What it says of itself; empty until it was asked.
    """

    def __init__(self, address: str, sessions: Sessions, *, retry_delays: Sequence[float], clock: Clock) -> None:
        self._address = address
        self._sessions = sessions
        self._retry_delays = tuple(retry_delays)
        self._clock = clock
        self._numbers = Numbers()
        self._polling: Polling | None = None
        self._watching = 0
        self.is_ours: bool | None = None
        self.about: dict[str, Any] = {}

    async def carry(self, message: Message[R], /) -> R:
        """Have one operation carried out.

        Raises:
            StoreError: As the operation says; StoreUnreachable, AccessRefused, OperationUnavailable.
        """
        asked = cast("StoreMessage[Any]", message)
        if isinstance(asked, StoreWait):
            return await self._wait(asked)
        if isinstance(asked, Once):
            return await self._ask(ask_by_name(asked.message), {ONCE_HEADER: header_of(asked)})
        return await self._carry(asked)

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None]:
        """Watch by asking again and again, for the length of a block: for a server that cannot speak first."""
        self._watching += 1
        polling = self._polling = self._polling or Polling(self._carry, self._clock)
        failure: Exception | None = None
        try:
            async with create_task_group() as group:
                group.start_soon(polling.run)
                try:
                    yield
                except Exception as error:  # noqa: BLE001 - raised again outside of the task group, which would wrap it
                    failure = error
                group.cancel_scope.cancel()
        finally:
            self._watching -= 1
            if not self._watching:
                self._polling = None
        if failure is not None:
            raise failure

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Have ``ready`` called while something waits in the queue; refused outside of `watching`."""
        return self._watches().watch_queue(ready)

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Have ``stop`` called once when the attempt is seen to be over; refused outside of `watching`."""
        return self._watches().watch_attempt(attempt_id, stop)

    def _watches(self) -> Polling:
        if self._polling is None:
            raise StoreError(
                "a client that is not open cannot be told of anything: write `async with client:` around its use, as "
                "Trainer, runners and the command do"
            )
        return self._polling

    async def _carry(self, message: StoreMessage[Any]) -> Any:
        reply = await self._answer(message)
        if self._polling is not None:
            self._polling.saw(reply)
        return reply

    async def _answer(self, message: StoreMessage[Any]) -> Any:
        if isinstance(message, AddSpan) and message.span.sequence_id == 0:
            message = await self._numbered(message)
        ask = ask_for(message)
        if ask.is_named and self.is_ours is False:
            return await agent_lightning.stand_in(message, self._carry)
        try:
            return await self._ask(ask)
        except BoundExceeded as error:
            if not asks_for_all(message, error):
                raise
            return await page_by_page(lambda query: self._ask(ask_for(query)), message, error.allowed)

    async def _numbered(self, message: AddSpan) -> AddSpan:
        """A span with a number of its own, which Agent Lightning's server does not give it."""
        if await self._is_one_of_ours():
            return message
        span = message.span
        number = await self._carry(GetNextSpanSequenceId(span.rollout_id, span.attempt_id))
        return AddSpan(span.model_copy(update={"sequence_id": number}))

    async def get_acquainted(self) -> None:
        """Ask the server what it is and what its store can do.

        Raises:
            StoreUnreachable: No store answers.
        """
        response = await self._send(Ask(Statistics(), "GET", HEALTH, bytes))
        self.is_ours = SERVER_HEADER in response.headers
        self.about = _object(response)
        if self.about.get("status") != "ok":
            raise agent_lightning.not_a_store(self._address, response.status_code)

    async def _is_one_of_ours(self) -> bool:
        """Whether the server is one of ours, which is asked where it has not answered yet."""
        if self.is_ours is None:
            await self.get_acquainted()
        return self.is_ours is True

    async def _wait(self, message: StoreWait[Any]) -> Any:
        """A wait in pieces that the server bounds; between them nothing is asked."""
        await self._look_whether_they_exist(message)
        timeout = message.timeout
        until = None if timeout is None else self._clock.monotonic() + max(timeout, 0.0)
        while True:
            left = _CHUNK_SECONDS if until is None else min(_CHUNK_SECONDS, until - self._clock.monotonic())
            began = self._clock.monotonic()
            reply = await self._carry(message.with_timeout(max(left, 0.0)))
            if _is_full(message, reply) or (until is not None and self._clock.monotonic() >= until):
                return reply
            if self._clock.monotonic() - began < left:
                await self._clock.sleep(_EARLY_SECONDS if until is None else min(_EARLY_SECONDS, left))

    async def _look_whether_they_exist(self, message: StoreWait[Any]) -> None:
        """Agent Lightning's server waits for what it knows and says nothing of the rest."""
        if isinstance(message, WaitForRollouts) and not await self._is_one_of_ours():
            await agent_lightning.look_for(message.rollout_ids, self._carry)

    async def _ask(self, ask: Ask, headers: dict[str, str] | None = None) -> Any:
        response = await self._send(ask) if headers is None else await self._send_until_answered(ask, headers)
        self.is_ours = SERVER_HEADER in response.headers
        if response.status_code in _SUCCESS:
            return self._read(ask, response)
        data = _object(response)
        error = data.get("error")
        if isinstance(error, dict):
            failure = from_data(cast("dict[str, Any]", error))
            if ask.missing_is_none and isinstance(failure, RolloutNotFound):
                return None
            raise failure
        if self.is_ours:
            raise StoreError(f"the server at {self._address} answered {response.status_code}: {response.text[:500]}")
        if not agent_lightning.is_its(data):
            raise agent_lightning.not_a_store(self._address, response.status_code)
        return await self._answered_by_another(ask, response.status_code, data)

    async def _answered_by_another(self, ask: Ask, status: int, data: Any) -> Any:
        """What a refusal of Agent Lightning's server comes to."""
        if ask.is_named:
            return await agent_lightning.stand_in(ask.message, self._carry)
        failure = await agent_lightning.error_of(ask.message, status, data, self._carry)
        if failure is not None:
            raise failure
        return None

    def _read(self, ask: Ask, response: httpx2.Response) -> Any:
        try:
            return ask.read(response.content)
        except (ValidationError, LookupError, TypeError) as error:
            if not self.is_ours and "json" not in response.headers.get("content-type", ""):
                raise agent_lightning.not_a_store(self._address, response.status_code) from None
            raise StoreError(
                f"the answer of the server at {self._address} to {type(ask.message).__name__} cannot be read, it may "
                f"be of another version: {error}"
            ) from error

    async def _send(self, ask: Ask) -> httpx2.Response:
        """The answer to a request; a change is numbered, so that it can be repeated where its answer was lost."""
        if is_repeatable(ask.message):
            return await self._send_until_answered(ask, {})
        number = self._numbers.take()
        try:
            return await self._send_until_answered(ask, {ONCE_HEADER: self._numbers.header(number)})
        finally:
            self._numbers.settle(number)

    async def _send_until_answered(self, ask: Ask, headers: dict[str, str]) -> httpx2.Response:
        """The answer to a request; it is tried again as long as that can do no harm."""
        session = self._sessions.current()
        delays = iter(self._retry_delays)
        while True:
            delay = next(delays, None)
            try:
                response = await self._sent(session, ask, headers)
            except httpx2.TransportError as error:
                may_be_repeated = isinstance(error, _NOT_SENT) or is_repeatable(ask.message) or await self._remembers()
                if delay is None or not may_be_repeated:
                    raise self._unreachable(error) from error
            except httpx2.InvalidURL as error:
                raise self._unreachable(error) from error
            else:
                if delay is None or not _may_pass(response):
                    return response
            await self._clock.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads clients that failed together

    async def _remembers(self) -> bool:
        """Whether the server knows a change again that it has been asked for before."""
        try:
            response = await self._sessions.current().operations.get(HEALTH)
        except httpx2.TransportError:
            return False
        return _object(response).get("remembers_replies") is True

    async def _sent(self, session: Session, ask: Ask, headers: dict[str, str]) -> httpx2.Response:
        if ask.body is not None:
            headers = {**headers, "content-type": "application/json"}
        options: dict[str, Any] = {"content": ask.body, "params": ask.query or None, "headers": headers}
        if isinstance(ask.message, StoreWait):
            waiting = ask.message.timeout or 0.0
            timeout = httpx2.Timeout(session.answer_seconds + waiting, connect=session.connect_seconds, pool=None)
            return await session.waits.request(ask.method, ask.path, timeout=timeout, **options)
        async with session.room:
            return await session.operations.request(ask.method, ask.path, **options)

    def _unreachable(self, error: Exception) -> StoreUnreachable:
        what = _first_words(error)
        return StoreUnreachable(
            f"no store answers at {self._address} ({what}): is it running (`lightning-actors store` starts one), and "
            f"is the address right?",
            address=self._address,
        )


def _may_pass(response: httpx2.Response) -> bool:
    """Whether a refusal is one of the moment: one of our servers says so, and of any other the status has to do."""
    is_told = SERVER_HEADER not in response.headers or "retry-after" in response.headers
    return is_told and response.status_code in _LATER


def _first_words(error: BaseException) -> str:
    """What an error says, or else what it came from; the libraries below leave some without a word."""
    at: BaseException | None = error
    while at is not None and not str(at):
        at = at.__cause__ or at.__context__
    return type(error).__name__ if at is None else str(at)


def _is_full(message: StoreWait[Any], reply: Any) -> bool:
    """Whether there is nothing more to wait for."""
    if isinstance(message, WaitForRollouts):
        return len(reply) >= len(frozenset(message.rollout_ids))
    return reply is not None


def _object(response: httpx2.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty where it is none."""
    try:
        data = from_json(response.content)
    except ValueError:
        return {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}
