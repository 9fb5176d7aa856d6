"""What the commands for several processes do: serve a store, run runners, explain a rollout."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import anyio

from lightning_actors.cli.agents import import_from_here, load_agent
from lightning_actors.components import build_component
from lightning_actors.detached import DaemonThreads
from lightning_actors.runner import LitAgentRunner
from lightning_actors.runner.pool import RunnerPool
from lightning_actors.store import InMemoryLightningStore, LightningStore
from lightning_actors.tracer import DummyTracer, OtelTracer, Tracer
from lightning_actors.trainer.plain import run_to_its_end
from lightning_actors.trainer.signals import heeding_signals

__all__ = ["explain_rollout", "run_runners", "serve_store"]

T = TypeVar("T")

_TRACERS: dict[str, type[Tracer]] = {"otel": OtelTracer, "dummy": DummyTracer}


def serve_store(db: Path | None, **options: Any) -> None:
    """Serve a store until a signal comes, and say on stdout where it listens.

    Args:
        db: The file to keep it in; None for memory.
        **options: Those of `LightningStoreServer`.

    Raises:
        PortInUse: Something else listens there.
        ConfigError: It would be open to anybody.
        StoreError: The file cannot be used.
    """
    run_to_its_end(lambda: _serve(db, options), _quick_loop())


async def _serve(db: Path | None, options: dict[str, Any]) -> None:
    from lightning_actors import LightningStoreServer  # noqa: PLC0415 - the extra is asked for here

    stopping = anyio.Event()
    hint = "requests under way are answered; once more stops at once"
    with anyio.CancelScope() as scope, heeding_signals(_Stopping(stopping), scope.cancel, hint=hint):
        async with _store_at(db) as store, LightningStoreServer(store, **options) as server:
            where = "in memory" if db is None else f"in {db}"
            print(f"store {where} listens at {server.endpoint}", flush=True)  # noqa: T201 - what it is asked to print
            await stopping.wait()


def _quick_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes event loops: uvloop's where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - where it is installed
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _store_at(db: Path | None) -> AbstractAsyncContextManager[LightningStore]:
    if db is None:
        return nullcontext(InMemoryLightningStore())
    from lightning_actors import SqliteLightningStore  # noqa: PLC0415 - not needed otherwise

    return SqliteLightningStore(db)


class _Stopping:
    """Something that a signal stops by setting an event."""

    def __init__(self, event: anyio.Event) -> None:
        self._event = event

    def close(self) -> None:
        """There is nothing to do in the signal handler."""

    def abort(self) -> None:
        """There are no agents."""

    def interrupt(self) -> None:
        """Stop in order."""
        self._event.set()

    def tree(self) -> object:
        """There are no actors."""
        return "a store that is served"


def run_runners(
    agent: str,
    *,
    store: str,
    token: str | None,
    tracer: str,
    n: int,
    name: str | None,
    max_rollouts: int | None,
    grace: float,
    lease: float,
    max_threads: int,
) -> bool:
    """Run runners of an agent for a store elsewhere until a signal comes.

    Args:
        agent: Its import path.
        store: The store's address.
        token: What is shown to it.
        tracer: ``otel``, ``dummy`` or an import path.
        n: How many rollouts run at once.
        name: What the workers are called in the store.
        max_rollouts: How many rollouts each worker takes at most.
        grace: Seconds that rollouts under way have at a stop.
        lease: Seconds of silence after which others get the rollouts that they hold.
        max_threads: How many sync agents may run at once.

    Returns:
        Whether all ended in order; False where a second signal cut it short.
    """
    from lightning_actors import LightningStoreClient  # noqa: PLC0415 - the extra is asked for here
    from lightning_actors.http.link.limits import LinkOptions  # noqa: PLC0415 - the same

    import_from_here()
    loaded = load_agent(agent)
    records = build_component(
        _TRACERS.get(tracer, tracer), expected_type=Tracer, spec_name="--tracer", default_factory=OtelTracer
    )
    prefix = name or f"{socket.gethostname()}-{os.getpid()}"
    runner = LitAgentRunner[Any](records, max_rollouts, max_threads=max_threads)
    client = LightningStoreClient(store, token=token, link_options=LinkOptions(lease_seconds=lease))
    with runner.run_context(agent=loaded, store=client):
        pool = RunnerPool(
            runner.bound_rig().with_threads(DaemonThreads(min(n, max_threads))),
            [f"{prefix}-{number}" for number in range(n)],
            max_rollouts=max_rollouts,
            grace=grace,
            heartbeat_interval=runner.heartbeat_interval,
        )
        return run_to_its_end(lambda: _run(pool))


async def _run(pool: RunnerPool) -> bool:
    with anyio.CancelScope() as scope, heeding_signals(pool, scope.cancel):
        await pool.run()
    return not scope.cancelled_caught


def explain_rollout(rollout_id: str, *, store: str, token: str | None) -> str:
    """Why a rollout has not ended, in words.

    Raises:
        RolloutNotFound: The store knows no such rollout.
        StoreUnreachable: No store answers there.
    """
    from lightning_actors import LightningStoreClient  # noqa: PLC0415 - the extra is asked for here

    async def ask() -> str:
        client = LightningStoreClient(store, token=token)
        try:
            return str(await client.explain_rollout(rollout_id))
        finally:
            await client.close()

    return run_to_its_end(ask)
