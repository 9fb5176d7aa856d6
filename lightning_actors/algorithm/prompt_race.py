"""Which candidate meets which items, and who is ahead: a race in rounds with a fixed number of rollouts. Pure.

```
round 1   many candidates, few items each     drawn from the whole space
round 2   half as many, twice the items       the best so far, and small changes to them
round n   a handful, most items each          the best so far: no newcomers, the last word
```
The candidates of a round meet the same items, so that they are compared like with like; each round takes other items
than the one before while the training set has them.

Source: successive halving (Jamieson and Talwalkar 2016), with newcomers in the middle rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lightning_actors.algorithm.prompt_space import Candidate
from lightning_actors.errors import ConfigError

__all__ = ["CandidateScore", "Race", "RoundPlan", "plan_rounds"]

_FIRST_ITEMS = 8


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """How large a round is.

    Attributes:
        candidates: How many candidates it has at most.
        items: How many items each of them meets.
    """

    candidates: int
    items: int

    @property
    def rollouts(self) -> int:
        """How many rollouts the round costs at most."""
        return self.candidates * self.items


def plan_rounds(rounds: int, budget: int, items: int) -> list[RoundPlan]:
    """Divide a budget of rollouts over rounds.

    Args:
        rounds: How many rounds.
        budget: How many rollouts in all.
        items: How many different items there are.

    Returns:
        A plan per round; together they cost no more than the budget.

    Raises:
        ConfigError: A number is below 1, or the budget has not one rollout for each round.
    """
    if rounds < 1 or items < 1 or budget < rounds:
        raise ConfigError(
            f"a search needs at least 1 round, 1 item and 1 rollout a round, not rounds={rounds!r}, items={items!r}, "
            f"budget={budget!r}"
        )
    each = budget // rounds
    first = max(1, each // min(_FIRST_ITEMS, items))
    plans = list[RoundPlan]()
    for number in range(rounds):
        candidates = max(1, min(each, max(2, first >> number)) if first > 1 else 1)
        plans.append(RoundPlan(candidates, min(items, each // candidates)))
    return plans


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """What is known of a candidate.

    Attributes:
        candidate: The candidate.
        mean: Mean reward over all its rollouts.
        rollouts: How many it had.
        last_round: The last round it took part in, from 1.
        last_mean: Mean reward in that round: what it is ranked by.
    """

    candidate: Candidate
    mean: float
    rollouts: int
    last_round: int
    last_mean: float


@dataclass(slots=True)
class Race:
    """Keeps the rewards of all rounds and ranks the candidates.

    Attributes:
        items: Positions of the items that candidates are scored on.
    """

    items: Sequence[int]
    _rewards: dict[Candidate, dict[int, list[float]]] = field(default_factory=dict[Candidate, dict[int, list[float]]])
    _met: int = 0

    def choose_items(self, count: int) -> list[int]:
        """The next items of the training set, from the start again when they are used up."""
        chosen = [self.items[(self._met + offset) % len(self.items)] for offset in range(min(count, len(self.items)))]
        self._met += len(chosen)
        return chosen

    def record(self, round_number: int, rewards: Mapping[Candidate, Sequence[float]]) -> None:
        """Note the rewards of a round.

        Args:
            round_number: The round, from 1.
            rewards: The rewards of each candidate, one per item.
        """
        for candidate, values in rewards.items():
            if values:
                self._rewards.setdefault(candidate, {})[round_number] = list(values)

    def ranking(self) -> list[CandidateScore]:
        """All candidates, the best first.

        Who came further stands higher; then the mean of the last round decides, then the mean of all rounds, then
        fewer demonstrations, then who came first.
        """
        return sorted(
            self._scores(), key=lambda s: (-s.last_round, -s.last_mean, -s.mean, len(s.candidate.demonstrations))
        )

    def _scores(self) -> Iterator[CandidateScore]:
        for candidate, by_round in self._rewards.items():
            everything = [value for values in by_round.values() for value in values]
            last = max(by_round)
            yield CandidateScore(candidate, fmean(everything), len(everything), last, fmean(by_round[last]))
