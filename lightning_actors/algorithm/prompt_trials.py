"""Candidates going through the store: a resource for each, rollouts, and the rewards that come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from lightning_actors.algorithm.fingerprint import digest
from lightning_actors.algorithm.prompt_space import Candidate
from lightning_actors.algorithm.resumption import ResumableRun
from lightning_actors.emitter import find_final_reward
from lightning_actors.errors import ConfigError, RunnerError
from lightning_actors.log import get_logger
from lightning_actors.store.api import LightningStore
from lightning_actors.types import (
    EnqueueRolloutRequest,
    NamedResources,
    PromptTemplate,
    Rollout,
    RolloutMode,
)

__all__ = ["HeldOutScore", "SearchProgress", "Trials"]

log = get_logger("lightning_actors.algorithm")

_DEFAULT_NAME = "prompt_template"


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """One candidate has had all its rollouts of a stage.

    Attributes:
        stage: ``"round 1 of 3"``, ``"held-out, before"`` or ``"held-out, after"``.
        candidate: The candidate.
        mean: Its mean reward in this stage.
        rollouts: How many rollouts that took.
        done: Rollouts ended so far in the whole search.
        total: Rollouts planned for the whole search; fewer are used where the space or the dataset is small.
    """

    stage: str
    candidate: Candidate
    mean: float
    rollouts: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """How a prompt did on items that the search never saw.

    Attributes:
        mean: Mean reward.
        rollout_ids: The rollouts, in the order of the items.
    """

    mean: float
    rollout_ids: Sequence[str]


@dataclass(slots=True)
class Trials:
    """Candidates going through the store: resources, rollouts, rewards, and the counts of all that."""

    going: ResumableRun
    resources: NamedResources
    plain: Candidate
    progress: Callable[[SearchProgress], None] | None
    name: str = field(init=False)
    initial: Candidate = field(init=False)
    total: int = 0
    done: int = 0
    failed: int = 0
    without_reward: int = 0
    _ids: dict[Candidate, str] = field(default_factory=dict[Candidate, str])

    def __post_init__(self) -> None:
        prompts = ((name, each) for name, each in self.resources.items() if isinstance(each, PromptTemplate))
        self.name, given = next(prompts, (_DEFAULT_NAME, None))
        self.initial = self.plain if given is None else Candidate(given.template)

    @property
    def store(self) -> LightningStore:
        """The store."""
        return self.going.store

    def prompt(self, candidate: Candidate) -> PromptTemplate:
        """A candidate as the resource that the agent gets."""
        given = self.resources.get(self.name)
        if candidate == self.initial and isinstance(given, PromptTemplate):
            return given
        return PromptTemplate(template=candidate.text, engine="f-string")

    async def publish(self, candidate: Candidate) -> str:
        """Make a candidate the store's latest resource, beside those of other names."""
        prompt: NamedResources = {self.name: self.prompt(candidate)}
        return (await self.store.publish_resources(prompt, initial=self.resources)).resources_id

    async def run(
        self, stage: str, mode: RolloutMode, candidates: Sequence[Candidate], tasks: Sequence[Any]
    ) -> dict[Candidate, list[float]]:
        """All candidates on all tasks, enqueued at once: the rewards of each, in the order of the tasks."""
        ids = await self._enqueue(mode, [(stage, candidate) for candidate in candidates], tasks)
        rewards: dict[Candidate, list[float]] = {}
        failures = list[Rollout]()
        for candidate, rollout_ids in zip(candidates, ids, strict=True):
            rewards[candidate] = await self._collect(stage, candidate, rollout_ids, failures)
        self._check(stage, len(candidates) * len(tasks), failures, await self._reason(failures))
        return rewards

    async def compare(
        self, first: Candidate, second: Candidate, tasks: Sequence[Any]
    ) -> tuple[HeldOutScore, HeldOutScore]:
        """Two candidates on the held-out tasks, enqueued at once."""
        stages = [("held-out, before", first), ("held-out, after", second)]
        ids = await self._enqueue("val", stages, tasks)
        failures = list[Rollout]()
        scores = [
            HeldOutScore(fmean(await self._collect(stage, candidate, rollout_ids, failures)), tuple(rollout_ids))
            for (stage, candidate), rollout_ids in zip(stages, ids, strict=True)
        ]
        return scores[0], scores[1]

    async def _enqueue(
        self, mode: RolloutMode, staged: Sequence[tuple[str, Candidate]], tasks: Sequence[Any]
    ) -> list[list[str]]:
        """All rollouts at once, candidate by candidate: what begins alike stays together for a model's prompt cache."""
        requests = [
            EnqueueRolloutRequest(
                input=task,
                mode=mode,
                resources_id=await self._resources_id(candidate),
                metadata={"stage": stage},
            )
            for stage, candidate in staged
            for task in tasks
        ]
        places = [f"{stage}/{digest(each.text)}/{index}" for stage, each in staged for index in range(len(tasks))]
        ids = [rollout.rollout_id for rollout in await self.going.enqueue_many(requests, places)]
        return [ids[start : start + len(tasks)] for start in range(0, len(ids), len(tasks))]

    async def _collect(
        self, stage: str, candidate: Candidate, rollout_ids: Sequence[str], failures: list[Rollout]
    ) -> list[float]:
        ended = await self.store.wait_for_rollouts(rollout_ids=rollout_ids)
        rewards = [await self._reward(rollout, failures) for rollout in ended]
        self.done += len(rewards)
        mean = fmean(rewards)
        log.debug("prompt_search_candidate", stage=stage, mean=round(mean, 3), resources_id=self._ids[candidate])
        if self.progress is not None:
            self.progress(SearchProgress(stage, candidate, mean, len(rewards), self.done, self.total))
        return rewards

    async def _reward(self, rollout: Rollout, failures: list[Rollout]) -> float:
        if rollout.status != "succeeded":
            self.failed += 1
            failures.append(rollout)
            return 0.0
        reward = find_final_reward(list(await self.store.query_spans(rollout.rollout_id, "latest")))
        if reward is None:
            self.without_reward += 1
            return 0.0
        return reward

    async def _resources_id(self, candidate: Candidate) -> str:
        if candidate not in self._ids:
            self._ids[candidate] = await self.going.add_resources(self._with(candidate), candidate.text)
        return self._ids[candidate]

    def _with(self, candidate: Candidate) -> NamedResources:
        return {**self.resources, self.name: self.prompt(candidate)}

    async def _reason(self, failures: Sequence[Rollout]) -> str:
        if not failures:
            return ""
        spans = await self.store.query_spans(failures[0].rollout_id, "latest")
        told = [span.status.description for span in spans if span.status.status_code == "ERROR"]
        return next((reason for reason in told if reason), "no reason was recorded")

    def _check(self, stage: str, rollouts: int, failures: Sequence[Rollout], reason: str) -> None:
        """A round in which nothing could be scored has nothing to teach, and going on with it would not."""
        self.going.is_over = True
        if len(failures) == rollouts:
            raise RunnerError(
                f"all {rollouts} rollouts of {stage} failed, the first one with: {reason}. "
                f"Trainer.dev(agent, tasks) shows what happens in one of them",
                rollout_id=failures[0].rollout_id,
            )
        if self.without_reward and self.without_reward + self.failed == self.done:
            raise ConfigError(
                f"not one rollout up to {stage} had a reward, so prompts cannot be compared: "
                f"let the agent return a float, or call emit_reward"
            )
        self.going.is_over = False
