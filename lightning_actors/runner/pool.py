"""`RunnerPool`: runners that take from a store's queue until they are told to stop, with no algorithm beside them.

```
Supervisor ─┬ keeper       heartbeat and span flush of the whole pool
            ├ queue        permanent; holds nothing that cannot be asked for again
            └ runner-0…n   restarted after a crash, one for one
```
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from lightning_actors.actors import ActorTree, ChildSpec, Supervisor
from lightning_actors.log import get_logger
from lightning_actors.queue import LostClaims, queue_actor
from lightning_actors.runner.actor import Budget, RunnerActor
from lightning_actors.runner.execution import Execution
from lightning_actors.runner.keeper import KeeperActor
from lightning_actors.runner.rig import Rig

__all__ = ["RunnerPool"]

log = get_logger("lightning_actors.runner")


class RunnerPool:
    """A pool of runners that share an agent and a store.

    Args:
        rig: What they work with.
        workers: Their names in the store, one for each.
        max_rollouts: How many rollouts each takes at most; None for no limit.
        grace: Seconds that rollouts under way have when the pool is stopped.
        heartbeat_interval: Seconds between heartbeats; 0 for none.
        finished: Called with every execution that ends.
    """

    def __init__(
        self,
        rig: Rig,
        workers: Sequence[str],
        *,
        max_rollouts: int | None = None,
        grace: float = 10.0,
        heartbeat_interval: float = 10.0,
        finished: Callable[[Execution], None] | None = None,
    ) -> None:
        self._rig = rig
        self._workers = list(workers)
        self._max_rollouts = max_rollouts
        self._grace = grace
        self._heartbeat_interval = heartbeat_interval
        self._finished = finished
        self._busy = len(self._workers)
        self._over = anyio.Event()
        self._opening: anyio.CancelScope | None = None
        self._supervisor: Supervisor | None = None

    def close(self) -> None:
        """Begin no more rollouts. May be called from a signal handler, also while the event loop is blocked."""
        self._rig.closing.set()

    def abort(self) -> None:
        """Ask every agent to end at once. May be called from a signal handler."""
        self._rig.abort()

    def interrupt(self) -> None:
        """Stop in order: no new rollouts, and the grace time for those under way."""
        self._over.set()
        if self._opening is not None:
            self._opening.cancel()  # nothing has begun: the store is yet to be reached

    def tree(self) -> ActorTree:
        """What every actor is doing."""
        return ActorTree() if self._supervisor is None else self._supervisor.tree()

    async def run(self) -> None:
        """Run what is in the queue, and what comes, until interrupted, or until all have taken their ``max_rollouts``.

        Raises:
            RestartLimitExceeded: A runner crashed again and again; its cause says with what.
            StoreError: The store could not be reached.
        """
        if self._over.is_set():
            return
        with anyio.CancelScope() as opening:
            self._opening = opening
            async with self._rig.store.opened():
                self._opening = None
                await self._run()

    async def _run(self) -> None:
        rig = self._rig
        claims = LostClaims(rig.store, rig.clock)
        try:
            async with Supervisor(name="runners", clock=rig.clock, dead_letters=claims) as self._supervisor:
                await self._start(self._supervisor)
                log.info("runners_started", n=len(self._workers), store=repr(rig.store))
                with rig.patient_until_cut_short():
                    await self._until_over(self._supervisor)
        finally:
            await claims.undo()
            rig.threads.close()

    async def _start(self, supervisor: Supervisor) -> None:
        rig, room = self._rig, 2 * len(self._workers) + 64
        keeper = ChildSpec(
            "keeper", lambda: KeeperActor(rig, self._workers, heartbeat_interval=self._heartbeat_interval)
        )
        await supervisor.start(keeper)
        queue = await supervisor.start(ChildSpec("queue", lambda: queue_actor(rig.store), mailbox_size=room))
        for number, worker in enumerate(self._workers):
            budget = Budget(self._max_rollouts)

            def runner(worker: str = worker, budget: Budget = budget) -> RunnerActor:
                return RunnerActor(
                    rig, worker, queue=queue, budget=budget, finished=self._finished, exhausted=self._exhausted
                )

            spec = ChildSpec(f"runner-{number}", runner, "transient", group="runners", grace=self._grace)
            await supervisor.start(spec)

    def _exhausted(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._over.set()

    async def _until_over(self, supervisor: Supervisor) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._stop_when_over, supervisor)
            await supervisor.wait()
            tasks.cancel_scope.cancel()

    async def _stop_when_over(self, supervisor: Supervisor) -> None:
        await self._over.wait()
        self._rig.store.leave_within(self._grace)
        await supervisor.stop()
