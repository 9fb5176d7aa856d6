"""``python -m benchmarks.echo``: a WebSocket that says again what it is told, on uvicorn as the store's server is."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn

__all__ = ["main"]


async def _echo(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message["bytes"]})


async def main() -> None:
    """Say where it listens, and echo."""
    config = uvicorn.Config(
        _echo, port=0, ws="websockets-sansio", ws_per_message_deflate=False, lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has nothing else to tell that by
        await asyncio.sleep(0.01)
    print(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main())
