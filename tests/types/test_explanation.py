"""An explanation in words, to the letter; and as data that goes over a wire."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lightning_actors.types import ExplainedAttempt, Explanation
from lightning_actors.types.explanation import in_words

NOW = 1_000_000.0
ASKED = NOW - 83
FOUR_BUSY = "4 rollouts are under way, so that all runners may be busy"
CLOCK = time.strftime("%H:%M:%S", time.localtime(ASKED))


def explanation(**fields: Any) -> Explanation:
    known: dict[str, Any] = {
        "rollout_id": "ro-1",
        "status": "queuing",
        "task": "'Japan'",
        "time": NOW,
        "start_time": NOW - 95,
        "max_attempts": 1,
        "n_attempts": len(fields.get("attempts", ())),
        "attempts": [],
    }
    return Explanation(**{**known, **fields})


def attempt(number: int, status: str, **fields: Any) -> ExplainedAttempt:
    known: dict[str, Any] = {
        "attempt_id": f"at-{number}",
        "sequence_id": number,
        "status": status,
        "start_time": NOW - 12.1,
    }
    return ExplainedAttempt(**{**known, **fields})


QUEUED: dict[str, tuple[dict[str, Any], str]] = {
    "nobody is there": (
        {"ahead": 12, "last_asked_time": ASKED},
        f"behind 12 others. Nobody has asked for work since {CLOCK} (1 min 23 s ago): is a runner alive?",
    ),
    "a named worker is gone": (
        {"ahead": 0, "last_asked_time": ASKED, "last_asked_by": "Worker-3"},
        f"first in line. Nobody has asked for work since {CLOCK} (1 min 23 s ago, Worker-3): is a runner alive?",
    ),
    "nobody ever was there": (
        {"ahead": 1},
        "behind 1 other. Nobody has asked for work yet: is a runner alive?",
    ),
    "somebody polls": (
        {"ahead": 0, "last_asked_time": NOW - 0.4, "last_asked_by": "Worker-3", "under_way": 4},
        "first in line. Work was last asked for 0.4 s ago by Worker-3.",
    ),
    "all are busy": (
        {"ahead": 1_200, "last_asked_time": ASKED, "listeners": 1, "under_way": 4},
        f"behind 1,200 others. Nobody has asked for work since {CLOCK} (1 min 23 s ago); {FOUR_BUSY}.",
    ),
    "one is busy": (
        {"ahead": 0, "last_asked_time": NOW - 3, "listeners": 1, "under_way": 1},
        "first in line. Work was last asked for 3.0 s ago; 1 rollout is under way, so that all runners may be busy.",
    ),
    "who listens does not ask": (
        {"ahead": 0, "listeners": 2},
        "first in line. Nobody has asked for work yet, though 2 listen for it.",
    ),
}


@pytest.mark.parametrize(("fields", "said"), QUEUED.values(), ids=QUEUED)
def test_a_queued_rollout_says_its_place_and_who_could_take_it(fields: dict[str, Any], said: str) -> None:
    assert str(explanation(**fields)) == f"ro-1 has been queued for 1 min 35 s, {said} Task: 'Japan'"


def test_a_rollout_that_is_tried_again_says_how_it_went_before() -> None:
    failed = attempt(1, "failed", worker_id="Worker-4", end_time=NOW - 9.1, error="ValueError: no such city.")
    said = explanation(
        status="requeuing", max_attempts=3, attempts=[failed], ahead=2, waiters=1, last_asked_time=NOW, listeners=1
    )
    assert str(said) == (
        "ro-1 is queued for attempt 2 of 3, behind 2 others. Work was last asked for 0.0 s ago. Attempt 1 "
        "by Worker-4 failed after 3.0 s: ValueError: no such city. 1 waits for it to end. Task: 'Japan'"
    )


def test_a_running_rollout_says_who_holds_it_and_when_it_times_out() -> None:
    attempts = [
        attempt(1, "timeout", end_time=NOW - 10, reason="timeout"),
        attempt(2, "running", worker_id="Worker-4", last_heartbeat_time=NOW - 0.4),
    ]
    said = explanation(
        status="running",
        max_attempts=3,
        attempts=attempts,
        deadline=NOW + 17.9,
        deadline_status="timeout",
        is_watched=True,
        waiters=2,
    )
    assert str(said) == (
        "ro-1 is running: attempt 2 of 3 by Worker-4 for 12.1 s, last sign of life 0.4 s ago, times out in 17.9 s. "
        "Attempt 1 timed out after 2.1 s. 2 wait for it to end. Task: 'Japan'"
    )


def test_a_rollout_without_a_runner_or_a_deadline_says_so() -> None:
    assert str(explanation(status="running", attempts=[attempt(1, "running")])) == (
        "ro-1 is running: attempt 1 of 1 for 12.1 s, no sign of life yet, no deadline. No runner has registered to be "
        "told of its end: it may be gone. Task: 'Japan'"
    )


def test_a_leased_attempt_says_who_holds_it_and_for_how_long() -> None:
    attempts, held = [attempt(1, "running", worker_id="Worker-4")], {"held_by": "client-7", "held_until": NOW + 18.2}
    assert str(explanation(status="running", attempts=attempts, **held)) == (
        "ro-1 is running: attempt 1 of 1 by Worker-4 for 12.1 s, no sign of life yet, no deadline. "
        "client-7 holds it for 18.2 s more, unless it renews its lease. Task: 'Japan'"
    )


def test_a_claimed_rollout_has_not_begun() -> None:
    said = explanation(
        status="preparing",
        attempts=[attempt(1, "preparing", worker_id="Worker-4")],
        is_watched=True,
        deadline=NOW + 60,
        deadline_status="unresponsive",
    )
    assert str(said) == (
        "ro-1 was claimed 12.1 s ago (attempt 1 of 1 by Worker-4) and has not begun, counts as unresponsive in "
        "1 min 0 s. Task: 'Japan'"
    )


def test_an_ended_rollout_says_how_it_ended() -> None:
    cancelled = attempt(12, "failed", end_time=NOW - 4, reason="cancelled")
    said = explanation(status="cancelled", end_time=NOW - 4, n_attempts=12, attempts=[cancelled], max_attempts=12)
    assert str(said) == (
        "ro-1 is over: cancelled 4.0 s ago. (The first 11 attempts left out.) Attempt 12 failed after 8.1 s: "
        "cancelled. Task: 'Japan'"
    )
    assert repr(said) == "<Explanation ro-1 cancelled>"


def test_an_explanation_is_plain_data() -> None:
    said = explanation(attempts=[attempt(1, "failed", error="boom")], status="requeuing", ahead=0, last_asked_time=1.5)
    assert Explanation.model_validate_json(said.model_dump_json()) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"), (83, "1 min 23 s"), (7_530, "2 h 5 min")],
)
def test_a_length_of_time_is_said_as_a_person_would(seconds: float, said: str) -> None:
    assert in_words(seconds) == said
