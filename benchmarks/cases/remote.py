"""A store in another process: operations per second with one caller and with 64, and spans in batches.

Our client is measured open, with one link for all it asks, and not open, with a request for each. The limit is an echo
of as many bytes over a WebSocket, one for each caller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from websockets.asyncio.client import connect

from benchmarks.case import Case, Options
from benchmarks.cases.remote_workload import measure_remote, rate
from benchmarks.figure import Figure, Round, Sample, Spread, of_ours, ratio
from benchmarks.serving import serving
from lightning_actors import LightningStoreClient, Span

STORE: Final = ("-m", "lightning_actors", "store", "--port", "0", "--log-level", "ERROR")
_BYTES: Final = b"x" * 300


def make_span(rollout_id: str, attempt_id: str, number: int) -> Span:
    """A span as large as that of a short call of a model."""
    return Span.from_attributes(
        attributes={f"attribute.{one}": f"value {one}" for one in range(12)},
        rollout_id=rollout_id,
        attempt_id=attempt_id,
        sequence_id=number + 1,
        start_time=1.0,
        end_time=2.0,
    )


def ours(options: Options) -> Sample:
    """`LightningStoreClient` and ``lightning-actors store``."""

    async def main(address: str) -> Sample:
        sizes, client = options.sizes, LightningStoreClient(address)
        async with client:
            linked = await measure_remote(client, make_span, sizes)
        routes = {
            "routes_one": await rate(client, 1, max(sizes["one"] // 4, 1)),
            "routes_many": await rate(client, sizes["callers"], max(sizes["each"] // 4, 1)),
        }
        await client.close()
        return {**linked, **routes}

    with serving(STORE) as address:
        return options.run(lambda: main(address))


def bare(options: Options) -> Sample:
    """An echo over WebSockets."""

    async def echo(address: str, callers: int, times: int) -> float:
        async def work() -> None:
            async with connect(address) as channel:
                for _ in range(times):
                    await channel.send(_BYTES)
                    await channel.recv()

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(callers)))
        return callers * times / (time.perf_counter() - started)

    async def main(address: str) -> Sample:
        sizes = options.sizes
        where = address.replace("http:", "ws:")
        one, many = await echo(where, 1, 4 * sizes["one"]), await echo(where, sizes["callers"], 4 * sizes["each"])
        return {"one": one, "many": many}

    with serving(
        (
            "-m",
            "benchmarks.echo",
        )
    ) as address:
        return options.run(lambda: main(address))


def _of(name: str) -> Callable[[Sequence[Round]], Spread]:
    return ratio(("ours", name), ("peer", name))


CASE = Case(
    name="remote",
    title="a store in another process: operations per second with 1 and 64 callers, and spans",
    ours=ours,
    bare=bare,
    peer="remote",
    figures=(
        Figure(
            "remote store, 1 caller, operations per second relative to Agent Lightning",
            _of("one"),
            "times",
            frozenset({"ours", "peer"}),
            reach=3.0,
            aim=6.0,
            shows=("one", "one"),
            shows_unit="/s",
        ),
        Figure(
            "remote store, 64 callers, the same",
            _of("many"),
            "times",
            frozenset({"ours", "peer"}),
            reach=6.0,
            aim=12.0,
            shows=("many", "many"),
            shows_unit="/s",
        ),
        Figure(
            "remote store, spans in batches of 100, the same",
            _of("spans"),
            "times",
            frozenset({"ours", "peer"}),
            reach=10.0,
            aim=30.0,
            shows=("spans", "spans"),
            shows_unit="/s",
        ),
        Figure("  a request for each operation, 1 caller", of_ours("routes_one"), "/s", frozenset({"ours"})),
        Figure("  a request for each operation, 64 callers", of_ours("routes_many"), "/s", frozenset({"ours"})),
    ),
    sizes={"one": 300, "callers": 64, "each": 20, "batches": 10, "batch": 100},
    tiny={"one": 2, "callers": 3, "each": 2, "batches": 1, "batch": 3},
    rounds=3,
)
