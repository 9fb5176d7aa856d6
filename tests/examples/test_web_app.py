"""The web application: a real server and real connections, some of which are closed before they are answered."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
import pytest
import uvicorn
from stand_in import Message, StandIn, serve_stand_in

import lightning_actors
from lightning_actors.algorithm import Experience, PromptBandit
from lightning_actors.emitter import find_final_reward
from lightning_actors.store import InMemoryLightningStore
from lightning_actors.types import AttemptedRollout

pytestmark = pytest.mark.anyio

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "web_app.py"


@pytest.fixture(params=[pytest.param(False, id="asyncio"), pytest.param(True, id="uvloop")])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The loops that uvicorn knows."""
    return "asyncio", {"use_uvloop": request.param}


@dataclass
class Model:
    """A model that answers at once, or where the question says so, once it is let go."""

    served: StandIn
    asked: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """What the application's agent talks to."""

    def answer(messages: Sequence[Message]) -> str:
        question = str(messages[-1]["content"])
        if "wait" in question:
            made.asked.set()
            made.go_on.wait(30)
        return f"I was asked: {question}"

    with serve_stand_in(answer) as served:
        made = Model(served)
        monkeypatch.setenv("OPENAI_BASE_URL", served.base_url)
        monkeypatch.setenv("OPENAI_MODEL", "stand-in")
        try:
            yield made
        finally:
            made.go_on.set()


