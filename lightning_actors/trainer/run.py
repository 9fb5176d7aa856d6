"""One run: the supervision tree, and nothing else.

```
Supervisor ─┬ store        significant, not restarted: its death ends the run
            ├ keeper       heartbeat and span flush of the whole pool
            ├ queue        permanent; holds nothing that cannot be asked for again
            ├ runner-0…n   one for one
            └ algorithm    significant: its return stops the tree, right to left
```
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio

from lightning_actors.actors import ChildSpec, Supervisor
from lightning_actors.actors.plain_group import PlainTaskGroup
from lightning_actors.algorithm import Algorithm
from lightning_actors.emitter import find_final_reward
from lightning_actors.errors import RunnerError, SpansEvicted
from lightning_actors.log import get_logger
from lightning_actors.queue import LostClaims, queue_actor
from lightning_actors.runner import Execution
from lightning_actors.runner.actor import Budget, RunnerActor
from lightning_actors.runner.keeper import KeeperActor
from lightning_actors.runner.rig import Rig
from lightning_actors.store import LightningStore
from lightning_actors.store.actor import ActorStore, store_actor
from lightning_actors.store.rules import ROLLOUT_ENDED
from lightning_actors.store.run_ledger import RunPage
from lightning_actors.trainer.algorithm_actor import AlgorithmActor, AlgorithmOutcome
from lightning_actors.trainer.census import Census
from lightning_actors.trainer.result import RunResult
from lightning_actors.trainer.run_store import RunStore
from lightning_actors.trainer.situation import RunTree, RunView
from lightning_actors.trainer.tally import Tally
from lightning_actors.types import AttemptedRollout, Dataset, NamedResources, Resource, Rollout, RolloutStatus

__all__ = ["Run"]

log = get_logger("lightning_actors.trainer")


class Run:
    """A training run under way.

    Args:
        rig: What the runners work with; its store is the one that outlives the run.
        algorithm: Everything set but its store.
        n_workers: How many runners.
        max_rollouts: How many rollouts each runner takes at most; None for no limit.
        initial_resources: Published before the algorithm begins, beside what the store has under other names.
        grace: Seconds that rollouts under way have when the run ends.
        heartbeat_interval: Seconds between heartbeats; 0 for none.
        finished: Called with every execution that ends.
    """

    def __init__(
        self,
        rig: Rig,
        algorithm: Algorithm,
        *,
        n_workers: int,
        max_rollouts: int | None,
        initial_resources: Mapping[str, Resource] | None,
        grace: float,
        heartbeat_interval: float,
        finished: Callable[[Execution], None] | None = None,
    ) -> None:
        self._rig = rig
        self._algorithm = algorithm
        self._n_workers = n_workers
        self._max_rollouts = max_rollouts
        self._initial: NamedResources | None = None if initial_resources is None else dict(initial_resources)
        self._grace = grace
        self._heartbeat_interval = heartbeat_interval
        self._finished = finished
        self._tally = Tally()
        self._outcome = AlgorithmOutcome()
        self._interrupted = anyio.Event()
        self._all_exhausted = anyio.Event()
        self._exhausted = 0
        self.is_interrupted = False
        self.view = RunView(rig)
        self.census = Census(rig.store)

    def close(self) -> None:
        """Begin no more rollouts. May be called from a signal handler, also while the event loop is blocked."""
        self._rig.closing.set()

    def abort(self) -> None:
        """Ask every agent to end at once. May be called from a signal handler, also while the event loop is blocked."""
        self._rig.abort()

    def tree(self) -> RunTree:
        """What every actor of the run is doing."""
        return self.view.tree()

    def interrupt(self) -> None:
        """Ask the run to end: no new rollouts, and the grace time for those under way."""
        self.is_interrupted = True
        self._interrupted.set()

    async def execute(self, train: Dataset[Any] | None, val: Dataset[Any] | None) -> RunResult:
        """Build the tree, wait for its end, and say what came of it; within ``with run.census:``.

        Raises:
            Exception: What the algorithm raised, or what ended the tree.
        """
        async with self._rig.store.opened():
            return await self._execute(train, val)

    async def _execute(self, train: Dataset[Any] | None, val: Dataset[Any] | None) -> RunResult:
        store, rig = self._rig.store, self._rig
        await self.census.begin()
        if self._initial is not None:
            await store.publish_resources(self._initial)
        claims = LostClaims(store, rig.clock)
        try:
            async with Supervisor(name="trainer", clock=rig.clock, dead_letters=claims) as supervisor:
                self.view.supervisor = supervisor
                await self._start(supervisor, store, (train, val), self.census.page)
                with rig.patient_until_cut_short():
                    await self._until_ended(supervisor)
        finally:
            await claims.undo()
            rig.threads.close()
        if self._outcome.error is not None:
            raise self._outcome.error
        return await self.result()

    async def _start(
        self,
        supervisor: Supervisor,
        store: LightningStore,
        datasets: tuple[Dataset[Any] | None, Dataset[Any] | None],
        page: RunPage,
    ) -> None:
        rig, room = self._rig, 2 * self._n_workers + 64
        store_ref = await supervisor.start(
            ChildSpec("store", lambda: store_actor(store), "temporary", significant=True, mailbox_size=room)
        )
        seen = ActorStore(store_ref, store, clock=rig.clock)
        seen_by_algorithm = RunStore(store_ref, store, page, clock=rig.clock)
        pool_rig = rig.seeing(seen)
        workers = [f"Worker-{number}" for number in range(self._n_workers)]
        await supervisor.start(
            ChildSpec("keeper", lambda: KeeperActor(pool_rig, workers, heartbeat_interval=self._heartbeat_interval))
        )
        queue = await supervisor.start(
            ChildSpec("queue", lambda: queue_actor(seen, claimed=page.claim), mailbox_size=room)
        )
        note, note_exhausted = self._note, self._note_exhausted
        for number, worker in enumerate(workers):
            budget = Budget(self._max_rollouts)
            await supervisor.start(
                ChildSpec(
                    f"runner-{number}",
                    lambda worker=worker, budget=budget: RunnerActor(
                        pool_rig,
                        worker,
                        queue=queue,
                        budget=budget,
                        finished=note,
                        exhausted=note_exhausted,
                    ),
                    "transient",
                    group="runners",
                    grace=self._grace,
                )
            )
        await supervisor.start(
            ChildSpec(
                "algorithm",
                lambda: AlgorithmActor(self._algorithm, pool_rig, seen_by_algorithm, datasets, self._outcome),
                "temporary",
                significant=True,
            )
        )

    async def _until_ended(self, supervisor: Supervisor) -> None:
        async with PlainTaskGroup() as tasks:
            tasks.start_soon(self._stop_when_interrupted, supervisor)
            tasks.start_soon(self._stop_when_nobody_is_left, supervisor)
            await supervisor.wait()
            tasks.cancel_scope.cancel()

    async def _stop_when_interrupted(self, supervisor: Supervisor) -> None:
        await self._interrupted.wait()
        self._rig.store.leave_within(self._grace)
        await supervisor.stop()

    async def _stop_when_nobody_is_left(self, supervisor: Supervisor) -> None:
        """All runners took their ``max_rollouts``: what is still queued, or comes, will never run."""
        await self._all_exhausted.wait()
        try:
            await self._until_queued()
        except Exception as error:  # noqa: BLE001 - boundary: the store; raised by execute, where no group wraps it
            self._outcome.error = error
        else:
            log.warning(
                "all_runners_are_done",
                max_rollouts=self._max_rollouts,
                hint="rollouts are still queued: raise max_rollouts or n_workers",
            )
        await supervisor.stop()

    async def _until_queued(self) -> None:
        store, queued = self._rig.store, anyio.Event()
        unwatch = store.watch_queue(queued.set)
        try:
            page = await store.query_rollouts(status_in=["queuing", "requeuing"], limit=1)
            if not page.total:
                await queued.wait()
        finally:
            unwatch()

    def _note(self, execution: Execution) -> None:
        self._tally.note(execution)
        if self._finished is not None:
            self._finished(execution)

    def _note_exhausted(self) -> None:
        self._exhausted += 1
        if self._exhausted == self._n_workers:
            self._all_exhausted.set()

    async def result(self) -> RunResult:
        """What came of the run so far; also, within the same census, of one whose ``execute`` was cancelled."""
        store = self._rig.store
        rollouts = await self.census.take()
        counts: Counter[RolloutStatus] = Counter(rollout.status for rollout in rollouts)
        left = counts["queuing"] + counts["requeuing"]
        if left:
            log.warning("rollouts_left_over", queued=left, hint="they stay in the store's queue")
        return RunResult(
            rollouts=rollouts,
            status_counts=dict(counts),
            rewards=await self._rewards(rollouts),
            resources=await store.get_latest_resources(),
            errors=self._errors(rollouts),
            interrupted=self.is_interrupted and not self._outcome.has_returned,
            left_behind=tuple(self._rig.left_behind),
            done_before=self.census.page.done_before,
        )

    async def _rewards(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """What the runners told, and for rollouts that another run's runner ran, what their spans say."""
        rewards: dict[str, float] = {}
        for rollout in rollouts:
            id_, ending, reward = rollout.rollout_id, self._tally.of(rollout), None
            if ending is not None:
                reward = ending.reward
            elif rollout.status in ROLLOUT_ENDED:
                with suppress(SpansEvicted):
                    reward = find_final_reward(await self._rig.store.query_spans(id_, "latest"))
            if reward is not None:
                rewards[id_] = reward
        return rewards

    def _errors(self, rollouts: Sequence[Rollout]) -> dict[str, BaseException]:
        """What the runners told, and for rollouts that failed without a word, what the store knows."""
        errors: dict[str, BaseException] = {}
        for rollout in rollouts:
            id_, ending = rollout.rollout_id, self._tally.of(rollout)
            if ending is not None and ending.error is not None:
                errors[id_] = ending.error
            elif ending is None and rollout.status == "failed":
                why = (rollout.attempt.metadata or {}) if isinstance(rollout, AttemptedRollout) else {}
                told = why.get("error") or why.get("reason") or "no reason was recorded"
                errors[id_] = RunnerError(f"rollout {id_} failed: {told}", rollout_id=id_)
        return errors
