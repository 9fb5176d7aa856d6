"""`Baseline` sends every task through the agent and learns nothing; `FastAlgorithm` is what `Trainer.dev` may run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import anyio
import anyio.lowlevel

from lightning_actors.actors.plain_group import PlainTaskGroup
from lightning_actors.algorithm.base import Algorithm
from lightning_actors.algorithm.fingerprint import digest, digest_of_dataset, name_of
from lightning_actors.algorithm.resumption import ResumableRun, resumable
from lightning_actors.algorithm.tasks import task_at
from lightning_actors.emitter import find_final_reward
from lightning_actors.errors import SpansEvicted
from lightning_actors.log import get_logger
from lightning_actors.options import is_finite, refused, whole_number
from lightning_actors.store.api import LightningStore
from lightning_actors.store.rules import ROLLOUT_ENDED
from lightning_actors.types import Dataset, Rollout, RolloutMode, Span

__all__ = ["Baseline", "FastAlgorithm", "SpanVerbosity"]

SpanVerbosity = Literal["keys", "key_values", "none"]
"""How much of each span is logged: its attributes' names, their values too, or nothing."""

_Split = tuple[RolloutMode, Dataset[Any]]
_QUEUED: Final = ("queuing", "requeuing")
_TRAIN_SPLIT: Final = 0.5
_POLLING_INTERVAL: Final = 5.0

log = get_logger("lightning_actors.algorithm")


class FastAlgorithm(Algorithm):
    """An algorithm quick enough for a dry run: `Trainer.dev` takes no other."""


class Baseline(FastAlgorithm):
    """Run every training task, then every validation task, and log how each one ended.

    Tasks are handed out a few at a time: no more than ``max_queue_length`` wait in the queue, beside those that idle
    runners of its trainer are about to take. The algorithm is told when a rollout ends and does not poll.

    On a durable store a run that was interrupted, by Ctrl-C, an error or the end of its process, goes on when it is run
    again with as many epochs and the same datasets and initial resources: what had ended is not run again, but for what
    was cancelled.

    Args:
        n_epochs: How often to go through the tasks, at least 1.
        train_split: Accepted for compatibility; the two datasets are given to ``Trainer.fit`` apart.
        polling_interval: Accepted for compatibility; the store says when a rollout has ended.
        max_queue_length: How many rollouts may wait to be claimed, at least 1.
        span_verbosity: How much of each span is logged.

    Raises:
        ConfigError: An option is out of range.

    Source: options and the order of the tasks are those of Agent Lightning 0.3.
    """

    def __init__(
        self,
        *,
        n_epochs: int = 1,
        train_split: float = _TRAIN_SPLIT,
        polling_interval: float = _POLLING_INTERVAL,
        max_queue_length: int = 4,
        span_verbosity: SpanVerbosity = "keys",
    ) -> None:
        if not (is_finite(train_split) and 0 < train_split < 1):
            raise refused("train_split", train_split, "a number between 0 and 1")
        if span_verbosity not in get_args(SpanVerbosity):
            raise refused("span_verbosity", span_verbosity, f"one of {', '.join(map(repr, get_args(SpanVerbosity)))}")
        _warn_unused("train_split", train_split, _TRAIN_SPLIT, "Trainer.fit(agent, train_dataset, val_dataset=...)")
        _warn_unused("polling_interval", polling_interval, _POLLING_INTERVAL, "the store, which says when one ends,")
        self._n_epochs = whole_number("n_epochs", n_epochs)
        self._max_queue_length = whole_number("max_queue_length", max_queue_length)
        self._span_verbosity: SpanVerbosity = span_verbosity

    async def run(self, train_dataset: Dataset[Any] | None = None, val_dataset: Dataset[Any] | None = None) -> None:
        """Run all tasks; returns when the last rollout has ended.

        Raises:
            Exception: What a dataset raised, once the rollouts begun before have ended.
            BaseException: What it raised that is no Exception, such as SystemExit, at once.
        """
        given: list[tuple[RolloutMode, Dataset[Any] | None]] = [("train", train_dataset), ("val", val_dataset)]
        datasets: list[_Split] = [(mode, tasks) for mode, tasks in given if tasks is not None and len(tasks) > 0]
        if not datasets:
            log.warning("no_tasks", hint="Baseline needs a train_dataset or a val_dataset that is not empty")
            return
        store = self.get_store()
        resources = self.get_initial_resources()
        if resources is not None and await store.get_latest_resources() is None:
            await store.add_resources(resources)
        async with resumable(
            store, name_of(self), lambda: self._fingerprint(train_dataset, val_dataset), resumes=self.resumes
        ) as run:
            stream = _Stream(run, self._max_queue_length, self._n_workers(), self._span_verbosity)
            await stream.run(task for epoch in range(self._n_epochs) for task in _tasks(epoch, datasets))

    def _fingerprint(self, train: Dataset[Any] | None, val: Dataset[Any] | None) -> str:
        datasets = digest_of_dataset(train), digest_of_dataset(val)
        return digest(self._n_epochs, *datasets, self.get_initial_resources())

    def _n_workers(self) -> int | None:
        return None if self._trainer_ref is None else getattr(self.get_trainer(), "n_workers", None)


