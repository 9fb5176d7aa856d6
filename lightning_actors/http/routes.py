"""The routes of the REST interface as one table: a server, a client and a description of it are all read from here.

```
GET /v1/agl/rollouts/{rollout_id}   ◀──▶   GetRolloutById(rollout_id)
POST /v1/lightning/messages/{name}  ◀──▶   any operation, by the name of its message
```

Source: methods, paths, bodies, replies and statuses below ``/v1/agl`` are those of Agent Lightning 0.3.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from lightning_actors.store import messages
from lightning_actors.store.api import LightningStore
from lightning_actors.store.messages import StoreMessage

__all__ = ["AGL", "HEALTH", "LINK", "MESSAGES", "OPERATIONS", "ROUTES", "SERVER_HEADER", "TRACES", "Body", "Route"]

AGL: Final = "/v1/agl"
"""What the paths of the table begin with."""
HEALTH: Final = f"{AGL}/health"
TRACES: Final = "/v1/traces"
MESSAGES: Final = "/v1/lightning/messages"
"""Any operation, also one that Agent Lightning has no route for: its message as JSON below this path."""
LINK: Final = "/v1/lightning/link"
"""A WebSocket over which a client of ours asks for operations and is told of what it watches."""
SERVER_HEADER: Final = "lightning-actors"
"""The header by which a server of ours is known; its value is the version."""


class Body(enum.Enum):
    """Where a request carries the fields of its message that are not in the path."""

    NOTHING = enum.auto()
    QUERY = enum.auto()
    """In the query string; a field of many values is given many times."""
    FIELDS = enum.auto()
    """In a JSON object."""
    OPTIONAL = enum.auto()
    """In a JSON object that may be absent."""
    WHOLE = enum.auto()
    """The JSON is the value of one field."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        method: The HTTP method.
        path: The path below ``/v1/agl``; names in braces are fields of the message.
        message: What is asked of the store.
        body: Where the other fields are.
        status: The status of a reply.
        whole: The field that the body is, for ``Body.WHOLE``.
        renamed: Fields that have another name in the body, by their name there.
        reply_under: The key under which the reply stands; None where the body is the reply.
        none_is_missing: Whether a reply of None is answered with 404.
        ours: Fields of the message that Agent Lightning's route does not know.
        path_fields: The fields that stand in the path.
    """

    method: Literal["GET", "POST"]
    path: str
    message: type[StoreMessage[Any]]
    body: Body = Body.NOTHING
    status: int = 200
    whole: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    reply_under: str | None = None
    none_is_missing: bool = False
    ours: frozenset[str] = frozenset()
    path_fields: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path_fields", tuple(re.findall(r"{(\w+)}", self.path)))


_OLD_NAMES: Final = frozenset({"status", "rollout_ids"})
_ATTEMPTS: Final = "/rollouts/{rollout_id}/attempts"

ROUTES: Final = (
    Route("GET", "/statistics", messages.Statistics),
    Route(
        "POST",
        "/queues/rollouts/enqueue",
        messages.EnqueueManyRollouts,
        Body.FIELDS,
        status=201,
        renamed={"rollouts": "requests"},
    ),
    Route(
        "POST",
        "/queues/rollouts/dequeue",
        messages.DequeueManyRollouts,
        Body.OPTIONAL,
        ours=frozenset({"lease"}),
    ),
    Route("POST", "/rollouts", messages.StartRollout, Body.FIELDS, status=201, ours=frozenset({"begun", "lease"})),
    Route("POST", "/rollouts/search", messages.QueryRollouts, Body.FIELDS, ours=_OLD_NAMES),
    Route("GET", "/rollouts", messages.QueryRollouts, Body.QUERY, ours=_OLD_NAMES),
    Route("GET", "/rollouts/{rollout_id}", messages.GetRolloutById, none_is_missing=True),
    Route("POST", "/rollouts/{rollout_id}", messages.UpdateRollout, Body.FIELDS),
    Route("POST", _ATTEMPTS, messages.StartAttempt, Body.OPTIONAL, status=201),
    Route("POST", f"{_ATTEMPTS}/search", messages.QueryAttempts, Body.FIELDS),
    Route("GET", _ATTEMPTS, messages.QueryAttempts, Body.QUERY),
    Route("GET", f"{_ATTEMPTS}/latest", messages.GetLatestAttempt),
    Route("POST", f"{_ATTEMPTS}/{{attempt_id}}", messages.UpdateAttempt, Body.FIELDS),
    Route("POST", "/workers/search", messages.QueryWorkers, Body.FIELDS),
    Route("GET", "/workers", messages.QueryWorkers, Body.QUERY),
    Route("GET", "/workers/{worker_id}", messages.GetWorkerById),
    Route("POST", "/workers/{worker_id}", messages.UpdateWorker, Body.OPTIONAL),
    Route("GET", "/resources", messages.QueryResources, Body.QUERY),
    Route(
        "POST",
        "/resources",
        messages.AddResources,
        Body.WHOLE,
        status=201,
        whole="resources",
        ours=frozenset({"publish"}),
    ),
    Route("GET", "/resources/latest", messages.GetLatestResources),
    Route("GET", "/resources/{resources_id}", messages.GetResourcesById),
    Route(
        "POST",
        "/resources/{resources_id}",
        messages.UpdateResources,
        Body.WHOLE,
        whole="resources",
        ours=frozenset({"publish"}),
    ),
    Route("POST", "/spans", messages.AddSpan, Body.WHOLE, status=201, whole="span"),
    Route("POST", "/spans/search", messages.QuerySpans, Body.FIELDS),
    Route("GET", "/spans", messages.QuerySpans, Body.QUERY),
    Route("POST", "/spans/next", messages.GetNextSpanSequenceId, Body.FIELDS, reply_under="sequence_id"),
    Route("POST", "/waits/rollouts", messages.WaitForRollouts, Body.FIELDS),
)
"""In the order in which they are tried. A client takes the first route of a message."""

OPERATIONS: Final[Mapping[str, type[StoreMessage[Any]]]] = MappingProxyType(
    {
        message.__name__: message
        for message in LightningStore.operations.values()
        if issubclass(message, StoreMessage) and message is not messages.AddOtelSpan
    }
)
"""The operations that a message of this name asks for. AddOtelSpan holds what JSON cannot: it goes as AddSpan."""
