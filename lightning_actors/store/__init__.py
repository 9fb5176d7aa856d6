"""What is true: rollouts, attempts, spans, resources and workers, and the operations that change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_actors.store.api import LightningStore, LightningStoreCapabilities
from lightning_actors.store.memory import InMemoryLightningStore
from lightning_actors.store.messages import LightningStoreStatistics
from lightning_actors.store.unset import UNSET, Unset

if TYPE_CHECKING:
    from lightning_actors.store.sqlite import SqliteLightningStore as SqliteLightningStore

__all__ = [
    "UNSET",
    "InMemoryLightningStore",
    "LightningStore",
    "LightningStoreCapabilities",
    "LightningStoreStatistics",
    "SqliteLightningStore",
    "Unset",
]


def __getattr__(name: str) -> Any:
    """The store in a file, imported when it is first asked for: not every process has one."""
    if name != "SqliteLightningStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning_actors.store.sqlite import SqliteLightningStore  # noqa: PLC0415 - see above

    return SqliteLightningStore
