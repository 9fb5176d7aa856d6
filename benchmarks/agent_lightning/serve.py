# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""Its store behind its server, in a process of its own: says the address and serves until it is killed."""

from __future__ import annotations

import asyncio
import socket

import agentlightning as agl


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


async def main() -> None:
    """Serve."""
    store = agl.InMemoryLightningStore(thread_safe=True)
    server = agl.LightningStoreServer(store, "127.0.0.1", free_port(), launch_mode="asyncio")
    await server.start()
    print(server.endpoint, flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main())
