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

from lightning_actors.actors import Actor, ActorRef, Held, Message, Outcome, PendingRequest, Reply, defers
from lightning_actors.errors import ActorCrashed, ActorStopped
from lightning_actors.log import get_logger
from lightning_actors.queue import QueueActor, Take
from lightning_actors.runner.attempt import AttemptRun
from lightning_actors.runner.direct_attempt import DirectAttempt
from lightning_actors.runner.execution import Execution
from lightning_actors.runner.keeper import keep_flushing
from lightning_actors.runner.rig import Rig
from lightning_actors.runner.tasked_attempt import TaskedAttempt
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

    minds_replies = False  # the store knows how each ended, whoever heard of it

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
        self._attempt: type[AttemptRun] = DirectAttempt if rig.needs_no_task else TaskedAttempt
        self._worker_id = worker_id
        self._queue = queue
        self._budget = budget or Budget()
        self._finished = finished
        self._take: PendingRequest[AttemptedRollout] | None = None
        self._taken: AttemptRun | None = None
        self._executing: dict[Reply[Execution], AttemptRun] = {}
        self._is_draining = False

    async def started(self) -> None:
        """Ask for work."""
        if self._keeps_time:
            self.start_soon(self._rig.store.keep_time)
            self.start_soon(keep_flushing, self._rig)
        self._ask_for_work()

    async def stopping(self) -> None:
        """Take no more; the stop waits for what runs."""
        self._is_draining = True
        if self._take is not None:
            self._take.cancel()

    def holding(self) -> Sequence[Held]:
        """The rollouts that it is running, and how far each is."""
        taken = self._taken
        return [run.held() for run in (*(() if taken is None else (taken,)), *tuple(self._executing.values()))]

    @defers(Execute)
    def execute(self, message: Execute, reply: Reply[Execution]) -> None:
        """Run a claimed rollout; the reply is how it ended."""
        run = self._attempt(self, self._rig, message.rollout, message.resources, reply=reply)
        self._executing[reply] = run
        run.launch(self.hold_work(run, message))

    def attempt_over(self, run: AttemptRun, execution: Execution | None, error: BaseException | None) -> None:
        """Tell whoever wants to know, and go on."""
        reply = run.reply
        if reply is None:
            self._worked(execution, error)
            return
        del self._executing[reply]
        if execution is not None:
            reply.set(execution)
        elif error is not None and not reply.done:
            reply.fail(error)

    def withdrawn(self, message: Message[Any], reply: Reply[Any]) -> None:
        """Nobody waits for this execution any more: give it up."""
        run = self._executing.get(reply)
        if run is not None:
            run.cancel()

    def undelivered(self, message: Message[Any], value: Any) -> None:
        """Nobody waits for an execution any more: the store knows how it ended, so nothing is lost."""
        log.debug("execution_unheard", rollout_id=value.rollout.rollout_id, status=value.status)

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
        claimed = outcome.value
        run = self._attempt(self, self._rig, claimed, is_queued=True)
        self._taken = run
        self._budget.spend()
        holding = self.hold_work(run, self._worker_id)
        if self._is_draining or self._rig.closing.is_set():
            run.give_back(holding)
        else:
            run.launch(holding)

    def _worked(self, execution: Execution | None, error: BaseException | None) -> None:
        self._taken = None
        if self._finished is not None and execution is not None:
            self._finished(execution)
        if error is not None:
            self.start_soon(_fail, error)
        elif self.crash is None:
            self._ask_for_work()


async def _fail(error: BaseException) -> None:
    """Crash the actor: what it ran could not be told to the store."""
    raise error
