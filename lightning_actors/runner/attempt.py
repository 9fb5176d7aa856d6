"""One attempt from claim to end: the same code for `runner.step`, a pool and a single runner.

```
begin ─▶ on_rollout_start ─▶ ┌ trace: on_trace_start ─▶ agent ─▶ reward ─▶ on_trace_end ┐ ─▶ on_rollout_end ─▶ report
  │                          └───────────── spans ─▶ store, all of them by here ────────┘
  └ from here on the store may stop it: the agent is asked to end, and left behind if it does not
```

The agent runs in a task (or thread) of its own, so that nothing has to wait for one that refuses to end. Where nothing
else has to be awaited (an async agent, no hooks), that is the only task: the runner actor asks the store by requests,
and what comes after the agent is set off by its end. A task for the attempt itself is made when there is something to
wait for: in the other cases, and to see the end of an agent that is stopped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple, Unpack, cast

import anyio
import anyio.lowlevel

from lightning_actors.actors import ActorRef, Held, Holding, Message, Outcome, PendingRequest, Reply
from lightning_actors.detached import DetachedCall, detached_task
from lightning_actors.emitter import find_final_reward
from lightning_actors.error_text import describe
from lightning_actors.errors import InvalidTransition, RolloutCancelled, RunnerError
from lightning_actors.log import get_logger
from lightning_actors.runner.execution import Execution, agent_call
from lightning_actors.runner.result import record_result
from lightning_actors.runner.rig import Rig, is_cancelled
from lightning_actors.runner.verdict import Verdict
from lightning_actors.store.actor import InOneGo
from lightning_actors.store.messages import (
    AddManySpans,
    GetLatestResources,
    GetResourcesById,
    GetRolloutById,
    StoreMessage,
    UpdateAttempt,
)
from lightning_actors.tracer import Trace, TraceContext, not_written
from lightning_actors.types import AttemptedRollout, AttemptStatus, NamedResources, ResourcesUpdate, Rollout, Span

__all__ = ["AttemptRun"]

Arguments = TypeVarTuple("Arguments")
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


class AttemptRun:
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
        "_call",
        "_context",
        "_has_spans_out",
        "_holding",
        "_is_closing",
        "_is_cut",
        "_owner",
        "_pending",
        "_resources",
        "_rig",
        "_scope",
        "_since",
        "_started",
        "_step",
        "_task_scope",
        "_trace",
        "_traced",
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
        self._pending: PendingRequest[Any] | None = None
        self._verdict = Verdict(rig, rollout, is_queued=is_queued)
        self._trace: Trace | None = None
        self._traced: TraceContext | None = None
        self._call: DetachedCall[Any] | None = None
        self._context: Context | None = None
        self._scope: anyio.CancelScope | None = None
        self._task_scope: anyio.CancelScope | None = None
        self._has_spans_out = False
        self._is_closing = False
        self._is_cut = False
        self._step = "claimed"
        self._since = self._started = rig.clock.monotonic()

    def held(self) -> Held:
        """The rollout, the step that this attempt is at, and for how long."""
        return Held(self.rollout.rollout_id, self._step, self._rig.clock.monotonic() - self._since)

    def _enter(self, step: str) -> None:
        self._step, self._since = step, self._rig.clock.monotonic()

    # ── what the runner actor calls ──

    def launch(self, holding: Holding) -> None:
        """Begin; the end is told by ``ended``.

        Args:
            holding: How the runner actor holds it; released at the end.
        """
        self._holding = holding
        self._unwatch = self._rig.store.watch_attempt(self.rollout.attempt.attempt_id, self._stop)
        if self._rig.needs_no_task:
            self._begin_soon()
        else:
            self._task_scope = anyio.CancelScope()
            holding.start_soon(self._run_in_task, self._task_scope, name=f"attempt at {self.rollout.rollout_id}")

    def give_back(self, holding: Holding) -> None:
        """Do not begin: undo the claim."""
        self._holding = holding
        self._unwatch = _nothing
        self._is_cut = self._is_closing = True
        holding.start_soon(self._close)

    def cancel(self) -> None:
        """Give it up: ask the agent to end, and say in the store what becomes of the attempt."""
        if self._is_cut:
            return
        self._is_cut = True
        if self._task_scope is not None:
            self._task_scope.cancel()
        else:
            self._close_soon(self._close)

    def _stop(self, reason: str) -> None:
        """The store has ended the attempt: from here on nothing is reported, and the agent is asked to end."""
        verdict = self._verdict
        if verdict.stop_reason is None and not verdict.is_abandoned:
            verdict.stop_reason = reason
            if self._task_scope is None:
                self._close_soon(self._close)
            elif self._scope is not None:
                self._scope.cancel()

    def _over(self, execution: Execution | None, error: BaseException | None) -> None:
        self._unwatch()
        self._unwatch = _nothing  # the watch holds this run, and it the watch
        self._rig.running.pop(self.rollout.attempt.attempt_id, None)
        self._is_closing = self._is_cut = True  # there is nothing left to cancel
        try:
            self._owner.attempt_over(self, execution, error)
        finally:
            self._holding.release()

    # ── without a task: one thing sets off the next ──

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

    def _begin_soon(self) -> None:
        attempt, operations = self.rollout.attempt, list[StoreMessage[Any]]()
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
        rig.agent.execute_on(rig.runner)
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
        operations, spans, traced = list[StoreMessage[Any]](), list[Span](), self._traced
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

    # ── in a task of the attempt's own ──

    async def _run_in_task(self, scope: anyio.CancelScope) -> None:
        execution: Execution | None = None
        with scope:
            try:
                execution = await self._executed()
            except BaseException as raised:  # noqa: BLE001 - boundary: what is raised here is told to the runner
                failure = None if _is_ours(raised) else raised
                await self._abandon(self._owner.crash if failure is None else failure, failure)
                return
        self._over(execution, None)

    async def _executed(self) -> Execution:
        if self._is_cut:  # before it began
            await anyio.lowlevel.checkpoint()
        error = await self._begin()
        if error is None:
            with self._rig.agent.executing_on(self._rig.runner):
                error = await self._run()
            self._enter("reporting")
            await self._verdict.report(error, self._notes)
        return self._concluded(error)

    async def _run(self) -> BaseException | None:
        """Everything between the beginning and the report.

        Returns:
            What went wrong, if anything did.
        """
        error: BaseException | None = None
        try:
            with anyio.CancelScope() as self._scope:
                await self._observed()
        except BaseException as raised:  # boundary: whatever the agent raises is the attempt's result
            if _is_ours(raised):
                raise
            error = self._told_apart(raised)
        finally:
            if self._rig.hooks:
                with anyio.CancelScope() as self._scope:  # what stops the agent also stops a hook that does not end
                    if self._verdict.stop_reason is not None:
                        self._scope.cancel()
                    await self._after()
            self._scope = None
        return error if self._verdict.stop_reason is None else self._verdict.stop_error()

    async def _observed(self) -> None:
        rig, rollout = self._rig, self.rollout
        if self._verdict.stop_reason is not None:
            return
        self._enter("getting ready")
        resources = self._given(await rig.ask(self._resources_wanted()) if self._resources is None else None)
        if rig.hooks:
            await rig.call_hooks(
                "on_rollout_start",
                lambda hook: hook.on_rollout_start(agent=rig.agent, runner=rig.runner, rollout=rollout),
            )
        async with self._trace_context() as trace:
            self._trace = trace
            try:
                await self._call_watched_agent(trace, resources)
            finally:
                if rig.hooks:
                    self._enter("on_trace_end")
                    await rig.call_last_hooks(
                        "on_trace_end",
                        lambda hook: hook.on_trace_end(
                            agent=rig.agent, runner=rig.runner, tracer=rig.tracer, rollout=rollout
                        ),
                    )

    async def _call_watched_agent(self, trace: Trace, resources: NamedResources) -> None:
        rig, rollout = self._rig, self.rollout
        if rig.hooks:
            await rig.call_hooks(
                "on_trace_start",
                lambda hook: hook.on_trace_start(
                    agent=rig.agent, runner=rig.runner, tracer=rig.tracer, rollout=rollout
                ),
            )
        self._take_result(await self._call_agent(resources), trace)

    async def _after(self) -> None:
        rig, rollout = self._rig, self.rollout
        spans = [] if self._trace is None else self._trace.spans
        self._enter("on_rollout_end")
        await rig.call_last_hooks(
            "on_rollout_end",
            lambda hook: hook.on_rollout_end(agent=rig.agent, runner=rig.runner, rollout=rollout, spans=spans),
        )

    async def _call_agent(self, resources: NamedResources) -> DetachedCall[Any]:
        rig = self._rig
        if rig.aborting.is_set():
            await rig.unless_aborted()
        self._enter("waiting for a thread")
        call = await self._start_agent(resources)
        self._enter("agent")
        rig.calls.add(call)
        try:
            await call.finished.wait()
            if rig.aborting.is_set():
                await rig.unless_aborted()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._end_agent(call)
            if self._verdict.stop_reason is not None:
                raise self._verdict.stop_error() from None
            raise
        finally:
            rig.calls.discard(call)
        return call

    async def _start_agent(self, resources: NamedResources) -> DetachedCall[Any]:
        rollout = self.rollout
        name = agent_call(rollout.rollout_id)
        if self._rig.agent.is_async():
            return detached_task(self._entry(), rollout.input, resources, rollout, name=name)
        return await self._rig.threads.start(self._entry(), rollout.input, resources, rollout, name=name)

    # ── the parts of both ──

    async def _begin(self) -> BaseException | None:
        verdict, attempt = self._verdict, self.rollout.attempt
        if attempt.status != "running":
            self._enter("beginning")
            try:
                await self._rig.ask(UpdateAttempt(attempt.rollout_id, attempt.attempt_id, status="running"))
            except InvalidTransition as error:
                verdict.refused(error)
                return verdict.stop_error()
        self._note_begun()
        return None

    def _note_begun(self) -> None:
        self._verdict.has_begun = True
        self._rig.running[self.rollout.attempt.attempt_id] = self.rollout.rollout_id
        self._rig.begun[0] += 1

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
        if isinstance(call.error, anyio.get_cancelled_exc_class()):
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


def _is_ours(error: BaseException) -> bool:
    """Whether this is the cancellation of a scope around the running task, and not one picked up elsewhere."""
    return isinstance(error, anyio.get_cancelled_exc_class()) and is_cancelled()
