"""`Sleepers`: tasks that sleep on a store until something has happened, or a deadline has come.

```
first sleeper    wakes for its own sake, for its timeout, and for the next deadline, which it settles
the others       wake for their own sake and for their timeout
```

So a deadline wakes one task however many wait, and a store whose deadlines someone sleeps on needs no task of its own.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import anyio

from lightning_actors.actors.clock import Clock

__all__ = ["Sleeper", "Sleepers"]


class Sleeper:
    """One task that sleeps; made before it falls asleep, so that it can be woken as soon as there is reason."""

    __slots__ = ("_woken",)

    def __init__(self) -> None:
        self._woken = anyio.Event()

    def wake(self) -> None:
        """Have it look around; it may fall asleep again."""
        self._woken.set()

    async def nap(self) -> None:
        """Sleep until woken, also by what happened since the last nap."""
        await self._woken.wait()
        self._woken = anyio.Event()


class Sleepers:
    """Those who sleep on one store.

    Args:
        clock: Whose time it is.
        next_due: When the next deadline may fall due, in seconds since the epoch; None if there is none.
    """

    def __init__(self, clock: Clock, next_due: Callable[[], float | None]) -> None:
        self._clock = clock
        self._next_due = next_due
        self._asleep: OrderedDict[Sleeper, None] = OrderedDict()
        self._alarm = math.inf
        """The deadline for which the first sleeper will wake."""

    def __len__(self) -> int:
        return len(self._asleep)

    def make(self) -> Sleeper:
        """A sleeper that is still awake."""
        return Sleeper()

    def look(self) -> None:
        """Something has changed: if a deadline has come nearer, the first sleeper is told."""
        if not self._asleep:
            return
        due = self._next_due()
        if due is not None and due < self._alarm:
            next(iter(self._asleep)).wake()

    async def sleep(
        self,
        settle: Callable[[], object],
        sleeper: Sleeper | None = None,
        *,
        seconds: float | None = None,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Sleep, for ever unless there is an end to it.

        Args:
            settle: Called after each waking, to settle what is due.
            sleeper: By whom to be woken.
            seconds: The longest time to sleep; None for no limit.
            until: What is waited for; asked after each waking.
        """
        me = sleeper or Sleeper()
        ends = math.inf if seconds is None else self._clock.monotonic() + seconds
        self._asleep[me] = None
        try:
            while not until() and (left := ends - self._clock.monotonic()) > 0:
                with self._clock.move_on_after(self._patience(me, left)):
                    await me.nap()
                settle()
        finally:
            was_first = next(iter(self._asleep)) is me
            del self._asleep[me]
            if was_first:
                self._hand_over()

    def _patience(self, me: Sleeper, left: float) -> float | None:
        """How long to sleep at most."""
        if next(iter(self._asleep)) is me:
            due = self._next_due()
            self._alarm = math.inf if due is None else due
            if due is not None:
                left = min(left, max(due - self._clock.time(), 0.0))
        return None if math.isinf(left) else left

    def _hand_over(self) -> None:
        """The first sleeper is gone: the next is woken, to sleep until the next deadline from now on."""
        self._alarm = math.inf
        for heir in self._asleep:
            heir.wake()
            return
