"""Which call of a model a reward is for: the latest that had ended by then and has none yet."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from enum import StrEnum

from lightning_actors.emitter import get_reward_value
from lightning_actors.types import Span

__all__ = ["RewardMatchPolicy", "match_rewards_by_sequence", "match_rewards_by_time"]


class RewardMatchPolicy(StrEnum):
    """Among which calls a reward looks for its own."""

    FIRST_OCCURRENCE = "first_occurrence"
    """Among all calls of the trace."""

    FIRST_SIBLING = "first_sibling"
    """Among those right below the span that the reward is right below."""


_Moment = tuple[float, int, int]


def match_rewards_by_time(calls: Sequence[Span], rewards: Sequence[Span]) -> list[float | None]:
    """Give each reward, in order of time, to the call without one that had ended by then and began last.

    A call that never ended counts as over when it began. Of a call's end and a reward at the same time, the one with
    the lower sequence id was first. Takes n log n steps for n spans.

    Args:
        calls: The calls that may be rewarded.
        rewards: Spans that hold rewards.

    Returns:
        For each call its reward; None where it has none.
    """
    found: list[float | None] = [None] * len(calls)
    events: list[tuple[_Moment, int | None, Span]] = [
        *((_moment(_over(call), call, at), at, call) for at, call in enumerate(calls)),
        *((_moment(reward.start_time, reward, at + len(calls)), None, reward) for at, reward in enumerate(rewards)),
    ]
    waiting: list[tuple[float, int, int]] = []  # a heap, the call that began last first
    for _, at, span in sorted(events, key=lambda event: event[0]):
        if at is not None:
            heapq.heappush(waiting, (-(span.start_time or 0.0), -span.sequence_id, at))
        elif waiting:
            found[heapq.heappop(waiting)[2]] = get_reward_value(span)
    return found


def _over(call: Span) -> float | None:
    return call.start_time if call.end_time is None else call.end_time


def _moment(time: float | None, span: Span, place: int) -> _Moment:
    return (time or 0.0, span.sequence_id, place)


def match_rewards_by_sequence(calls: Sequence[Span], rewards: Sequence[Span]) -> list[float | None]:
    """Give each reward, in order of sequence ids, to the call without one whose lower sequence id is the highest.

    Times play no part, for they may come from different clocks.

    Args:
        calls: The calls that may be rewarded, by sequence id.
        rewards: Spans that hold rewards.

    Returns:
        For each call its reward; None where it has none.
    """
    found: list[float | None] = [None] * len(calls)
    events = [(reward.sequence_id, -1, reward) for reward in rewards]  # before a call of the same number
    events += [(call.sequence_id, at, call) for at, call in enumerate(calls)]
    waiting: list[int] = []
    for _, at, span in sorted(events, key=lambda event: event[:2]):
        if at >= 0:
            waiting.append(at)
        elif waiting:
            found[waiting.pop()] = get_reward_value(span)
    return found
