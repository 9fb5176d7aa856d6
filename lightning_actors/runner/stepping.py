"""`Stepper`: one rollout at once, past the queue.

```
StartRollout ─▶ store, then Execute ─▶ the resident actor where there is one, else an actor that lives for this call
```
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import anyio

from lightning_actors.actors import ActorRef, hosted
from lightning_actors.error_text import describe, note
from lightning_actors.errors import ActorStopped, InvalidTransition, RolloutCancelled
from lightning_actors.log import get_logger
from lightning_actors.runner.actor import Execute, RunnerActor
from lightning_actors.runner.execution import Execution
from lightning_actors.runner.known_resources import KnownResources, checked_resources
from lightning_actors.runner.rig import Rig
from lightning_actors.runner.stop_event import is_set, when_set
from lightning_actors.store import LightningStore
from lightning_actors.store.messages import GetRolloutById, StartRollout
from lightning_actors.tracer import remember_last
from lightning_actors.types import AttemptedRollout, NamedResources, Resource, Rollout, RolloutConfig, RolloutMode

__all__ = ["Stepper"]

log = get_logger("lightning_actors.runner")

_GIVE_UP_SECONDS = 5.0


class Stepper:
    """Runs single rollouts for a runner, for as long as that is bound to one agent and one store.

    Args:
        rig: What it works with.
        worker_id: The runner's name in the store.

    Attributes:
        resident: The actor to send them to; None to make one for each.
    """

    def __init__(self, rig: Rig, worker_id: str) -> None:
        self.rig = rig
        self.worker_id = worker_id
        self.resident: ActorRef[RunnerActor] | None = None
        self._known_resources = KnownResources(rig.store)

    async def run(
        self,
        task: Any,
        resources: Mapping[str, Resource] | None,
        mode: RolloutMode | None,
        config: RolloutConfig | None,
        metadata: Mapping[str, Any] | None,
        event: Any = None,
    ) -> Execution:
        """Run one; the arguments are those of ``LitAgentRunner.step``. What the agent raised is in the answer."""
        if is_set(event):
            raise RolloutCancelled("the event was set before the rollout began")
        if self.resident is not None:
            return await self._run(task, resources, mode, config, metadata, event)
        async with self.rig.store.opened():  # where the runner resides, it is open already
            return await self._run(task, resources, mode, config, metadata, event)

    async def _run(
        self,
        task: Any,
        resources: Mapping[str, Resource] | None,
        mode: RolloutMode | None,
        config: RolloutConfig | None,
        metadata: Mapping[str, Any] | None,
        event: Any,
    ) -> Execution:
        named = None if resources is None else checked_resources(resources, "resources")
        rollout = await self.rig.ask(
            StartRollout(
                input=task,
                mode=mode,
                resources_id=None if named is None else await self._known_resources.stored(named),
                config=None if config is None else _single_attempt(config),  # the default has one attempt and no retry
                metadata=cast("dict[str, Any] | None", metadata),  # any mapping will do, and the store copies it
                worker_id=self.worker_id,
                begun=True,
            )
        )
        if named is None and rollout.resources_id is None:
            named = {}  # there were none to look for when it began
        try:
            if event is None:
                execution = await self._execute(rollout, named)
            else:
                execution = await self._execute_until(event, rollout, named)
        except BaseException as error:
            await self._give_up(rollout)
            _name(rollout, error)
            raise
        if execution.trace is not None:
            remember_last(execution.trace)
        return execution

    async def _execute_until(
        self, event: Any, rollout: AttemptedRollout, resources: NamedResources | None
    ) -> Execution:
        """Execute it, and end it when the event is set."""
        is_ended = False

        async def end() -> None:
            nonlocal is_ended
            is_ended = True
            await _cancel(self.rig.store, rollout)

        async with when_set(event, end):
            execution = await self._execute(rollout, resources)
        if not is_ended or not isinstance(execution.error, RolloutCancelled):
            return execution
        return replace(execution, error=_cancelled(rollout, "the event that the step was given was set"))

    async def finished(self, execution: Execution) -> Rollout:
        """The rollout as the store has it after its end."""
        try:
            rollout = execution.ended or await self.rig.ask(GetRolloutById(execution.rollout.rollout_id))
        except Exception as error:
            _name(execution.rollout, error)
            raise
        return execution.rollout if rollout is None else rollout

    async def _execute(self, rollout: AttemptedRollout, resources: NamedResources | None) -> Execution:
        message = Execute(rollout, resources)
        if self.resident is not None:
            try:
                return await self.resident.ask(message)
            except ActorStopped as stopped:
                raise _cancelled(rollout, "the run_context that the step was made in was left") from stopped
        needs_time = rollout.config.timeout_seconds is not None or rollout.config.unresponsive_seconds is not None
        runner = RunnerActor(self.rig, self.worker_id, keeps_time=needs_time)
        async with hosted(lambda: runner, name=self.worker_id, clock=self.rig.clock) as ref:
            return await ref.ask(message)

    async def _give_up(self, rollout: AttemptedRollout) -> None:
        """A step that ended without a result: whatever state it left, the rollout must not stay open."""
        store = self.rig.store
        with anyio.CancelScope(shield=True), self.rig.clock.move_on_after(_GIVE_UP_SECONDS):
            try:
                now = await store.get_rollout_by_id(rollout.rollout_id)
                if now is not None and now.status in {"preparing", "running"}:
                    await _cancel(store, rollout)
            except Exception as error:  # noqa: BLE001 - boundary: the store, while another error is on its way
                log.warning("end_not_reported", rollout_id=rollout.rollout_id, error=describe(error))


def _name(rollout: AttemptedRollout, error: BaseException) -> None:
    """Say in an error that is not the agent's which rollout it is about."""
    if isinstance(error, Exception):
        note(error, f"in rollout {rollout.rollout_id}")


def _single_attempt(config: RolloutConfig) -> RolloutConfig:
    given = RolloutConfig.model_validate(config)  # a dict will do, as in a store
    return given.evolve(max_attempts=1, retry_condition=[])


def _cancelled(rollout: AttemptedRollout, why: str) -> RolloutCancelled:
    return RolloutCancelled(f"rollout {rollout.rollout_id} was cancelled: {why}", rollout_id=rollout.rollout_id)


async def _cancel(store: LightningStore, rollout: AttemptedRollout) -> None:
    with suppress(InvalidTransition):  # it has just ended
        await store.update_rollout(rollout.rollout_id, status="cancelled")
