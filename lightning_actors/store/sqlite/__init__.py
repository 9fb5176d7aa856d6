"""The home of a store in a file of SQLite."""

from __future__ import annotations

from lightning_actors.store.sqlite.store import SqliteLightningStore

__all__ = ["SqliteLightningStore"]
