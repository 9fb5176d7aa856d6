"""Resources that steps were given: checked, and stored once."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from lightning_actors.store import LightningStore
from lightning_actors.types import Resource

__all__ = ["KnownResources", "checked_resources"]

_MOST = 16


def checked_resources(resources: Mapping[str, Resource], where: str) -> dict[str, Resource]:
    """The resources by name, each looked at.

    Args:
        resources: What a caller gave, who may have no type checker.
        where: The name of the argument, for the message.

    Raises:
        TypeError: They are no mapping, a name is no text, or one of them is no Resource.
    """
    if not isinstance(resources, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TypeError(f"{where} is {resources!r}: give a dict of resources by name, as in {{'main_prompt': prompt}}")
    for name, resource in resources.items():
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(f"{where} has the name {name!r}: give resources by their names, which are texts")
        if not isinstance(resource, Resource):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(
                f"{where}[{name!r}] is {resource!r}, no Resource: use PromptTemplate, LLM, or a frozen subclass of "
                f"Resource"
            )
    return dict(resources)


class KnownResources:
    """The last few sets of resources that were stored, so that equal ones are not stored again.

    Args:
        store: Where they are kept, though never as its latest.
    """

    def __init__(self, store: LightningStore) -> None:
        self._store = store
        self._known: deque[tuple[dict[str, Resource], str]] = deque(maxlen=_MOST)
        self._storing: tuple[EventLoopToken, anyio.Lock] | None = None

    async def stored(self, resources: dict[str, Resource]) -> str:
        """The id under which the store has these resources."""
        known = self._find(resources)
        if known is not None:
            return known
        async with self._lock():  # steps that begin together find what the first of them stored
            known = self._find(resources)
            if known is None:
                update = await self._store.add_resources(resources, publish=False)
                known = update.resources_id
                self._known.append((resources, known))
        return known

    def _find(self, resources: dict[str, Resource]) -> str | None:
        for stored, resources_id in self._known:
            if stored == resources:
                return resources_id
        return None

    def _lock(self) -> anyio.Lock:
        """A lock of the running event loop: a runner may be used from one loop after another."""
        token = current_token()
        if self._storing is None or self._storing[0].native_token is not token.native_token:
            self._storing = (token, anyio.Lock())
        return self._storing[1]
