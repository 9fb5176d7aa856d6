"""Requests to a store server and what was answered: sent to Agent Lightning's server, recorded, and sent to ours.

Ids and times differ from run to run, so they are written as places: ``ro-#1`` is the first rollout id that was seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import httpx2

__all__ = ["RECORDED", "REQUESTS", "Answer", "Request", "ask_all", "load_recorded"]

RECORDED: Final = Path(__file__).with_name("recorded.json")
"""What Agent Lightning 0.3.0 answered."""

_ID: Final = re.compile(r"(?:ro|at|rs)-[0-9a-f]{8,12}")
_PLACE: Final = re.compile(r"(?:ro|at|rs)-#\d+")
_FAILED: Final = 400
_PASSES: Final = frozenset({"uptime", "total_span_bytes"})
"""Numbers that are of the moment."""


class Request(NamedTuple):
    """One request; the same name is used once."""

    name: str
    method: str
    path: str
    body: Any = None


class Answer(NamedTuple):
    """What was answered, with places for what differs from run to run."""

    status: int
    body: Any


R: Final = Request
_SPAN: Final[dict[str, Any]] = {
    "rollout_id": "ro-#1",
    "attempt_id": "at-#1",
    "sequence_id": 5,
    "trace_id": "7" * 32,
    "span_id": "8" * 16,
    "parent_id": None,
    "name": "call",
    "status": {"status_code": "OK", "description": None},
    "attributes": {"text": "é", "whole": 3, "real": 1.0, "flag": True, "many": ["a", "b"]},
    "events": [{"name": "said", "attributes": {"n": 1}, "timestamp": 12.5}],
    "links": [
        {
            "context": {"trace_id": "7" * 32, "span_id": "9" * 16, "is_remote": False, "trace_state": {}},
            "attributes": None,
        }
    ],
    "start_time": 10.0,
    "end_time": 12.75,
    "context": {"trace_id": "7" * 32, "span_id": "8" * 16, "is_remote": False, "trace_state": {"k": "v"}},
    "parent": None,
    "resource": {"attributes": {"service.name": "agent"}, "schema_url": ""},
}
_CONFIG: Final[dict[str, Any]] = {"max_attempts": 2, "retry_condition": ["failed"], "timeout_seconds": 300.0}
_RESOURCES: Final[dict[str, Any]] = {
    "llm": {"resource_type": "llm", "endpoint": "http://e/v1", "model": "m", "sampling_parameters": {"t": 0.5}},
    "proxy": {"resource_type": "proxy_llm", "endpoint": "http://e/v1", "model": "m"},
    "prompt": {"resource_type": "prompt_template", "template": "{x}", "engine": "f-string"},
}

REQUESTS: Final[tuple[Request, ...]] = (
    R("health", "GET", "/v1/agl/health"),
    R("statistics", "GET", "/v1/agl/statistics"),
    R("no resources yet", "GET", "/v1/agl/resources/latest"),
    R("enqueue nothing", "POST", "/v1/agl/queues/rollouts/enqueue", {"rollouts": []}),
    R("enqueue one", "POST", "/v1/agl/queues/rollouts/enqueue", {"rollouts": [{"input": {"a": [1, None, "é"]}}]}),
    R(
        "enqueue two",
        "POST",
        "/v1/agl/queues/rollouts/enqueue",
        {"rollouts": [{"input": "two", "mode": "val", "metadata": {"k": 1}, "config": _CONFIG}, {"input": None}]},
    ),
    R("enqueue without rollouts", "POST", "/v1/agl/queues/rollouts/enqueue", {}),
    R("enqueue a bad mode", "POST", "/v1/agl/queues/rollouts/enqueue", {"rollouts": [{"input": 1, "mode": "holiday"}]}),
    R("dequeue without a body", "POST", "/v1/agl/queues/rollouts/dequeue"),
    R("dequeue none", "POST", "/v1/agl/queues/rollouts/dequeue", {"limit": 0}),
    R("dequeue the rest", "POST", "/v1/agl/queues/rollouts/dequeue", {"limit": 5, "worker_id": "w1"}),
    R("dequeue from an empty queue", "POST", "/v1/agl/queues/rollouts/dequeue", {"limit": 1, "worker_id": None}),
    R("start", "POST", "/v1/agl/rollouts", {"input": 3, "worker_id": "w2", "metadata": {"z": None}}),
    R("start without input", "POST", "/v1/agl/rollouts", {"mode": "train"}),
    R("all rollouts", "GET", "/v1/agl/rollouts"),
    R("rollouts of a status", "GET", "/v1/agl/rollouts?status_in=preparing&status_in=queuing&limit=2"),
    R("rollouts sorted", "GET", "/v1/agl/rollouts?sort_by=start_time&sort_order=desc&limit=1&offset=1"),
    R("rollouts either", "GET", "/v1/agl/rollouts?status_in=failed&rollout_id_in=ro-#1&filter_logic=or"),
    R("rollouts by a name that is unknown", "GET", "/v1/agl/rollouts?mode_in=val&limit=1"),
    R("rollouts, limit 0", "GET", "/v1/agl/rollouts?limit=0"),
    R("rollouts, limit -2", "GET", "/v1/agl/rollouts?limit=-2"),
    R("rollouts, offset -1", "GET", "/v1/agl/rollouts?offset=-1"),
    R("rollouts by no field", "GET", "/v1/agl/rollouts?sort_by=colour"),
    R("rollouts in no order", "GET", "/v1/agl/rollouts?sort_order=up"),
    R("rollouts of no status", "GET", "/v1/agl/rollouts?status_in=done"),
    R("search rollouts", "POST", "/v1/agl/rollouts/search", {"status_in": None, "rollout_id_in": ["ro-#2", "ro-none"]}),
    R("search with nothing", "POST", "/v1/agl/rollouts/search", {}),
    R("search, limit 0", "POST", "/v1/agl/rollouts/search", {"limit": 0}),
    R("one rollout", "GET", "/v1/agl/rollouts/ro-#1"),
    R("an unknown rollout", "GET", "/v1/agl/rollouts/ro-none"),
    R("update metadata", "POST", "/v1/agl/rollouts/ro-#1", {"metadata": {"x": 1}, "mode": None}),
    R("update nothing", "POST", "/v1/agl/rollouts/ro-#1", {}),
    R("update to a null status", "POST", "/v1/agl/rollouts/ro-#1", {"status": None}),
    R("update to a null config", "POST", "/v1/agl/rollouts/ro-#1", {"config": None}),
    R("update to no status", "POST", "/v1/agl/rollouts/ro-#1", {"status": "done"}),
    R("update an unknown rollout", "POST", "/v1/agl/rollouts/ro-none", {"status": "failed"}),
    R("attempts", "GET", "/v1/agl/rollouts/ro-#1/attempts"),
    R("attempts of an unknown rollout", "GET", "/v1/agl/rollouts/ro-none/attempts"),
    R("search attempts", "POST", "/v1/agl/rollouts/ro-#1/attempts/search", {"limit": 1, "sort_by": "start_time"}),
    R("latest attempt", "GET", "/v1/agl/rollouts/ro-#1/attempts/latest"),
    R("latest attempt of an unknown rollout", "GET", "/v1/agl/rollouts/ro-none/attempts/latest"),
    R("first span", "POST", "/v1/agl/spans", _SPAN),
    R("the same span again", "POST", "/v1/agl/spans", _SPAN),
    R("a span of an unknown rollout", "POST", "/v1/agl/spans", {**_SPAN, "rollout_id": "ro-none"}),
    R("a span without a name", "POST", "/v1/agl/spans", {"rollout_id": "ro-#1", "attempt_id": "at-#1"}),
    R("next sequence id", "POST", "/v1/agl/spans/next", {"rollout_id": "ro-#1", "attempt_id": "at-#1"}),
    R("spans", "GET", "/v1/agl/spans?rollout_id=ro-#1"),
    R("spans of the latest attempt", "GET", "/v1/agl/spans?rollout_id=ro-#1&attempt_id=latest&name_contains=al"),
    R("spans of nobody", "GET", "/v1/agl/spans"),
    R("spans of an unknown rollout", "GET", "/v1/agl/spans?rollout_id=ro-none"),
    R("search spans", "POST", "/v1/agl/spans/search", {"rollout_id": "ro-#1", "name": "other", "limit": 3}),
    R("an attempt succeeds", "POST", "/v1/agl/rollouts/ro-#1/attempts/at-#1", {"status": "succeeded"}),
    R("an attempt's notes", "POST", "/v1/agl/rollouts/ro-#2/attempts/latest", {"metadata": {"n": 1}}),
    R("a null status of an attempt", "POST", "/v1/agl/rollouts/ro-#2/attempts/latest", {"status": None}),
    R("an unknown attempt", "POST", "/v1/agl/rollouts/ro-#2/attempts/at-none", {"status": "failed"}),
    R("an attempt fails and is tried again", "POST", "/v1/agl/rollouts/ro-#2/attempts/latest", {"status": "failed"}),
    R("the rollout that is tried again", "GET", "/v1/agl/rollouts/ro-#2"),
    R("a new attempt by hand", "POST", "/v1/agl/rollouts/ro-#2/attempts", {"worker_id": "w3"}),
    R("a new attempt at an unknown rollout", "POST", "/v1/agl/rollouts/ro-none/attempts"),
    R("cancel", "POST", "/v1/agl/rollouts/ro-#3", {"status": "cancelled"}),
    R("look for the end", "POST", "/v1/agl/waits/rollouts", {"rollout_ids": ["ro-#2", "ro-#1"], "timeout": 0}),
    R("wait for what has ended", "POST", "/v1/agl/waits/rollouts", {"rollout_ids": ["ro-#1", "ro-#3"]}),
    R("wait for an unknown rollout", "POST", "/v1/agl/waits/rollouts", {"rollout_ids": ["ro-none"], "timeout": 0.01}),
    R("a worker's heartbeat", "POST", "/v1/agl/workers/w9", {"heartbeat_stats": {"cpu": [0.5]}}),
    R("a heartbeat without a body", "POST", "/v1/agl/workers/w9"),
    R("a heartbeat of null", "POST", "/v1/agl/workers/w9", {"heartbeat_stats": None}),
    R("one worker", "GET", "/v1/agl/workers/w9"),
    R("an unknown worker", "GET", "/v1/agl/workers/nobody"),
    R("idle workers", "GET", "/v1/agl/workers?status_in=idle&sort_by=worker_id"),
    R("search workers", "POST", "/v1/agl/workers/search", {"worker_id_contains": "9"}),
    R("add resources", "POST", "/v1/agl/resources", _RESOURCES),
    R("resources without a type", "POST", "/v1/agl/resources", {"x": {"endpoint": "e"}}),
    R("update resources", "POST", "/v1/agl/resources/rs-#1", {"prompt": _RESOURCES["prompt"]}),
    R("make resources by an update", "POST", "/v1/agl/resources/mine", {}),
    R("latest resources", "GET", "/v1/agl/resources/latest"),
    R("one set of resources", "GET", "/v1/agl/resources/rs-#1"),
    R("unknown resources", "GET", "/v1/agl/resources/rs-none"),
    R("resources", "GET", "/v1/agl/resources?resources_id_contains=mi&limit=5"),
    R("no such path", "GET", "/v1/agl/colours"),
    R("another method", "PUT", "/v1/agl/rollouts", {}),
    R("metrics", "POST", "/v1/metrics"),
    R("what there is at the end", "GET", "/v1/agl/statistics"),
)


def ask_all(address: str) -> dict[str, Answer]:
    """Send all requests to an empty store's server, in order."""
    places = _Places()
    answers: dict[str, Answer] = {}
    with httpx2.Client(base_url=address, trust_env=False, timeout=30) as client:
        for request in REQUESTS:
            path = places.filled(request.path)
            body = None if request.body is None else json.loads(places.filled(json.dumps(request.body)))
            response = client.request(request.method, path, json=body)
            data = response.json() if response.content else None
            body = places.marked(data) if response.status_code < _FAILED else _mistakes(data)
            answers[request.name] = Answer(response.status_code, body)
    return answers


