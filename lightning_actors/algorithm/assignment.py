"""`Assignment`: the tasks that an online algorithm was given, from the queue until they have been learned from."""

from __future__ import annotations

from typing import Any

import anyio

from lightning_actors.algorithm.tasks import task_at
from lightning_actors.log import get_logger
from lightning_actors.store.api import LightningStore
from lightning_actors.types import Dataset, Rollout, RolloutMode

__all__ = ["Assignment"]

log = get_logger("lightning_actors.algorithm")


class Assignment:
    """Tasks going into the queue as those before are learned from.

    Args:
        store: Where the queue is.
        limit: How many may be on their way at once.
    """

    def __init__(self, store: LightningStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._open: set[str] = set()
        self._learned_meanwhile: set[str] | None = None
        self._news = anyio.Event()

    async def carry_out(self, dataset: Dataset[Any] | None, mode: RolloutMode, times: int = 1) -> None:
        """Enqueue every task of a dataset, in its order, and wait until all have been learned from.

        Raises:
            Exception: What the dataset raised, with a note that says where.
        """
        if dataset is not None:
            for _ in range(times):
                for index in range(len(dataset)):
                    await self._until_fewer_than(self._limit)
                    await self._enqueue(task_at(dataset, index, mode), mode)
        await self._until_fewer_than(1)

    def note_learned(self, rollout: Rollout) -> None:
        """A rollout, perhaps one of these, has been learned from."""
        if self._learned_meanwhile is not None:
            self._learned_meanwhile.add(rollout.rollout_id)
        self._open.discard(rollout.rollout_id)
        self._news.set()

    async def _enqueue(self, task: Any, mode: RolloutMode) -> None:
        # A quick agent may have ended, and the algorithm learned, before this task hears of the rollout's id.
        self._learned_meanwhile = set()
        rollout = await self._store.enqueue_rollout(task, mode=mode)
        if rollout.rollout_id not in self._learned_meanwhile:
            self._open.add(rollout.rollout_id)
        self._learned_meanwhile = None
        log.info("rollout_enqueued", rollout_id=rollout.rollout_id, mode=mode)

    async def _until_fewer_than(self, count: int) -> None:
        while len(self._open) >= count:
            self._news = anyio.Event()
            await self._news.wait()
