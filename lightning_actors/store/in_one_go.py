"""`InOneGo`: several operations as one message, carried out in order up to the first that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_actors.actors.message import Message
from lightning_actors.actors.request import Outcome
from lightning_actors.store.api import LightningStore
from lightning_actors.store.messages import StoreMessage

__all__ = ["InOneGo", "in_one_go", "in_turn"]


@dataclass(frozen=True, slots=True)
class InOneGo(Message[Sequence[Outcome[Any]]]):
    """Several operations as one message; answers what came of each, up to the first that failed."""

    operations: Sequence[StoreMessage[Any]]


def in_one_go(
    perform: Callable[[StoreMessage[Any]], Any],
    operations: Sequence[StoreMessage[Any]],
    is_all_lost: Callable[[Exception], bool] | None = None,
) -> list[Outcome[Any]]:
    """Carry several operations out.

    Args:
        perform: Carries one out.
        operations: In which order.
        is_all_lost: Tells errors by which those before it are lost too: they are raised, and not an outcome.
    """
    outcomes: list[Outcome[Any]] = []
    for one in operations:
        try:
            outcomes.append(Outcome(perform(one), None))
        except Exception as error:
            if is_all_lost is not None and is_all_lost(error):
                raise
            outcomes.append(Outcome(None, error))
            break
    return outcomes


async def in_turn(store: LightningStore, operations: Sequence[StoreMessage[Any]]) -> list[Outcome[Any]]:
    """The same for a store that has to be awaited."""
    outcomes: list[Outcome[Any]] = []
    for one in operations:
        try:
            outcomes.append(Outcome(await store.ask(one), None))
        except Exception as error:  # noqa: BLE001 - it is the asker's
            outcomes.append(Outcome(None, error))
            break
    return outcomes
