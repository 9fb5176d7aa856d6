"""What must be true after a simulated run, whatever happened in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from simulated_followers import judge_followers
from simulated_world import AlgorithmError, Call, World

import lightning_actors as agl
from lightning_actors.errors import ActorStopped, RestartLimitExceeded, StoreError
from lightning_actors.types import Attempt, Rollout, Span

__all__ = ["judge"]

QUEUED = {"queuing", "requeuing"}
ENDED = {"succeeded", "failed", "cancelled"}


def judge(world: World) -> None:
    """Look at everything that the run left.

    Raises:
        AssertionError: Something is not as it must be.
    """
    tables = world.store._tables
    rollouts = {id_: tables.rollout(id_) for id_ in world.enqueued}
    _check_outcome(world)
    for rollout in rollouts.values():
        assert rollout is not None
        attempts = tables.attempts(rollout.rollout_id)
        _check_rollout(world, rollout, attempts)
        _check_spans(rollout, attempts, tables.spans(rollout.rollout_id))
    _check_sums(world, [rollout for rollout in rollouts.values() if rollout is not None])
    _check_calls(world)
    _check_hooks(world)
    _check_nothing_is_kept(world)
    judge_followers(world)


def _check_outcome(world: World) -> None:
    """The run ended as it was told to, or with what brought it down."""
    error = world.error
    if error is None:
        return
    if isinstance(error, AlgorithmError):
        assert world.plan.algorithm == "raises"
        return
    struck = {blow.what for blow in world.struck}
    if isinstance(error, RestartLimitExceeded):
        crashes = sum(blow.what.startswith(("crash", "fail")) for blow in world.struck)
        crashes += sum(call.script.act == "crashes its runner" for call in world.calls)
        assert crashes > 3, "a child may crash three times within five seconds"
    else:
        assert isinstance(error, StoreError | ActorStopped), error
        assert "fail operation" in struck or isinstance(error, ActorStopped), error


def _check_rollout(world: World, rollout: Rollout, attempts: Sequence[Attempt]) -> None:
    """It has ended, once, or it waits in the queue as the rules say."""
    history = world.store.history[rollout.rollout_id]
    is_free = rollout.rollout_id not in world.by_hand
    assert rollout.status in QUEUED | ENDED, f"{rollout} was left open: {history}"
    assert history[-1] == rollout.status
    ends = sum(status in ENDED for status in history)
    owed = (rollout.status in ENDED) + world.requeued[rollout.rollout_id]
    assert ends == owed, f"{rollout} ended {ends} times: {history}"
    assert (rollout.end_time is not None) == (rollout.status in ENDED)
    assert [attempt.sequence_id for attempt in attempts] == list(range(1, len(attempts) + 1))
    for attempt in attempts:
        assert attempt.status not in {"preparing", "running"}, f"{attempt} was left open: {history}"
        assert attempt.end_time is not None
    if is_free:
        assert len(attempts) <= rollout.config.max_attempts
        _check_last(rollout, attempts)


def _check_last(rollout: Rollout, attempts: Sequence[Attempt]) -> None:
    """What a rollout that nobody touched by hand owes to its last attempt."""
    last = attempts[-1] if attempts else None
    status = None if last is None else last.status
    match rollout.status:
        case "queuing":
            assert last is None, f"{rollout} counts an attempt that was undone: {attempts}"
        case "requeuing":
            assert status in rollout.config.retry_condition
            assert len(attempts) < rollout.config.max_attempts
        case "succeeded":
            assert status == "succeeded"
        case "failed":
            assert status in {"failed", "timeout", "unresponsive"}
            assert status not in rollout.config.retry_condition or len(attempts) == rollout.config.max_attempts
        case _:
            assert last is not None, f"{rollout} was cancelled before it began: its claim should have been undone"
            assert (last.status, (last.metadata or {}).get("reason")) == ("failed", "cancelled")


def _check_spans(rollout: Rollout, attempts: Sequence[Attempt], spans: Sequence[Span]) -> None:
    """No span stands under another rollout or attempt than the one that wrote it."""
    known = {attempt.attempt_id for attempt in attempts}
    for span in spans:
        assert (span.rollout_id, span.attempt_id in known) == (rollout.rollout_id, True)
        said = agl.get_object_value(span)
        if said is not None:
            assert said == {"rollout": span.rollout_id, "attempt": span.attempt_id}
        assert span.attributes.get("attempt", span.attempt_id) == span.attempt_id


def _check_sums(world: World, rollouts: list[Rollout]) -> None:
    """What came out is what was put in, and the result says the same."""
    result = world.result
    assert result is not None
    counts = Counter(rollout.status for rollout in rollouts)
    assert sum(counts.values()) == len(world.enqueued)
    assert dict(result.status_counts) == dict(counts)
    assert [rollout.rollout_id for rollout in result.rollouts] == world.enqueued
    queued = [rollout.rollout_id for rollout in world.store._tables.queued(1_000)]
    assert sorted(queued) == sorted(one.rollout_id for one in rollouts if one.status in QUEUED)
    assert set(result.errors) <= {one.rollout_id for one in rollouts if one.status != "succeeded"}
    _check_rewards(world, result)
    statistics = world.store._tables.statistics()
    assert statistics.get("total_rollouts") == len(world.enqueued)
    assert statistics.get("total_attempts") == sum(
        len(world.store._tables.attempts(rollout.rollout_id)) for rollout in rollouts
    )


def _check_rewards(world: World, result: agl.RunResult) -> None:
    """Every reward that was returned for a success is in the result."""
    returned = {call.attempt_id for call in world.calls if call.script.act == "returns" and call.ended == "returned"}
    for rollout in result.rollouts:
        if isinstance(rollout, agl.AttemptedRollout) and rollout.rollout_id not in world.by_hand:
            earned = rollout.status == "succeeded" and rollout.attempt.attempt_id in returned
            assert (rollout.rollout_id in result.rewards) >= earned, f"the reward of {rollout} is lost"


def _check_calls(world: World) -> None:
    """The agent was called once for each attempt that began, and a success is one of its returns."""
    calls: dict[str, Call] = {}
    for call in world.calls:
        assert call.attempt_id not in calls, "an agent was called twice for one attempt"
        calls[call.attempt_id] = call
        attempt = world.store._tables.attempt(call.attempt_id)
        assert attempt is not None, f"the agent ran, and its attempt was undone: {call}"
        assert attempt.rollout_id == call.rollout_id
        assert call.ended, f"the agent runs on: {call}"
        if attempt.status == "succeeded":
            assert (call.script.act, call.ended) in {("returns", "returned"), ("returns nothing", "returned")} or (
                call.script.act == "swallows cancellation"
            ), f"{attempt} of {call}"
    swallowers = {call.rollout_id for call in world.calls if call.script.act == "swallows cancellation"}
    assert {name.removeprefix("agent of ") for name in world.left_behind} - {"algorithm"} <= (
        swallowers if world.plan.patience else {call.rollout_id for call in world.calls}
    )


def _check_hooks(world: World) -> None:
    """Each hook once; whatever began also ended, but where its runner crashed in between."""
    assert not [which for which, times in world.hooks.items() if times > 1]
    crashed = any("crash" in blow.what or "fail" in blow.what for blow in world.struck) or any(
        call.script.act == "crashes its runner" for call in world.calls
    )
    for which, attempt_id in world.hooks:
        if which in {"start", "trace start"} and not crashed:
            assert world.hooks[which.replace("start", "end"), attempt_id] == 1, (which, attempt_id)


def _check_nothing_is_kept(world: World) -> None:
    """Nobody waits, and nobody is remembered who would."""
    store = world.store
    assert world.waiting == 0
    assert not world.running
    assert not store._watchers
    assert not store._clerk.waiters
    assert store._guard.users == 0
    assert len(store._sleepers) == 0
    for worker in store._tables.workers():
        assert worker.current_attempt_id is None, f"{worker} is said to hold what is over"
