"""What goes wrong in Agent Lightning 0.3, and what happens here instead: each fault is a test.

Most of them stand with what they are about; this list says which and in which folder, and below are those that have no
better place. What is about its HTTP server and client, its LLM proxy and its dashboard has no counterpart here yet.

```
a cancelled rollout is recorded as succeeded
    runner: test_a_step_that_is_cancelled_cancels_its_rollout
`iter` loses the task where there are no resources
    runner: test_iter_runs_a_rollout_that_needs_no_resources_where_there_are_none
a returned reward is not among the spans of `on_rollout_end`
    runner: test_on_rollout_end_sees_all_spans_with_the_returned_reward
… and the line that says it is over shows none
    test_the_line_that_says_a_rollout_is_over_bears_its_reward
`run_context(worker_id=...)` is ignored
    runner: test_worker_id_is_honoured
of three steps at once two raise
    runner: test_a_thousand_steps_run_at_once
runners in one process fail most rollouts, and share a name
    test_a_pool_fails_no_rollout_and_each_bears_its_worker
two calls to a threaded store that suspends stop for good
    test_operations_of_a_store_that_suspends_run_side_by_side
each rollout that is waited for takes a thread
    test_a_hundred_waits_take_no_thread
… and others wait for one for a minute
    store: test_a_thousand_rollouts_are_waited_for_at_once
an ended rollout or attempt takes any status
    store: test_a_final_attempt_does_not_change_its_status
… and keeps its end when it is reopened
    store: test_a_reopened_rollout_gets_a_new_attempt
cancelling neither stops nor marks the attempt
    store: test_an_attempt_that_the_store_ends_is_stopped_once
an attempt that the watchdog ends has no end time
    store: test_an_attempt_times_out_at_its_deadline_and_not_before
`queuing` and `requeuing` are not treated alike
    test_the_two_words_for_waiting_mean_the_same_to_a_late_span
not found, bad state and a crash look alike, after 8 s
    store: test_updates_of_what_is_unknown_are_refused
    store: test_unknown_ids_are_answered_by_none_or_an_empty_page
`query_workers` does not send its limit
    store: test_workers_are_queried
training needs processes that are forked
    test_training_starts_no_process
a command points at a module that is not there
    cli: test_help_lists_the_commands
an unknown resources_id is accepted
    store: test_unknown_resources_are_refused
who waits for, or writes to, an unknown rollout is not told
    store: test_an_unknown_id_is_refused_at_once
    store: test_spans_of_what_is_unknown_are_refused
late spans go to another attempt
    tracer: test_a_late_span_is_not_taken_for_another_rollouts
Baseline logs every span once for each attempt
    test_baseline_logs_each_span_once_however_many_attempts_there_were
sequence ids repeat within an attempt
    test_no_two_spans_of_an_attempt_share_a_sequence_id
one rollout at a time per process
    tracer: test_a_thousand_rollouts_at_once_leak_nothing_into_each_other
importing it loads everything
    layers: test_importing_the_package_imports_no_optional_dependency
runners and algorithms poll
    runner: test_iter_is_told_of_work_and_never_polls
sync agents block the event loop
    runner: test_a_sync_agent_does_not_block_the_loop
the end of every span is a write
    tracer: test_flush_writes_what_is_pending_of_all_open_traces_at_once
an expired attempt runs on
    runner: test_a_rollout_that_takes_too_long_raises_rollout_timeout
… and its late result counts
    store: test_a_result_that_comes_after_the_deadline_is_refused
a crashed runner ends everything, or nothing restarts it
    runner: test_a_crash_loses_no_rollout_and_counts_none_twice
an interrupted run looks like any other
    trainer: test_one_ctrl_c_lets_what_runs_finish_in_the_grace_time
a wait never ends when all workers are dead
    store: test_a_deadline_answers_a_waiter_with_nobody_else_there
the global tracer provider is taken over
    tracer: test_importing_and_initialising_set_no_provider
… and shut down
    tracer: test_the_hosts_provider_is_never_shut_down
work grows with what the store holds
    store: test_an_operation_costs_the_same_in_a_store_ten_times_as_large
`total_spans` is wrong after an eviction
    store: test_the_spans_of_what_ended_first_are_dropped_down_to_the_safe_size
eviction takes the spans of running rollouts
    store: test_a_rollout_that_has_not_ended_keeps_its_spans
a result is dropped when its one report fails
    runner: test_a_report_that_the_store_does_not_take_is_made_again
a claim whose reply is lost stays claimed
    store: test_a_claim_that_nobody_takes_is_undone_and_stands_first_again
candidates of a prompt search run one after another
    algorithm: test_all_rollouts_of_a_round_are_enqueued_at_once
… unseeded
    algorithm: test_the_same_seed_takes_the_same_course
… and missing rewards shrink the mean unseen
    algorithm: test_missing_rewards_count_as_0_and_are_counted
`fit` and `dev` return nothing
    trainer: test_the_result_says_what_came_of_each_rollout
… and one run per process is all there can be
    trainer: test_several_trainers_run_side_by_side_and_do_not_mix
```
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import threading
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from store_homes import HOMES, claim, end, get, span_in

import lightning_actors as agl
from lightning_actors.actors.testkit import VirtualClock, settle
from lightning_actors.log import LogEvent
from lightning_actors.store import InMemoryLightningStore

TESTS: Final = Path(__file__).parent


def test_every_test_in_the_list_exists() -> None:
    named = set(re.findall(r"\btest_\w+", __doc__ or ""))
    known = {
        name
        for path in TESTS.rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 40
    assert not sorted(named - known)


@agl.rollout
async def agent(task: Any) -> float:
    agl.emit_message(f"about {task}")
    await checkpoint()
    return 0.25


def fields_of(event: str, caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of all events of a name that were logged."""
    messages = [record.msg for record in caplog.records]
    return [message.fields for message in messages if isinstance(message, LogEvent) and message.event == event]


