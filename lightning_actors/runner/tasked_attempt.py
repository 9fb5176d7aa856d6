"""`TaskedAttempt`: an attempt in a task of its own, where hooks, threads or a store have to be awaited."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel

from lightning_actors.detached import DetachedCall, detached_task
from lightning_actors.errors import InvalidTransition
from lightning_actors.runner.attempt import AttemptRun
from lightning_actors.runner.execution import Execution, agent_call
from lightning_actors.runner.rig import is_cancelled
from lightning_actors.store.messages import UpdateAttempt
from lightning_actors.tracer import Trace
from lightning_actors.types import NamedResources

__all__ = ["TaskedAttempt"]


class TaskedAttempt(AttemptRun):
    """One attempt: its steps are awaited, one after another."""

    __slots__ = ("_agent_scope", "_scope")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._scope = anyio.CancelScope()
        self._agent_scope: anyio.CancelScope | None = None

    def _begin_soon(self) -> None:
        self._holding.start_soon(self._run_in_task, name=f"attempt at {self.rollout.rollout_id}")

    def _cut_short(self) -> None:
        self._scope.cancel()

    def _stopped(self) -> None:
        if self._agent_scope is not None:
            self._agent_scope.cancel()

    async def _run_in_task(self) -> None:
        execution: Execution | None = None
        with self._scope:
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

    async def _run(self) -> BaseException | None:
        """Everything between the beginning and the report.

        Returns:
            What went wrong, if anything did.
        """
        error: BaseException | None = None
        try:
            with anyio.CancelScope() as self._agent_scope:
                await self._observed()
        except BaseException as raised:  # boundary: whatever the agent raises is the attempt's result
            if _is_ours(raised):
                raise
            error = self._told_apart(raised)
        finally:
            if self._rig.hooks:
                with anyio.CancelScope() as self._agent_scope:  # what stops the agent stops a hook too
                    if self._verdict.stop_reason is not None:
                        self._agent_scope.cancel()
                    await self._after()
            self._agent_scope = None
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


def _is_ours(error: BaseException) -> bool:
    """Whether this is the cancellation of a scope around the running task, and not one picked up elsewhere."""
    return isinstance(error, anyio.get_cancelled_exc_class()) and is_cancelled()
