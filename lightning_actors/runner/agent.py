"""`LitAgentRunner`: one agent by hand (`step`), many at a time (`step_many`), or whatever is queued (`iter`).

```
with runner.run_context(…):          nothing of it lives between two calls; needs no event loop
async with runner.run_context(…):    a resident actor and its heartbeat; steps cost less
```
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, TypeVar

from lightning_actors.actors import ChildSpec, Clock, Supervisor, SystemClock
from lightning_actors.detached import DaemonThreads, await_on_home_loop, home_loop, home_wait
from lightning_actors.error_text import note
from lightning_actors.errors import RunnerNotReady
from lightning_actors.litagent import LitAgent
from lightning_actors.log import get_logger
from lightning_actors.options import seconds, whole_number
from lightning_actors.queue import LostClaims, queue_actor
from lightning_actors.runner.actor import Budget, RunnerActor
from lightning_actors.runner.base import RunContext, Runner
from lightning_actors.runner.keeper import KeeperActor
from lightning_actors.runner.many import StepMany
from lightning_actors.runner.rig import Rig, checked_hooks
from lightning_actors.runner.stepping import Stepper
from lightning_actors.runner.stop_event import is_set, when_set
from lightning_actors.store import LightningStore
from lightning_actors.store.blocking import BlockingStore
from lightning_actors.tracer import Trace, Tracer
from lightning_actors.types import (
    Hook,
    Resource,
    Rollout,
    RolloutConfig,
    RolloutMode,
)

__all__ = ["LitAgentRunner"]

log = get_logger("lightning_actors.runner")

T_contra = TypeVar("T_contra", contravariant=True)

_COMPATIBLE: dict[str, tuple[Any, str]] = {
    "poll_interval": (5.0, "nothing polls here: a runner is told of work"),
    "interval_jitter": (0.5, "one heartbeat serves all runners, so there is nothing to spread"),
    "heartbeat_launch_mode": ("thread", "the heartbeat is a task of the event loop"),
    "heartbeat_include_gpu": (False, "heartbeats carry no GPU figures"),
}


class LitAgentRunner(Runner[T_contra], Generic[T_contra]):
    """Runs one agent.

    Args:
        tracer: What records the rollouts, e.g. ``OtelTracer()``.
        max_rollouts: ``iter`` returns after so many, failed ones included; None for no limit.
        poll_interval: Accepted from users of Agent Lightning; has no meaning here.
        heartbeat_interval: Seconds between heartbeats to the store, where the runner resides; 0 for none.
        interval_jitter: Accepted from users of Agent Lightning; has no meaning here.
        heartbeat_launch_mode: Accepted from users of Agent Lightning; has no meaning here.
        heartbeat_include_gpu: Accepted from users of Agent Lightning; has no meaning here.
        max_threads: How many sync agents may run at once.
        patience: Seconds that an agent has to end once it was asked to, before it is left behind.
        clock: Where the time comes from.

    Raises:
        TypeError: No tracer was given.
        ConfigError: An option is out of range.

    Source: options and defaults are those of Agent Lightning 0.3; the last three are ours.
    """

    def __init__(
        self,
        tracer: Tracer | None = None,
        max_rollouts: int | None = None,
        poll_interval: float = 5.0,
        heartbeat_interval: float = 10.0,
        interval_jitter: float = 0.5,
        heartbeat_launch_mode: str = "thread",
        heartbeat_include_gpu: bool = False,  # noqa: FBT001, FBT002 - Agent Lightning's signature
        *,
        max_threads: int = 256,
        patience: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(tracer, Tracer):
            given = "without one" if tracer is None else f"not {tracer!r}"
            raise TypeError(f"a runner records what it runs and needs a tracer, {given}: LitAgentRunner(OtelTracer())")
        _warn_of(
            poll_interval=poll_interval,
            interval_jitter=interval_jitter,
            heartbeat_launch_mode=heartbeat_launch_mode,
            heartbeat_include_gpu=heartbeat_include_gpu,
        )
        self.tracer = tracer
        self.max_rollouts = None if max_rollouts is None else whole_number("max_rollouts", max_rollouts)
        self.heartbeat_interval = seconds("heartbeat_interval", heartbeat_interval)
        self.max_threads = whole_number("max_threads", max_threads)
        self._patience = seconds("patience", patience)
        self._clock: Clock = clock or SystemClock()
        self._agent: LitAgent[Any] | None = None
        self._hooks: tuple[Hook, ...] = ()
        self._bound_to: Stepper | None = None

    # ── life cycle ──

    def init(self, agent: LitAgent[T_contra], *, hooks: Sequence[Hook] | None = None) -> None:
        """Take on an agent, and start the tracer.

        Raises:
            TypeError: ``agent`` is no LitAgent (the message shows how to make one), or a hook is no Hook.
            RunnerNotReady: It has one already.
        """
        if self._agent is not None:
            raise RunnerNotReady(
                f"this runner is bound to {self._agent!r} already: leave that run_context (or call teardown) first, or "
                f"make another LitAgentRunner; they may share a tracer"
            )
        if not isinstance(agent, LitAgent):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(
                f"a runner runs a LitAgent, not {agent!r}: decorate the function with @rollout, or subclass LitAgent"
            )
        checked = checked_hooks(hooks)
        self.tracer.init()
        self._agent, self._hooks = agent, checked
        agent.set_runner(self)

    def init_worker(self, worker_id: int, store: LightningStore) -> None:
        """Take on a number (the store knows it as ``Worker-{number}``) and a store.

        Raises:
            TypeError: ``store`` is no LightningStore.
            ConfigError: ``worker_id`` is no whole number.
            RunnerNotReady: It has no agent yet, or has a store already.
        """
        if self._agent is None:
            raise RunnerNotReady("init_worker was called before init(agent): call init first, or use run_context")
        if self._bound_to is not None:
            raise RunnerNotReady("init_worker was called twice: call teardown_worker in between")
        if not isinstance(store, LightningStore):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(f"a runner reports to a LightningStore, not {store!r}: InMemoryLightningStore() is one")
        number = whole_number("worker_id", worker_id, least=0)
        self.tracer.init_worker(number, store)
        self.worker_id = number
        rig = Rig(
            agent=self._agent,
            tracer=self.tracer,
            store=store,
            runner=self,
            hooks=self._hooks,
            threads=DaemonThreads(self.max_threads),
            patience=self._patience,
            clock=self._clock,
        )
        self._bound_to = Stepper(rig, self.worker_name)

    def teardown_worker(self, worker_id: int, *args: Any, **kwargs: Any) -> None:
        """Undo ``init_worker``."""
        if self._bound_to is not None:
            self._bound_to.rig.threads.close()
        self.worker_id = self._bound_to = None
        self.tracer.teardown_worker(worker_id)

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        """Undo ``init``."""
        agent, self._agent, self._hooks = self._agent, None, ()
        if agent is not None:
            self.tracer.teardown()

    def run_context(
        self,
        *,
        agent: LitAgent[T_contra],
        store: LightningStore,
        hooks: Sequence[Hook] | None = None,
        worker_id: int | None = None,
    ) -> RunContext[LitAgentRunner[T_contra]]:
        """Be bound to an agent and a store for the length of a block.

        ``with`` needs no event loop: it can stand outside one, with ``anyio.run(runner.step, task)`` inside.
        ``async with`` keeps an actor and its heartbeat for the length of the block, and steps cost less.

        Args:
            agent: What to run.
            store: What remembers the rollouts.
            hooks: Who is told of each rollout, in this order.
            worker_id: The worker's number, 0 by default.

        Returns:
            A context manager of both kinds, which gives this runner.
        """
        number = 0 if worker_id is None else worker_id
        return RunContext(self, lambda: self._bound(agent, store, hooks, number), self._residing)

    @contextmanager
    def _bound(
        self, agent: LitAgent[Any], store: LightningStore, hooks: Sequence[Hook] | None, worker_id: int
    ) -> Generator[None]:
        self.init(agent, hooks=hooks)
        try:
            self.init_worker(worker_id, store)
            try:
                yield
            finally:
                self.teardown_worker(worker_id)
        finally:
            self.teardown()

    @asynccontextmanager
    async def _residing(self) -> AsyncGenerator[None]:
        stepper = self._stepper()
        rig, worker = stepper.rig, stepper.worker_id
        runner = ChildSpec("runner", lambda: RunnerActor(rig, worker))
        async with (
            rig.store.opened(),
            Supervisor([self._keeper(rig, worker)], name=worker, clock=self._clock) as supervisor,
        ):
            stepper.resident = await supervisor.start(runner)
            try:
                with rig.patient_until_cut_short():
                    yield
            finally:
                stepper.resident = None

    @property
    def worker_name(self) -> str:
        """The worker's id in the store."""
        return "Worker-Unknown" if self.worker_id is None else f"Worker-{self.worker_id}"

    def bound_rig(self) -> Rig:
        """What it works with while it is bound. Raises RunnerNotReady."""
        return self._stepper().rig

    def _stepper(self) -> Stepper:
        if self._bound_to is None:
            raise RunnerNotReady(
                "this runner has no agent and store: use it inside `with runner.run_context(agent=..., store=...):`"
            )
        return self._bound_to

    @property
    def store(self) -> LightningStore:
        """The store that it is bound to. Raises RunnerNotReady."""
        return self.bound_rig().store

    @property
    def blocking_store(self) -> BlockingStore:
        """The store for a sync agent: the same operations, called without await. Raises RunnerNotReady.

        Once the rollout around it was ended, whoever uses it is told so by RolloutCancelled.
        """
        return BlockingStore(self.store, home_loop(), within=home_wait())

    # ── rollouts ──

    async def step(
        self,
        input: T_contra,  # noqa: A002 - Agent Lightning's name
        *,
        resources: Mapping[str, Resource] | None = None,
        mode: RolloutMode | None = None,
        config: RolloutConfig | None = None,
        metadata: Mapping[str, Any] | None = None,
        event: Any = None,
    ) -> Rollout:
        """Run one rollout now, past the queue; any number may run at a time.

        Args:
            input: The task.
            resources: What the agent is given; kept in the store with the rollout, but not as its latest. None for the
                latest in the store, if there are any.
            mode: "train" calls the agent's training entry, anything else its validation entry.
            config: Deadlines. There is one attempt and no retry, whatever it says of those.
            metadata: Kept with the rollout.
            event: Stops the rollout when it is set: anything with ``is_set()`` and ``wait()``.

        Returns:
            The finished rollout, with its attempt.

        Raises:
            Exception: What the agent raised, with a note that names the rollout.
            RolloutTimeout: A deadline of ``config`` came.
            RolloutCancelled: Somebody cancelled the rollout in the store, ``event`` was set, or the ``async with
                run_context`` around it was left.
            RunnerNotReady: The runner is not inside a run_context.
            TypeError: ``resources`` holds something that is no Resource.
        """
        stepper = self._stepper()
        execution = await stepper.run(input, resources, mode, config, metadata, event)
        error = execution.error
        if error is not None:
            note(error, f"in rollout {execution.rollout.rollout_id}")
            raise error
        return await stepper.finished(execution)

    def blocking_step(
        self,
        input: T_contra,  # noqa: A002 - Agent Lightning's name
        *,
        resources: Mapping[str, Resource] | None = None,
        mode: RolloutMode | None = None,
        config: RolloutConfig | None = None,
        metadata: Mapping[str, Any] | None = None,
        event: Any = None,
    ) -> Rollout:
        """`step` for code in a thread, such as a sync agent that runs another rollout: blocks that thread alone.

        A sync agent gives up its thread's place meanwhile, so that the rollout it waits for may need one. Where the
        rollout around it is ended, the step is cancelled; where it was ended before, no step begins.

        Args:
            input: As in ``step``.
            resources: As in ``step``.
            mode: As in ``step``.
            config: As in ``step``.
            metadata: As in ``step``.
            event: As in ``step``.

        Returns:
            The finished rollout, with its attempt.

        Raises:
            Exception: As ``step``.
            RolloutCancelled: Also where the rollout around this call was ended, before or while it waits.
            WrongLoop: An event loop runs in this thread (await ``step``), or the thread belongs to none.
        """

        async def step() -> Rollout:
            return await self.step(input, resources=resources, mode=mode, config=config, metadata=metadata, event=event)

        return await_on_home_loop(step)

    def step_many(
        self,
        inputs: Iterable[T_contra] | AsyncIterable[T_contra],
        *,
        limit: int = 64,
        resources: Mapping[str, Resource] | None = None,
        mode: RolloutMode | None = None,
        config: RolloutConfig | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> StepMany:
        """Run many rollouts now, and yield each as it finishes, those whose agent failed included.

        ``async for rollout in runner.step_many(tasks, limit=8)``. A new one starts when one finishes and the iteration
        goes on. When the loop is left early, or cancelled, the rollouts under way are cancelled;
        ``async with runner.step_many(...) as rollouts`` also waits for that.

        Args:
            inputs: The tasks.
            limit: How many run at once.
            resources: As in ``step``, for all.
            mode: As in ``step``, for all.
            config: As in ``step``, for all.
            metadata: As in ``step``, for all.

        Returns:
            An async iterator over the finished rollouts.

        Raises:
            ConfigError: ``limit`` is less than 1.
        """
        stepper = self._stepper()

        async def one(task: Any) -> tuple[Rollout, Trace | None]:
            execution = await stepper.run(task, resources, mode, config, metadata)
            return await stepper.finished(execution), execution.trace

        return StepMany(inputs, one, limit=limit, clock=self._clock)

    async def iter(self, *, event: Any = None) -> None:
        """Run what is in the store's queue, and what comes, one rollout at a time.

        It is told of work and never polls. Failing agents and hooks do not end it.

        Args:
            event: Ends it when set, after the rollout under way: anything with ``is_set()`` and ``wait()``. None: it
                ends with ``max_rollouts``, or when it is cancelled.
        """
        stepper = self._stepper()
        if not is_set(event):  # which also refuses what is no event, before anything has begun
            async with stepper.rig.store.opened():
                await self._take_and_run(stepper, event)

    async def _take_and_run(self, stepper: Stepper, event: Any) -> None:
        rig, worker, budget = stepper.rig, stepper.worker_id, Budget(self.max_rollouts)
        children: list[ChildSpec[Any]] = [ChildSpec("queue", lambda: queue_actor(rig.store))]
        if stepper.resident is None:
            children.insert(0, self._keeper(rig, worker))
        claims = LostClaims(rig.store, self._clock)
        try:
            async with Supervisor(children, name=worker, clock=self._clock, dead_letters=claims) as supervisor:
                queue = supervisor.ref("queue")
                spec = ChildSpec(
                    "runner",
                    lambda: RunnerActor(rig, worker, queue=queue, budget=budget),
                    "transient",
                    significant=True,
                    grace=float("inf"),
                )
                await supervisor.start(spec)
                with rig.patient_until_cut_short():
                    async with when_set(event, supervisor.stop):
                        await supervisor.wait()
        finally:
            await claims.undo()

    def _keeper(self, rig: Rig, worker: str) -> ChildSpec[KeeperActor]:
        return ChildSpec("keeper", lambda: KeeperActor(rig, [worker], heartbeat_interval=self.heartbeat_interval))


def _warn_of(**given: Any) -> None:
    for name, (default, why) in _COMPATIBLE.items():
        if given[name] != default:
            warnings.warn(f"LitAgentRunner({name}=...) has no meaning here: {why}", UserWarning, stacklevel=3)
