"""A web application that learns which prompt its users like, while it serves them.

Each request is a rollout, in the request's own task. What users say about the answers, whenever they say it, decides
which prompt the next requests are answered with. A client that hangs up stops its rollout.

python examples/web_app.py              or, from the folder examples: uvicorn web_app:app

curl localhost:8000/ask -d '{"question": "What is the capital of France?"}'
curl localhost:8000/feedback -d '{"rollout_id": "ro-…", "reward": 1}'
curl localhost:8000/prompts
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import anyio
import uvicorn
from anyio.abc import TaskStatus
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import lightning_actors as agl
from lightning_actors.demo import language_model

PROMPTS: Final = (
    "{question}",
    "Answer in one short sentence. {question}",
    "You are a patient teacher. Explain briefly: {question}",
)
log = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST: Final = 499
REFUSALS: Final = {agl.RolloutNotFound: 404, agl.AttemptNotFound: 404, agl.RolloutNotEnded: 409, agl.SpansEvicted: 410}


@agl.rollout
async def answer(task: str, main_prompt: agl.PromptTemplate, llm: agl.LLM) -> None:
    """Answer a question. Only the user can say how good the answer was, so there is no reward yet."""
    async with AsyncOpenAI(base_url=llm.endpoint, api_key=llm.api_key or "none") as client:
        response = await client.chat.completions.create(
            model=llm.model,
            messages=[{"role": "user", "content": main_prompt.format(question=task)}],
            max_tokens=60,
            temperature=0.0,
        )
    agl.emit_message(response.choices[0].message.content or "")


@dataclass(frozen=True)
class Service:
    """What the requests work with."""

    store: agl.LightningStore
    runner: agl.LitAgentRunner[str]
    bandit: agl.PromptBandit


def serving(store: agl.LightningStore) -> Callable[[Starlette], AbstractAsyncContextManager[dict[str, Service]]]:
    """The application's life: model, runner and learner are there before the first request and until after the last."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[dict[str, Service]]:
        bandit, stopping = agl.PromptBandit(PROMPTS, resource_name="main_prompt"), anyio.Event()
        runner = agl.LitAgentRunner[str](agl.OtelTracer())
        with language_model() as llm:
            await store.add_resources({"llm": llm})
            async with runner.run_context(agent=answer, store=store), anyio.create_task_group() as tasks:
                await tasks.start(learn_until, stopping, bandit, store)
                yield {"service": Service(store, runner, bandit)}
                stopping.set()

    return lifespan


async def learn_until(
    stopping: anyio.Event, bandit: agl.PromptBandit, store: agl.LightningStore, *, task_status: TaskStatus[None]
) -> None:
    """Learn in a task of its own, so that a learner that fails is not the end of the service.

    Requests are then answered with the prompt that it published last, and rewards are kept.
    """
    has_begun = False
    try:
        async with bandit.learning(store):
            has_begun = True
            task_status.started()
            await stopping.wait()
    except Exception:
        if not has_begun:
            raise
        log.exception("the application goes on without learning")


async def ask(request: Request) -> Response:
    """Answer a question; the rollout's id is what feedback on the answer refers to."""
    service: Service = request.state.service
    question = (await body_of(request)).get("question")
    if not isinstance(question, str):
        raise HTTPException(400, 'send {"question": "…"}')
    rollout = await step_while_connected(request, service.runner, question)
    if rollout is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    spans = await service.store.query_spans(rollout.rollout_id, "latest")
    said = [text for span in spans if (text := agl.get_message_value(span)) is not None]
    return JSONResponse({"answer": said[-1], "rollout_id": rollout.rollout_id})


async def step_while_connected(request: Request, runner: agl.LitAgentRunner[str], question: str) -> agl.Rollout | None:
    """Run a rollout unless the client hangs up, which cancels it; None then. The request's body has been read before.

    The server tells of a closed connection only to whoever asks it for the next message, so a task waits for that.
    """
    rollout: agl.Rollout | None = None
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def cancel_when_gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(cancel_when_gone)
        try:
            rollout = await runner.step(question)
        except Exception as raised:  # noqa: BLE001 - raised below, where no group wraps it
            error = raised
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error
    return rollout


async def feedback(request: Request) -> Response:
    """Take what a user says about an answer: 0 for bad to 1 for good. Saying it again replaces it."""
    service: Service = request.state.service
    told = await body_of(request)
    rollout_id, reward = told.get("rollout_id"), told.get("reward")
    if not isinstance(rollout_id, str) or not isinstance(reward, int | float) or not 0 <= reward <= 1:
        raise HTTPException(400, 'send {"rollout_id": "ro-…", "reward": 1}, with a reward from 0 to 1')
    try:
        await service.bandit.feedback(rollout_id, reward)
    except agl.NotLearning as refused:  # the learner has failed, or is being stopped
        if not refused.kept:
            await agl.attach_reward(service.store, rollout_id, reward)
        return Response(status_code=202)
    except agl.ConfigError as refused:
        return JSONResponse({"error": str(refused)}, 410)
    return Response(status_code=204)


async def prompts(request: Request) -> Response:
    """Show what has been learned."""
    bandit = request.state.service.bandit
    arms = [
        {
            "prompt": arm.prompt.template,
            "rollouts": arm.rollouts,
            "rewarded": arm.rewarded,
            "mean": arm.mean,
            "share": arm.share,
        }
        for arm in bandit.arms
    ]
    return JSONResponse({"prompts": arms, "best": bandit.best_prompt.template})


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body."""
    try:
        told: Any = await request.json()
    except ValueError as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise HTTPException(400, "send a JSON object")
    return cast("dict[str, Any]", told)


async def refuse(_request: Request, error: Exception) -> Response:
    """Say what is wrong with the rollout that a request names."""
    return JSONResponse({"error": str(error)}, REFUSALS[type(error)])  # pyright: ignore[reportArgumentType] - it handles those


def make_app(store: agl.LightningStore | None = None) -> Starlette:
    """The application.

    Args:
        store: Where its rollouts are kept; in memory by default.
    """
    return Starlette(
        routes=[
            Route("/ask", ask, methods=["POST"]),
            Route("/feedback", feedback, methods=["POST"]),
            Route("/prompts", prompts),
        ],
        exception_handlers=dict.fromkeys(REFUSALS, refuse),
        lifespan=serving(agl.InMemoryLightningStore() if store is None else store),
    )


app = make_app()

if __name__ == "__main__":
    agl.configure_logger("WARNING")
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
