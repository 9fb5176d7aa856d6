"""`PromptSearch`: find a better prompt by trying many, a few rollouts each, and the best of them ever more.

```
train_dataset ─┬─ items to show as demonstrations        PromptSpace draws and changes candidates
               └─ items to score candidates on           Race plans rounds and ranks
val_dataset ──── before and after, at the end            never seen by the search

each round: a resource per candidate → all rollouts enqueued at once → their ends awaited → rewards → ranking
```
The rules (`prompt_space`, `prompt_race`) are pure; `prompt_trials` talks to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean
from typing import Any

from lightning_actors.algorithm.base import Algorithm
from lightning_actors.algorithm.fingerprint import digest, digest_of_dataset, name_of
from lightning_actors.algorithm.prompt_race import CandidateScore, Race, RoundPlan, plan_rounds
from lightning_actors.algorithm.prompt_space import Candidate, Demonstrations, Layout, PromptSpace, check_parts
from lightning_actors.algorithm.prompt_trials import HeldOutScore, SearchProgress, Trials
from lightning_actors.algorithm.resumption import resumable
from lightning_actors.algorithm.tasks import task_at
from lightning_actors.errors import ConfigError
from lightning_actors.log import get_logger
from lightning_actors.options import refused, whole_number
from lightning_actors.types import Dataset, PromptTemplate

__all__ = ["CurvePoint", "HeldOutScore", "PromptSearch", "PromptSearchResult", "SearchProgress"]

log = get_logger("lightning_actors.algorithm")

_POOL_SHARE = 3


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Where the search stood after a round.

    Attributes:
        round_number: The round, from 1.
        rollouts: Rollouts used so far, this round included.
        mean: Mean reward of the round.
        best: Mean reward, in this round, of its best candidate.
    """

    round_number: int
    rollouts: int
    mean: float
    best: float


@dataclass(frozen=True, slots=True)
class PromptSearchResult:
    """What a search found, or had found when it was stopped.

    Attributes:
        initial: The prompt that it began with, and its score in the search.
        best: The best prompt, and its score in the search.
        prompt: The best prompt as a resource.
        resource_name: The name of that resource.
        resources_id: Under which id the store keeps it.
        scores: Every candidate's score, the best first.
        curve: Where the search stood after each round.
        before: The initial prompt on the held-out items; None without any, or if the search did not come to its end.
        after: The best prompt on them.
        rollouts: Rollouts that the search used: never more than its budget.
        held_out_rollouts: Rollouts of the held-out report, which come on top.
        failed: Of all these rollouts, how many did not succeed; they count as reward 0.
        without_reward: How many succeeded but had no reward; they count as reward 0.
    """

    initial: CandidateScore
    best: CandidateScore
    prompt: PromptTemplate
    resource_name: str
    resources_id: str
    scores: Sequence[CandidateScore]
    curve: Sequence[CurvePoint]
    before: HeldOutScore | None
    after: HeldOutScore | None
    rollouts: int
    held_out_rollouts: int
    failed: int
    without_reward: int


