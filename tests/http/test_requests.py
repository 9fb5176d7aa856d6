"""Requests as anybody may send them: what is wrong is named, and nothing is a failure of the server."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import httpx2
import pytest

from lightning_actors import InMemoryLightningStore, LightningStoreServer
from lightning_actors.errors import StoreError
from lightning_actors.http.routes import OPERATIONS

pytestmark = pytest.mark.anyio

ENQUEUE = "/v1/agl/queues/rollouts/enqueue"


@pytest.fixture
def anyio_backend() -> Any:
    """A server needs asyncio."""
    return "asyncio", {"use_uvloop": False}


async def test_any_operation_goes_by_the_name_of_its_message(http: httpx2.AsyncClient) -> None:
    made = await http.post("/v1/lightning/messages/EnqueueRollout", json={"input": [1], "key": "k"})
    assert (made.status_code, made.json()["input"]) == (200, [1])
    again = await http.post("/v1/lightning/messages/EnqueueRollout", json={"input": 2, "key": "k"})
    assert again.json()["rollout_id"] == made.json()["rollout_id"]
    count = await http.post("/v1/lightning/messages/Statistics")
    assert count.json()["total_rollouts"] == 1
    assert "AddOtelSpan" not in OPERATIONS


async def test_an_operation_that_is_not_there_is_told_from_those_that_are(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/lightning/messages/Divine", json={})
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "OperationUnavailable"
    assert "WaitForRollouts" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status", "names"),
    [
        (ENQUEUE, b"{", 422, ["body"]),
        (ENQUEUE, b"\xff\xfe", 422, ["body"]),
        (ENQUEUE, b"[]", 422, ["body"]),
        (ENQUEUE, b"null", 422, ["body"]),
        (ENQUEUE, b"", 422, ["body"]),
        (ENQUEUE, b"[" * 5_000, 422, ["body"]),
        (ENQUEUE, b'{"rollouts": 3}', 422, ["body.rollouts"]),
        (ENQUEUE, b'{"rollouts": [{"input": 1, "colour": 2}]}', 422, ["body.rollouts.0.colour"]),
        (ENQUEUE, b'{"rollouts": [{"input": "\\ud800"}]}', 422, ["body"]),
        ("/v1/agl/rollouts", b'{"input": 1, "config": {"max_attempts": 0}}', 422, ["body.config.max_attempts"]),
        ("/v1/agl/rollouts/ro-1", b'{"rollout_id": "ro-2"}', 422, ["body.rollout_id"]),
        ("/v1/agl/workers/w", b'{"worker_id": "x"}', 422, ["body.worker_id"]),
        ("/v1/agl/waits/rollouts", b'{"rollout_ids": ["a"], "timeout": NaN}', 422, ["body.timeout"]),
        ("/v1/agl/spans", b'{"rollout_id": "r", "attempt_id": "a", "sequence_id": 1e400}', 422, None),
        ("/v1/agl/resources", b'{"x": {"resource_type": "llm"}}', 422, None),
    ],
)
async def test_a_mistake_is_named_by_its_place(
    http: httpx2.AsyncClient, path: str, body: bytes, status: int, names: list[str] | None
) -> None:
    answer = await http.post(path, content=body)
    assert answer.status_code == status
    places = [".".join(map(str, one["loc"])) for one in answer.json()["detail"]]
    assert names is None or places == names
    assert all(one["msg"] for one in answer.json()["detail"])


async def test_what_is_nested_too_deep_to_be_answered_is_refused(http: httpx2.AsyncClient) -> None:
    deep: Any = 1
    for _ in range(120):
        deep = [deep]
    answer = await http.post(ENQUEUE, json={"rollouts": [{"input": deep}]})
    assert answer.status_code == 422
    assert "nested more than 100 deep" in answer.text


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_a_body_may_be_compressed(http: httpx2.AsyncClient, encoding: str) -> None:
    body = json.dumps({"rollouts": [{"input": "x" * 10_000}]}).encode()
    content = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[encoding](body)
    answer = await http.post(ENQUEUE, content=content, headers={"content-encoding": encoding})
    assert answer.status_code == 201


async def test_a_compression_that_is_not_known_is_said(http: httpx2.AsyncClient) -> None:
    answer = await http.post(ENQUEUE, content=b"{}", headers={"content-encoding": "br"})
    assert answer.status_code == 415
    assert "gzip" in answer.json()["detail"]


@pytest.mark.parametrize(
    "header", ["", "a", "a;b;c", "a;1", ";1;0", "a;-1;0", "a;1;0;0", f"a;{2**63};0", f"a;1;{2**63}"]
)
async def test_a_number_that_cannot_be_read_is_refused(http: httpx2.AsyncClient, header: str) -> None:
    answer = await http.post(ENQUEUE, json={"rollouts": [{"input": 1}]}, headers={"lightning-once": header})
    assert answer.status_code == 422
    assert "client;number;settled_below" in answer.json()["detail"]


async def test_a_change_that_is_asked_for_again_under_its_number_is_not_done_again(http: httpx2.AsyncClient) -> None:
    answers = [
        await http.post(ENQUEUE, json={"rollouts": [{"input": 1}]}, headers={"lightning-once": "me;7;7"})
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert (await http.get("/v1/agl/statistics")).json()["total_rollouts"] == 1


async def test_a_failure_that_nobody_foresaw_shows_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(InMemoryLightningStore):
        """Fails in ways of its own."""

        async def enqueue_rollout(self, *_: Any, **__: Any) -> Any:
            raise StoreError("the disk is on fire")

        async def start_rollout(self, *_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

    async with (
        LightningStoreServer(Broken(), port=0) as server,
        httpx2.AsyncClient(base_url=server.endpoint) as client,
    ):
        failed = await client.post(ENQUEUE, json={"rollouts": [{"input": 1}]})
        assert (failed.status_code, failed.json()["detail"]) == (503, "the disk is on fire")
        crashed = await client.post("/v1/agl/rollouts", json={"input": 1})
        assert crashed.status_code == 503
        assert crashed.json()["error"]["type"] == "ZeroDivisionError"
        for answer in (failed, crashed):
            assert "Traceback" not in answer.text
            assert "retry-after" not in answer.headers  # it would fail again
    assert "store_failed" in caplog.text
    assert "unforeseen_error" in caplog.text
