"""`Trainer`: components in, a supervised run out."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from lightning_actors.actors import Clock
from lightning_actors.adapter import TraceAdapter, TracerTraceToTriplet
from lightning_actors.algorithm import Algorithm, Baseline, FastAlgorithm
from lightning_actors.components import ComponentSpec, build_component
from lightning_actors.detached import DaemonThreads
from lightning_actors.errors import ConfigError
from lightning_actors.litagent import LitAgent
from lightning_actors.log import get_logger
from lightning_actors.options import refused, seconds, whole_number
from lightning_actors.runner import Execution, LitAgentRunner
from lightning_actors.runner.known_resources import checked_resources
from lightning_actors.runner.rig import checked_hooks
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.tracer import OtelTracer, Tracer
from lightning_actors.trainer.datasets import checked_dataset, first_tasks
from lightning_actors.trainer.dry_run import DryRun
from lightning_actors.trainer.plain import refuse_inside_loop, run_plain
from lightning_actors.trainer.result import RunResult
from lightning_actors.trainer.run import Run
from lightning_actors.trainer.situation import RolloutSituation, RunTree, RunView
from lightning_actors.types import Dataset, Hook, Resource

__all__ = ["Trainer"]

log = get_logger("lightning_actors.trainer")

T = TypeVar("T")

_NOT_HERE: dict[str, tuple[Any, str]] = {
    "dev": (False, "call trainer.dev(agent, dataset) for a dry run"),
    "strategy": (None, "store, algorithm and runners are actors in one event loop, so there is none to choose"),
    "port": (None, "nothing listens: the actors talk within the process"),
    "max_tasks": (None, "max_rollouts is its name now"),
    "daemon": (True, "there are no processes: what could hold up the exit is left behind and named"),
    "triplet_exporter": (None, "give an adapter"),
}


class Trainer:
    """Runs an algorithm, a store and a pool of runners together.

    Each component is given as an instance, a class, a factory without arguments, an import path
    (``"package.module:Name"``), a dict of constructor options with ``type``, or None for the default.

    Args:
        n_workers: How many rollouts run at once; 1 by default. Thousands are fine.
        n_runners: The later name of ``n_workers``.
        max_rollouts: How many rollouts each runner takes at most; None for no limit.
        initial_resources: Resources by name, published before the first task beside those of other names.
        tracer: Records the rollouts; OtelTracer by default.
        adapter: Given to the algorithm, which turns spans into what it learns from with it; TracerTraceToTriplet by
            default, and a dict without ``type`` holds its options.
        store: Remembers the run; InMemoryLightningStore by default. Readable as ``trainer.store`` after the run.
        runner: LitAgentRunner by default; its options hold for the whole pool.
        algorithm: What learns. ``fit`` needs one; ``dev`` takes a FastAlgorithm, Baseline by default.
        llm_proxy: Given to the algorithm.
        hooks: One hook or several, told of every rollout.
        max_threads: How many sync agents may run at once; at most 256 and n_workers by default.
        grace: Seconds that rollouts under way have when a run ends, before they are cancelled.
        resume: Whether ``fit`` goes on where a run with the same algorithm and datasets was interrupted, if the store
            is durable and the algorithm can; False begins anew. A run that came to its end is never gone on with.
        clock: Where the time comes from, for a store and a runner that are made here: all but finished objects.
        **options: Options of Agent Lightning that have no meaning here: they warn where they differ from its default.

    Raises:
        ConfigError: An option or a combination makes no sense.
        TypeError: A component is not what it should be, or an option is unknown.

    Source: names and defaults are those of Agent Lightning 0.3, but for ``max_threads``, ``grace``, ``resume`` and
    ``clock``, which are ours, and the default tracer.
    """

    def __init__(
        self,
        *,
        n_workers: int | None = None,
        n_runners: int | None = None,
        max_rollouts: int | None = None,
        initial_resources: Mapping[str, Resource] | None = None,
        tracer: ComponentSpec[Tracer] = None,
        adapter: ComponentSpec[TraceAdapter[Any]] = None,
        store: ComponentSpec[LightningStore] = None,
        runner: ComponentSpec[LitAgentRunner[Any]] = None,
        algorithm: ComponentSpec[Algorithm] = None,
        llm_proxy: Any = None,
        hooks: Hook | Sequence[Hook] | None = None,
        max_threads: int | None = None,
        grace: float = 10.0,
        resume: bool = True,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        _warn_of(options)
        self.n_workers = _count(n_workers, n_runners)
        self.max_rollouts = _positive("max_rollouts", max_rollouts)
        self.initial_resources = (
            None if initial_resources is None else checked_resources(initial_resources, "initial_resources")
        )
        self.hooks = checked_hooks(hooks)
        self.grace = seconds("grace", grace)
        self.resume = resume
        self.max_threads = _positive("max_threads", max_threads)
        if clock is not None and not all(hasattr(clock, method) for method in ("time", "monotonic", "move_on_after")):
            raise refused("clock", clock, "a lightning_actors.actors.Clock, such as SystemClock() or a VirtualClock()")
        timed: dict[str, Any] = {} if clock is None else {"clock": clock}
        self.store: LightningStore = build_component(
            store,
            expected_type=LightningStore,
            spec_name="store",
            default_factory=lambda: InMemoryLightningStore(clock=clock),
            optional_defaults=timed,
        )
        self.tracer: Tracer = build_component(
            tracer, expected_type=Tracer, spec_name="tracer", default_factory=OtelTracer
        )
        self.algorithm: Algorithm | None = build_component(algorithm, expected_type=Algorithm, spec_name="algorithm")
        self.adapter: TraceAdapter[Any] = build_component(
            adapter,
            expected_type=TraceAdapter,
            spec_name="adapter",
            default_factory=TracerTraceToTriplet,
            dict_default_cls=TracerTraceToTriplet,
        )
        self.llm_proxy = llm_proxy
        self._is_running = False
        self._view: RunView | None = None
        self.runner: LitAgentRunner[Any] = build_component(
            runner,
            expected_type=LitAgentRunner,
            spec_name="runner",
            default_factory=lambda: LitAgentRunner[Any](self.tracer, max_rollouts, clock=clock),
            optional_defaults={"tracer": self.tracer, "max_rollouts": max_rollouts, **timed},
        )

    @property
    def n_runners(self) -> int:
        """The later name of ``n_workers``."""
        return self.n_workers

    # ── plain calls ──

    def fit(
        self,
        agent: LitAgent[T],
        train_dataset: Dataset[T] | None = None,
        *,
        val_dataset: Dataset[T] | None = None,
    ) -> RunResult:
        """Run the algorithm to its end, in an event loop of this call's own.

        In the main thread, Ctrl-C or SIGTERM ends the run in order (rollouts under way have the grace time), a second
        one at once; the result says so. SIGUSR1, where nobody else has taken it, prints what every actor is doing and
        why rollouts are not finished.

        Args:
            agent: What the runners run.
            train_dataset: The tasks to learn from.
            val_dataset: The tasks to measure by.

        Returns:
            What came of it.

        Raises:
            ConfigError: There is no algorithm, or an event loop is running here: await ``fit_async`` then.
            Exception: What the algorithm raised.
        """
        refuse_inside_loop("fit")
        algorithm = self._algorithm_to_fit()
        train, val = _checked(train_dataset, val_dataset)
        return run_plain(self._run(agent, algorithm, None), train, val, self._using(agent, algorithm))

    def dev(
        self,
        agent: LitAgent[T],
        train_dataset: Dataset[T] | None = None,
        *,
        val_dataset: Dataset[T] | None = None,
    ) -> RunResult:
        """Dry-run the whole loop on up to ten tasks with a fast algorithm, and print what happened.

        Args:
            agent: The agent that ``fit`` will run.
            train_dataset: The tasks; the first ten run.
            val_dataset: More tasks, if the ten leave room.

        Returns:
            What came of it.

        Raises:
            TypeError: The trainer's algorithm is not a FastAlgorithm.
            ConfigError: An event loop is running here: await ``dev_async`` then.
            Exception: What the algorithm raised.
        """
        refuse_inside_loop("dev")
        algorithm = self._algorithm_to_dev()
        train, val = first_tasks(*_checked(train_dataset, val_dataset))
        dry_run = DryRun()
        run = self._run(agent, algorithm, dry_run.show)
        return dry_run.conclude(run_plain(run, train, val, self._using(agent, algorithm)))

    # ── inside an application's own event loop ──

    async def fit_async(
        self,
        agent: LitAgent[T],
        train_dataset: Dataset[T] | None = None,
        *,
        val_dataset: Dataset[T] | None = None,
    ) -> RunResult:
        """`fit` in the caller's event loop; touches no signals.

        Several trainers may run side by side. Cancelling the call ends the run at once and in order; what refuses to
        be cancelled is left behind and named in the log.
        """
        algorithm = self._algorithm_to_fit()
        train, val = _checked(train_dataset, val_dataset)
        with self._using(agent, algorithm):
            run = self._run(agent, algorithm, None)()
            with run.census:
                return await run.execute(train, val)

    async def dev_async(
        self,
        agent: LitAgent[T],
        train_dataset: Dataset[T] | None = None,
        *,
        val_dataset: Dataset[T] | None = None,
    ) -> RunResult:
        """`dev` in the caller's event loop."""
        algorithm = self._algorithm_to_dev()
        train, val = first_tasks(*_checked(train_dataset, val_dataset))
        dry_run = DryRun()
        with self._using(agent, algorithm):
            run = self._run(agent, algorithm, dry_run.show)()
            with run.census:
                return dry_run.conclude(await run.execute(train, val))

    # ── a look at it ──

    def tree(self) -> RunTree:
        """What every actor of the run under way is doing: ``print(trainer.tree())``.

        It asks nobody and waits for nothing, so it may be called from any thread, and while the event loop is blocked.

        Returns:
            The actors in order of start, with what each runner has in hand; outside of a run there are none.
        """
        view = self._view
        return RunTree() if view is None else view.tree()

    async def explain(self, rollout_id: str) -> RolloutSituation:
        """Why a rollout has not ended: ``print(await trainer.explain(rollout_id))``.

        During a run, call it in the run's event loop. Outside of one the store alone is asked.

        Args:
            rollout_id: The rollout, of this run or any other in the store.

        Returns:
            The store's explanation, and which runners have the rollout in hand.

        Raises:
            RolloutNotFound: The store knows no such rollout.
        """
        view = self._view
        if view is None:
            return RolloutSituation(await self.store.explain_rollout(rollout_id))
        return await view.explain(rollout_id)

    # ── within ──

    def _algorithm_to_fit(self) -> Algorithm:
        if self.algorithm is None:
            raise ConfigError(
                "fit needs an algorithm: Trainer(algorithm=Baseline()) runs every task once; "
                "for a dry run without an algorithm call dev"
            )
        return self.algorithm

    def _algorithm_to_dev(self) -> FastAlgorithm:
        if self.algorithm is None:
            return Baseline()
        if not isinstance(self.algorithm, FastAlgorithm):
            raise TypeError(
                f"dev wants a fast algorithm, and {type(self.algorithm).__name__} is no FastAlgorithm: leave it out "
                f"for a dry run (Baseline is used then), or call fit"
            )
        return self.algorithm

    @contextmanager
    def _using(self, agent: LitAgent[Any], algorithm: Algorithm) -> Generator[None]:
        """Bind the runner to the agent, and the algorithm to this trainer, for the length of a run."""
        with self.runner.run_context(agent=agent, store=self.store, hooks=self.hooks):
            _check_free(algorithm)
            agent.set_trainer(self)
            algorithm.set_trainer(self)
            self._is_running = True
            try:
                yield
            finally:
                self._is_running, self._view = False, None

    @property
    def is_running(self) -> bool:
        """Whether a run of this trainer is under way."""
        return self._is_running

    def _run(
        self, agent: LitAgent[Any], algorithm: Algorithm, finished: Callable[[Execution], None] | None
    ) -> Callable[[], Run]:
        """What makes the run, once the runner is bound and an event loop is there."""
        is_dry_run = finished is not None  # it is there to try what was changed

        def make() -> Run:
            algorithm.set_initial_resources(self.initial_resources)
            algorithm.set_llm_proxy(self.llm_proxy)
            algorithm.set_adapter(self.adapter)
            algorithm.set_resumes(None if is_dry_run else self.resume)
            limit = self.max_threads or min(self.n_workers, self.runner.max_threads)
            if not agent.is_async() and limit < self.n_workers:
                log.warning("sync_agents_share_threads", threads=limit, n_workers=self.n_workers, option="max_threads")
            run = Run(
                self.runner.bound_rig().with_threads(DaemonThreads(limit)),
                algorithm,
                n_workers=self.n_workers,
                max_rollouts=self.max_rollouts or self.runner.max_rollouts,
                initial_resources=self.initial_resources,
                grace=self.grace,
                heartbeat_interval=self.runner.heartbeat_interval,
                finished=finished,
            )
            self._view = run.view
            return run

        return make


