"""What is true: rollouts, attempts, spans, resources and workers, and the operations that change them."""

from __future__ import annotations

from lightning_actors.store.api import LightningStore, LightningStoreCapabilities
from lightning_actors.store.memory import InMemoryLightningStore
from lightning_actors.store.messages import LightningStoreStatistics
from lightning_actors.store.sqlite import SqliteLightningStore
from lightning_actors.store.unset import UNSET, Unset

__all__ = [
    "UNSET",
    "InMemoryLightningStore",
    "LightningStore",
    "LightningStoreCapabilities",
    "LightningStoreStatistics",
    "SqliteLightningStore",
    "Unset",
]