@pytest.mark.anyio
async def test_the_line_that_says_a_rollout_is_over_bears_its_reward(caplog: pytest.LogCaptureFixture) -> None:
    runner = agl.LitAgentRunner[Any](agl.OtelTracer())
    store = InMemoryLightningStore()
    with caplog.at_level(logging.INFO, "lightning_actors"), runner.run_context(agent=agent, store=store):
        await runner.step("x")
    (line,) = fields_of("rollout_finished", caplog)
    assert line["reward"] == 0.25


@pytest.mark.anyio
async def test_a_pool_fails_no_rollout_and_each_bears_its_worker() -> None:
    both = anyio.Event()
    seen: dict[str, str | None] = {}

    @agl.rollout
    async def meeting(task: int, rollout: agl.AttemptedRollout) -> float:
        seen[rollout.rollout_id] = rollout.attempt.worker_id
        if len(set(seen.values())) == 2:
            both.set()
        await both.wait()
        return 1.0

    trainer = agl.Trainer(algorithm=agl.Baseline(), n_workers=2)
    result = await trainer.fit_async(meeting, list(range(6)))
    assert result.status_counts == {"succeeded": 6}
    assert set(seen.values()) == {"Worker-0", "Worker-1"}
    for rollout in result.rollouts:
        assert isinstance(rollout, agl.AttemptedRollout)
        assert rollout.attempt.worker_id == seen[rollout.rollout_id]


class SuspendingStore(InMemoryLightningStore):
    """Each enqueueing waits until there are two."""

    def __init__(self) -> None:
        super().__init__()
        self.callers = 0
        self.both = anyio.Event()

    async def enqueue_rollout(self, *args: Any, **kwargs: Any) -> agl.Rollout:
        self.callers += 1
        if self.callers == 2:
            self.both.set()
        await self.both.wait()
        return await super().enqueue_rollout(*args, **kwargs)


@pytest.mark.anyio
@pytest.mark.parametrize("route", ["direct", "in a run"])
async def test_operations_of_a_store_that_suspends_run_side_by_side(route: str) -> None:
    store = SuspendingStore()

    @agl.algo
    async def twice(store: agl.LightningStore) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.enqueue_rollout, 1)
            tasks.start_soon(store.enqueue_rollout, 2)

    with anyio.fail_after(10):
        if route == "direct":
            twice.set_store(store)
            await twice.run()
        else:
            await agl.Trainer(algorithm=twice, store=store).fit_async(agent)
    assert (await store.query_rollouts()).total == 2


