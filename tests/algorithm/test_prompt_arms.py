"""`PromptTallies`: each rollout is counted once, and what it remembers is bounded."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_actors.algorithm.prompt_arms import PromptTallies
from lightning_actors.types import PromptTemplate, Rollout

PROMPTS = [PromptTemplate(template=text, engine="f-string") for text in "abc"]


def ended(number: int, at: float) -> Rollout:
    return Rollout(rollout_id=f"ro-{number}", input=number, start_time=0.0, end_time=at, status="succeeded")


def tallies_of(window: int) -> PromptTallies:
    return PromptTallies(PROMPTS, (1.0, 1.0), window)


successes = st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0])
learned = st.tuples(st.integers(0, 7), st.integers(0, 20), st.sampled_from(PROMPTS), successes)


@given(st.lists(learned, max_size=60))
def test_a_rollout_counts_once_with_what_was_learned_of_it_last(
    lessons: list[tuple[int, int, PromptTemplate, float]],
) -> None:
    tallies, known = tallies_of(8), dict[int, tuple[PromptTemplate, float | None]]()
    for number, at, prompt, success in lessons:
        tally = tallies.of(prompt)
        assert tally is not None
        tallies.count(ended(number, at), tally, success)
        known[number] = (prompt, success)
    for tally in tallies.tallies:
        found = [success for prompt, success in known.values() if prompt == tally.prompt]
        rewards = [success for success in found if success is not None]
        assert (tally.rollouts, tally.rewarded) == (len(found), len(rewards))
        assert tally.success == pytest.approx(sum(rewards))
    assert not any(tallies.is_forgotten(ended(number, 0)) for number in known)


@given(st.permutations(range(30)), st.integers(1, 10))
def test_the_rollouts_that_ended_last_are_remembered_in_whatever_order_they_are_learned_from(
    order: list[int], window: int
) -> None:
    tallies = tallies_of(window)
    for number in order:
        tallies.count(ended(number, float(number)), tallies.tallies[0], 1.0)
        tallies.count(ended(number, float(number)), tallies.tallies[1], 0.0)
    forgotten = [number for number in range(30) if tallies.is_forgotten(ended(number, float(number)))]
    assert forgotten == list(range(30 - window))
    assert sum(tally.rollouts for tally in tallies.tallies) >= 30
    assert len(tallies._counted) == len(tallies._by_end) == window


def test_feedback_long_before_the_end_has_its_turn_is_not_counted_twice() -> None:
    tallies = tallies_of(3)
    tallies.count(ended(99, 99.0), tallies.tallies[0], 1.0)
    for number in range(99):
        tallies.count(ended(number, float(number)), tallies.tallies[0], 0.0)
    tallies.count(ended(99, 99.0), tallies.tallies[0], 1.0)
    assert (tallies.tallies[0].rollouts, tallies.tallies[0].success) == (100, 1.0)


def test_what_never_was_counted_is_not_taken_for_forgotten() -> None:
    tallies = tallies_of(2)
    assert not tallies.is_forgotten(ended(1, 5.0))
    for number in range(3):
        tallies.count(ended(number, 10.0 + number), tallies.tallies[0], 1.0)
    assert tallies.is_forgotten(ended(0, 10.0))
    assert not tallies.is_forgotten(ended(7, 13.0))


def test_a_draw_is_made_of_every_distribution() -> None:
    tallies, random = tallies_of(100), Random(3)  # noqa: S311 - draws, not secrets
    for number in range(60):
        tallies.count(ended(number, float(number)), tallies.tallies[number % 3], float(number % 3 == 1))
    drawn = [tallies.drawn(random).prompt.template for _ in range(100)]
    assert drawn.count("b") > 95
    assert tallies.best().prompt.template == "b"
