"""A run of an algorithm that goes on where it was interrupted, on a store that outlives the process.

```
resumable(store, name, fingerprint)     begin_run: new, or the one that was interrupted; its id is part of each key
  run.enqueue_many(requests, places)    known key: the rollout that exists; what was cancelled is queued again
  returns                               end_run: the next one is a new run
  raises, is cancelled, is killed       the record stays: the next one goes on
```

On any other store there is no record, and tasks are enqueued without keys.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from lightning_actors.algorithm.fingerprint import digest
from lightning_actors.errors import RunHeld
from lightning_actors.log import get_logger
from lightning_actors.store.api import LightningStore
from lightning_actors.store.rules import ROLLOUT_ENDED
from lightning_actors.types import EnqueueRolloutRequest, NamedResources, Rollout, RolloutMode, RunRecord

__all__ = ["ResumableRun", "resumable"]

log = get_logger("lightning_actors.algorithm")

_LEAVE_SECONDS: Final = 5.0
_MARGIN_SECONDS: Final = 0.1
"""A sleep may end a little early, and a lease lapses by the clock of the store."""


class ResumableRun:
    """What an algorithm enqueues its tasks through, so that each is recorded once however often the run is begun.

    Attributes:
        store: The store.
        run_id: The run's id; None where nothing outlives the process.
        done_before: How many of the tasks enqueued so far had ended before.
        is_over: Set where an error is the run's end: the next one begins anew.
    """

    def __init__(self, store: LightningStore, record: RunRecord | None) -> None:
        self.store = store
        self.run_id = None if record is None else record.run_id
        self.done_before = 0
        self.is_over = False

    async def enqueue(self, task: Any, mode: RolloutMode, place: str) -> Rollout:
        """Enqueue a task; ``place`` says where in the run it stands, and no other task of the run has it."""
        if self.run_id is None:
            return await self.store.enqueue_rollout(task, mode=mode)
        return await self._again(await self.store.enqueue_rollout(task, mode=mode, key=self._key(place, task)))

    async def enqueue_many(self, requests: Sequence[EnqueueRolloutRequest], places: Sequence[str]) -> list[Rollout]:
        """Enqueue many tasks, each with its place in the run; the rollouts come back in order."""
        if self.run_id is None:
            return await self.store.enqueue_many_rollouts(requests)
        keyed = [
            request.evolve(key=self._key(place, request.input)) for request, place in zip(requests, places, strict=True)
        ]
        return [await self._again(rollout) for rollout in await self.store.enqueue_many_rollouts(keyed)]

    async def add_resources(self, resources: NamedResources, place: str) -> str:
        """Store resources under an id that is theirs in this run, and do not publish them.

        Returns:
            The id.
        """
        if self.run_id is None:
            return (await self.store.add_resources(resources, publish=False)).resources_id
        resources_id = f"rs-{digest(self.run_id, place)[:12]}"
        if await self.store.get_resources_by_id(resources_id) is None:
            await self.store.update_resources(resources_id, resources, publish=False)
        return resources_id

    def _key(self, place: str, task: Any) -> str:
        """With the task in it, for a dataset may have changed where its fingerprint does not show it."""
        return f"{self.run_id}/{place}/{digest(task)}"

    async def _again(self, rollout: Rollout) -> Rollout:
        if rollout.status == "cancelled":
            return await self.store.update_rollout(rollout.rollout_id, status="queuing")
        self.done_before += rollout.status in ROLLOUT_ENDED
        return rollout


@asynccontextmanager
async def resumable(
    store: LightningStore, name: str, fingerprint: Callable[[], str], *, resumes: bool | None
) -> AsyncGenerator[ResumableRun]:
    """Go on with the run of this name and fingerprint that was interrupted, or begin one.

    Args:
        store: The store.
        name: The algorithm.
        fingerprint: Says what it is run with; called only where that is of use.
        resumes: False begins one in any case, and forgets those that were interrupted; None does without a record.
    """
    if resumes is None or not store.capabilities.get("durable", False):
        yield ResumableRun(store, None)
        return
    record = await _begun(store, name, fingerprint(), anew=not resumes)
    run = ResumableRun(store, record)
    try:
        yield run
    except BaseException:
        with anyio.move_on_after(_LEAVE_SECONDS, shield=True) as scope:
            await _left(store, record, is_over=run.is_over)
        if scope.cancelled_caught:
            log.warning("run_not_left", run_id=record.run_id, seconds=_LEAVE_SECONDS)
        raise
    await store.end_run(record.run_id, record.turn)


async def _begun(store: LightningStore, name: str, fingerprint: str, *, anew: bool) -> RunRecord:
    try:
        record = await store.begin_run(name, fingerprint, anew=anew)
    except RunHeld as held:
        log.info("run_is_held_elsewhere", name=name, seconds=round(held.seconds, 1), hint="waiting for its holder")
        await anyio.sleep(held.seconds + _MARGIN_SECONDS)
        record = await _begun_after_all(store, name, fingerprint)
    if record.turn > 1:
        log.info("run_goes_on", run_id=record.run_id, name=name, turn=record.turn)
    return record


async def _begun_after_all(store: LightningStore, name: str, fingerprint: str) -> RunRecord:
    """Whoever held it has had the time to renew its lease: it is gone, or alive and at a run of its own."""
    try:
        return await store.begin_run(name, fingerprint)
    except RunHeld:
        return await store.begin_run(name, fingerprint, anew=True)


async def _left(store: LightningStore, record: RunRecord, *, is_over: bool) -> None:
    try:
        if is_over:
            await store.end_run(record.run_id, record.turn)
        else:
            await store.leave_run(record.run_id, record.turn)
    except Exception as error:  # noqa: BLE001 - boundary: the store; what ended the run is raised
        log.warning("run_not_left", run_id=record.run_id, error=repr(error))
