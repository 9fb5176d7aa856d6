"""Store, runners and algorithm in three processes, which meet at the store; or all in one, with the same algorithm.

In three terminals, in any order, and each may be stopped and started again:

python examples/three_processes.py store        (or: lightning-actors store)
python examples/three_processes.py runner       (or, in examples: lightning-actors runner --agent capitals:name_capital)
python examples/three_processes.py algorithm

In one, where a trainer brings the three together:

python examples/three_processes.py together
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import anyio
from capitals import QUESTIONS, Question, model_or_exit, name_capital
from custom_algorithm import best_prompt

import lightning_actors as agl

STORE = "http://localhost:4747"


async def store(address: str) -> None:
    """Serve a store that the others share; ``SqliteLightningStore("run.db")`` would keep it over a restart."""
    port = int(address.rpartition(":")[2])
    async with agl.LightningStoreServer(agl.InMemoryLightningStore(), port=port) as server:
        print(f"the store listens at {server.endpoint}", flush=True)
        await anyio.sleep_forever()


async def runner(address: str) -> None:
    """Run what is queued, and what comes, two at a time."""
    tracer = agl.OtelTracer()
    client = agl.LightningStoreClient(address)

    async def work(number: int) -> None:
        one = agl.LitAgentRunner[Question](tracer)
        with one.run_context(agent=name_capital, store=client, worker_id=number):
            await one.iter()

    async with client, anyio.create_task_group() as group:
        for number in range(2):
            group.start_soon(work, number)


async def algorithm(address: str) -> None:
    """Find the better prompt with whatever runners there are."""
    with model_or_exit() as llm:
        async with agl.LightningStoreClient(address) as client:
            await client.add_resources({"llm": llm})
            await best_prompt(store=client, train_dataset=QUESTIONS)
            latest = await client.get_latest_resources()
    print(f"latest resources: {None if latest is None else latest.resources['main_prompt']}")


async def together(_address: str) -> None:
    """The same algorithm, with a store and runners beside it."""
    with model_or_exit() as llm:
        trainer = agl.Trainer(algorithm=best_prompt, n_workers=2, initial_resources={"llm": llm})
        result = await trainer.fit_async(name_capital, QUESTIONS)
    print(f"latest resources: {None if result.resources is None else result.resources.resources['main_prompt']}")


ROLES: Mapping[str, Callable[[str], Awaitable[None]]] = {
    role.__name__: role for role in (store, runner, algorithm, together)
}


def main() -> None:
    """Play one of the parts."""
    parser = argparse.ArgumentParser(description="One of three processes that meet at a store.")
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--store", default=STORE, metavar="ADDRESS", help=f"where the store is; {STORE} by default")
    told = parser.parse_args()
    agl.configure_logger("WARNING")  # the same in all of them
    with suppress(KeyboardInterrupt):  # how the store and the runners end
        anyio.run(ROLES[told.role], told.store)


if __name__ == "__main__":
    main()
