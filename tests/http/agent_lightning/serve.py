# pyright: basic, reportMissingImports=false
# It runs in an environment of its own, whose packages the type checker does not see.
"""Agent Lightning's own server, until its standard input ends: ``python serve.py PORT``."""

from __future__ import annotations

import asyncio
import sys

import agentlightning as agl


async def main(port: int) -> None:
    """Serve an empty store."""
    server = agl.LightningStoreServer(agl.InMemoryLightningStore(), "127.0.0.1", port, launch_mode="asyncio")
    await server.start()
    print("ready", flush=True)  # noqa: T201 - what the test waits for
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


asyncio.run(main(int(sys.argv[1])))