@pytest.fixture(scope="module")
def web_app() -> Any:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("web_app", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["web_app"] = module  # its dataclass looks for its module there
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def serving(web_app: Any, store: InMemoryLightningStore) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of the application, which is served in this event loop and stopped in order."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(web_app.make_app(store), log_level="error", ws="none"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: server.serve(sockets=[listening]))
            async with httpx2.AsyncClient(base_url=address, timeout=30, trust_env=False) as client:
                try:
                    yield client
                finally:
                    server.should_exit = True


async def test_a_question_is_answered_with_the_prompt_of_the_day(model: Model, web_app: Any) -> None:
    store = InMemoryLightningStore()
    async with serving(web_app, store) as client:
        told = (await client.post("/ask", json={"question": "Who are you?"})).json()
        done = await store.get_rollout_by_id(told["rollout_id"])
        assert isinstance(done, AttemptedRollout)
        assert (done.input, done.status) == ("Who are you?", "succeeded")
        resources = await store.get_resources_by_id(str(done.resources_id))
        assert resources is not None
        prompt: Any = resources.resources["main_prompt"]
        assert prompt.template in web_app.PROMPTS
        assert told["answer"] == f"I was asked: {prompt.format(question='Who are you?')}"


async def test_the_prompt_that_users_like_comes_to_be_used(model: Model, web_app: Any) -> None:
    liked = web_app.PROMPTS[1]
    async with serving(web_app, InMemoryLightningStore()) as client:
        for number in range(60):
            told = (await client.post("/ask", json={"question": f"Question {number}?"})).json()
            reward = int(liked.format(question=f"Question {number}?") in told["answer"])
            said = await client.post("/feedback", json={"rollout_id": told["rollout_id"], "reward": reward})
            assert said.status_code == 204
        learned = (await client.get("/prompts")).json()
    assert learned["best"] == liked
    arms = {arm["prompt"]: arm for arm in learned["prompts"]}
    assert list(arms) == list(web_app.PROMPTS)
    assert arms[liked]["share"] > 0.6
    assert arms[liked]["mean"] == 1.0
    assert sum(arm["rewarded"] for arm in arms.values()) == 60


async def test_feedback_given_again_replaces_what_was_said(model: Model, web_app: Any) -> None:
    async with serving(web_app, InMemoryLightningStore()) as client:
        told = (await client.post("/ask", json={"question": "Who are you?"})).json()
        for reward in (0, 1, 0.25):
            await client.post("/feedback", json={"rollout_id": told["rollout_id"], "reward": reward})
        learned = (await client.get("/prompts")).json()
    assert [arm["mean"] for arm in learned["prompts"] if arm["rollouts"]] == [0.25]


async def test_a_client_that_hangs_up_stops_its_rollout_and_no_other(model: Model, web_app: Any) -> None:
    store = InMemoryLightningStore()
    async with serving(web_app, store) as client:
        before = await client.post("/ask", json={"question": "Who are you?"})
        body = json.dumps({"question": "Will you wait?"})
        connection = await anyio.connect_tcp("127.0.0.1", client.base_url.port or 0)
        async with connection:
            head = f"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            await connection.send((head + body).encode())
            await anyio.to_thread.run_sync(model.asked.wait, 30)
            now = await store.query_rollouts(status_in=["running"])
            assert [one.input for one in now] == ["Will you wait?"]
        feed = store.completions()
        first, second = await anext(feed), await anext(feed)
        assert (first.rollout_id, first.status) == (before.json()["rollout_id"], "succeeded")
        assert (second.input, second.status) == ("Will you wait?", "cancelled")
        assert isinstance(second, AttemptedRollout)
        assert (second.attempt.status, second.attempt.metadata) == ("failed", {"reason": "cancelled"})
        await anyio.wait_all_tasks_blocked()
        assert not [task for task in asyncio.all_tasks() if "agent of" in task.get_name()], "the agent has ended"
        model.go_on.set()
        after = await client.post("/ask", json={"question": "Still there?"})
        assert after.status_code == 200


async def test_feedback_on_what_is_not_there_or_has_not_ended_is_refused(model: Model, web_app: Any) -> None:
    store = InMemoryLightningStore()
    async with serving(web_app, store) as client, anyio.create_task_group() as tasks:
        said = await client.post("/feedback", json={"rollout_id": "ro-none", "reward": 1})
        assert (said.status_code, "there is no rollout" in said.json()["error"]) == (404, True)
        tasks.start_soon(lambda: client.post("/ask", json={"question": "Will you wait?"}))
        await anyio.to_thread.run_sync(model.asked.wait, 30)
        (running,) = await store.query_rollouts(status_in=["running"])
        said = await client.post("/feedback", json={"rollout_id": running.rollout_id, "reward": 1})
        assert (said.status_code, "has not ended" in said.json()["error"]) == (409, True)
        model.go_on.set()


async def test_feedback_that_comes_too_late_for_the_bandit_is_refused(
    model: Model, web_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(*args: Any, **options: Any) -> PromptBandit:
        return PromptBandit(*args, **options, feedback_window=2)

    monkeypatch.setattr(lightning_actors, "PromptBandit", forgetful)
    async with serving(web_app, InMemoryLightningStore()) as client:
        asked = [(await client.post("/ask", json={"question": str(number)})).json() for number in range(5)]
        said = [await client.post("/feedback", json={"rollout_id": one["rollout_id"], "reward": 1}) for one in asked]
    assert [one.status_code for one in said][-2:] == [204, 204]
    assert said[0].status_code == 410
    assert "ended too long ago" in said[0].json()["error"]


async def test_a_learner_that_fails_is_not_the_end_of_the_service(
    model: Model, web_app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Unteachable(PromptBandit):
        async def learn(self, experience: Experience) -> None:
            raise ArithmeticError("it fails")

    monkeypatch.setattr(lightning_actors, "PromptBandit", Unteachable)
    store = InMemoryLightningStore()
    async with serving(web_app, store) as client:
        told, statuses = dict[str, str](), list[int]()
        for number in range(3):
            told = (await client.post("/ask", json={"question": f"Question {number}?"})).json()
            said = await client.post("/feedback", json={"rollout_id": told["rollout_id"], "reward": 0.75})
            statuses.append(said.status_code)
        assert statuses[-1] == 202, "it is kept, and nobody learns from it"
        assert find_final_reward(await store.query_spans(told["rollout_id"])) == 0.75
    assert "ArithmeticError: it fails" in caplog.text


async def test_feedback_given_while_the_server_stops_is_answered_and_in_the_store_or_not_answered(
    model: Model, web_app: Any
) -> None:
    store, answered, unanswered = InMemoryLightningStore(), list[tuple[str, float, int]](), list[str]()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(web_app.make_app(store), log_level="error", ws="none"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: server.serve(sockets=[listening]))

            async def user(number: int) -> None:
                async with httpx2.AsyncClient(base_url=address, timeout=30, trust_env=False) as client:
                    told = (await client.post("/ask", json={"question": f"Question {number}?"})).json()
                    for turn in range(1, 20):
                        reward = turn / 20
                        try:
                            said = await client.post(
                                "/feedback", json={"rollout_id": told["rollout_id"], "reward": reward}
                            )
                        except httpx2.TransportError:
                            unanswered.append(told["rollout_id"])
                            return
                        answered.append((told["rollout_id"], reward, said.status_code))
                        if turn == 5:
                            server.should_exit = True

            for number in range(12):
                tasks.start_soon(user, number)
    assert {status for _, _, status in answered} <= {202, 204}
    assert len(answered) >= 12
    for rollout_id, reward in {rollout_id: reward for rollout_id, reward, _ in answered}.items():
        kept = find_final_reward(await store.query_spans(rollout_id))
        assert kept is not None
        assert kept == reward or (rollout_id in unanswered and kept > reward)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/ask", "no json"),
        ("/ask", "[]"),
        ("/ask", '{"question": 7}'),
        ("/feedback", '{"rollout_id": "ro-1"}'),
        ("/feedback", '{"rollout_id": "ro-1", "reward": "good"}'),
        ("/feedback", '{"rollout_id": "ro-1", "reward": 2}'),
        ("/feedback", '{"rollout_id": "ro-1", "reward": NaN}'),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(model: Model, web_app: Any, path: str, body: str) -> None:
    async with serving(web_app, InMemoryLightningStore()) as client:
        assert (await client.post(path, content=body)).status_code == 400


async def test_the_application_begins_before_its_first_request_and_leaves_nothing_running(
    model: Model, web_app: Any
) -> None:
    store, before = InMemoryLightningStore(), asyncio.all_tasks()
    async with serving(web_app, store) as client:
        assert (await client.get("/prompts")).status_code == 200
        latest = await store.get_latest_resources()
        assert latest is not None
        assert sorted(latest.resources) == ["llm", "main_prompt"]
        assert len(asyncio.all_tasks() - before) > 1
    assert asyncio.all_tasks() == before


def test_it_runs_as_a_program_and_ends_when_it_is_told(model: Model) -> None:
    package = str(Path(lightning_actors.__file__).parents[1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    with subprocess.Popen(  # noqa: S603 - our own example
        [sys.executable, str(EXAMPLE.parent / "web_app.py")],
        env={**environment, "PYTHONPATH": package, "PYTHONWARNINGS": "error", "PORT": "0"},
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stderr is not None
        said: list[str] = []
        while not (found := re.search(r"running on (http://[\d.:]+)", said[-1] if said else "")):
            said.append(program.stderr.readline())
            assert said[-1], said
        with httpx2.Client(base_url=found[1], timeout=30, trust_env=False) as client:
            told = client.post("/ask", json={"question": "Who are you?"}).json()
            assert client.post("/feedback", json={"rollout_id": told["rollout_id"], "reward": 1}).status_code == 204
        program.send_signal(signal.SIGTERM)
        rest = program.stderr.read()
    assert "Application shutdown complete" in rest
    assert "Traceback" not in rest
    assert program.returncode in {0, -signal.SIGTERM}
