"""One simulated run: a real trainer, store, queue and pool, on a virtual clock and a seeded schedule.

The faults come from outside, by the ways that the library's users have: a store of their own, an agent, the scope
around the run. Nothing of the library is replaced.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint
from opentelemetry import trace
from simulated_followers import make_follower
from simulated_plan import AtOperation, AtTime, AtTurn, Blow, Plan, PlannedTask, Script

import lightning_actors as agl
from lightning_actors.actors import ActorRef, Message, current_actor
from lightning_actors.actors.testkit import InjectedCrash, VirtualClock, crash
from lightning_actors.errors import InvalidTransition, LightningError, StoreError
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.store.change import Change
from lightning_actors.store.messages import ExplainRollout, UpdateAttempt, UpdateRollout
from lightning_actors.trainer.run import Run
from lightning_actors.types import Rollout

__all__ = ["AlgorithmError", "Call", "SimulatedStore", "World"]

R = TypeVar("R")


class AlgorithmError(Exception):
    """Raised by the algorithm, where the plan says so."""


class AgentError(Exception):
    """Raised by the agent, where its script says so."""


class SimulatedStore(InMemoryLightningStore):
    """Keeps a history of each rollout's statuses, knows who works for it, and has things happen around operations.

    Attributes:
        history: The statuses of each rollout, in order.
        ends: Which rollouts ended, and how, in order; those that ended again are there again.
        refs: The actors that work for it, by name.
    """

    def __init__(self, clock: VirtualClock, around: Callable[[Message[Any], bool], None]) -> None:
        super().__init__(clock=clock)
        self.around = around
        self.history: dict[str, list[str]] = {}
        self.ends: list[tuple[str, str]] = []
        self.refs: dict[str, ActorRef[Any]] = {}

    def perform(self, message: Message[R]) -> R:
        """Carry out one operation."""
        self.around(message, True)
        reply = super().perform(message)
        self.around(message, False)
        return reply

    def watch_attempt(self, attempt_id: str, stop: Callable[[str], None], /) -> Callable[[], None]:
        """Called by a runner: whoever it is can be crashed from now on."""
        self.meet()
        return super().watch_attempt(attempt_id, stop)

    def watch_queue(self, ready: Callable[[], None], /) -> Callable[[], None]:
        """Called by the queue."""
        self.meet()
        return super().watch_queue(ready)

    def meet(self) -> None:
        """Remember the actor that calls this."""
        caller = current_actor()
        if caller is not None:
            self.refs[caller.name] = caller

    def _told(self, change: Change[Any]) -> None:
        for rollout in change.rollouts:
            history = self.history.setdefault(rollout.rollout_id, [])
            if not history or history[-1] != rollout.status:
                history.append(rollout.status)
                if rollout.status in {"succeeded", "failed", "cancelled"}:
                    self.ends.append((rollout.rollout_id, rollout.status))
        super()._told(change)


@dataclass
class Call:
    """One call of the agent, and how it ended."""

    rollout_id: str
    attempt_id: str
    script: Script
    ended: str = ""


@dataclass
class World:
    """Everything of one run; what became of it is read from here afterwards."""

    plan: Plan
    clock: VirtualClock = field(default_factory=VirtualClock)
    calls: list[Call] = field(default_factory=list[Call])
    hooks: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    by_hand: set[str] = field(default_factory=set[str])
    requeued: Counter[str] = field(default_factory=Counter[str])
    waiting: int = 0
    rewards_given: int = 0
    result: agl.RunResult | None = None
    error: Exception | None = None
    left_behind: list[str] = field(default_factory=list[str])
    running: dict[str, str] = field(default_factory=dict[str, str])
    struck: list[Blow] = field(default_factory=list[Blow])

    def __post_init__(self) -> None:
        self.store = SimulatedStore(self.clock, self._around)
        self.released = anyio.Event()
        self.operations: Counter[tuple[str, bool]] = Counter()
        self.seen_store: agl.LightningStore = self.store
        self.run: Run | None = None
        self.is_on = False
        self.followers = [make_follower(self, one) for one in self.plan.followers]

    @property
    def enqueued(self) -> list[str]:
        """What the store has recorded, also where the one who asked for it had gone by then."""
        return list(self.store.history)

    def next_reward(self) -> float:
        """A reward that nobody has given yet."""
        self.rewards_given += 1
        return 100.0 + self.rewards_given

    # ── the run ──

    async def live(self) -> None:
        """Run it all, and let what was left behind go."""
        self.scope = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            for blow in self.plan.blows:
                if not isinstance(blow.when, AtOperation):
                    group.start_soon(self._strike_later, blow)
            self._start_followers(group, self.store, "the store")
            await self._train(group)
            group.cancel_scope.cancel()
        self.released.set()
        for follower in self.followers:
            await follower.read_rest()

    def _start_followers(self, group: anyio.abc.TaskGroup, store: agl.LightningStore, sees: str) -> None:
        for follower in self.followers:
            if follower.plan.sees == sees:
                group.start_soon(follower.live, store)

    async def _train(self, group: anyio.abc.TaskGroup) -> None:
        plan = self.plan
        tracer = (_MeetingOtelTracer if plan.traced else _MeetingTracer)()
        tracer.meet = self.store.meet
        algorithm = self._algorithm(group)
        trainer = agl.Trainer(
            algorithm=algorithm,
            n_workers=plan.n_workers,
            max_rollouts=plan.max_rollouts,
            store=self.store,
            tracer=tracer,
            grace=plan.grace,
            clock=self.clock,
            hooks=_PlannedHook(self),
            runner={
                "type": agl.LitAgentRunner,
                "patience": plan.patience,
                "heartbeat_interval": plan.heartbeat_interval,
            },
        )
        agent = self._agent()
        with trainer._using(agent, algorithm):
            run = self.run = trainer._run(agent, algorithm, None)()
            with run.census:
                self.is_on = True
                try:
                    with self.scope:
                        self.result = await run.execute(None, None)
                except Exception as error:  # noqa: BLE001 - looked at afterwards
                    self.error = error
                self.is_on = False
                self.result = self.result or await run.result()
            self.left_behind, self.running = run._rig.left_behind, run._rig.running

    def _algorithm(self, group: anyio.abc.TaskGroup) -> agl.Algorithm:
        plan = self.plan

        @agl.algo
        async def algorithm(store: agl.LightningStore) -> None:
            self.seen_store = store
            self._start_followers(group, store, "the run's")
            for number, task in sorted(enumerate(plan.tasks), key=lambda pair: pair[1].at):
                await self._enqueue(store, number, task)
                self.waiting += 1
                group.start_soon(self._wait, store, tuple(self.enqueued))
            if plan.waits_for:
                await store.wait_for_rollouts(rollout_ids=self.enqueued, timeout=plan.waits_for)
            if plan.algorithm == "raises":
                raise AlgorithmError
            if plan.algorithm == "waits for ever":
                await anyio.sleep_forever()

        return algorithm

    async def _enqueue(self, store: agl.LightningStore, number: int, task: PlannedTask) -> None:
        left = task.at - self.clock.monotonic()
        if left > 0:
            await self.clock.sleep(left)
        await store.enqueue_rollout({"number": number}, config=task.config)

    async def _wait(self, store: agl.LightningStore, rollout_ids: tuple[str, ...]) -> None:
        """One of many who wait; nobody cancels it, so that the run ends only if everyone is answered."""
        try:
            with anyio.CancelScope(shield=True):
                await store.wait_for_rollouts(rollout_ids=rollout_ids)
        except LightningError:
            pass
        self.waiting -= 1

    # ── the agent ──

    def _agent(self) -> agl.LitAgent[Any]:
        @agl.rollout
        async def agent(task: dict[str, int], rollout: agl.AttemptedRollout) -> Any:
            script = self.plan.script(task.pop("number"), rollout.attempt.sequence_id)
            call = Call(rollout.rollout_id, rollout.attempt.attempt_id, script)
            self.calls.append(call)
            try:
                value = await self._play(script, call)
            except BaseException as error:
                call.ended = type(error).__name__
                raise
            call.ended = "returned"
            return value

        return agent

    async def _play(self, script: Script, call: Call) -> Any:
        await self._mark(call)
        for _ in range(script.turns):
            await checkpoint()
        if script.seconds:
            await self.clock.sleep(script.seconds)
        async with anyio.create_task_group() as group:  # spans of tasks of the agent's own
            group.start_soon(self._mark, call)
            group.start_soon(self._mark, call)
        return await self._act(script, call)

    async def _mark(self, call: Call) -> None:
        """Write spans that say whose they are: one of ours and, if they are recorded, one as any library does."""
        agl.emit_object({"rollout": call.rollout_id, "attempt": call.attempt_id})
        if self.plan.traced:
            with trace.get_tracer("a library").start_as_current_span("by a library") as span:
                span.set_attribute("attempt", call.attempt_id)
                await checkpoint()
        await checkpoint()

    async def _act(self, script: Script, call: Call) -> Any:
        results: dict[str, Any] = {"returns": 1.0, "returns nothing": None, "returns nonsense": object()}
        if script.act in results:
            return results[script.act]
        match script.act:
            case "raises":
                raise AgentError
            case "exits":
                raise SystemExit(3)
            case "picks up a cancellation":
                raise _foreign_cancellation()
            case "swallows cancellation":
                await self._swallow()
                return None
            case "cancels itself":
                self._set_status(call.rollout_id, "cancelled")
            case "crashes its runner":
                self._crash(current_actor())
            case _:
                pass
        return await anyio.sleep_forever()

    async def _swallow(self) -> None:
        while not self.released.is_set():
            try:
                with anyio.CancelScope(shield=True):
                    await self.released.wait()
            except anyio.get_cancelled_exc_class():
                continue

    # ── what goes wrong ──

    async def _strike_later(self, blow: Blow) -> None:
        if isinstance(blow.when, AtTurn):
            for _ in range(blow.when.turn):
                await checkpoint()
        elif isinstance(blow.when, AtTime):
            await self.clock.sleep(blow.when.seconds)
        self._strike(blow, None)

    def _around(self, message: Message[Any], before: bool) -> None:  # noqa: FBT001 - called in one place
        if not self.is_on or current_actor() is None:  # the run asks for its result when all its actors have ended
            return
        kind = type(message).__name__
        if isinstance(message, UpdateAttempt):
            kind += " to running" if message.status == "running" else " to the end"
        self.operations[kind, before] += 1
        for blow in self.plan.blows:
            if blow.when == AtOperation(kind, self.operations[kind, before], before):
                self._strike(blow, message)

    def _strike(self, blow: Blow, message: Message[Any] | None) -> None:
        if not self.is_on or self.run is None:
            return
        self.struck.append(blow)
        what = blow.what
        if what.startswith("crash"):
            self._crash(self._victim(blow, message))
        elif what == "fail operation":
            raise StoreError("the disk is full")
        elif what == "run again what has ended":
            ended = [rollout_id for rollout_id, _ in self.store.ends]
            self._set_one(ended, blow.index, "queuing")
        elif what.endswith("rollout"):
            self._set_one(self.enqueued, blow.index, "cancelled" if what == "cancel rollout" else "queuing")
        elif what == "look around":
            self._look_around()
        if what.startswith("interrupt"):
            self.run.close()
            self.run.interrupt()
        if what in {"interrupt again", "cancel scope"}:
            self.scope.cancel()

    def _look_around(self) -> None:
        """What everybody is doing and why nothing has ended, in words: it must be there, and change nothing."""
        assert self.run is not None
        assert str(self.run.view.tree())
        self.is_on = False
        for rollout_id in self.enqueued:
            assert rollout_id in str(self.store.perform(ExplainRollout(rollout_id)))
        self.is_on = True

    def _victim(self, blow: Blow, message: Message[Any] | None) -> ActorRef[Any] | None:
        """Whom a blow hits; nobody, as long as that actor has not been met."""
        if blow.what == "crash its runner":
            return self._runner_of(message)
        name = blow.what.removeprefix("crash ")
        return self.store.refs.get(f"runner-{blow.index % self.plan.n_workers}" if name == "runner" else name)

    def _runner_of(self, message: Message[Any] | None) -> ActorRef[Any] | None:
        """The runner on whose behalf an operation is done."""
        worker = getattr(message, "worker_id", None)
        attempt_id = getattr(message, "attempt_id", None)
        spans = getattr(message, "spans", ())
        if attempt_id is None and spans:
            attempt_id = spans[0].attempt_id
        if not isinstance(worker, str) and attempt_id is not None:
            attempt = self.store._tables.attempt(attempt_id)
            worker = None if attempt is None else attempt.worker_id
        return self.store.refs.get(worker.replace("Worker", "runner")) if isinstance(worker, str) else None

    def _crash(self, ref: ActorRef[Any] | None) -> None:
        if ref is not None:
            crash(ref, InjectedCrash("by plan"))

    def _set_one(self, rollout_ids: list[str], index: int, status: Any) -> None:
        if rollout_ids:
            self._set_status(rollout_ids[index % len(rollout_ids)], status)

    def _set_status(self, rollout_id: str, status: Any) -> None:
        """Change a rollout by hand, in the middle of whatever is going on."""

        self.store.settle()
        before, self.is_on = self.store.history[rollout_id][-1], False
        try:
            self.store.perform(UpdateRollout(rollout_id, status=status))
        except InvalidTransition:
            return
        finally:
            self.is_on = True
        self.by_hand.add(rollout_id)
        if status == "queuing" and before in {"succeeded", "failed", "cancelled"}:
            self.requeued[rollout_id] += 1


def _foreign_cancellation() -> BaseException:
    """What an agent gets that awaits something which was cancelled elsewhere; trio has no such thing."""
    kind = anyio.get_cancelled_exc_class()
    return kind() if kind is asyncio.CancelledError else AgentError()


class _MeetingTracer(agl.DummyTracer):
    """Its spans are written now and then by the keeper, who can be crashed from then on."""

    meet: Callable[[], None]

    async def flush(self) -> None:
        self.meet()
        await super().flush()


class _MeetingOtelTracer(agl.OtelTracer):
    """The same, with OpenTelemetry."""

    meet: Callable[[], None]

    async def flush(self) -> None:
        self.meet()
        await super().flush()


class _PlannedHook(agl.Hook):
    """Counts the hooks of each attempt, and one of them is as bad as the plan wants it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._calls: Counter[str] = Counter()

    async def _call(self, which: str, rollout: Rollout) -> None:
        assert isinstance(rollout, agl.AttemptedRollout)
        self._world.hooks[which, rollout.attempt.attempt_id] += 1
        self._calls[which] += 1
        match self._world.plan.bad_hook:
            case (bad, how, nth) if (bad, nth) == (which, self._calls[which]):
                await self._fail(how)
            case _:
                await checkpoint()

    async def _fail(self, how: str) -> None:
        if how == "raises":
            raise AgentError
        await self._world.clock.sleep(1.5 if how == "is slow" else float("inf"))

    async def on_rollout_start(self, *, agent: Any, runner: Any, rollout: Rollout) -> None:
        await self._call("start", rollout)

    async def on_trace_start(self, *, agent: Any, runner: Any, tracer: Any, rollout: Rollout) -> None:
        await self._call("trace start", rollout)

    async def on_trace_end(self, *, agent: Any, runner: Any, tracer: Any, rollout: Rollout) -> None:
        await self._call("trace end", rollout)

    async def on_rollout_end(self, *, agent: Any, runner: Any, rollout: Rollout, spans: Any) -> None:
        await self._call("end", rollout)
