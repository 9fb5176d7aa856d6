"""The race: budgets, items and ranks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_actors.algorithm.prompt_race import Race, plan_rounds
from lightning_actors.algorithm.prompt_space import Candidate
from lightning_actors.errors import ConfigError

rewards = st.lists(st.floats(-10, 10), min_size=1, max_size=8)


@given(st.integers(1, 6), st.integers(0, 500), st.integers(1, 200))
def test_the_rounds_together_never_cost_more_than_the_budget(rounds: int, more: int, items: int) -> None:
    budget = rounds + more
    plans = plan_rounds(rounds, budget, items)
    assert len(plans) == rounds
    assert sum(plan.rollouts for plan in plans) <= budget
    for plan in plans:
        assert plan.candidates >= 1
        assert 1 <= plan.items <= items


@given(st.integers(1, 6), st.integers(48, 500), st.integers(1, 200))
def test_later_rounds_have_fewer_candidates_and_more_items(rounds: int, budget: int, items: int) -> None:
    plans = plan_rounds(rounds, budget, items)
    assert [plan.candidates for plan in plans] == sorted((plan.candidates for plan in plans), reverse=True)
    assert [plan.items for plan in plans] == sorted(plan.items for plan in plans)


def test_a_budget_is_divided_into_rounds_of_equal_cost() -> None:
    plans = plan_rounds(3, 240, 90)
    assert [(plan.candidates, plan.items) for plan in plans] == [(10, 8), (5, 16), (2, 40)]


@pytest.mark.parametrize(("rounds", "budget", "items"), [(0, 10, 10), (1, 10, 0), (3, 2, 10)])
def test_a_budget_without_a_rollout_for_each_round_is_refused(rounds: int, budget: int, items: int) -> None:
    with pytest.raises(ConfigError, match="at least 1 round, 1 item and 1 rollout a round"):
        plan_rounds(rounds, budget, items)


def test_rounds_take_other_items_until_all_have_been_met() -> None:
    race = Race([5, 6, 7, 8])
    assert race.choose_items(3) == [5, 6, 7]
    assert race.choose_items(3) == [8, 5, 6]
    assert race.choose_items(9) == [7, 8, 5, 6]


@given(st.lists(rewards, min_size=1, max_size=6))
def test_within_a_round_the_better_mean_stands_higher(by_candidate: list[list[float]]) -> None:
    race = Race([0])
    race.record(1, {Candidate(str(number)): values for number, values in enumerate(by_candidate)})
    means = [score.last_mean for score in race.ranking()]
    assert means == sorted(means, reverse=True)
    assert len(means) == len(by_candidate)


def test_who_came_further_stands_above_a_better_mean_of_an_earlier_round() -> None:
    race = Race([0])
    lucky, steady = Candidate("lucky"), Candidate("steady")
    race.record(1, {lucky: [1, 1], steady: [1, 0]})
    race.record(2, {steady: [0, 1]})
    first, second = race.ranking()
    assert (first.candidate, first.last_round, first.last_mean, first.mean, first.rollouts) == (steady, 2, 0.5, 0.5, 4)
    assert (second.candidate, second.last_round, second.rollouts) == (lucky, 1, 2)


def test_equal_means_are_decided_by_all_rounds_then_by_fewer_demonstrations_then_by_who_came_first() -> None:
    race = Race([0])
    newcomer, long, short, later = Candidate("new"), Candidate("l", 0, 0, (1, 2)), Candidate("s"), Candidate("z")
    race.record(1, {long: [1], short: [1], later: [1]})
    race.record(2, {newcomer: [0.5], long: [0.5], short: [0.5], later: [0.5]})
    assert [score.candidate for score in race.ranking()] == [short, later, long, newcomer]


def test_a_candidate_without_rewards_has_no_rank() -> None:
    race = Race([0])
    race.record(1, {Candidate("none"): []})
    assert race.ranking() == []
