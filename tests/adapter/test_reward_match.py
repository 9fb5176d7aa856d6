"""A reward belongs to the latest call that had ended by then and has none yet."""

from __future__ import annotations

from dialect_writers import chat, reward
from hypothesis import given
from hypothesis import strategies as st

from lightning_actors.adapter.reward_match import match_rewards_by_sequence, match_rewards_by_time
from lightning_actors.types import Span

calls = [chat("a", at=(1, 2)), chat("b", at=(3, 4)), chat("c", at=(5, 6))]


def test_without_rewards_there_are_none_and_without_calls_nobody_minds() -> None:
    assert match_rewards_by_time(calls, []) == match_rewards_by_sequence(calls, []) == [None, None, None]
    assert match_rewards_by_time([], [reward(1)]) == match_rewards_by_sequence([], [reward(1)]) == []


def test_one_reward_at_the_end_goes_to_the_last_call() -> None:
    assert match_rewards_by_time(calls, [reward(1, at=9)]) == [None, None, 1]


def test_a_reward_after_each_call_goes_to_that_call() -> None:
    assert match_rewards_by_time(calls, [reward(3, at=6.5), reward(1, at=2.5), reward(2, at=4.5)]) == [1, 2, 3]


def test_several_rewards_at_the_end_go_backwards_and_those_too_many_to_nobody() -> None:
    rewards = [reward(value, at=10 + value) for value in (1, 2, 3, 4)]
    assert match_rewards_by_time(calls, rewards) == [3, 2, 1]


def test_a_reward_during_a_call_goes_to_one_before() -> None:
    assert match_rewards_by_time(calls, [reward(1, at=3.5)]) == [1, None, None]
    assert match_rewards_by_time(calls, [reward(1, at=0.5)]) == [None, None, None]


def test_of_calls_at_the_same_time_the_one_that_began_last_comes_first() -> None:
    long, short = chat("long", at=(1, 8)), chat("short", at=(2, 3))
    assert match_rewards_by_time([long, short], [reward(1, at=9)]) == [None, 1]
    assert match_rewards_by_time([long, short], [reward(1, at=4), reward(2, at=9)]) == [2, 1]


def test_at_the_same_moment_the_sequence_ids_decide() -> None:
    for number, expected in ((6, [1]), (4, [None])):
        assert match_rewards_by_time([chat("a", at=(1, 2), sequence_id=5)], [reward(1, at=2, sequence_id=number)]) == (
            expected
        )


def test_without_times_the_sequence_ids_decide() -> None:
    timeless = [chat(str(number), at=(None, None), sequence_id=number) for number in (1, 3)]
    rewards = [reward(10, at=None, sequence_id=2), reward(30, at=None, sequence_id=4)]
    assert match_rewards_by_time(timeless, rewards) == [10, 30]


def test_a_call_that_never_ended_counts_as_over_when_it_began() -> None:
    assert match_rewards_by_time([chat("a", at=(1, None))], [reward(1, at=2)]) == [1]


def test_by_sequence_a_reward_goes_only_to_a_lower_number_whatever_the_times() -> None:
    spans = [chat("a", at=(9, 10), sequence_id=1), chat("b", at=(7, 8), sequence_id=3)]
    assert match_rewards_by_sequence(spans, [reward(1, at=0, sequence_id=2)]) == [1, None]
    assert match_rewards_by_sequence(spans, [reward(1, at=0, sequence_id=3)]) == [1, None]
    assert match_rewards_by_sequence(spans, [reward(2, at=0, sequence_id=4), reward(1, sequence_id=5)]) == [1, 2]
    assert match_rewards_by_sequence(spans, [reward(1, at=99, sequence_id=0)]) == [None, None]


def call_lasting(start_and_length: tuple[int, int]) -> Span:
    start, length = start_and_length
    return chat("x", at=(float(start), float(start + length)))


spans_of_calls = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)).map(call_lasting), max_size=8)
moments = st.lists(st.integers(0, 15).map(lambda at: at + 0.5), max_size=8, unique=True)


@given(spans_of_calls, moments)
def test_the_sweep_matches_as_trying_all_does(made: list[Span], times: list[float]) -> None:
    expected: list[float | None] = [None] * len(made)
    for value, at in enumerate(sorted(times)):
        over = [place for place, call in enumerate(made) if expected[place] is None and (call.end_time or 0) <= at]
        if over:
            expected[max(over, key=lambda place: (made[place].start_time or 0, made[place].sequence_id))] = value
    rewards = [reward(value, at=at) for value, at in enumerate(sorted(times))]
    assert match_rewards_by_time(made, rewards) == expected
