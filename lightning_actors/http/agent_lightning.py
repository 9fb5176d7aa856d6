"""What a client of ours does where the server is Agent Lightning's: other routes for some operations, other errors.

Source: the server of Agent Lightning 0.3, whose faults stay there: an unknown rollout is an Internal Server Error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from lightning_actors.errors import (
    AttemptNotFound,
    InvalidRequest,
    OperationUnavailable,
    RolloutNotFound,
    StoreError,
    StoreUnreachable,
)
from lightning_actors.log import get_logger
from lightning_actors.store import messages as m
from lightning_actors.store.messages import StoreMessage

__all__ = ["Carry", "error_of", "is_its", "look_for", "not_a_store", "stand_in"]

log = get_logger("lightning_actors.http")

Carry = Callable[[StoreMessage[Any]], Awaitable[Any]]
"""Carries out an operation that its server has a route for."""

_SERVER_FAILED: Final = 500


def is_its(data: Mapping[str, Any]) -> bool:
    """Whether a refusal that is none of ours can be its: JSON with a ``detail``."""
    return "detail" in data


async def stand_in(message: StoreMessage[Any], carry: Carry) -> Any:
    """Do what comes nearest to an operation that its server has no route for.

    Raises:
        OperationUnavailable: Nothing comes near.
    """
    match message:
        case m.AddManySpans():
            added = [await carry(m.AddSpan(span)) for span in message.spans]
            reply: Any = [span for span in added if span is not None]
        case m.GetManySpanSequenceIds():
            reply = [await carry(m.GetNextSpanSequenceId(*one)) for one in message.rollout_attempt_ids]
        case m.UpdateManyWorkers():
            for worker_id in message.worker_ids:
                await carry(m.UpdateWorker(worker_id, message.heartbeat_stats))
            reply = None
        case m.ReleaseAttempt():
            reply = await _put_back(message, carry)
        case m.StartRollout(begun=True):
            reply = await _begun(message, carry)
        case m.AddResources(publish=False) | m.UpdateResources(publish=False):
            log.warning("resources_published", why="Agent Lightning's server keeps none that it does not publish")
            reply = await carry(replace(message, publish=True))
        case m.DequeueRollout() | m.DequeueManyRollouts() | m.StartRollout() if message.lease is not None:
            reply = await carry(replace(message, lease=None))
        case _:
            raise _unavailable(message)
    return reply


def _unavailable(message: StoreMessage[Any]) -> OperationUnavailable:
    name = type(message).__name__
    how = " with these arguments" if isinstance(message, m.EnqueueRollout | m.EnqueueManyRollouts) else ""
    return OperationUnavailable(
        f"this server is Agent Lightning's, which has no {name}{how}: serve the store by `lightning-actors store`, or "
        f"by LightningStoreServer, to have it",
        operation=name,
    )


async def _put_back(message: m.ReleaseAttempt, carry: Carry) -> bool:
    """Its nearest to the undoing of a claim: the rollout is queued again; the attempt is counted all the same."""
    attempt = await carry(m.GetLatestAttempt(message.rollout_id))
    if attempt is None or attempt.attempt_id != message.attempt_id or attempt.status != "preparing":
        return False
    await carry(m.UpdateRollout(message.rollout_id, status="queuing"))
    return True


async def _begun(message: m.StartRollout, carry: Carry) -> Any:
    claimed = await carry(replace(message, begun=False, lease=None))
    attempt = await carry(m.UpdateAttempt(claimed.rollout_id, claimed.attempt.attempt_id, status="running"))
    return claimed.evolve(attempt=attempt, status="running")


async def error_of(message: StoreMessage[Any], status: int, data: Any, carry: Carry) -> Exception | None:
    """The error that an answer of its server stands for; None where it stands for "there is none".

    An Internal Server Error may mean that an id is unknown, which is then looked for.
    """
    if status != _SERVER_FAILED:
        return _refusal(data["detail"])
    named: Any = getattr(message, "span", message)
    rollout_id: str | None = getattr(named, "rollout_id", None)
    attempt_id: str | None = getattr(named, "attempt_id", None)
    if rollout_id is not None:
        if not await carry(m.QueryRollouts(rollout_id_in=[rollout_id])):
            return None if isinstance(message, m.GetRolloutById) else RolloutNotFound(rollout_id)
        known = {attempt.attempt_id for attempt in await carry(m.QueryAttempts(rollout_id))}
        if attempt_id is not None and attempt_id not in known and not (attempt_id == "latest" and known):
            return AttemptNotFound(rollout_id, attempt_id)
    return StoreError(f"Agent Lightning's server failed: {data.get('error_type', 'Error')}: {data['detail']}")


def _refusal(detail: Any) -> InvalidRequest:
    if not isinstance(detail, list):
        return InvalidRequest(str(detail))
    mistakes = cast("list[dict[str, Any]]", detail)
    places = [".".join(map(str, mistake["loc"][1:])) for mistake in mistakes]
    told = [f"{place}: {mistake['msg']}" for place, mistake in zip(places, mistakes, strict=True)]
    return InvalidRequest("; ".join(told), fields=places)


async def look_for(rollout_ids: Sequence[str], carry: Carry) -> None:
    """Look whether these rollouts exist, which its waits do not say.

    Raises:
        RolloutNotFound: One does not.
    """
    known = {rollout.rollout_id for rollout in await carry(m.QueryRollouts(rollout_id_in=rollout_ids))}
    for rollout_id in rollout_ids:
        if rollout_id not in known:
            raise RolloutNotFound(rollout_id)


def not_a_store(address: str, status: int) -> StoreUnreachable:
    """What answers at this address is no store."""
    return StoreUnreachable(
        f"what answers at {address} (with HTTP {status}) is no store: check the address and the port, and "
        f"that no proxy stands between",
        address=address,
    )