def load_recorded() -> dict[str, Answer]:
    """What Agent Lightning's server answered."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {name: Answer(*answer) for name, answer in recorded.items()}


def _mistakes(data: Any) -> Any:
    """Of a refusal, which fields it names; its words are each server's own."""
    detail = None if data is None else data["detail"]
    if not isinstance(detail, list):
        return None
    return [".".join(map(str, one["loc"])) for one in cast("list[dict[str, Any]]", detail)]


class _Places:
    """The ids of one run, by the order in which they were seen."""

    def __init__(self) -> None:
        self._place_of: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def filled(self, text: str) -> str:
        """The text with ids in place of their places."""
        ids = {place: one for one, place in self._place_of.items()}
        return _PLACE.sub(lambda found: ids[found[0]], text)

    def marked(self, data: Any, name: str = "") -> Any:
        """The data with places in place of ids and of times."""
        if isinstance(data, dict):
            return {key: self.marked(value, key) for key, value in cast("dict[str, Any]", data).items()}
        if isinstance(data, list):
            return [self.marked(item) for item in cast("list[Any]", data)]
        if isinstance(data, str):
            mark: Callable[[re.Match[str]], str] = lambda found: self._place(found[0])  # noqa: E731 - its type is told
            return _ID.sub(mark, data)
        is_clock = name.endswith("_time") and isinstance(data, float) and data > 1e6
        return f"<{name}>" if is_clock or name in _PASSES or name.endswith("_bytes") else data

    def _place(self, one: str) -> str:
        kind = one[:2]
        if one not in self._place_of:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._place_of[one] = f"{kind}-#{self._counts[kind]}"
        return self._place_of[one]
