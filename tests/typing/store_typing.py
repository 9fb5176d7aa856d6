"""Read by pyright alone: what the store's operations accept and answer, and what a store of one's own may override."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, assert_type

from lightning_actors.store import UNSET, InMemoryLightningStore, LightningStore, LightningStoreStatistics
from lightning_actors.store.messages import (
    DequeueRollout,
    EnqueueRollout,
    ExplainRollout,
    QuerySpans,
    Statistics,
    WaitForRollouts,
)
from lightning_actors.types import (
    Attempt,
    AttemptedRollout,
    EnqueueRolloutRequest,
    Explanation,
    PaginatedResult,
    ResourcesUpdate,
    Rollout,
    RolloutConfig,
    RolloutMode,
    Span,
    TaskInput,
    Worker,
)


async def methods(store: LightningStore, span: Span) -> None:
    assert_type(await store.statistics(), LightningStoreStatistics)
    assert_type(await store.start_rollout({"any": "task"}, worker_id="w"), AttemptedRollout)
    assert_type(await store.enqueue_rollout(1, mode="train"), Rollout)
    assert_type(await store.enqueue_rollout(1, "val", None, RolloutConfig(), {}), Rollout)
    assert_type(await store.enqueue_many_rollouts([EnqueueRolloutRequest(input=1)]), list[Rollout])
    assert_type(await store.dequeue_rollout(), AttemptedRollout | None)
    assert_type(await store.dequeue_many_rollouts(limit=3), list[AttemptedRollout])
    assert_type(await store.start_attempt("ro"), AttemptedRollout)
    assert_type(await store.release_attempt("ro", "at"), bool)
    assert_type(await store.update_rollout("ro", status="cancelled", mode=None, metadata=UNSET), Rollout)
    assert_type(await store.update_attempt("ro", "latest", status="running"), Attempt)
    assert_type(await store.query_rollouts(status_in=["queuing"], sort_order="desc"), PaginatedResult[Rollout])
    assert_type(await store.query_attempts("ro", limit=1), PaginatedResult[Attempt])
    assert_type(await store.get_rollout_by_id("ro"), Rollout | None)
    assert_type(await store.get_latest_attempt("ro"), Attempt | None)
    assert_type(await store.get_latest_resources(), ResourcesUpdate | None)
    assert_type(await store.add_resources({}, publish=False), ResourcesUpdate)
    assert_type(await store.add_span(span), Span | None)
    assert_type(await store.add_many_spans([span]), list[Span])
    assert_type(await store.get_many_span_sequence_ids([("ro", "at")]), list[int])
    assert_type(await store.query_spans("ro", "latest", name="n"), PaginatedResult[Span])
    assert_type(await store.wait_for_rollouts(rollout_ids=["ro"], timeout=3), list[Rollout])
    assert_type(await store.explain_rollout("ro"), Explanation)
    assert_type(await store.update_worker("w"), Worker)
    assert_type(await store.update_many_workers(["w"], attempts=[("ro", "at")]), None)
    assert_type((await store.query_rollouts())[0], Rollout)


async def messages(store: LightningStore) -> None:
    assert_type(await store.ask(EnqueueRollout(1)), Rollout)
    assert_type(await store.ask(DequeueRollout()), AttemptedRollout | None)
    assert_type(await store.ask(QuerySpans("ro")), PaginatedResult[Span])
    assert_type(await store.ask(ExplainRollout("ro")), Explanation)
    assert_type(await store.ask(WaitForRollouts(rollout_ids=[])), list[Rollout])
    assert_type(await store.deliver(Statistics()), LightningStoreStatistics)
    assert_type(await LightningStore.enqueue_rollout(store, 1), Rollout)


async def wrong_calls(store: LightningStore, span: Span) -> None:
    await store.enqueue_rollout()  # pyright: ignore[reportCallIssue]  # input is missing
    await store.enqueue_rollout(1, mode="holiday")  # pyright: ignore[reportArgumentType]  # no such mode
    await store.enqueue_rollout(1, colour="red")  # pyright: ignore[reportCallIssue]  # no such argument
    await store.update_attempt("ro", "at", status="cancelled")  # pyright: ignore[reportArgumentType]  # no status of attempts
    await store.update_rollout("ro", status=None)  # pyright: ignore[reportArgumentType]  # UNSET leaves it; None is no status
    await store.query_rollouts(["ro"])  # pyright: ignore[reportCallIssue]  # keywords alone
    await store.query_rollouts(status_in=["timeout"])  # pyright: ignore[reportArgumentType]  # a status of attempts
    await store.wait_for_rollouts(["ro"])  # pyright: ignore[reportCallIssue]  # keywords alone
    await store.add_many_spans(span)  # pyright: ignore[reportArgumentType]  # one is not many
    await store.ask(EnqueueRollout(1, mode="holiday"))  # pyright: ignore[reportArgumentType]  # no such mode
    await store.ask(1)  # pyright: ignore[reportArgumentType]  # no message
    reply: int = await store.enqueue_rollout(1)  # pyright: ignore[reportAssignmentType]  # answers a rollout
    assert reply
    assert (await store.dequeue_rollout()).attempt  # pyright: ignore[reportOptionalMemberAccess]  # the queue may be empty


class Marking(InMemoryLightningStore):
    """One operation replaced, as a user writes it."""

    async def enqueue_rollout(
        self,
        input: TaskInput,  # noqa: A002 - the operation's own name
        mode: RolloutMode | None = None,
        resources_id: str | None = None,
        config: RolloutConfig | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Rollout:
        """Note that it came this way."""
        assert_type(await super().enqueue_rollout(input, mode="train"), Rollout)
        await super().enqueue_rollout(input, mode="holiday")  # pyright: ignore[reportArgumentType]  # no such mode
        return await super().enqueue_rollout(input, mode, resources_id, config, {**(metadata or {}), "marked": True})

    async def dequeue_rollout(self, worker_id: str | None = None) -> AttemptedRollout | None:
        """Claim as before."""
        return await super().dequeue_rollout(worker_id)

    async def query_rollouts(self, **options: Any) -> PaginatedResult[Rollout]:
        """Pass on whatever comes."""
        return await super().query_rollouts(**options)


async def overridden(store: Marking) -> None:
    assert_type(await store.enqueue_rollout(1, mode="train"), Rollout)
    assert_type(await store.ask(EnqueueRollout(1)), Rollout)
    assert_type(await store.dequeue_rollout(), AttemptedRollout | None)
    await store.enqueue_rollout(1, mode="holiday")  # pyright: ignore[reportArgumentType]  # no such mode
    plain: LightningStore = store
    assert_type(await plain.enqueue_rollout(1), Rollout)
