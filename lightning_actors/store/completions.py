"""`Completions`: ended rollouts in the order in which they ended, to be iterated over.

```
async for rollout in store.completions():      one ask each; nothing is kept between two, so nothing to clean up
    … feed.cursor …                            stands after the one in hand: store.completions(after=cursor) goes on
```
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Self

from lightning_actors.options import refused
from lightning_actors.types import Completion, Rollout

__all__ = ["BlockingCompletions", "Completions"]


class Completions(AsyncIterator[Rollout]):
    """An endless async iterator over ended rollouts.

    It gives each rollout once for each time that it ends, in order, and waits when there is none. A slow reader loses
    nothing and holds nobody up; leaving the loop, or being cancelled in it, needs no clean-up.

    Attributes:
        cursor: Stands after the rollout that was given last: where another iteration would go on. None is the
            beginning. It is opaque and belongs to its store.
    """

    def __init__(self, ask: Callable[[str | None], Awaitable[Completion | None]], after: str | None) -> None:
        self._ask = ask
        self.cursor = _checked(after)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Rollout:
        while (completion := await self._ask(self.cursor)) is None:
            pass  # a home may answer after a while that there is none yet
        self.cursor = completion.cursor
        return completion.rollout


class BlockingCompletions(Iterator[Rollout]):
    """The same for a thread, which it blocks."""

    def __init__(self, ask: Callable[[str | None], Completion | None], after: str | None) -> None:
        self._ask = ask
        self.cursor = _checked(after)

    def __next__(self) -> Rollout:
        while (completion := self._ask(self.cursor)) is None:
            pass
        self.cursor = completion.cursor
        return completion.rollout


def _checked(after: str | None) -> str | None:
    if after is not None and not isinstance(after, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise refused("after", after, "a cursor, or None for the beginning")
    return after
