"""One attempt from claim to end: the same code for `runner.step`, a pool and a single runner.

```
begin ─▶ on_rollout_start ─▶ ┌ trace: on_trace_start ─▶ agent ─▶ reward ─▶ on_trace_end ┐ ─▶ on_rollout_end ─▶ report
  │                          └───────────── spans ─▶ store, all of them by here ────────┘
  └ from here on the store may stop it: the agent is asked to end, and left behind if it does not
```

The agent runs in a task (or thread) of its own, so that nothing has to wait for one that refuses to end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import anyio

from lightning_actors.actors import Held
from lightning_actors.detached import DetachedCall, detached_task
from lightning_actors.emitter import find_final_reward
from lightning_actors.error_text import describe
from lightning_actors.errors import ActorError, InvalidTransition, RolloutCancelled, RolloutTimeout, RunnerError
from lightning_actors.log import get_logger
from lightning_actors.runner.result import record_result
from lightning_actors.runner.rig import Rig, is_cancelled
from lightning_actors.store import UNSET
from lightning_actors.store.messages import GetLatestResources, GetResourcesById, UpdateAttempt, UpdateRollout
from lightning_actors.tracer import Trace
from lightning_actors.types import AttemptedRollout, AttemptStatus, NamedResources, Span

__all__ = ["AttemptRun", "Execution", "agent_call"]

log = get_logger("lightning_actors.runner")

_REPORT_SECONDS = 10.0
_REPORT_AGAIN = (0.05, 0.5)


@dataclass(frozen=True, slots=True)
class Execution:
    """How an attempt ended.

    Attributes:
        rollout: The rollout and its attempt as they were claimed.
        status: The status of the attempt.
        error: What the agent raised, or what ended the attempt; None if it succeeded.
        reward: The final reward, if there was one.
        trace: Its spans; None if it never began.
        seconds: How long it took.
    """

    rollout: AttemptedRollout
    status: AttemptStatus
    error: BaseException | None
    reward: float | None
    trace: Trace | None
    seconds: float

    @property
    def spans(self) -> Sequence[Span]:
        """The spans, as stored."""
        return () if self.trace is None else self.trace.spans


class AttemptRun:
    """One attempt under way.

    Args:
        rig: What it works with.
        rollout: What was claimed.
        resources: What the agent is given; None for what the rollout names, or the latest.
        crash: Asked when this task is cancelled: what the runner crashed with, or None for an orderly end.
        is_queued: It came from the queue, so that a claim that never began can be undone.

    Attributes:
        rollout: What was claimed.
    """

    def __init__(
        self,
        rig: Rig,
        rollout: AttemptedRollout,
        resources: NamedResources | None = None,
        *,
        crash: Callable[[], BaseException | None] = lambda: None,
        is_queued: bool = False,
    ) -> None:
        self._rig = rig
        self.rollout: Final = rollout
        self._resources = resources
        self._crash = crash
        self._is_queued = is_queued
        self._has_begun = False
        self._stop_reason: str | None = None
        self._scope: anyio.CancelScope | None = None
        self._verdict: UpdateAttempt | None = None
        self._trace: Trace | None = None
        self._started = rig.clock.monotonic()
        self._error: BaseException | None = None
        self._is_abandoned = False
        self.told: Execution | None = None
        """How it ended, where this was told to the store by `abandon`."""
        self._enter("claimed")

    def held(self) -> Held:
        """The rollout, the step that this attempt is at, and for how long."""
        doing, since = self._step
        return Held(self.rollout.rollout_id, doing, self._rig.clock.monotonic() - since)

    def _enter(self, step: str) -> None:
        self._step = step, self._rig.clock.monotonic()

    async def execute(self) -> Execution:
        """Run the attempt to its end, whatever that is.

        Returns:
            How it ended. Errors of the agent are in there, not raised.

        Raises:
            StoreError: The store did not take a report. (ActorError where the store is an actor that is gone.)
        """
        rig, attempt = self._rig, self.rollout.attempt
        unwatch = rig.store.watch_attempt(attempt.attempt_id, self._stop)
        try:
            error = await self._begin()
            if error is None:
                rig.running[attempt.attempt_id] = attempt.rollout_id
                with rig.agent.executing_on(rig.runner):
                    error = await self._run()
                await self._report(error)
        except BaseException as raised:
            await self.abandon(self._crash() if _is_ours(raised) else raised)
            raise
        finally:
            unwatch()
            rig.running.pop(attempt.attempt_id, None)
        return self._ended(error)

    async def abandon(self, crash: BaseException | None) -> None:
        """Say in the store what becomes of an attempt that is not run to its end.

        Args:
            crash: What the runner crashed with, or None for an orderly end.
        """
        if self._is_abandoned or (self._stop_reason is not None and not self._fell_silent):
            return
        self._is_abandoned = True
        words = [word for word in (self._verdict, self._last_word(crash)) if word is not None]
        rollout_id = self.rollout.rollout_id
        with anyio.CancelScope(shield=True), self._rig.clock.move_on_after(_REPORT_SECONDS) as scope:
            for word in words:  # where the store refuses the verdict, the attempt must still not stay open
                for pause in (*_REPORT_AGAIN, None):
                    if await self._say(word):
                        return
                    if pause is not None:
                        await self._rig.clock.sleep(pause)
        if scope.cancelled_caught:
            log.warning("end_not_reported", rollout_id=rollout_id, seconds=_REPORT_SECONDS)

    async def _say(self, word: UpdateRollout | UpdateAttempt) -> bool:
        """Say this much on the way out.

        Returns:
            Whether there is nothing more to say.
        """
        try:
            if not (self._is_queued and not self._has_begun and await self._release()):
                await self._rig.store.ask(word)
        except InvalidTransition:
            return True  # it had ended already
        except Exception as error:  # noqa: BLE001 - boundary: the store, on a way out that must go on
            log.warning("end_not_reported", rollout_id=self.rollout.rollout_id, error=describe(error))
            return isinstance(error, ActorError)  # the store's actor is gone
        if word is self._verdict:
            self.told = self._ended(self._error)
        return True

    async def _release(self) -> bool:
        """Undo the claim; False where the attempt has begun after all."""
        attempt = self.rollout.attempt
        released = await self._rig.store.release_attempt(attempt.rollout_id, attempt.attempt_id)
        if released:
            log.info("claim_undone", rollout_id=attempt.rollout_id)
        return released

    def _last_word(self, crash: BaseException | None) -> UpdateRollout | UpdateAttempt:
        attempt = self.rollout.attempt
        if self._fell_silent:
            return self._silence()
        if crash is None:
            return UpdateRollout(attempt.rollout_id, status="cancelled")
        metadata = {"reason": "crashed", "error": describe(crash)}
        return UpdateAttempt(attempt.rollout_id, attempt.attempt_id, status="unresponsive", metadata=metadata)

    @property
    def _fell_silent(self) -> bool:
        return self._stop_reason == "unresponsive"

    def _silence(self) -> UpdateAttempt:
        """What the store said of the attempt, for good: spans written since may have made it take that back."""
        attempt = self.rollout.attempt
        metadata = {"reason": "stopped", "error": describe(self._stop_error())}
        return UpdateAttempt(attempt.rollout_id, attempt.attempt_id, status="unresponsive", metadata=metadata)

    def _stop(self, reason: str) -> None:
        """The store has ended the attempt: from here on nothing is reported, and the agent is asked to end."""
        if self._stop_reason is None and not self._is_abandoned:
            self._stop_reason = reason
            if self._scope is not None:
                self._scope.cancel()

    async def _begin(self) -> BaseException | None:
        attempt = self.rollout.attempt
        self._enter("beginning")
        if attempt.status != "running":
            try:
                await self._rig.ask(UpdateAttempt(attempt.rollout_id, attempt.attempt_id, status="running"))
            except InvalidTransition as error:
                self._stop_reason = self._stop_reason or error.before
                return self._stop_error()
        self._has_begun = True
        return None

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
                    if self._stop_reason is not None:
                        self._scope.cancel()
                    await self._after()
            self._scope = None
        return error if self._stop_reason is None else self._stop_error()

    async def _observed(self) -> None:
        rig, rollout = self._rig, self.rollout
        if self._stop_reason is not None:
            return
        self._enter("getting ready")
        resources = await self._wanted_resources()
        if rig.hooks:
            await rig.call_hooks(
                "on_rollout_start",
                lambda hook: hook.on_rollout_start(agent=rig.agent, runner=rig.runner, rollout=rollout),
            )
        await self._traced(resources)

    async def _after(self) -> None:
        rig, rollout = self._rig, self.rollout
        spans = [] if self._trace is None else self._trace.spans
        self._enter("on_rollout_end")
        await rig.call_last_hooks(
            "on_rollout_end",
            lambda hook: hook.on_rollout_end(agent=rig.agent, runner=rig.runner, rollout=rollout, spans=spans),
        )

    async def _wanted_resources(self) -> NamedResources:
        if self._resources is not None:
            return dict(self._resources)
        resources_id = self.rollout.resources_id
        wanted = GetLatestResources() if resources_id is None else GetResourcesById(resources_id)
        update = await self._rig.ask(wanted)
        return {} if update is None else dict(update.resources)

    async def _traced(self, resources: NamedResources) -> None:
        rig, rollout = self._rig, self.rollout
        async with rig.tracer.trace_context(
            store=rig.store, rollout_id=rollout.rollout_id, attempt_id=rollout.attempt.attempt_id
        ) as trace:
            self._trace = trace
            if rig.hooks:
                await self._watched_by_hooks(trace, resources)
            else:
                record_result(trace, await self._call_agent(resources), rollout.rollout_id)

    async def _watched_by_hooks(self, trace: Trace, resources: NamedResources) -> None:
        rig, rollout = self._rig, self.rollout
        try:
            await rig.call_hooks(
                "on_trace_start",
                lambda hook: hook.on_trace_start(
                    agent=rig.agent, runner=rig.runner, tracer=rig.tracer, rollout=rollout
                ),
            )
            record_result(trace, await self._call_agent(resources), rollout.rollout_id)
        finally:
            self._enter("on_trace_end")
            await rig.call_last_hooks(
                "on_trace_end",
                lambda hook: hook.on_trace_end(agent=rig.agent, runner=rig.runner, tracer=rig.tracer, rollout=rollout),
            )

    async def _call_agent(self, resources: NamedResources) -> Any:
        if self._rig.aborting.is_set():
            await self._rig.unless_aborted()
        self._enter("waiting for a thread")
        call = await self._start_agent(resources)
        self._enter("agent")
        self._rig.calls.add(call)
        try:
            await call.finished.wait()
            if self._rig.aborting.is_set():
                await self._rig.unless_aborted()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._end_agent(call)
            if self._stop_reason is not None:
                raise self._stop_error() from None
            raise
        finally:
            self._rig.calls.discard(call)
        if isinstance(call.error, anyio.get_cancelled_exc_class()):
            raise self._told_apart(call.error)
        return call.value

    async def _start_agent(self, resources: NamedResources) -> DetachedCall[Any]:
        agent, rollout = self._rig.agent, self.rollout
        is_training = rollout.mode == "train"
        name = agent_call(rollout.rollout_id)
        if agent.is_async():
            entry = agent.training_rollout_async if is_training else agent.validation_rollout_async
            return detached_task(entry, rollout.input, resources, rollout, name=name)
        entry = agent.training_rollout if is_training else agent.validation_rollout
        return await self._rig.threads.start(entry, rollout.input, resources, rollout, name=name)

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

    async def _report(self, error: BaseException | None) -> None:
        """Say how it ended; a store that fails once must not cost a result."""
        if self._stop_reason is not None and not self._fell_silent:
            return
        self._enter("reporting")
        self._error = error
        self._verdict = self._silence() if self._fell_silent else self._judged(error)
        for pause in (*_REPORT_AGAIN, None):
            try:
                await self._rig.ask(self._verdict)
            except InvalidTransition as refused:
                self._stop(refused.before)
            except Exception as failure:
                if pause is None or isinstance(failure, ActorError):
                    raise
                log.warning("report_failed", rollout_id=self.rollout.rollout_id, error=describe(failure))
                await self._rig.clock.sleep(pause)
                continue
            return

    def _judged(self, error: BaseException | None) -> UpdateAttempt:
        attempt = self.rollout.attempt
        metadata: dict[str, Any] = {} if error is None else {"error": describe(error)}
        if self._trace is not None and self._trace.notes:
            metadata["trace"] = dict(self._trace.notes)
        return UpdateAttempt(
            attempt.rollout_id,
            attempt.attempt_id,
            status="succeeded" if error is None else "failed",
            metadata=metadata or UNSET,
        )

    def _stop_error(self) -> RunnerError:
        rollout_id, reason = self.rollout.rollout_id, self._stop_reason
        config = self.rollout.config
        if reason in {"timeout", "unresponsive"}:
            seconds = config.timeout_seconds if reason == "timeout" else config.unresponsive_seconds
            what = "took longer than" if reason == "timeout" else "gave no sign of life for"
            return RolloutTimeout(f"rollout {rollout_id} {what} {seconds} s", rollout_id=rollout_id, seconds=seconds)
        return RolloutCancelled(f"rollout {rollout_id} was ended by the store: {reason}", rollout_id=rollout_id)

    def _ended(self, error: BaseException | None) -> Execution:
        seconds = self._rig.clock.monotonic() - self._started
        status: AttemptStatus = "succeeded" if error is None else "failed"
        if self._stop_reason in {"timeout", "unresponsive"}:
            status = cast("AttemptStatus", self._stop_reason)
        if self._stop_reason is not None and error is None:
            error = self._stop_error()
        reward = None if self._trace is None else find_final_reward(self._trace.spans)
        execution = Execution(self.rollout, status, error, reward, self._trace, seconds)
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


def agent_call(rollout_id: str) -> str:
    """The name of the task or thread in which the agent runs for a rollout."""
    return f"agent of {rollout_id}"


def _is_ours(error: BaseException) -> bool:
    """Whether this is the cancellation of a scope around the running task, and not one picked up elsewhere."""
    return isinstance(error, anyio.get_cancelled_exc_class()) and is_cancelled()