def _checked(train: Dataset[T] | None, val: Dataset[T] | None) -> tuple[Dataset[T] | None, Dataset[T] | None]:
    return checked_dataset(train, "train_dataset"), checked_dataset(val, "val_dataset")


def _check_free(algorithm: Algorithm) -> None:
    try:
        trainer = algorithm.get_trainer()
    except ConfigError:
        return  # it has none, or that one is gone
    if isinstance(trainer, Trainer) and trainer.is_running:
        raise ConfigError(
            f"{algorithm!r} is running in another trainer, and its store is that trainer's: give each trainer an "
            f"algorithm of its own"
        )


def _warn_of(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in _NOT_HERE:
            known = (p.name for p in inspect.signature(Trainer).parameters.values() if p.kind is p.KEYWORD_ONLY)
            raise TypeError(f"Trainer has no option {name!r}; its options are {', '.join(known)}")
        default, instead = _NOT_HERE[name]
        if value != default:
            warnings.warn(f"Trainer({name}=...) has no meaning here: {instead}", UserWarning, stacklevel=3)


def _count(n_workers: int | None, n_runners: int | None) -> int:
    if n_workers is not None and n_runners is not None and n_workers != n_runners:
        raise ConfigError(f"n_workers={n_workers} and n_runners={n_runners} are two names of one number: give one")
    return _positive("n_workers", n_workers) or _positive("n_runners", n_runners) or 1


def _positive(name: str, number: int | None) -> int | None:
    return None if number is None else whole_number(name, number)