@dataclass(frozen=True, slots=True)
class _Task:
    """One task on its way into the queue."""

    epoch: int
    mode: RolloutMode
    index: int
    input: Any

    @property
    def place(self) -> str:
        """Where in the run it stands."""
        return f"{self.epoch}/{self.mode}/{self.index}"


@dataclass(slots=True)
class _Stream:
    """Tasks going into the queue as it empties, and rollouts being followed to their end."""

    going: ResumableRun
    max_queue_length: int
    n_workers: int | None
    span_verbosity: SpanVerbosity
    following: int = 0
    ended: anyio.Event = field(default_factory=anyio.Event)
    failure: Exception | None = None

    @property
    def store(self) -> LightningStore:
        return self.going.store

    async def run(self, tasks: Iterator[_Task]) -> None:
        async with PlainTaskGroup() as followers:
            try:
                while self.failure is None and (task := next(tasks, None)) is not None:
                    await anyio.lowlevel.checkpoint_if_cancelled()  # the store may carry an enqueueing out all the same
                    await self._room()
                    rollout = await self.going.enqueue(task.input, task.mode, task.place)
                    if rollout.status in ROLLOUT_ENDED:
                        continue  # the run goes on, and this was done before
                    log.info("rollout_enqueued", rollout_id=rollout.rollout_id, mode=task.mode, index=task.index)
                    self.following += 1
                    followers.start_soon(self._follow, rollout, task)
            except Exception as error:  # noqa: BLE001 - the boundary to the user's dataset; raised below, once the others have ended
                self._fail(error)
                log.warning("no_more_tasks", error=repr(error), following=self.following)
        if self.failure is not None:
            raise self.failure

    async def _room(self) -> None:
        """Wait until another rollout may be queued; only the end of one of ours can change the answer."""
        while self.following and await self._is_full():
            await self.ended.wait()

    async def _is_full(self) -> bool:
        self.ended = anyio.Event()
        if self.n_workers is not None:  # each has one in hand or takes one as soon as it sees it
            return self.following >= self.max_queue_length + self.n_workers
        queued = await self.store.query_rollouts(status_in=_QUEUED, limit=1)
        return queued.total >= self.max_queue_length

    async def _follow(self, rollout: Rollout, task: _Task) -> None:
        try:
            (last,) = await self.store.wait_for_rollouts(rollout_ids=[rollout.rollout_id])
            await self._report(last, task)
        except Exception as error:  # noqa: BLE001 - errors leave a task group as values, here the first one
            self._fail(error)
        finally:
            self.following -= 1
            self.ended.set()

    def _fail(self, error: Exception) -> None:
        self.failure = self.failure or error

    async def _report(self, rollout: Rollout, task: _Task) -> None:
        if not log.stdlib.isEnabledFor(logging.INFO):
            return
        bound = log.bind(rollout_id=rollout.rollout_id)
        spans = await self._spans(rollout)
        attempt = await self.store.get_latest_attempt(rollout.rollout_id)
        bound.info(
            "rollout_ended",
            status=rollout.status,
            reward=find_final_reward(spans),
            seconds=round((rollout.end_time or rollout.start_time) - rollout.start_time, 3),
            attempts=attempt.sequence_id if attempt is not None else 0,
            mode=task.mode,
            index=task.index,
        )
        if self.span_verbosity == "none":
            return
        for span in spans:
            shown = span.attributes if self.span_verbosity == "key_values" else sorted(span.attributes)
            bound.info("span", name=span.name, sequence_id=span.sequence_id, attributes=shown)

    async def _spans(self, rollout: Rollout) -> list[Span]:
        try:
            return list(await self.store.query_spans(rollout.rollout_id, "latest"))
        except SpansEvicted:
            log.warning("spans_evicted", rollout_id=rollout.rollout_id)
            return []


def _tasks(epoch: int, datasets: list[_Split]) -> Iterator[_Task]:
    for mode, dataset in datasets:
        for index in range(len(dataset)):
            yield _Task(epoch, mode, index, task_at(dataset, index, mode))


def _warn_unused(option: str, value: float, default: float, instead: str) -> None:
    if value != default:
        warnings.warn(
            f"Baseline({option}={value!r}) has no effect here: {instead} does that job",
            UserWarning,
            stacklevel=3,
        )