class PromptSearch(Algorithm):
    """Search over instruction, template and demonstrations for the prompt with the best rewards.

    The training set is divided, by the seed: a third of it may be shown in prompts as demonstrations, the rest scores
    candidates, so that no prompt shows the answer to what it is scored on. A round enqueues all its rollouts at once;
    the next one keeps the better half, tries small changes to them, and gives each candidate more items
    (`lightning_actors.algorithm.prompt_race`). After each round the best prompt so far becomes the store's latest
    resource. At the end the initial and the best prompt meet the whole held-out set once.

    The search begins with the first PromptTemplate among the trainer's initial resources and replaces it under the
    same name; all other resources stay as they are. Without one it begins with the first instruction in the first
    template, under the name ``prompt_template``.

    For a seed and the same rewards the search takes the same course. So on a durable store a search that was
    interrupted, by Ctrl-C, an error or the end of its process, goes on when it is run again with the same options,
    datasets and initial resources: rollouts that had ended are not run again, but for those that were cancelled.

    Args:
        instructions: The texts that may stand for ``{instruction}``.
        templates: f-string templates, or `Layout` for one whose demonstrations have a form of their own. The search
            fills ``{instruction}`` and ``{demonstrations}``; the agent fills all other placeholders.
        demonstrations: How an item of the training set is written as a demonstration: a function that takes the item
            and returns text, line break included; or `Demonstrations`, which says how many to show as well. None for
            prompts without demonstrations.
        rounds: How many rounds.
        budget: How many rollouts the search may use in all. The held-out report comes on top: two for each item of
            the validation set.
        seed: The same seed draws the same candidates.
        progress: Called when a candidate has had all its rollouts of a round.

    Raises:
        ConfigError: An option makes no sense, or the parts do not fit together.
    """

    def __init__(
        self,
        *,
        instructions: Sequence[str],
        templates: Sequence[str | Layout],
        demonstrations: Demonstrations | Callable[[Any], str] | None = None,
        rounds: int = 3,
        budget: int = 400,
        seed: int = 0,
        progress: Callable[[SearchProgress], None] | None = None,
    ) -> None:
        if callable(demonstrations):
            demonstrations = Demonstrations(demonstrations)
        check_parts(instructions, templates, demonstrations)
        if progress is not None and not callable(progress):
            raise refused("progress", progress, "a function that takes a SearchProgress, or None")
        self._instructions = tuple(instructions)
        self._templates = tuple(templates)
        self._demonstrations = demonstrations
        self._rounds = whole_number("rounds", rounds)
        self._budget = whole_number("budget", budget)
        plan_rounds(self._rounds, self._budget, 1)
        self._seed = whole_number("seed", seed, least=None)
        self._progress = progress
        self._result: PromptSearchResult | None = None

    @property
    def result(self) -> PromptSearchResult:
        """What the last run found so far; complete once it has ended.

        Raises:
            ConfigError: No round has ended yet.
        """
        if self._result is None:
            raise ConfigError("PromptSearch has no result yet: Trainer(algorithm=search).fit(agent, ...) comes first")
        return self._result

    async def run(self, train_dataset: Dataset[Any] | None = None, val_dataset: Dataset[Any] | None = None) -> None:
        """Search on the training set, then report on the held-out set.

        Raises:
            ConfigError: There is no training set, or not one rollout of a round had a reward.
            RunnerError: Every rollout of a round failed.
            Exception: What a dataset raised.
        """
        if train_dataset is None or not len(train_dataset):
            raise ConfigError("PromptSearch needs a train_dataset that is not empty: Trainer.fit(agent, train_dataset)")
        self._result = None
        shown, scored = self._divided(train_dataset)
        pool = dict(zip(shown, _items(train_dataset, "train", shown), strict=True))
        space = PromptSpace(self._instructions, self._templates, self._demonstrations, pool=pool, seed=self._seed)
        plans = plan_rounds(self._rounds, self._budget, len(scored))
        async with resumable(
            self.get_store(),
            name_of(self),
            lambda: self._fingerprint(space.plain(), train_dataset, val_dataset),
            resumes=self.resumes,
        ) as going:
            trials = Trials(going, self.get_initial_resources() or {}, space.plain(), self._progress)
            held_out = 0 if val_dataset is None else len(val_dataset)
            trials.total = sum(plan.rollouts for plan in plans) + 2 * held_out
            await self._search(space, Race(scored), plans, trials, train_dataset)
            if val_dataset is not None and held_out:
                await self._report(trials, val_dataset)

    def _fingerprint(self, plain: Candidate, train: Dataset[Any], val: Dataset[Any] | None) -> str:
        texts = [each if isinstance(each, str) else each.text for each in self._templates]
        shown = None if self._demonstrations is None else list(self._demonstrations.counts)
        options = (plain.text, self._instructions, texts, shown, self._rounds, self._budget, self._seed)
        return digest(options, self.get_initial_resources(), digest_of_dataset(train), digest_of_dataset(val))

    async def _search(
        self, space: PromptSpace, race: Race, plans: Sequence[RoundPlan], trials: Trials, dataset: Dataset[Any]
    ) -> None:
        known = [trials.initial]
        curve = list[CurvePoint]()
        for number, plan in enumerate(plans, start=1):
            candidates = _contestants(space, race, plan, number, len(plans), known)
            known += [each for each in candidates if each not in known]
            tasks = _items(dataset, "train", race.choose_items(plan.items))
            rewards = await trials.run(f"round {number} of {len(plans)}", "train", candidates, tasks)
            race.record(number, rewards)
            curve.append(_point(number, trials.done, list(rewards.values())))
            await self._conclude(race.ranking(), curve, trials)

    async def _conclude(self, ranking: Sequence[CandidateScore], curve: Sequence[CurvePoint], trials: Trials) -> None:
        """Publish the best prompt and say where the search stands."""
        best, point = ranking[0], curve[-1]
        resources_id = await trials.publish(best.candidate)
        self._result = PromptSearchResult(
            initial=next(score for score in ranking if score.candidate == trials.initial),
            best=best,
            prompt=trials.prompt(best.candidate),
            resource_name=trials.name,
            resources_id=resources_id,
            scores=tuple(ranking),
            curve=tuple(curve),
            before=None,
            after=None,
            rollouts=trials.done,
            held_out_rollouts=0,
            failed=trials.failed,
            without_reward=trials.without_reward,
        )
        log.info(
            "prompt_search_round",
            round_number=point.round_number,
            rollouts=point.rollouts,
            mean=round(point.mean, 3),
            best=round(point.best, 3),
            failed=trials.failed,
            without_reward=trials.without_reward,
            resources_id=resources_id,
        )

    async def _report(self, trials: Trials, dataset: Dataset[Any]) -> None:
        """The initial and the best prompt on the held-out set, both at once."""
        searched = self.result
        tasks = _items(dataset, "val", range(len(dataset)))
        before, after = await trials.compare(trials.initial, searched.best.candidate, tasks)
        self._result = replace(
            searched,
            before=before,
            after=after,
            held_out_rollouts=trials.done - searched.rollouts,
            failed=trials.failed,
            without_reward=trials.without_reward,
        )
        log.info("prompt_search_held_out", before=round(before.mean, 3), after=round(after.mean, 3), items=len(tasks))

    def _divided(self, dataset: Dataset[Any]) -> tuple[list[int], list[int]]:
        """The positions of items to show, and of items to score on."""
        order = list(range(len(dataset)))
        Random(self._seed).shuffle(order)  # noqa: S311 - a split, not a secret
        if self._demonstrations is None:
            return [], order
        most = max(self._demonstrations.counts)
        size = min(max(most, len(order) // _POOL_SHARE), len(order) // 2)
        return order[:size], order[size:]


def _items(dataset: Dataset[Any], name: str, indices: Sequence[int]) -> list[Any]:
    return [task_at(dataset, index, name) for index in indices]


def _contestants(
    space: PromptSpace, race: Race, plan: RoundPlan, number: int, rounds: int, known: Sequence[Candidate]
) -> list[Candidate]:
    """Who takes part in a round: at first drawn from the whole space, later the best and small changes to them."""
    if number == 1:
        return [*known, *space.draw(plan.candidates - len(known), known=known)]
    best = [score.candidate for score in race.ranking() if score.last_round == number - 1]
    if number == rounds:
        return best[: plan.candidates]
    kept = best[: -(-plan.candidates // 2)]
    found = list(kept)
    for position in range(plan.candidates - len(kept)):
        changed = space.change(kept[position % len(kept)], known=[*known, *found])
        if changed is not None:
            found.append(changed)
    return found


def _point(number: int, rollouts: int, rewards: Sequence[Sequence[float]]) -> CurvePoint:
    means = [fmean(values) for values in rewards]
    return CurvePoint(number, rollouts, fmean(means), max(means))
