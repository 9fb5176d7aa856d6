"""How soon a runner in another process begins a rollout that is enqueued while it waits, with the store in a third.

The limit is the way there and back of a message over a WebSocket.
"""

from __future__ import annotations

import statistics
import time

from websockets.asyncio.client import connect

from benchmarks.case import Case, Options
from benchmarks.cases.remote import STORE
from benchmarks.figure import Figure, Sample, of_ours, ratio
from benchmarks.serving import beside, serving
from lightning_actors import LightningStoreClient, find_final_reward, rollout

_RUNNER = ("-m", "lightning_actors", "runner", "--agent", "benchmarks.cases.wake_up:clock", "--log-level", "ERROR")


@rollout
async def clock(task: int) -> float:
    """Say what time it is."""
    return time.time()


def ours(options: Options) -> Sample:
    """``lightning-actors store`` and ``lightning-actors runner``."""

    async def main(address: str) -> Sample:
        client = LightningStoreClient(address)

        async def wake() -> float:
            began = time.time()
            rollout_id = (await client.enqueue_rollout(1)).rollout_id
            await client.wait_for_rollouts(rollout_ids=[rollout_id])
            told = find_final_reward(await client.query_spans(rollout_id))
            if told is None:
                raise RuntimeError(f"the runner did not say when it began {rollout_id}")
            return told - began

        async with client:
            await wake()  # it may have been about to start
            return {"seconds": statistics.median([await wake() for _ in range(options.sizes["times"])])}

    with serving(STORE) as address, beside((*_RUNNER, "--store", address)):
        return options.run(lambda: main(address))


def bare(options: Options) -> Sample:
    """An echo over a WebSocket."""

    async def main(address: str) -> Sample:
        spent: list[float] = []
        async with connect(address.replace("http:", "ws:")) as channel:
            for _ in range(options.sizes["times"]):
                began = time.time()
                await channel.send(b"ready")
                await channel.recv()
                spent.append(time.time() - began)
        return {"seconds": statistics.median(spent)}

    with serving(
        (
            "-m",
            "benchmarks.echo",
        )
    ) as address:
        return options.run(lambda: main(address))


CASE = Case(
    name="wake_up",
    title="a waiting runner in another process begins what is enqueued",
    ours=ours,
    bare=bare,
    peer="wake_up",
    figures=(
        Figure(
            "remote runner that waits, from enqueue to begin",
            of_ours("seconds"),
            "ms",
            frozenset({"ours"}),
            reach=20e-3,
            aim=5e-3,
            shows=("seconds", "seconds"),
            shows_unit="ms",
        ),
        Figure(
            "  Agent Lightning's runner, which polls, takes longer by",
            ratio(("peer", "seconds"), ("ours", "seconds")),
            "times",
            frozenset({"ours", "peer"}),
        ),
    ),
    sizes={"times": 50},
    tiny={"times": 2},
    rounds=3,
)
