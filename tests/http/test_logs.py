"""What a server logs: what happened, and not what tasks, metadata or spans hold, unless at DEBUG."""

from __future__ import annotations

import logging

import httpx2
import pytest

from lightning_actors import InMemoryLightningStore, LightningStoreClient, LightningStoreServer
from lightning_actors.errors import RolloutNotFound
from lightning_actors.http.link.websocket import connect_websocket

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """A server needs asyncio."""
    return "asyncio"


SECRET = "open-sesame"  # noqa: S105 - stands for what a task holds
ENQUEUE = "/v1/agl/queues/rollouts/enqueue"


async def test_what_tasks_hold_is_not_logged(
    server: LightningStoreServer,
    store: InMemoryLightningStore,
    http: httpx2.AsyncClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    good = {"rollouts": [{"input": {"question": SECRET}, "metadata": {"note": SECRET}}]}
    assert (await http.post(ENQUEUE, json=good)).status_code in {200, 201}
    for bad in ({"rollouts": [{"input": SECRET, "mode": SECRET}]}, {"rollouts": SECRET}, [SECRET]):
        assert (await http.post(ENQUEUE, json=bad)).status_code == 422
    assert (await http.post(ENQUEUE, content=f"{{{SECRET}")).status_code in {400, 422}
    assert (await http.post("/v1/agl/rollouts/ro-none", json={"input": SECRET})).status_code == 404
    async with LightningStoreClient(server.endpoint) as client:
        rollout = await client.enqueue_rollout({"question": SECRET}, metadata={"note": SECRET})
        claimed = await client.dequeue_rollout()
        assert claimed is not None
        await client.update_attempt(
            claimed.rollout_id, claimed.attempt.attempt_id, status="succeeded", metadata={"note": SECRET}
        )
        with pytest.raises(RolloutNotFound):
            await client.update_rollout("ro-none", input=SECRET)
        await client.wait_for_rollouts(rollout_ids=[rollout.rollout_id], timeout=0.01)
    assert (await store.query_rollouts()).total == 2
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "frame", ["shout {}", "ask 1 {}", "ask {} EnqueueRollout 1", "ping {}", 'watch {{"attempt_id":{}}}', "settled {}"]
)
async def test_what_was_said_over_a_link_is_shown_to_whoever_said_it_and_not_logged(
    server: LightningStoreServer, caplog: pytest.LogCaptureFixture, frame: str
) -> None:
    caplog.set_level(logging.INFO)
    channel = await connect_websocket(server.endpoint, token=None, ssl_context=None, message_bytes=128 * 1024)
    await channel.send(b'hello {"client":"c"}\n' + frame.format(SECRET).encode())
    while b"bye" not in (said := await channel.receive()):
        pass
    await channel.aclose()
    assert SECRET.encode() in said
    assert "link_misused" in caplog.text
    assert SECRET not in caplog.text
