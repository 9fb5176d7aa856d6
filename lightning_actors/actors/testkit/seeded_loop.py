"""`SeededLoop`: an asyncio event loop in which a seed decides in which order tasks go on. Used by `Schedule`.

```
what a task does next ─▶ call_soon ─▶ collected ─▶ in the next turn: in order of the tasks' making, shuffled ─▶ run
any other callback    ─▶ call_soon ─────────────── in the next turn, as ever ──────────────────────────────▶ run
```

Everything is done by what asyncio documents: `call_soon` is overridden, and a task factory numbers the tasks. A task
that can go on does so in the next turn, so nobody is kept waiting for ever, and transports find their own callbacks in
the order that they rely on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, Final, NamedTuple, cast
from weakref import WeakKeyDictionary

__all__ = ["SeededLoop"]

_QUIET_TURNS: Final = 2
"""A step that was asked for is run in the next turn, and so is a callback that asks for one: after that, all wait."""


class _Step(NamedTuple):
    """What a task does next."""

    number: int
    handle: asyncio.Handle
    run: Callable[[], object]


class SeededLoop(asyncio.SelectorEventLoop):
    """An event loop whose order of tasks follows from a random number generator.

    Args:
        order: Shuffles the tasks that can go on, once a turn.
    """

    def __init__(self, order: random.Random) -> None:
        super().__init__()
        self._order = order
        self._numbers: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._made = 0
        self._steps: list[_Step] = []
        self._idle: list[asyncio.Future[None]] = []
        self._quiet = 0
        self.set_task_factory(self._make_task)

    def _make_task(
        self,
        _loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        number = self._made = self._made + 1
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, **options)  # pyright: ignore[reportArgumentType]  # what create_task was given
        self._numbers[task] = number
        return task

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Have something called in the next turn."""
        owner = getattr(callback, "__self__", None)
        if not isinstance(owner, asyncio.Task):
            return super().call_soon(callback, *args, context=context)
        self._quiet = 0
        if not self._steps:
            super().call_soon(self._run_steps)
        context = copy_context() if context is None else context
        handle = asyncio.Handle(callback, args, self, context)
        # A task asks for its first step while it is being made, before it can be looked up.
        number = self._numbers.get(cast("asyncio.Task[Any]", owner), self._made)
        self._steps.append(_Step(number, handle, lambda: context.run(callback, *args)))
        return handle

    def _run_steps(self) -> None:
        self._quiet = 0
        steps, self._steps = sorted(self._steps, key=lambda step: step.number), []
        self._order.shuffle(steps)
        try:
            while steps:
                step = steps.pop()
                if not step.handle.cancelled():
                    step.run()
        finally:  # SystemExit and KeyboardInterrupt leave the loop at once; it may be run again
            if steps:
                self._steps += steps
                super().call_soon(self._run_steps)

    async def until_idle(self) -> None:
        """Wait until every other task waits for something."""
        waiter: asyncio.Future[None] = self.create_future()
        self._idle.append(waiter)
        if len(self._idle) == 1:
            self._look()
        await waiter

    def _look(self) -> None:
        self._quiet += 1
        if self._quiet <= _QUIET_TURNS:
            super().call_soon(self._look)
            return
        idle, self._idle = self._idle, []
        for waiter in idle:
            if not waiter.done():
                waiter.set_result(None)
