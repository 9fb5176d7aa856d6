"""`ServerPart`: what else a server serves beside the REST interface, over routes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from starlette.routing import BaseRoute

__all__ = ["ServerPart"]


class ServerPart(Protocol):
    """Something with routes, which is open while the server serves."""

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """Its routes; they stand behind the server's guard."""
        ...

    def opened(self) -> AbstractAsyncContextManager[Any]:
        """What the server is in while it serves."""
        ...

    async def drain(self) -> None:
        """The server is about to stop: tell whoever is connected, and be quick about it."""
        ...