@pytest.mark.anyio
@pytest.mark.parametrize("home", ["memory", "actor"])
async def test_a_hundred_waits_take_no_thread(home: str, tmp_path: Path) -> None:
    clock = VirtualClock()
    answers: list[list[agl.Rollout]] = []

    async def wait(store: agl.LightningStore, rollout_id: str) -> None:
        answers.append(await store.wait_for_rollouts(rollout_ids=[rollout_id], timeout=3.0))

    async with HOMES[home].open(clock, tmp_path) as store:
        rollouts = [await store.enqueue_rollout(number) for number in range(100)]
        before = set(threading.enumerate())
        async with anyio.create_task_group() as tasks:
            for rollout in rollouts:
                tasks.start_soon(wait, store, rollout.rollout_id)
            await settle()
            assert set(threading.enumerate()) <= before
            await anyio.to_thread.run_sync(threading.get_ident)  # nobody stands in the way of it
            assert answers == []
            clock.advance(3.0)
    assert answers == [[]] * 100


@pytest.mark.anyio
@pytest.mark.parametrize("word", ["queuing", "requeuing"])
async def test_the_two_words_for_waiting_mean_the_same_to_a_late_span(word: agl.RolloutStatus) -> None:
    store = InMemoryLightningStore()
    claimed = await store.start_rollout("x", config=agl.RolloutConfig(max_attempts=2))
    await end(store, claimed, "unresponsive")
    await store.update_rollout(claimed.rollout_id, status=word)
    await store.add_span(span_in(claimed))
    assert (await get(store, claimed.rollout_id)).status == word
    again = await claim(store)
    assert (again.rollout_id, again.attempt.sequence_id) == (claimed.rollout_id, 2)


def test_training_starts_no_process() -> None:
    seen: set[int] = set()

    @agl.rollout
    def here(task: int) -> float:  # a closure, which no other process could be sent
        seen.add(os.getpid())
        assert not multiprocessing.active_children()
        return 1.0

    result = agl.Trainer(algorithm=agl.Baseline(), n_workers=2, tracer=agl.DummyTracer()).fit(here, [1, 2, 3])
    assert result.status_counts == {"succeeded": 3}
    assert seen == {os.getpid()}


class Retrying(InMemoryLightningStore):
    """Every rollout may have three attempts."""

    async def enqueue_rollout(self, *args: Any, **kwargs: Any) -> agl.Rollout:
        config = agl.RolloutConfig(max_attempts=3, retry_condition=["failed"])
        return await super().enqueue_rollout(*args, **{**kwargs, "config": config})


@pytest.mark.anyio
async def test_baseline_logs_each_span_once_however_many_attempts_there_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @agl.rollout
    async def third_time_lucky(task: str, rollout: agl.AttemptedRollout) -> float:
        agl.emit_message("here")
        if rollout.attempt.sequence_id < 3:
            raise ValueError(task)
        return 1.0

    baseline = agl.Baseline(span_verbosity="key_values")
    trainer = agl.Trainer(algorithm=baseline, store=Retrying(), tracer=agl.DummyTracer())
    with caplog.at_level(logging.INFO, "lightning_actors"):
        result = await trainer.fit_async(third_time_lucky, ["x"])
    latest = await trainer.store.query_spans(result.rollouts[0].rollout_id, "latest")
    assert (await trainer.store.query_spans(result.rollouts[0].rollout_id)).total > latest.total
    shown = [line["sequence_id"] for line in fields_of("span", caplog)]
    assert shown == [span.sequence_id for span in latest]
    (ended,) = fields_of("rollout_ended", caplog)
    assert ended["attempts"] == 3
    assert 0 <= ended["seconds"] < 60


@pytest.mark.anyio
async def test_no_two_spans_of_an_attempt_share_a_sequence_id() -> None:
    async def emit() -> None:
        for _ in range(5):
            agl.emit_message("here")
            await store_has_taken.wait()
            await checkpoint()

    @agl.rollout
    async def busy(task: str) -> float:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(emit)
            await checkpoint()
            await tracer.flush()
            store_has_taken.set()
        return 1.0

    store_has_taken = anyio.Event()
    tracer, store = agl.OtelTracer(), InMemoryLightningStore()
    runner = agl.LitAgentRunner[str](tracer)
    with runner.run_context(agent=busy, store=store):
        rollout = await runner.step("x")
    ids = [span.sequence_id for span in await store.query_spans(rollout.rollout_id)]
    assert ids == list(range(1, 1 + 20 + 2))  # the root and the reward beside the messages
