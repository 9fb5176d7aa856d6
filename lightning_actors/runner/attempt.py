"""One attempt from claim to end: the same for `runner.step`, a pool and a single runner.

```
begin ─▶ on_rollout_start ─▶ ┌ trace: on_trace_start ─▶ agent ─▶ reward ─▶ on_trace_end ┐ ─▶ on_rollout_end ─▶ report
  │                          └───────────── spans ─▶ store, all of them by here ────────┘
  └ from here on the store may stop it: the agent is asked to end, and left behind if it does not
```

The agent runs in a task (or thread) of its own, so that nothing has to wait for one that refuses to end. What is around
it is done in one of two ways: by a task of the attempt's own (`tasked_attempt.py`), or, where there is nothing to await
but an async agent, without one (`direct_attempt.py`). Here is what both have in common.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar, cast

import anyio

from lightning_actors.actors import ActorRef, Held, Holding, Message, Outcome, PendingRequest, Reply
from lightning_actors.detached import DetachedCall
from lightning_actors.emitter import find_final_reward
from lightning_actors.error_text import describe
from lightning_actors.errors import RunnerError
from lightning_actors.log import get_logger
from lightning_actors.runner.execution import Execution
from lightning_actors.runner.result import record_result
from lightning_actors.runner.rig import Rig
from lightning_actors.runner.verdict import Verdict
from lightning_actors.store.messages import GetLatestResources, GetResourcesById, StoreMessage
from lightning_actors.tracer import Trace, TraceContext
from lightning_actors.types import AttemptedRollout, AttemptStatus, NamedResources, ResourcesUpdate, Rollout

__all__ = ["AttemptRun", "Owner"]

R = TypeVar("R")

log = get_logger("lightning_actors.runner")


class Owner(Protocol):
    """What an attempt needs of the runner actor that it is made by."""

    crash: BaseException | None

    def request(
        self, ref: ActorRef[Any], message: Message[R], then: Callable[[Outcome[R]], Awaitable[None] | None]
    ) -> PendingRequest[R]:
        """Ask another actor without waiting."""
        ...

    def attempt_over(self, run: AttemptRun, execution: Execution | None, error: BaseException | None) -> None:
        """The attempt is over.

        Args:
            run: The attempt.
            execution: How it ended; None if it did not come to its end.
            error: What could not be told to the store, if anything could not.
        """
        ...


class AttemptRun(ABC):
    """One attempt under way.

    Args:
        owner: The runner actor.
        rig: What it works with.
        rollout: What was claimed.
        resources: What the agent is given; None for what the rollout names, or the latest.
        reply: Whom the runner actor tells how it ended; None for what came from the queue.
        is_queued: It came from the queue, so that a claim that never began can be undone.

    Attributes:
        rollout: What was claimed.
        reply: Whom to tell.
    """

    __slots__ = (
        "_holding",
        "_is_cut",
        "_owner",
        "_resources",
        "_rig",
        "_since",
        "_started",
        "_step",
        "_trace",
        "_unwatch",
        "_verdict",
        "reply",
        "rollout",
    )

    _holding: Holding
    _unwatch: Callable[[], None]

    def __init__(
        self,
        owner: Owner,
        rig: Rig,
        rollout: AttemptedRollout,
        resources: NamedResources | None = None,
        *,
        reply: Reply[Execution] | None = None,
        is_queued: bool = False,
    ) -> None:
        self._owner = owner
        self._rig = rig
        self.rollout: Final = rollout
        self.reply: Final = reply
        self._resources = resources
        self._verdict = Verdict(rig, rollout, is_queued=is_queued)
        self._trace: Trace | None = None
        self._is_cut = False
        self._step = "claimed"
        self._since = self._started = rig.clock.monotonic()

    def held(self) -> Held:
        """The rollout, the step that this attempt is at, and for how long."""
        return Held(self.rollout.rollout_id, self._step, self._rig.clock.monotonic() - self._since)

    # ── what the runner actor calls ──

    def launch(self, holding: Holding) -> None:
        """Begin; the runner actor's ``attempt_over`` tells the end.

        Args:
            holding: How the runner actor holds it; released at the end.
        """
        self._holding = holding
        self._unwatch = self._rig.store.watch_attempt(self.rollout.attempt.attempt_id, self._stop)
        self._begin_soon()

    def give_back(self, holding: Holding) -> None:
        """Do not begin: undo the claim."""
        self._holding = holding
        self._unwatch = _nothing
        self._is_cut = True
        holding.start_soon(self._abandon, self._owner.crash, None)

    def cancel(self) -> None:
        """Give it up: ask the agent to end, and say in the store what becomes of the attempt."""
        if not self._is_cut:
            self._is_cut = True
            self._cut_short()

    def _stop(self, reason: str) -> None:
        """The store has ended the attempt: from here on nothing is reported, and the agent is asked to end."""
        verdict = self._verdict
        if verdict.stop_reason is None and not verdict.is_abandoned:
            verdict.stop_reason = reason
            self._stopped()

    # ── what is done one way or the other ──

    @abstractmethod
    def _begin_soon(self) -> None:
        """Begin."""

    @abstractmethod
    def _cut_short(self) -> None:
        """It is given up."""

    @abstractmethod
    def _stopped(self) -> None:
        """The store has ended it."""

    # ── the parts of both ──

    def _enter(self, step: str) -> None:
        self._step, self._since = step, self._rig.clock.monotonic()

    def _over(self, execution: Execution | None, error: BaseException | None) -> None:
        self._unwatch()
        self._unwatch = _nothing  # the watch holds this run, and it the watch
        self._rig.running.pop(self.rollout.attempt.attempt_id, None)
        self._is_cut = True  # there is nothing left to cancel
        try:
            self._owner.attempt_over(self, execution, error)
        finally:
            self._holding.release()

    async def _abandon(self, crash: BaseException | None, failure: BaseException | None) -> None:
        """Say in the store what becomes of an attempt that is not run to its end; then it is over, whatever happens.

        Args:
            crash: What the runner crashed with, or None for an orderly end.
            failure: What is told to the runner.
        """
        execution: Execution | None = None
        try:
            if await self._verdict.abandon(crash):
                execution = self._concluded(self._verdict.error)
        except BaseException as error:  # noqa: BLE001 - boundary: a store of the user's own
            failure = failure or error
        self._over(execution, failure)

    def _note_begun(self) -> None:
        self._verdict.has_begun = True
        self._rig.running[self.rollout.attempt.attempt_id] = self.rollout.rollout_id
        self._rig.begun.total += 1

    def _resources_wanted(self) -> StoreMessage[ResourcesUpdate | None]:
        resources_id = self.rollout.resources_id
        return GetLatestResources() if resources_id is None else GetResourcesById(resources_id)

    def _given(self, update: ResourcesUpdate | None) -> NamedResources:
        """What the agent is given: a dict of its own."""
        if self._resources is not None:
            return dict(self._resources)
        return {} if update is None else dict(update.resources)

    def _trace_context(self) -> TraceContext:
        attempt = self.rollout.attempt
        context = self._rig.tracer.trace_context(
            store=self._rig.store, rollout_id=attempt.rollout_id, attempt_id=attempt.attempt_id
        )
        return cast("TraceContext", context)

    def _entry(self) -> Callable[..., Any]:
        return self._rig.agent.entry(is_training=self.rollout.mode == "train")

    def _take_result(self, call: DetachedCall[Any], trace: Trace) -> None:
        """Put what the agent returned into its trace; raises what it raised."""
        if call.error is not None and isinstance(call.error, anyio.get_cancelled_exc_class()):
            raise self._told_apart(call.error)
        record_result(trace, call.value, self.rollout.rollout_id)

    async def _end_agent(self, call: DetachedCall[Any]) -> None:
        """Ask the agent to end; if it does not, name it and go on without it."""
        self._enter("agent asked to end")
        if await call.end(self._rig.patience, self._rig.clock):
            return
        self._rig.left_behind.append(call.name)
        self._rig.threads.replace(call)
        log.warning(
            "agent_left_behind",
            rollout_id=self.rollout.rollout_id,
            attempt_id=self.rollout.attempt.attempt_id,
            patience_seconds=self._rig.patience,
            kind="task" if self._rig.agent.is_async() else "thread",
        )

    def _told_apart(self, error: BaseException) -> BaseException:
        """The error, or what stands for a cancellation that is not ours."""
        if not isinstance(error, anyio.get_cancelled_exc_class()):
            return error
        foreign = RunnerError(
            f"the agent of {self.rollout.rollout_id} ended with {type(error).__name__} though nobody cancelled this "
            f"rollout: it awaited something that was cancelled elsewhere",
            rollout_id=self.rollout.rollout_id,
        )
        foreign.__cause__ = error
        return foreign

    @property
    def _notes(self) -> dict[str, Any]:
        return {} if self._trace is None else self._trace.notes

    def _concluded(self, error: BaseException | None, ended: Rollout | None = None) -> Execution:
        seconds = self._rig.clock.monotonic() - self._started
        reason = self._verdict.stop_reason
        status: AttemptStatus = "succeeded" if error is None else "failed"
        if reason is not None:
            error = error or self._verdict.stop_error()
            status = cast("AttemptStatus", reason) if reason in {"timeout", "unresponsive"} else "failed"
        reward = None if self._trace is None else find_final_reward(self._trace.spans)
        execution = Execution(self.rollout, status, error, reward, self._trace, seconds, ended)
        log.info(
            "rollout_finished",
            rollout_id=self.rollout.rollout_id,
            worker_id=self.rollout.attempt.worker_id,
            status=status,
            reward=reward,
            seconds=round(seconds, 4),
            **({} if error is None else {"error": describe(error)}),
        )
        return execution


def _nothing() -> None:
    """There is nothing to undo."""
