"""`DirectAttempt`: an attempt without a task of its own, for there is nothing to await but an async agent.

```
launch ─▶ InOneGo(begin, resources) ─▶ the agent's task ─▶ its end: InOneGo(spans, verdict, result) ─▶ over
```

The runner actor asks the store by requests, and what comes after the agent is set off by its end. A task is made only
where something has to be waited for after all: to see the end of an agent that is stopped, or to ask the store again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, TypeVarTuple, Unpack, cast

from lightning_actors.actors import Outcome, PendingRequest
from lightning_actors.detached import DetachedCall, detached_task
from lightning_actors.error_text import describe
from lightning_actors.errors import InvalidTransition, RolloutCancelled, RunnerError
from lightning_actors.log import get_logger
from lightning_actors.runner.attempt import AttemptRun
from lightning_actors.runner.execution import Execution, agent_call
from lightning_actors.store.in_one_go import InOneGo
from lightning_actors.store.messages import AddManySpans, GetRolloutById, StoreMessage, UpdateAttempt
from lightning_actors.tracer import Trace, TraceContext, not_written
from lightning_actors.types import NamedResources, Span

__all__ = ["DirectAttempt"]

Arguments = TypeVarTuple("Arguments")

log = get_logger("lightning_actors.runner")


class DirectAttempt(AttemptRun):
    """One attempt: one thing sets off the next."""

    __slots__ = ("_call", "_context", "_has_spans_out", "_is_closing", "_pending", "_traced")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pending: PendingRequest[Any] | None = None
        self._traced: TraceContext | None = None
        self._call: DetachedCall[Any] | None = None
        self._context: Context | None = None
        self._has_spans_out = False
        self._is_closing = False

    def _cut_short(self) -> None:
        self._close_soon(self._close)

    def _stopped(self) -> None:
        self._close_soon(self._close)

    def _over(self, execution: Execution | None, error: BaseException | None) -> None:
        self._is_closing = True
        super()._over(execution, error)

    def _begin_soon(self) -> None:
        attempt = self.rollout.attempt
        operations: list[StoreMessage[Any]] = []
        if attempt.status != "running":
            operations.append(UpdateAttempt(attempt.rollout_id, attempt.attempt_id, status="running"))
        if self._resources is None:
            operations.append(self._resources_wanted())
        if operations:
            self._tell(operations, self._begun)
        else:
            self._begun(())

    def _begun(self, outcomes: Sequence[Outcome[Any]]) -> None:
        """The attempt has begun, and its resources are there, unless something failed."""
        if self._is_closing:
            return
        error = outcomes[-1].error if outcomes else None
        if error is not None and (len(outcomes) == 1 and self.rollout.attempt.status != "running"):
            if isinstance(error, InvalidTransition):
                self._verdict.refused(error)
                self._over(self._concluded(None), None)
            else:
                self._give_up_soon(error)
            return
        self._note_begun()
        if error is not None:
            self._conclude(error)
            return
        try:
            update = outcomes[-1].value if self._resources is None else None
            self._context = copy_context()
            self._context.run(self._begin_agent, self._given(update))
        except BaseException as raised:  # noqa: BLE001 - boundary: whatever it is, the attempt must not stay open
            self._give_up_soon(raised)

    def _begin_agent(self, resources: NamedResources) -> None:
        """Begin the agent's task, which gets a copy of this context; it is the current one, and the attempt's own."""
        rig, rollout = self._rig, self.rollout
        self._holding.enter()
        rig.agent_is_here()
        traced = self._traced = self._trace_context()
        self._trace = traced.open_here()
        if rig.aborting.is_set():
            return  # everything is to be cancelled, and so will this be
        self._enter("agent")
        call = self._call = detached_task(
            self._entry(), rollout.input, resources, rollout, name=agent_call(rollout.rollout_id)
        )
        rig.calls.add(call)
        call.finished_with(self._agent_ended)

    def _agent_ended(self) -> None:
        """Conclude, at the end of the agent's task."""
        rig, call, context = self._rig, self._call, self._context
        self._call = self._context = None
        if call is None or context is None:
            return
        rig.calls.discard(call)
        if self._is_closing or rig.aborting.is_set():
            return  # whoever asked it to end, or is about to, concludes
        error: BaseException | None = None
        try:
            context.run(self._take_result, call, cast("TraceContext", self._traced).trace)
        except BaseException as raised:  # noqa: BLE001 - boundary: whatever the agent raised is the result
            error = self._told_apart(raised)
        try:
            self._conclude(error)
        except BaseException as raised:  # noqa: BLE001 - boundary: nothing of ours may be raised at the agent's end
            self._give_up_soon(raised)

    def _conclude(self, error: BaseException | None) -> None:
        """Write the rest of the spans and report, as one message."""
        self._enter("reporting")
        operations: list[StoreMessage[Any]] = []
        spans: list[Span] = []
        traced = self._traced
        if traced is not None:
            traced.close(error)
            rest = traced.take_rest()
            if rest is None:
                self._close_soon(self._write_and_report, error)
                return
            spans = rest
        if spans:
            self._has_spans_out = True
            operations.append(AddManySpans(spans))
        word = self._verdict.decide(error, self._notes)
        if word is not None:
            operations.append(word)
        if self.reply is not None:  # whoever waits wants to see how it stands
            operations.append(GetRolloutById(self.rollout.rollout_id))
        self._tell(operations, lambda outcomes: self._reported(error, outcomes))

    def _settle_spans(self, stored: Sequence[Span] | None) -> bool:
        """End the write that is under way; tells whether there was one."""
        if not self._has_spans_out:
            return False
        self._has_spans_out = False
        cast("TraceContext", self._traced).settle_rest(stored)
        return True

    def _reported(self, error: BaseException | None, outcomes: Sequence[Outcome[Any]]) -> None:
        """The spans and the verdict are in the store, unless something failed."""
        has_spans = self._settle_spans(outcomes[0].value if outcomes and outcomes[0].error is None else None)
        if self._is_closing:
            return
        failure = outcomes[-1].error if outcomes else None
        if isinstance(failure, InvalidTransition):
            self._verdict.refused(failure)
        elif failure is not None:
            if has_spans and len(outcomes) == 1:
                error = not_written(cast("Trace", self._trace), error, failure)
            log.warning("report_failed", rollout_id=self.rollout.rollout_id, error=describe(failure))
            self._close_soon(self._report, error)
            return
        ended = outcomes[-1].value if self.reply is not None else None
        self._over(self._concluded(error, ended), None)

    def _tell(self, operations: list[StoreMessage[Any]], then: Callable[[Sequence[Outcome[Any]]], None]) -> None:
        """Have the store carry out operations, and go on with what came of them."""
        in_one_go, store = self._rig.in_one_go, self._rig.store_ref
        if in_one_go is not None:
            then(in_one_go(operations))
        elif store is not None:
            self._pending = self._owner.request(store, InOneGo(operations), lambda outcome: self._told(outcome, then))

    def _told(self, outcome: Outcome[Sequence[Outcome[Any]]], then: Callable[[Sequence[Outcome[Any]]], None]) -> None:
        self._pending = None
        then(outcome.value if outcome.error is None else [Outcome(None, outcome.error)])

    # ── the end, where something has to be waited for ──

    def _close_soon(self, how: Callable[[Unpack[Arguments]], Awaitable[None]], *args: *Arguments) -> None:
        """Conclude in a task, unless one does so already."""
        if not self._is_closing:
            self._is_closing = True
            if self._pending is not None:
                self._pending.cancel()
                self._pending = None
                self._settle_spans(None)
            self._holding.start_soon(how, *args)

    def _give_up_soon(self, raised: BaseException) -> None:
        self._close_soon(self._give_up, raised)

    async def _close(self) -> None:
        """Conclude an attempt that was stopped or given up."""
        if self._call is not None:
            await self._end_agent(self._call)
        traced = self._traced
        if traced is not None:
            failure = self._failure()
            traced.close(failure)
            try:
                await traced.write_rest(failure)
            except BaseException as raised:  # noqa: BLE001 - boundary: the store; its Exceptions are noted on the failure
                await self._abandon(raised, raised)
                return
        if self._is_cut:
            await self._abandon(self._owner.crash, None)
        else:
            await self._report(self._failure())

    def _failure(self) -> RunnerError:
        """What an attempt that was stopped or given up ends with."""
        if self._verdict.stop_reason is not None:
            return self._verdict.stop_error()
        rollout_id = self.rollout.rollout_id
        return RolloutCancelled(f"rollout {rollout_id} was given up before its end", rollout_id=rollout_id)

    async def _write_and_report(self, error: BaseException | None) -> None:
        """Write the rest of the spans when that is possible, and report."""
        try:
            await cast("TraceContext", self._traced).write_rest(error)
        except BaseException as failure:  # noqa: BLE001 - boundary: the store; the attempt fails with its error
            error = error or failure
        await self._report(error)

    async def _report(self, error: BaseException | None) -> None:
        try:
            await self._verdict.report(error, self._notes)
        except BaseException as raised:  # noqa: BLE001 - boundary: the store
            await self._give_up(raised)
        else:
            self._over(self._concluded(error), None)

    async def _give_up(self, raised: BaseException) -> None:
        """The attempt cannot go on, for the store does not do its part."""
        traced = self._traced
        if traced is not None:
            traced.close(raised)
        await self._abandon(raised, raised)
