"""What our server answers beside what Agent Lightning 0.3.0 was recorded to answer to the same requests."""

from __future__ import annotations

from typing import Any, Final, cast

import pytest
from agent_lightning.exchanges import REQUESTS, Answer, ask_all, load_recorded
from anyio.from_thread import start_blocking_portal

from lightning_actors import InMemoryLightningStore, LightningStoreServer

NOT_FOUND: Final = Answer(404, None)
OTHERWISE: Final[dict[str, tuple[Answer, str]]] = {
    "an unknown rollout": (NOT_FOUND, "unknown ids are not found, not a failure of the server"),
    "update an unknown rollout": (NOT_FOUND, "the same"),
    "a span of an unknown rollout": (NOT_FOUND, "the same"),
    "an unknown attempt": (NOT_FOUND, "the same"),
    "a new attempt at an unknown rollout": (NOT_FOUND, "the same"),
    "wait for an unknown rollout": (NOT_FOUND, "nobody should wait for what never comes"),
    "update to a null status": (Answer(400, ["body.status"]), "the field is named where clients look for it"),
    "update to a null config": (Answer(400, ["body.config"]), "the same"),
    "a null status of an attempt": (Answer(400, ["body.status"]), "the same"),
    "a heartbeat of null": (Answer(400, ["body.heartbeat_stats"]), "the same"),
    "rollouts, limit -2": (Answer(400, ["query.limit"]), "the same"),
    "rollouts, offset -1": (Answer(400, ["query.offset"]), "the same"),
    "a span without a name": (
        Answer(422, [f"body.{name}" for name in ("sequence_id", "trace_id", "span_id", "name")]),
        "what can be left out of a span may be",
    ),
}
"""Where our answer is another one, and why."""


@pytest.fixture(scope="module")
def ours() -> dict[str, Answer]:
    """What our server answers."""
    with start_blocking_portal("asyncio") as portal:
        server = LightningStoreServer(InMemoryLightningStore(), port=0)
        with portal.wrap_async_context_manager(server):
            return ask_all(server.endpoint)


def test_every_request_was_recorded_once() -> None:
    names = [request.name for request in REQUESTS]
    assert names == list(load_recorded())
    assert set(OTHERWISE) <= set(names)


@pytest.mark.parametrize("name", [request.name for request in REQUESTS])
def test_the_answer_is_agent_lightnings_or_differs_for_a_reason(name: str, ours: dict[str, Answer]) -> None:
    recorded = load_recorded()[name]
    answer = ours[name]
    if name in OTHERWISE:
        assert answer == OTHERWISE[name][0]
        assert answer != recorded
        return
    assert answer.status == recorded.status
    assert _only_common(answer.body, recorded.body) == recorded.body


def _only_common(ours: Any, theirs: Any) -> Any:
    """Our answer without what it says beyond theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        said = cast("dict[str, Any]", ours)
        return {name: _only_common(said.get(name), value) for name, value in cast("dict[str, Any]", theirs).items()}
    if isinstance(ours, list) and isinstance(theirs, list):
        pairs = zip(cast("list[Any]", ours), cast("list[Any]", theirs), strict=True)
        return [_only_common(one, other) for one, other in pairs]
    return cast("Any", ours)
