"""What an agent may return, and what it may not."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

import lightning_actors as agl
from lightning_actors.errors import AgentResultError
from lightning_actors.store import InMemoryLightningStore

pytestmark = pytest.mark.anyio


async def outcome_of(store: agl.LightningStore, make: Callable[[], Any], *, sync: bool = False) -> agl.Rollout:
    """The rollout of an agent that returns what this makes."""

    @agl.rollout
    def sync_agent(task: str) -> Any:
        return make()

    @agl.rollout
    async def agent(task: str) -> Any:
        return make()

    runner = agl.LitAgentRunner[Any](agl.DummyTracer())
    with runner.run_context(agent=sync_agent if sync else agent, store=store):
        return await runner.step("x")


async def spans_of(store: agl.LightningStore, rollout: agl.Rollout) -> list[agl.Span]:
    return list(await store.query_spans(rollout.rollout_id))


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("result", [0.5, 0.0, 1, True, Fraction(1, 4), -3.0])
async def test_a_number_is_the_final_reward(store: InMemoryLightningStore, result: Any, *, sync: bool) -> None:
    rollout = await outcome_of(store, lambda: result, sync=sync)
    assert agl.find_final_reward(await spans_of(store, rollout)) == float(result)


async def test_none_adds_nothing(store: InMemoryLightningStore) -> None:
    rollout = await outcome_of(store, lambda: None)
    (root,) = await spans_of(store, rollout)
    assert root.parent_id is None


async def test_the_returned_number_comes_after_the_rewards_emitted_before(store: InMemoryLightningStore) -> None:
    def emit_and_return() -> float:
        agl.emit_reward(0.1)
        return 0.9

    rollout = await outcome_of(store, emit_and_return)
    assert agl.find_final_reward(await spans_of(store, rollout)) == 0.9


async def test_core_fields_become_spans_of_the_rollout(store: InMemoryLightningStore) -> None:
    rollout = await outcome_of(
        store,
        lambda: [
            agl.emit_message("described", propagate=False),
            agl.emit_reward(0.75, propagate=False),
        ],
    )
    spans = await spans_of(store, rollout)
    assert [agl.get_message_value(span) for span in spans] == ["described", None, None]
    assert agl.find_final_reward(spans) == 0.75
    assert {span.rollout_id for span in spans} == {rollout.rollout_id}
    assert [span.sequence_id for span in spans] == [1, 2, 3]


async def test_spans_of_ones_own_are_stored_under_the_rollout(store: InMemoryLightningStore) -> None:
    rollout = await outcome_of(store, lambda: [agl.Span.from_attributes(attributes={"step": 1}, name="mine")])
    named = [span for span in await spans_of(store, rollout) if span.name == "mine"]
    assert [span.attributes for span in named] == [{"step": 1}]
    assert named[0].rollout_id == rollout.rollout_id


async def test_opentelemetrys_spans_are_stored_under_the_rollout(store: InMemoryLightningStore) -> None:
    def make() -> list[Any]:
        with TracerProvider().get_tracer("a library").start_as_current_span("by the sdk") as span:
            pass
        assert isinstance(span, ReadableSpan)
        return [span]

    rollout = await outcome_of(store, make)
    assert [span.name for span in await spans_of(store, rollout)].count("by the sdk") == 1


async def test_spans_that_are_in_the_trace_already_are_not_stored_twice(store: InMemoryLightningStore) -> None:
    @agl.rollout
    async def agent(task: str, rollout: agl.Rollout) -> Any:
        agl.emit_message("once")
        return runner.tracer.get_last_trace()

    runner = agl.LitAgentRunner[Any](agl.OtelTracer())
    with runner.run_context(agent=agent, store=store):
        rollout = await runner.step("x")
    messages = [agl.get_message_value(span) for span in await spans_of(store, rollout)]
    assert messages.count("once") == 1


async def test_a_page_of_spans_is_a_list_of_spans(store: InMemoryLightningStore) -> None:
    @agl.rollout
    async def agent(task: str, rollout: agl.Rollout) -> Any:
        agl.emit_message("written")
        await runner.tracer.flush()
        return await store.query_spans(rollout.rollout_id)

    runner = agl.LitAgentRunner[Any](agl.DummyTracer())
    with runner.run_context(agent=agent, store=store):
        rollout = await runner.step("x")
    messages = [agl.get_message_value(span) for span in await spans_of(store, rollout)]
    assert messages.count("written") == 1


async def test_an_empty_list_is_a_rollout_without_reward(store: InMemoryLightningStore, logged: Any) -> None:
    def nothing() -> list[agl.Span]:
        return []

    rollout = await outcome_of(store, nothing)
    assert rollout.status == "succeeded"
    assert logged("agent_returned_no_spans") == [{"rollout_id": rollout.rollout_id}]


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(
    ("result", "named"),
    [
        ("a text", "str"),
        (b"bytes", "bytes"),
        ({"reward": 1.0}, "dict"),
        (Decimal("0.5"), "Decimal"),
        (1j, "complex"),
        (object(), "object"),
        (["a text"], "a list with an item of type str"),
        ([0.5], "a list with an item of type float"),
        ((n for n in [1.0]), "generator"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_no_rollout_can_hold_fails_it_and_says_what_can_be_returned(
    store: InMemoryLightningStore, result: Any, named: str, *, sync: bool
) -> None:
    with pytest.raises(AgentResultError, match=f"returned {named}: return None, the final reward") as caught:
        await outcome_of(store, lambda: result, sync=sync)
    (rollout,) = await store.query_rollouts()
    assert isinstance(caught.value, TypeError)
    assert caught.value.rollout_id == rollout.rollout_id
    assert rollout.status == "failed"


@pytest.mark.parametrize("result", [math.nan, math.inf, 10**400], ids=["nan", "infinity", "too large"])
async def test_a_reward_that_is_not_finite_fails_the_rollout(store: InMemoryLightningStore, result: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        await outcome_of(store, lambda: result)
    (rollout,) = await store.query_rollouts()
    assert rollout.status == "failed"


async def test_a_span_of_another_rollout_fails_the_rollout(store: InMemoryLightningStore) -> None:
    foreign = agl.Span.from_attributes(attributes={}, rollout_id="ro-other", attempt_id="at-other")
    with pytest.raises(ValueError, match="belongs to rollout 'ro-other'"):
        await outcome_of(store, lambda: [foreign])


async def test_an_object_that_cannot_be_serialised_can_be_a_task_but_not_a_span(
    store: InMemoryLightningStore,
) -> None:
    class Handle:
        """Holds what JSON has no word for."""

        def __init__(self) -> None:
            self.lock = anyio.Lock()

    @agl.rollout
    async def agent(task: Handle) -> float:
        agl.emit_object(task)
        return 1.0

    handle = Handle()
    runner = agl.LitAgentRunner[Handle](agl.DummyTracer())
    with runner.run_context(agent=agent, store=store):
        with pytest.raises(TypeError, match="Handle"):
            await runner.step(handle, metadata={"handle": handle})
        (rollout,) = await store.query_rollouts()
    assert rollout.input is handle
    assert rollout.status == "failed"
    assert [span.name for span in await spans_of(store, rollout)] == ["agentlightning.rollout"]
