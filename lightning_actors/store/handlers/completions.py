"""Completions: ended rollouts in the order in which they ended."""

from __future__ import annotations

import re

from lightning_actors.store.change import Change
from lightning_actors.store.handlers.attempts import wanted_rollout
from lightning_actors.store.handlers.registry import operation
from lightning_actors.store.handlers.rollouts import with_attempt
from lightning_actors.store.messages import GetCompletionCursor, NextCompletion
from lightning_actors.store.tables import Tables
from lightning_actors.types import Completion

__all__ = ["number_of"]

_CURSOR = re.compile("co-([0-9a-f]{1,16})")


def _cursor(number: int) -> str:
    return f"co-{number:08x}"


def number_of(tables: Tables, cursor: str | None) -> int:
    """The number of the completion that a cursor stands after; 0 for None, which stands before all.

    Raises:
        ValueError: It is no cursor, or none of this store.
    """
    if cursor is None:
        return 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise ValueError(f"{cursor!r} is no cursor: give one that a completion came with, or None for the beginning")
    number = int(match[1], 16)
    if number > tables.last_completion():
        raise ValueError(
            f"the cursor {cursor!r} stands after what this store has completed: it belongs to another store, or this "
            f"one lost its data; None starts from the beginning"
        )
    return number


@operation(NextCompletion)
def next_completion(tables: Tables, message: NextCompletion, _now: float) -> Change[Completion | None]:
    """The completion after the cursor, if there is one; the waiting is the store's."""
    found = tables.completed_after(number_of(tables, message.after))
    if found is None:
        return Change(None)
    number, rollout_id = found
    return Change(Completion(cursor=_cursor(number), rollout=with_attempt(tables, wanted_rollout(tables, rollout_id))))


@operation(GetCompletionCursor)
def get_completion_cursor(tables: Tables, _message: GetCompletionCursor, _now: float) -> Change[str]:
    """The cursor after the newest completion."""
    return Change(_cursor(tables.last_completion()))
