"""A store over a network: the server, the client, and the REST interface between them.

It is Agent Lightning's, so that either side may be Agent Lightning 0.3. Needs the extra ``http``.
"""

from __future__ import annotations

from lightning_actors.http.app import app_of
from lightning_actors.http.client import LightningStoreClient
from lightning_actors.http.guard import Guard
from lightning_actors.http.limits import ServerLimits
from lightning_actors.http.served import ServedStore
from lightning_actors.http.server import LightningStoreServer

__all__ = ["Guard", "LightningStoreClient", "LightningStoreServer", "ServedStore", "ServerLimits", "app_of"]
