"""`AlgorithmActor`: runs the algorithm; when it returns, the tree has done its work.

An async algorithm runs in a task of its own and a sync one in a thread, both outside the tree, so that nothing has to
wait for one that refuses to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from lightning_actors.actors import Actor, Held
from lightning_actors.algorithm import Algorithm
from lightning_actors.detached import DaemonThreads, DetachedCall, detached_task
from lightning_actors.errors import RunnerError
from lightning_actors.log import get_logger
from lightning_actors.runner.rig import Rig
from lightning_actors.store import LightningStore
from lightning_actors.store.blocking import BlockingStore
from lightning_actors.types import Dataset

__all__ = ["AlgorithmActor", "AlgorithmOutcome"]

log = get_logger("lightning_actors.trainer")


class AlgorithmOutcome:
    """What became of the algorithm, for whoever asks once the tree has ended."""

    def __init__(self) -> None:
        self.has_returned = False
        self.error: BaseException | None = None


class AlgorithmActor(Actor):
    """Runs an algorithm once and ends with it.

    Args:
        algorithm: It has everything set but its store.
        rig: The pool's; its patience holds for the algorithm too.
        store: The store as the algorithm sees it.
        datasets: What to train and to measure on.
        outcome: Where to say how it went.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        rig: Rig,
        store: LightningStore,
        datasets: tuple[Dataset[Any] | None, Dataset[Any] | None],
        outcome: AlgorithmOutcome,
    ) -> None:
        self._algorithm = algorithm
        self._rig = rig
        self._store = store
        self._datasets = datasets
        self._outcome = outcome
        self._began = rig.clock.monotonic()

    def holding(self) -> Sequence[Held]:
        """The algorithm, and for how long it has run."""
        name = getattr(self._algorithm, "__name__", type(self._algorithm).__name__)
        return (Held(name, "running", self._rig.clock.monotonic() - self._began),)

    async def started(self) -> None:
        """Begin."""
        self.start_soon(self._run_async if self._algorithm.is_async() else self._run_in_thread, name="algorithm")

    async def _run_async(self) -> None:
        self._algorithm.set_store(self._store)
        call = detached_task(self._algorithm.run, *self._datasets, name="algorithm")
        try:
            await call.finished.wait()
            await self._rig.unless_aborted()
        finally:
            await self._end(call)
        self._conclude(call)

    async def _run_in_thread(self) -> None:
        view, threads = BlockingStore(self._store), DaemonThreads(1)
        self._algorithm.set_store(view)
        call = await threads.start(self._algorithm.run, *self._datasets, name="algorithm")
        try:
            await call.finished.wait()
        finally:
            view.close()  # what it asks from now on is refused, so that it comes to its end
            await self._end(call)
            threads.close()
        self._conclude(call)

    async def _end(self, call: DetachedCall[Any]) -> None:
        if call.finished.is_set():
            return
        with anyio.CancelScope(shield=True):
            await call.end(self._rig.patience, self.clock)
        if not call.finished.is_set():
            self._rig.left_behind.append(call.name)
            log.warning("algorithm_left_behind", patience_seconds=self._rig.patience)
        elif call.error is not None and not isinstance(call.error, anyio.get_cancelled_exc_class()):
            log.info("algorithm_stopped", error=repr(call.error))

    def _conclude(self, call: DetachedCall[Any]) -> None:
        error = call.error
        if isinstance(error, anyio.get_cancelled_exc_class()):
            error = RunnerError(
                f"the algorithm ended with {type(error).__name__} though nobody cancelled it: it awaited something "
                f"that was cancelled elsewhere"
            )
            error.__cause__ = call.error
        self._outcome.error = error
        self._outcome.has_returned = error is None
        self.stop_soon()
