"""`RunnerActor`: executes attempts, those it is sent and, where there is a queue, those it takes.

```
Execute(rollout) ──▶ concurrent: any number at once                 (runner.step)
Take ──▶ queue … claimed ──▶ one at a time, then Take again         (a pool, runner.iter)
```
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from lightning_actors.actors import Actor, ActorRef, Held, Message, Outcome, PendingRequest, handles
from lightning_actors.errors import ActorCrashed, ActorStopped
from lightning_actors.log import get_logger
from lightning_actors.queue import QueueActor, Take
from lightning_actors.runner.execution import AttemptRun, Execution
from lightning_actors.runner.keeper import keep_flushing
from lightning_actors.runner.rig import Rig
from lightning_actors.types import AttemptedRollout, NamedResources

__all__ = ["Budget", "Execute", "RunnerActor"]

log = get_logger("lightning_actors.runner")


@dataclass(frozen=True, slots=True)
class Execute(Message[Execution]):
    """Run this claimed rollout now, whatever else is running."""

    rollout: AttemptedRollout
    resources: NamedResources | None = None


@dataclass(slots=True)
class Budget:
    """How many rollouts a worker may still take; it outlives the worker's crashes.

    Attributes:
        left: The number; None for no limit.
    """

    left: int | None = None

    @property
    def is_spent(self) -> bool:
        """Whether there is none left."""
        return self.left is not None and self.left <= 0

    def spend(self) -> None:
        """Count one."""
        if self.left is not None:
            self.left -= 1


class RunnerActor(Actor, handles_all=(Execute,)):
    """One worker.

    Args:
        rig: What it works with.
        worker_id: Its name in the store.
        queue: Where it takes work from; None if it only does what it is sent.
        budget: How much it may take from there; no limit by default.
        finished: Called with every execution of such a rollout that came to its end.
        exhausted: Called when its budget is spent and it ends.
        keeps_time: Settle deadlines and write spans while it lives, where nobody else does.
    """

    def __init__(
        self,
        rig: Rig,
        worker_id: str,
        *,
        queue: ActorRef[QueueActor] | None = None,
        budget: Budget | None = None,
        finished: Callable[[Execution], None] | None = None,
        exhausted: Callable[[], None] | None = None,
        keeps_time: bool = False,
    ) -> None:
        self._keeps_time = keeps_time
        self._exhausted = exhausted
        self._rig = rig
        self._worker_id = worker_id
        self._queue = queue
        self._budget = budget or Budget()
        self._finished = finished
        self._take: PendingRequest[AttemptedRollout] | None = None
        self._taken: AttemptRun | None = None
        self._executed: dict[AttemptRun, None] = {}
        self._is_draining = False
        self._idle: anyio.Event | None = None

    async def started(self) -> None:
        """Ask for work."""
        if self._keeps_time:
            self.start_soon(self._rig.store.keep_time)
            self.start_soon(keep_flushing, self._rig)
        self._ask_for_work()

    async def stopping(self) -> None:
        """Take no more, and let what runs come to its end."""
        self._is_draining = True
        if self._take is not None:
            self._take.cancel()
        if self._taken is not None:
            self._idle = anyio.Event()
            await self._idle.wait()

    async def stopped(self) -> None:
        """Undo a claim whose task never got to run."""
        if self._taken is not None:
            await self._taken.abandon(self.crash)

    def holding(self) -> Sequence[Held]:
        """The rollouts that it is running, and how far each is."""
        taken = self._taken
        return [run.held() for run in (*(() if taken is None else (taken,)), *tuple(self._executed))]

    @handles(Execute, concurrent=True)
    async def execute(self, message: Execute) -> Execution:
        """Run a claimed rollout."""
        run = AttemptRun(self._rig, message.rollout, message.resources, crash=self._get_crash)
        self._executed[run] = None
        try:
            return await run.execute()
        finally:
            del self._executed[run]

    def undelivered(self, message: Message[Any], value: Any) -> None:
        """Nobody waits for an execution any more: the store knows how it ended, so nothing is lost."""
        log.debug("execution_unheard", rollout_id=value.rollout.rollout_id, status=value.status)

    def _get_crash(self) -> BaseException | None:
        return self.crash

    def _ask_for_work(self) -> None:
        if self._queue is None or self._is_draining or self._rig.closing.is_set():
            return
        if self._budget.is_spent:
            if self._exhausted is not None:
                self._exhausted()
            self.stop_soon()
            return
        self._take = self.request(self._queue, Take(self._worker_id), self._given)

    def _given(self, outcome: Outcome[AttemptedRollout]) -> None:
        self._take = None
        if isinstance(outcome.error, ActorStopped):
            return  # the queue is gone for good, and so is what this runner is for: its supervisor is stopping
        if isinstance(outcome.error, ActorCrashed):
            self._ask_for_work()  # the queue holds nothing that cannot be asked for again
            return
        self._taken = AttemptRun(self._rig, outcome.value, crash=self._get_crash, is_queued=True)
        self._budget.spend()
        self.start_soon(self._work, self._taken, name=f"{self.name}: {outcome.value.rollout_id}")

    async def _work(self, run: AttemptRun) -> None:
        execution: Execution | None = None
        try:
            if self._is_draining or self._rig.closing.is_set():
                await run.abandon(None)
            else:
                execution = await run.execute()
        finally:
            self._taken = None
            if self._idle is not None:
                self._idle.set()
            execution = execution or run.told
            if self._finished is not None and execution is not None:
                self._finished(execution)
        self._ask_for_work()
